// How long an output may reason: after so many tokens the end of the block is forced, and the model
// goes on with its answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"

namespace conclave::engine::grammar {

struct ReasoningLimit {
  int32_t max_tokens = 0;  // in the block, without its two tags
  bool open = false;       // the prompt has opened the block; else `begin` does, spaces aside
  // The tags, as TokenTrie has the bytes of tokens.
  std::string begin;
  std::string end;
  std::vector<TokenId> closing;  // what is forced: holds `end`, and may surround it
};

// Follows one output. A function of its tokens. Not thread-safe.
class ReasoningFollower final {
 public:
  // `lead`: of closing, the tokens in front of the one that ends the block; they count, too.
  ReasoningFollower(const ReasoningLimit* limit, size_t lead);

  void Accept(TokenId token, std::string_view bytes);
  // The token that must come next.
  std::optional<TokenId> forced() const;

 private:
  enum class Place { kBefore, kInside, kClosing, kOutside };

  void Begin(std::string_view bytes);
  void Count(std::string_view bytes);
  void Check();

  const ReasoningLimit& limit_;
  const size_t lead_;
  Place place_;
  std::string text_;  // the output so far, then what could be a part of `end`
  int32_t count_ = 0;
  size_t next_ = 0;  // of closing
};

}  // namespace conclave::engine::grammar
