// What the tests of grammars ask: whether a text is one of the grammar's, found byte by byte, and
// whether a mask is what trying every token would give.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/grammar/automaton.h"
#include "engine/grammar/matcher.h"
#include "engine/grammar/rules.h"
#include "engine/grammar/stacks.h"
#include "engine/grammar/token_grammar.h"
#include "engine/grammar/token_trie.h"

namespace conclave::engine::grammar {

enum class Verdict { kNo, kPrefix, kWhole };

inline Verdict Read(const Automaton& automaton, std::string_view text) {
  Stacks stacks(automaton);
  Items items = stacks.Start(), next;
  for (const char byte : text) {
    stacks.Step(items, static_cast<uint8_t>(byte), &next);
    std::swap(items, next);
  }
  if (items.empty()) return Verdict::kNo;
  return items.front().state == Automaton::kEnd ? Verdict::kWhole : Verdict::kPrefix;
}

inline bool Matches(const Automaton& automaton, std::string_view text) {
  return Read(automaton, text) == Verdict::kWhole;
}

// 256 bytes, and `count` random tokens of 2 to 6 bytes cut out of `texts`; id 0 is not text.
inline std::shared_ptr<const TokenTrie> SmallVocabulary(const std::vector<std::string>& texts,
                                                        int count, uint64_t seed) {
  std::vector<std::string> tokens = {""};
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  std::mt19937_64 random(seed);
  for (int i = 0; i < count; ++i) {
    const std::string& text = texts[random() % texts.size()];
    tokens.push_back(text.substr(random() % text.size(), 2 + random() % 5));
  }
  return std::make_shared<TokenTrie>(std::move(tokens));
}

}  // namespace conclave::engine::grammar
