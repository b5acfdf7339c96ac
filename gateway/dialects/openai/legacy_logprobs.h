// The logprobs of completions: four arrays of one length, as the API had them before chat.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "conclave/v1/inference.pb.h"

namespace conclave::gateway::openai {

// The text of a token; bytes that are no characters by themselves as "bytes:\xe2\x82", so that two
// such tokens never look alike.
std::string LegacyTokenText(std::string_view bytes);

// Of one choice, piece by piece. Offsets are characters from the beginning of the choice's text.
class LegacyLogprobs final {
 public:
  void Add(const v1::TokenLogprob& token) { Put(token, true); }
  // The first token of a prompt: nothing was expected there.
  void AddFirst(const v1::TokenLogprob& token) { Put(token, false); }

  bool empty() const { return tokens_.empty(); }
  // What was added since the last time: {"tokens","token_logprobs","top_logprobs","text_offset"}.
  void Write(base::JsonWriter& json);

 private:
  struct Entry {
    v1::TokenLogprob token;
    bool has_logprob = true;
    int64_t offset = 0;
  };
  void Put(const v1::TokenLogprob& token, bool has_logprob);

  std::vector<Entry> tokens_;
  int64_t offset_ = 0;  // of the next token
};

}  // namespace conclave::gateway::openai
