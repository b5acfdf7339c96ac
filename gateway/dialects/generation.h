// One generation, from a decoded request to the client, for every dialect: model look-up,
// admission, the call, cancellation, keep-alives, metrics. A dialect only brings the encoder.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "gateway/http/router.h"
#include "gateway/upstream/services.h"

namespace conclave::gateway {

// Writes the events of one generation as the bytes of a streamed answer.
class GenerationEncoder {
 public:
  virtual ~GenerationEncoder() = default;
  virtual std::string_view content_type() const = 0;
  // The request is admitted and the status line sent.
  virtual void Begin(std::string* out) = 0;
  // Accepted, Progress, Delta and Finished, in order.
  virtual void OnEvent(const v1::GenerateEvent& event, std::string* out) = 0;
  // After the last Finished.
  virtual void End(std::string* out) = 0;
  // Nothing was written for a while.
  virtual void KeepAlive(std::string* out) = 0;
  // Instead of End.
  virtual void Error(const ErrorInfo& error, std::string* out) = 0;
  // Not OK after an event that the dialect has no form for: the generation is given up, and Error
  // is told of it.
  virtual absl::Status status() const { return absl::OkStatus(); }
};

// A whole generation, for answers in one piece.
struct Completion {
  struct Choice {
    std::string text;
    std::string reasoning;
    std::vector<v1::ToolCall> tool_calls;
    std::vector<v1::TokenLogprob> logprobs;
    std::vector<int32_t> token_ids;
    v1::Finished finished;
  };
  // What was told of a prompt.
  struct Prompt {
    std::vector<v1::TokenLogprob> tokens;
    std::string text;
  };
  v1::Accepted accepted;
  std::vector<Prompt> prompts;  // by number; none when nothing was asked for
  std::vector<Choice> choices;  // by index
  v1::Usage usage;              // of all choices together
  v1::Timings timings;          // of the last to finish

  void Add(const v1::GenerateEvent& event);
};

// The members that a token's logprob has on every wire: token, logprob, bytes.
void WriteTokenFields(base::JsonWriter& json, const v1::TokenLogprob& token);

// Adds one choice's usage to the whole: the prompt counts once.
void AddUsage(const v1::Usage& one, v1::Usage* all);

// Whether the call is whole: its arguments are one JSON object.
bool HasObjectArguments(const v1::ToolCall& call);

// The model that stands for unknown names: the configured default, or the first that can, one in
// memory before others.
std::optional<v1::ModelStatus> DefaultModel(const Services& services, std::string_view capability);

// Whether unknown names of models stand for the default one: kt-legacy, llm-serving.
bool ForgivesNames(CompatProfile profile);

// The ready model of `*name`. Where nobody knows the name and the request's profile forgives
// that, the default of the capability, whose name it then becomes.
absl::StatusOr<v1::ModelStatus> FindForgiving(const Services& services, const Request& request,
                                              std::string_view capability, std::string* name);

// The same for a generation. NOT_FOUND, UNAVAILABLE, INVALID_ARGUMENT when it does not generate.
absl::StatusOr<v1::ModelStatus> FindGenerator(const Services& services, const Request& request,
                                              std::string* name);

// What the conversation asks of the model and the model lacks: "tools", "thinking"; else empty.
std::string_view MissingCapability(const v1::ModelStatus& model, const v1::ChatPrompt& chat);

// Finds the model of `*name` as FindGenerator does and holds what the conversation asks against
// what it can. INVALID_ARGUMENT names the field that asks too much.
absl::Status CheckModel(const Services& services, const Request& request,
                        const v1::ChatPrompt& chat, std::string* name);

// Answers with a stream; with an error of the family when there is none to begin.
Task<void> StreamGeneration(const Services& services, Exchange& exchange,
                            v1::GenerateRequest request, GenerationEncoder& encoder,
                            ErrorFamily errors);
// The same for several prompts at once (joined_call.h), which differ in nothing else.
Task<void> StreamGenerations(const Services& services, Exchange& exchange,
                             std::vector<v1::GenerateRequest> requests, GenerationEncoder& encoder,
                             ErrorFamily errors);

// Answers in one piece, with what `encode` makes of the whole.
Task<void> ReplyGeneration(const Services& services, Exchange& exchange,
                           v1::GenerateRequest request,
                           std::function<std::string(const Completion&)> encode,
                           ErrorFamily errors);
Task<void> ReplyGenerations(const Services& services, Exchange& exchange,
                            std::vector<v1::GenerateRequest> requests,
                            std::function<std::string(const Completion&)> encode,
                            ErrorFamily errors);

// Answers with the error, unless nobody is there to read it.
Task<void> ReplyError(Exchange& exchange, absl::Status status, ErrorFamily errors);

Task<void> ReplyJson(Exchange& exchange, std::string body);

}  // namespace conclave::gateway
