#include "engine/grammar/token_trie.h"

#include <algorithm>
#include <limits>

#include "engine/grammar/rules.h"

namespace conclave::engine::grammar {
namespace {

constexpr size_t kTokenBytesMax = std::numeric_limits<uint16_t>::max();

size_t CommonPrefix(std::string_view a, std::string_view b) {
  size_t i = 0;
  while (i < a.size() && i < b.size() && a[i] == b[i]) ++i;
  return i;
}

}  // namespace

TokenTrie::TokenTrie(std::vector<std::string> bytes) : bytes_(std::move(bytes)) {
  for (TokenId id = 0; id < vocab_size(); ++id) {
    std::string& token = bytes_[static_cast<size_t>(id)];
    if (token.size() > kTokenBytesMax) token.clear();
    if (!token.empty()) order_.push_back(id);
  }
  std::sort(order_.begin(), order_.end(), [&](TokenId a, TokenId b) {
    const int order = this->bytes(a).compare(this->bytes(b));
    return order != 0 ? order < 0 : a < b;
  });
  nodes_.push_back({});
  std::vector<int32_t> open = {0};  // the nodes down to the token before
  std::string_view before;
  const auto close_to = [&](size_t depth) {
    for (; open.size() > depth + 1; open.pop_back()) {
      nodes_[static_cast<size_t>(open.back())].end = static_cast<int32_t>(nodes_.size());
    }
  };
  for (size_t i = 0; i < order_.size(); ++i) {
    const std::string_view token = this->bytes(order_[i]);
    close_to(CommonPrefix(before, token));
    while (open.size() <= token.size()) {
      const auto depth = static_cast<uint16_t>(open.size());
      open.push_back(static_cast<int32_t>(nodes_.size()));
      nodes_.push_back({.first_token = static_cast<int32_t>(i),
                        .depth = depth,
                        .byte = static_cast<uint8_t>(token[depth - 1u])});
      depth_max_ = std::max<int32_t>(depth_max_, depth);
    }
    before = token;
  }
  close_to(0);
  nodes_[0].end = static_cast<int32_t>(nodes_.size());
  nodes_.push_back({.end = nodes_[0].end, .first_token = static_cast<int32_t>(order_.size())});
}

TokenTrie TokenTrie::Of(const Tokenizer& tokenizer) {
  std::vector<std::string> bytes(static_cast<size_t>(tokenizer.vocab_size()));
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.IsEndOfGeneration(id)) continue;
    std::string& token = bytes[static_cast<size_t>(id)];
    token = tokenizer.TokenBytes(id, /*render_special=*/true);
    if (tokenizer.IsControl(id)) {
      token.insert(0, 1, Rules::kControl);
    } else if (token.find(Rules::kControl) != std::string::npos) {
      token.clear();  // a byte that no text has
    }
  }
  return TokenTrie(std::move(bytes));
}

}  // namespace conclave::engine::grammar
