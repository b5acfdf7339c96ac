#include <algorithm>
#include <array>
#include <mutex>
#include <queue>
#include <span>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/strings.h"
#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/token_model.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine {
namespace {

struct Merge {
  int32_t rank = 0;
  TokenId merged = -1;
};
using MergeTable = absl::flat_hash_map<uint64_t, Merge>;

uint64_t PairKey(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

// Remembers the ids of short words. Thread-safe: a few shards, each under its own lock.
class WordCache final {
 public:
  static constexpr size_t kWordBytesMax = 32;

  bool Lookup(std::string_view word, std::vector<TokenId>* ids) {
    Shard& shard = ShardOf(word);
    const std::lock_guard lock(shard.mutex);
    const auto found = shard.words.find(base::Abs(word));
    if (found == shard.words.end()) return false;
    ids->insert(ids->end(), found->second.begin(), found->second.end());
    return true;
  }
  void Insert(std::string_view word, std::span<const TokenId> ids) {
    Shard& shard = ShardOf(word);
    const std::lock_guard lock(shard.mutex);
    // Text has few words that come often: starting over now and then costs little.
    if (shard.words.size() >= kWordsPerShardMax) shard.words.clear();
    shard.words.try_emplace(std::string(word), ids.begin(), ids.end());
  }

 private:
  static constexpr size_t kShards = 16;
  static constexpr size_t kWordsPerShardMax = 4096;
  struct Shard {
    std::mutex mutex;
    absl::flat_hash_map<std::string, std::vector<TokenId>> words;
  };
  Shard& ShardOf(std::string_view word) {
    return shards_[absl::Hash<std::string_view>()(word) % kShards];
  }
  std::array<Shard, kShards> shards_;
};

// One word being merged: symbols in a linked list, candidate merges in a heap. O(n log n).
class WordMerger final {
 public:
  explicit WordMerger(const MergeTable& merges) : merges_(merges) {}

  // Symbols of -1 (bytes the vocabulary lacks) never merge. Appends the merged symbols.
  void Run(std::span<const TokenId> symbols, std::vector<TokenId>* ids) {
    const auto count = static_cast<int32_t>(symbols.size());
    nodes_.resize(symbols.size());
    for (int32_t i = 0; i < count; ++i) {
      nodes_[static_cast<size_t>(i)] = {symbols[static_cast<size_t>(i)], i - 1,
                                        i + 1 < count ? i + 1 : -1};
    }
    for (int32_t i = 0; i + 1 < count; ++i) Offer(i);
    while (!heap_.empty()) {
      const Candidate best = heap_.top();
      heap_.pop();
      Apply(best);
    }
    for (int32_t i = count > 0 ? 0 : -1; i >= 0; i = At(i).next) ids->push_back(At(i).id);
  }

 private:
  struct Node {
    TokenId id;  // -2 = merged away
    int32_t prev, next;
  };
  struct Candidate {
    int32_t rank, at;
    TokenId left, right, merged;
    // The lowest rank first, then the leftmost.
    bool operator<(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  Node& At(int32_t i) { return nodes_[static_cast<size_t>(i)]; }

  void Offer(int32_t at) {
    const TokenId left = At(at).id, right = At(At(at).next).id;
    const auto found = merges_.find(PairKey(left, right));
    if (found == merges_.end()) return;
    heap_.push({found->second.rank, at, left, right, found->second.merged});
  }
  void Apply(const Candidate& candidate) {
    Node& left = At(candidate.at);
    // The symbols may have changed since this was offered.
    if (left.id != candidate.left || left.next < 0 || At(left.next).id != candidate.right) return;
    Node& right = At(left.next);
    left.id = candidate.merged;
    left.next = right.next;
    right.id = -2;
    if (left.next >= 0) At(left.next).prev = candidate.at;
    if (left.prev >= 0) Offer(left.prev);
    if (left.next >= 0) Offer(candidate.at);
  }

  const MergeTable& merges_;
  std::vector<Node> nodes_;
  std::priority_queue<Candidate> heap_;
};

class BpeModel final : public TokenModel {
 public:
  BpeModel(const Vocabulary& vocabulary, MergeTable merges, BpeOptions options)
      : vocabulary_(vocabulary), merges_(std::move(merges)), options_(std::move(options)) {
    for (size_t byte = 0; byte < 256; ++byte) {
      byte_ids_[byte] =
          Find(options_.byte_level ? std::string(ByteLevelText(static_cast<unsigned char>(byte)))
                                   : absl::StrFormat("<0x%02X>", byte));
    }
    for (TokenId id = 0; id < vocabulary.size(); ++id) {
      token_bytes_max_ = std::max(token_bytes_max_, vocabulary.text(id).size());
    }
  }

  void Encode(std::string_view word, std::vector<TokenId>* ids) const override {
    const bool cached = word.size() <= WordCache::kWordBytesMax;
    if (cached && cache_.Lookup(word, ids)) return;
    const size_t first = ids->size();
    if (!TakeWhole(word, ids)) MergeWord(word, ids);
    if (cached) cache_.Insert(word, std::span(*ids).subspan(first));
  }

 private:
  TokenId Find(std::string_view text) const {
    const TokenId id = vocabulary_.Find(text);
    const bool found =
        id >= 0 && (options_.entries.empty() || options_.entries[static_cast<size_t>(id)]);
    return found ? id : -1;
  }

  bool TakeWhole(std::string_view word, std::vector<TokenId>* ids) const {
    if (!options_.ignore_merges || word.size() > token_bytes_max_) return false;
    const TokenId id = options_.byte_level ? Find(ByteLevelText(word)) : Find(word);
    if (id < 0) return false;
    ids->push_back(id);
    return true;
  }

  void MergeWord(std::string_view word, std::vector<TokenId>* ids) const {
    std::vector<TokenId> symbols;
    symbols.reserve(word.size());
    AppendSymbols(word, &symbols);
    const size_t first = ids->size();
    WordMerger(merges_).Run(symbols, ids);
    // A byte the vocabulary cannot say becomes its unknown token, or is left out if it has none.
    const auto from = ids->begin() + static_cast<ptrdiff_t>(first);
    if (options_.unknown >= 0) {
      std::replace(from, ids->end(), TokenId{-1}, options_.unknown);
    } else {
      ids->erase(std::remove(from, ids->end(), TokenId{-1}), ids->end());
    }
  }

  void AppendSymbols(std::string_view word, std::vector<TokenId>* symbols) const {
    bool unknown_waits = false;
    for (size_t at = 0; at < word.size();) {
      const size_t length = options_.byte_level ? 1 : DecodeUtf8(word, at).length;
      const std::string_view character = word.substr(at, length);
      const bool first = at == 0;
      at += length;
      const TokenId id = SymbolOf(character, first, at == word.size());
      if (id < 0 && !options_.unknown_from_start) {
        symbols->push_back(-1);
        continue;
      }
      if (id < 0) {
        if (AppendFallback(character, symbols) || options_.unknown < 0) continue;
        if (unknown_waits && !options_.fuse_unknown) symbols->push_back(options_.unknown);
        unknown_waits = true;
        continue;
      }
      if (unknown_waits) symbols->push_back(options_.unknown);
      unknown_waits = false;
      symbols->push_back(id);
    }
    if (unknown_waits) symbols->push_back(options_.unknown);
  }

  TokenId SymbolOf(std::string_view character, bool first, bool last) const {
    const bool prefixed = !first && !options_.continuing_prefix.empty();
    const bool suffixed = last && !options_.end_suffix.empty();
    if (options_.byte_level && !prefixed && !suffixed) {
      return byte_ids_[static_cast<unsigned char>(character[0])];
    }
    const std::string text(options_.byte_level ? ByteLevelText(character) : std::string(character));
    return Find(absl::StrCat(prefixed ? options_.continuing_prefix : "", text,
                             suffixed ? options_.end_suffix : ""));
  }

  // All bytes of the character, or none.
  bool AppendFallback(std::string_view character, std::vector<TokenId>* symbols) const {
    if (!options_.byte_fallback) return false;
    for (const char byte : character) {
      if (byte_ids_[static_cast<unsigned char>(byte)] < 0) return false;
    }
    for (const char byte : character) {
      symbols->push_back(byte_ids_[static_cast<unsigned char>(byte)]);
    }
    return true;
  }

  const Vocabulary& vocabulary_;
  MergeTable merges_;
  BpeOptions options_;
  size_t token_bytes_max_ = 0;
  std::array<TokenId, 256> byte_ids_{};  // by the alphabet, or for the fallback
  mutable WordCache cache_;
};

absl::StatusOr<MergeTable> MakeMerges(const Vocabulary& vocabulary, const BpeOptions& options) {
  MergeTable table;
  table.reserve(options.merges.size());
  const std::string& prefix = options.continuing_prefix;
  for (size_t i = 0; i < options.merges.size(); ++i) {
    const auto& [left, right] = options.merges[i];
    const std::string_view appended =
        right.starts_with(prefix) ? std::string_view(right).substr(prefix.size()) : right;
    const TokenId left_id = vocabulary.Find(left), right_id = vocabulary.Find(right);
    const TokenId merged = vocabulary.Find(std::string(left).append(appended));
    if (left_id < 0 || right_id < 0 || merged < 0) {
      return base::InvalidArgument(absl::StrCat(options.merges_key, "[", i,
                                                "]: names a token that is not in the vocabulary"));
    }
    const Merge merge{static_cast<int32_t>(i), merged};
    const auto [place, added] = table.try_emplace(PairKey(left_id, right_id), merge);
    if (!added && options.last_merge_counts) place->second = merge;
  }
  return table;
}

}  // namespace

absl::StatusOr<std::unique_ptr<const TokenModel>> MakeBpeModel(const Vocabulary& vocabulary,
                                                               BpeOptions options) {
  ASSIGN_OR_RETURN(MergeTable merges, MakeMerges(vocabulary, options));
  options.merges.clear();
  options.merges.shrink_to_fit();
  return std::make_unique<const BpeModel>(vocabulary, std::move(merges), std::move(options));
}

}  // namespace conclave::engine
