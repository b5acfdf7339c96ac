#include "backends/grammar_cache.h"

#include <algorithm>

#include "base/status.h"

namespace conclave::backends {
namespace {

constexpr size_t kEntriesMax = 64;
constexpr size_t kBytesMax = 256u << 20;

}  // namespace

absl::StatusOr<GrammarCache::Grammar> GrammarCache::Get(const engine::grammar::AnswerShape& shape) {
  std::string key = engine::grammar::KeyOf(shape);
  if (Grammar known = Find(key); known != nullptr) return known;
  // Without the lock: another request need not wait for this one's grammar.
  ASSIGN_OR_RETURN(engine::grammar::Automaton automaton,
                   engine::grammar::CompileAnswer(shape, is_control_));
  const auto grammar = std::make_shared<engine::grammar::TokenGrammar>(std::move(automaton), trie_);
  Keep(std::move(key), grammar);
  return grammar;
}

GrammarCache::Grammar GrammarCache::Find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& entry) { return entry.key == key; });
  if (found == entries_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found);
  return found->grammar;
}

void GrammarCache::Keep(std::string key, const Grammar& grammar) {
  const std::lock_guard lock(mutex_);
  entries_.push_front({std::move(key), grammar});
  size_t bytes = 0, count = 0;
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry, ++count) {
    bytes += entry->key.size() + entry->grammar->num_bytes();
    if (count == 0 || (count < kEntriesMax && bytes <= kBytesMax)) continue;
    entries_.erase(entry, entries_.end());
    return;
  }
}

}  // namespace conclave::backends
