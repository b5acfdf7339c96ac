// OpenAI's wire as a client hears it: the server's chunks and errors as our events. Pure;
// remote_openai.cc brings the bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/http_client.h"
#include "base/json.h"

namespace conclave::backends {

// What an answer that is not 2xx means. `body` may be anything.
//   400, 422 INVALID_ARGUMENT with the param (OUT_OF_RANGE for context_length_exceeded);
//   401, 403 INTERNAL upstream_auth (our key, not the caller's); 404 NOT_FOUND model_not_found;
//   408, 504 DEADLINE_EXCEEDED; 413 OUT_OF_RANGE; 429 RESOURCE_EXHAUSTED with retry-after;
//   501 UNIMPLEMENTED; other 5xx UNAVAILABLE; everything else INTERNAL.
absl::Status OpenAiError(const HttpHead& head, std::string_view body);

// Reads the chunks of one stream in order.
class OpenAiStream final {
 public:
  struct Options {
    bool split_reasoning = true;
    bool logprobs = false;
    std::string call_id_prefix;  // for servers that give tool calls no id
  };
  explicit OpenAiStream(Options options) : options_(std::move(options)) {}

  // The data of one event, "[DONE]" included; appends what it says. An error object in the stream
  // is the status it would have had as an answer; what is no chunk is INTERNAL upstream_invalid.
  absl::Status Read(std::string_view data, std::vector<Event>* events);
  // One choice with its usage beside it, or an error: what a line of a child process says.
  absl::Status ReadLine(base::JsonValue line, std::vector<Event>* events);
  // The stream has ended: closes what is open and gives the end. INTERNAL upstream_lost: it had not
  // said so.
  absl::StatusOr<Finished> End(std::vector<Event>* events);

  bool done() const { return done_; }  // [DONE] was read
  bool finished() const { return reason_.has_value(); }
  bool emitted() const { return next_seq_ > 0; }

 private:
  absl::Status ReadChoice(base::JsonValue choice, std::vector<Event>* events);
  absl::Status ReadToolCalls(base::JsonValue calls, std::vector<Event>* events);
  absl::Status ReadLogprobs(base::JsonValue logprobs);
  absl::Status ReadFinish(base::JsonValue choice);
  absl::Status ReadUsage(base::JsonValue usage);
  void Emit(Delta delta, std::vector<Event>* events);
  void Text(std::string text, std::vector<Event>* events);
  void Reasoning(std::string text, std::vector<Event>* events);
  void EndCall(std::vector<Event>* events);

  const Options options_;
  int64_t next_seq_ = 0;
  int32_t chunks_ = 0;
  bool done_ = false;
  bool thinking_ = false;  // an unsplit <think> is open
  std::optional<Finished::Reason> reason_;
  std::string matched_stop_;
  TokenId matched_stop_id_ = -1;
  std::optional<Usage> usage_;
  std::vector<TokenLogprob> logprobs_;  // of the next delta
  // The call that is being told.
  int32_t call_ = -1;
  int64_t their_call_ = -1;
  std::string arguments_;
};

}  // namespace conclave::backends
