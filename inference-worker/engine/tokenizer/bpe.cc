#include "engine/tokenizer/bpe.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <queue>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "engine/tokenizer/pretokenize.h"
#include "engine/tokenizer/unicode.h"
#include "engine/tokenizer/vocabulary.h"

namespace conclave::engine {
namespace {

// Printable bytes stand for themselves, the others for the scalars from U+0100 on, in order.
struct ByteAlphabet {
  std::array<std::string, 256> texts;
  std::array<int16_t, 0x144> bytes;  // by scalar; -1 = not in the alphabet

  ByteAlphabet() {
    bytes.fill(-1);
    uint32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      const uint32_t scalar = printable ? byte : next++;
      AppendUtf8(scalar, &texts[byte]);
      bytes[scalar] = static_cast<int16_t>(byte);
    }
  }
};

const ByteAlphabet& Alphabet() {
  static const auto* alphabet = new ByteAlphabet();
  return *alphabet;
}

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

class BpeTokenizer final : public VocabularyTokenizer {
 public:
  BpeTokenizer(std::unique_ptr<const Vocabulary> vocabulary, Pretokenizer pretokenizer,
               MergeTable merges, bool ignore_merges)
      : VocabularyTokenizer(std::move(vocabulary)),
        pretokenizer_(std::move(pretokenizer)),
        merges_(std::move(merges)),
        ignore_merges_(ignore_merges) {
    for (size_t byte = 0; byte < 256; ++byte) {
      byte_ids_[byte] = this->vocabulary().Find(Alphabet().texts[byte]);
    }
  }

  std::string TokenBytes(TokenId id, bool render_special) const override {
    if (IsControl(id)) return render_special ? vocabulary().text(id) : "";
    if (vocabulary().type(id) == TokenType::kUserDefined) return vocabulary().text(id);
    return ByteLevelBytes(vocabulary().text(id));
  }
  std::string_view model_name() const override { return "gpt2"; }

 protected:
  void EncodeText(std::string_view text, bool, std::vector<TokenId>* ids) const override {
    std::vector<size_t> ends;
    pretokenizer_.Split(text, &ends);
    size_t begin = 0;
    for (const size_t end : ends) {
      EncodeWord(text.substr(begin, end - begin), ids);
      begin = end;
    }
  }

 private:
  void EncodeWord(std::string_view word, std::vector<TokenId>* ids) const {
    const bool cached = word.size() <= WordCache::kWordBytesMax;
    if (cached && cache_.Lookup(word, ids)) return;
    const size_t first = ids->size();
    if (!TakeWhole(word, ids)) MergeWord(word, ids);
    if (cached) cache_.Insert(word, std::span(*ids).subspan(first));
  }

  bool TakeWhole(std::string_view word, std::vector<TokenId>* ids) const {
    if (!ignore_merges_ || word.size() > kWholeWordBytesMax) return false;
    std::string text;
    for (const char byte : word) text += ByteLevelText(static_cast<unsigned char>(byte));
    const TokenId id = vocabulary().Find(text);
    if (id < 0) return false;
    ids->push_back(id);
    return true;
  }

  void MergeWord(std::string_view word, std::vector<TokenId>* ids) const {
    std::vector<TokenId> symbols;
    symbols.reserve(word.size());
    for (const char byte : word) symbols.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
    const size_t first = ids->size();
    WordMerger(merges_).Run(symbols, ids);
    // A byte the vocabulary cannot say becomes its unknown token, or is left out if it has none.
    const TokenId unknown = vocabulary().unknown();
    const auto from = ids->begin() + static_cast<ptrdiff_t>(first);
    if (unknown >= 0) {
      std::replace(from, ids->end(), TokenId{-1}, unknown);
    } else {
      ids->erase(std::remove(from, ids->end(), TokenId{-1}), ids->end());
    }
  }

  static constexpr size_t kWholeWordBytesMax = 256;

  Pretokenizer pretokenizer_;
  MergeTable merges_;
  bool ignore_merges_;
  std::array<TokenId, 256> byte_ids_{};
  mutable WordCache cache_;
};

absl::StatusOr<MergeTable> MakeMerges(const Vocabulary& vocabulary,
                                      std::span<const std::string> merges) {
  MergeTable table;
  table.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const std::string_view merge = merges[i];
    const auto wrong = [&](std::string_view what) {
      return base::InvalidArgument(
          absl::StrCat("tokenizer.ggml.merges[", i, "]: ", std::string(what)));
    };
    // A left part of " " itself is possible, hence the search from the second byte on.
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merge.size()) {
      return wrong("expected two tokens separated by a space");
    }
    const std::string_view left = merge.substr(0, space), right = merge.substr(space + 1);
    const TokenId left_id = vocabulary.Find(left), right_id = vocabulary.Find(right);
    const TokenId merged = vocabulary.Find(std::string(left).append(right));
    if (left_id < 0 || right_id < 0 || merged < 0) {
      return wrong("names a token that is not in the vocabulary");
    }
    table.try_emplace(PairKey(left_id, right_id), Merge{static_cast<int32_t>(i), merged});
  }
  return table;
}

}  // namespace

std::string_view ByteLevelText(unsigned char byte) { return Alphabet().texts[byte]; }

std::string ByteLevelBytes(std::string_view text) {
  const ByteAlphabet& alphabet = Alphabet();
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const DecodedScalar scalar = DecodeUtf8(text, at);
    if (scalar.value < alphabet.bytes.size() && alphabet.bytes[scalar.value] >= 0) {
      bytes.push_back(static_cast<char>(alphabet.bytes[scalar.value]));
    } else {
      bytes.append(text.substr(at, scalar.length));
    }
    at += scalar.length;
  }
  return bytes;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeBpeTokenizer(TokenizerSpec spec) {
  ASSIGN_OR_RETURN(Pretokenizer pretokenizer, Pretokenizer::ForName(spec.pre));
  const bool ignore_merges = spec.ignore_merges || pretokenizer.ignores_merges();
  ASSIGN_OR_RETURN(std::unique_ptr<const Vocabulary> vocabulary, Vocabulary::Make(&spec));
  ASSIGN_OR_RETURN(MergeTable merges, MakeMerges(*vocabulary, spec.merges));
  return std::make_unique<BpeTokenizer>(std::move(vocabulary), std::move(pretokenizer),
                                        std::move(merges), ignore_merges);
}

}  // namespace conclave::engine
