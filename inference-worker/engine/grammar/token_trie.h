// The bytes of a vocabulary as a tree, in the order of a walk that goes down first: a grammar that
// refuses a byte refuses all tokens below it at once. Made once per model; immutable.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/request.h"
#include "engine/tokenizer/tokenizer.h"

namespace conclave::engine::grammar {

class TokenTrie final {
 public:
  struct Node {
    int32_t end = 0;          // behind the last node below this one
    int32_t first_token = 0;  // in order(): its own tokens up to those of the next node
    uint16_t depth = 0;       // bytes down to here; 0 = the root
    uint8_t byte = 0;
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
  bool has_children(int32_t node) const { return nodes_[static_cast<size_t>(node)].end > node + 1; }
  std::string_view bytes(TokenId token) const { return bytes_[static_cast<size_t>(token)]; }
  int32_t vocab_size() const { return static_cast<int32_t>(bytes_.size()); }
  int32_t depth_max() const { return depth_max_; }

 private:
  std::vector<std::string> bytes_;
  std::vector<TokenId> order_;  // by bytes
  std::vector<Node> nodes_;
  int32_t depth_max_ = 0;
};

}  // namespace conclave::engine::grammar
