#include "backends/grammar_cache.h"

#include <algorithm>

#include "base/status.h"
#include "engine/grammar/compile.h"

namespace conclave::backends {
namespace {

using engine::grammar::Language;

constexpr size_t kEntriesMax = 64;
constexpr size_t kBytesMax = 256u << 20;

Language LanguageOf(ResponseFormat::Kind kind) {
  switch (kind) {
    case ResponseFormat::Kind::kJsonSchema:
      return Language::kJsonSchema;
    case ResponseFormat::Kind::kGbnf:
      return Language::kGbnf;
    case ResponseFormat::Kind::kRegex:
      return Language::kRegex;
    default:
      return Language::kJsonObject;
  }
}

}  // namespace

absl::StatusOr<GrammarCache::Grammar> GrammarCache::Get(const ResponseFormat& format) {
  if (format.kind == ResponseFormat::Kind::kText) return Grammar();
  if (Grammar known = Find(format); known != nullptr) return known;
  // Without the lock: another request need not wait for this one's grammar.
  auto automaton = engine::grammar::Compile(LanguageOf(format.kind), format.definition);
  if (!automaton.ok()) {
    return base::WithParam(base::Annotate(automaton.status(), "response_format"),
                           "response_format");
  }
  const auto grammar =
      std::make_shared<engine::grammar::TokenGrammar>(*std::move(automaton), trie_);
  Keep(format, grammar);
  return grammar;
}

GrammarCache::Grammar GrammarCache::Find(const ResponseFormat& format) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.kind == format.kind && entry.definition == format.definition;
  });
  if (found == entries_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found);
  return found->grammar;
}

void GrammarCache::Keep(const ResponseFormat& format, const Grammar& grammar) {
  const std::lock_guard lock(mutex_);
  entries_.push_front({format.kind, format.definition, grammar});
  size_t bytes = 0, count = 0;
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry, ++count) {
    bytes += entry->definition.size() + entry->grammar->num_bytes();
    if (count == 0 || (count < kEntriesMax && bytes <= kBytesMax)) continue;
    entries_.erase(entry, entries_.end());
    return;
  }
}

}  // namespace conclave::backends
