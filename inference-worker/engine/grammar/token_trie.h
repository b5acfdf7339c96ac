// The bytes of a vocabulary as a tree, in the order of a walk that goes down first: a grammar that
// refuses a byte refuses all tokens below it at once. Made once per model.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/grammar/characters.h"
#include "engine/grammar/token_mask.h"
#include "engine/request.h"
#include "engine/tokenizer/tokenizer.h"

namespace conclave::engine::grammar {

class TokenTrie;

// The tokens that hold nothing but some characters, by how many they hold.
class TextTokens final {
 public:
  TextTokens(const TokenTrie& trie, const Characters& characters);
  // Those of up to `scalars` characters, < TokenTrie::Content::kNoText.
  void AddTo(TokenMask* mask, uint8_t scalars) const;

 private:
  static constexpr size_t kShortMax = 16;  // most tokens are shorter

  std::vector<TokenMask> up_to_;                     // by number of characters
  std::vector<std::pair<uint8_t, TokenId>> longer_;  // sorted
};

class TokenTrie final {
 public:
  struct Node {
    int32_t end = 0;          // behind the last node below this one
    int32_t first_token = 0;  // in order(): its own tokens up to those of the next node
    uint16_t depth = 0;       // bytes down to here; 0 = the root
    uint8_t byte = 0;
  };
  // The characters that tokens, or their rests below a node, begin: a character in which the node
  // lies began above it, one that is cut off at the end of the token counts. Tokens are taken to
  // begin between two characters.
  struct Content {
    static constexpr uint8_t kNoText = 255;  // as `scalars`: more than 254, or not UTF-8

    Characters characters;
    uint8_t scalars = 0;  // of the longest
    bool between = true;  // of a node: it lies between two characters
  };

  // `bytes` by token id; a token without bytes is not in the tree. Longer ones than 65,535 neither.
  explicit TokenTrie(std::vector<std::string> bytes);
  // The tokens that stand for text, and the control tokens behind a Rules::kControl; not the ends
  // of a generation.
  static TokenTrie Of(const Tokenizer& tokenizer);

  // nodes()[0] is the root; the last one is a sentinel without bytes.
  std::span<const Node> nodes() const { return nodes_; }
  std::span<const TokenId> order() const { return order_; }
  std::span<const TokenId> tokens_at(int32_t node) const {
    const auto index = static_cast<size_t>(node);
    return std::span(order_).subspan(
        static_cast<size_t>(nodes_[index].first_token),
        static_cast<size_t>(nodes_[index + 1].first_token - nodes_[index].first_token));
  }
  const Content& content(int32_t node) const { return contents_[static_cast<size_t>(node)]; }
  // Of the token at this place of order().
  const Content& content_of(size_t place) const { return token_contents_[place]; }
  // The tokens that hold nothing but `characters`; found out at a pass over the vocabulary, and
  // remembered for the kinds asked for lately. Thread-safe.
  std::shared_ptr<const TextTokens> TokensOf(const Characters& characters) const;
  // Of all below `node`.
  std::span<const TokenId> tokens_below(int32_t node) const {
    const auto index = static_cast<size_t>(node), end = static_cast<size_t>(nodes_[index].end);
    const int32_t first = nodes_[index + 1].first_token;
    return std::span(order_).subspan(static_cast<size_t>(first),
                                     static_cast<size_t>(nodes_[end].first_token - first));
  }
  bool has_children(int32_t node) const { return nodes_[static_cast<size_t>(node)].end > node + 1; }
  std::string_view bytes(TokenId token) const { return bytes_[static_cast<size_t>(token)]; }
  int32_t vocab_size() const { return static_cast<int32_t>(bytes_.size()); }
  int32_t depth_max() const { return depth_max_; }

 private:
  struct Texts {
    std::mutex mutex;
    std::list<std::pair<Characters, std::shared_ptr<const TextTokens>>> known;  // last asked first
  };
  void FindContents();

  std::vector<std::string> bytes_;
  std::vector<TokenId> order_;  // by bytes
  std::vector<Node> nodes_;
  std::vector<Content> contents_;
  std::vector<Content> token_contents_;
  std::unique_ptr<Texts> texts_ = std::make_unique<Texts>();
  int32_t depth_max_ = 0;
};

}  // namespace conclave::engine::grammar
