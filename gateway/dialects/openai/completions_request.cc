#include "gateway/dialects/openai/completions_request.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "gateway/dialects/openai/format.h"

namespace conclave::gateway::openai {
namespace {

using base::JsonValue;

constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();
constexpr size_t kStopMax = 16;  // lm-eval sends all the stop strings it has
constexpr int32_t kMaxTokensDefault = 16;
constexpr size_t kPromptsMax = 64;
constexpr size_t kPromptTokensMax = 1u << 20;
constexpr int64_t kTopLogprobsMax = 20;

// One prompt: a text or token ids.
absl::Status ReadPrompt(JsonValue prompt, v1::GenerateRequest* out) {
  if (prompt.is_string()) {
    ASSIGN_OR_RETURN(std::string text, prompt.AsString());
    if (text.empty()) return prompt.Error("must not be empty");
    out->set_text(std::move(text));
    return absl::OkStatus();
  }
  if (!prompt.is_array()) {
    return prompt.Error(prompt.present() ? "expected string or array" : "required");
  }
  if (prompt.size() == 0) return prompt.Error("must not be empty");
  if (prompt.size() > kPromptTokensMax) return prompt.Error("too many tokens");
  for (size_t i = 0; i < prompt.size(); ++i) {
    if (!prompt.At(i).is_number()) return prompt.At(i).Error("expected token ids");
    ASSIGN_OR_RETURN(const int64_t id, prompt.At(i).AsInt(0, kInt32Max));
    out->mutable_token_ids()->add_ids(static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

// One prompt or a list of them.
absl::StatusOr<std::vector<v1::GenerateRequest>> ReadPrompts(JsonValue prompt) {
  const bool is_list = prompt.is_array() && prompt.size() > 0 && !prompt.At(0).is_number();
  const size_t count = is_list ? prompt.size() : 1;
  if (count > kPromptsMax) return prompt.Error(absl::StrCat("at most ", kPromptsMax, " prompts"));
  std::vector<v1::GenerateRequest> requests(count);
  for (size_t i = 0; i < count; ++i) {
    RETURN_IF_ERROR(ReadPrompt(is_list ? prompt.At(i) : prompt, &requests[i]));
  }
  return requests;
}

// Without its own limit a completion is short. No token at all makes sense where the prompt is the
// answer.
absl::Status ReadLimit(JsonValue root, bool echo, v1::StopConditions* stop) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> limit,
                   root.Get("max_tokens").OptionalInt(0, kInt32Max));
  if (limit == 0 && !echo) return root.Get("max_tokens").Error("must be at least 1 without echo");
  stop->set_max_tokens(static_cast<int32_t>(limit.value_or(kMaxTokensDefault)));
  return absl::OkStatus();
}

// What the legacy arrays are made of.
absl::Status ReadLogprobs(JsonValue root, CompletionsRequest* request,
                          v1::GenerateRequest* generate) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> top,
                   root.Get("logprobs").OptionalInt(0, kTopLogprobsMax));
  request->with_logprobs = top.has_value();
  if (top) generate->mutable_logprobs()->set_top(static_cast<int32_t>(*top));
  if (top && request->echo) {
    generate->mutable_prompt_logprobs()->set_top(static_cast<int32_t>(*top));
    // Whoever scores a prompt counts on one position after it, whatever the model puts there.
    generate->mutable_prompt_logprobs()->set_stop_token(true);
  }
  return absl::OkStatus();
}

absl::Status ReadChoices(JsonValue root, CompletionsRequest* request,
                         v1::GenerateRequest* generate) {
  request->n = std::max(generate->n(), 1);
  const JsonValue given = root.Get("best_of");
  ASSIGN_OR_RETURN(const std::optional<int64_t> best_of, given.OptionalInt(1, kChoicesMax));
  request->best_of = static_cast<int>(best_of.value_or(request->n));
  if (request->best_of < request->n) return given.Error("must be at least n");
  if (request->best_of == request->n) return absl::OkStatus();
  if (request->stream.stream) return given.Error("larger than n: the best cannot be streamed");
  generate->set_n(request->best_of);
  generate->mutable_logprobs();  // they are compared by them
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CompletionsRequest> DecodeCompletionsRequest(std::string_view body) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  CompletionsRequest request;
  v1::GenerateRequest common;
  ASSIGN_OR_RETURN(std::string model, root.Get("model").AsString());
  common.set_model(std::move(model));
  ASSIGN_OR_RETURN(std::vector<v1::GenerateRequest> prompts, ReadPrompts(root.Get("prompt")));
  RETURN_IF_ERROR(ReadSampling(root, kStopMax, &common));
  RETURN_IF_ERROR(ReadFormat(root, &common));
  ASSIGN_OR_RETURN(const std::optional<bool> echo, root.Get("echo").OptionalBool());
  request.echo = echo.value_or(false);
  ASSIGN_OR_RETURN(request.stream, ReadStreamOptions(root));
  ASSIGN_OR_RETURN(request.reports, ReadReports(root));
  RETURN_IF_ERROR(ReadLimit(root, request.echo, common.mutable_stop()));
  RETURN_IF_ERROR(ReadLogprobs(root, &request, &common));
  RETURN_IF_ERROR(ReadChoices(root, &request, &common));
  // echo and logprobs say the same, in this endpoint's own form.
  RETURN_IF_ERROR(RefuseFields(root, {"prompt_logprobs"}));
  ASSIGN_OR_RETURN(const std::optional<std::string> suffix, root.Get("suffix").OptionalString());
  common.set_suffix(suffix.value_or(""));
  if (request.echo && !common.suffix().empty()) {
    return root.Get("suffix").Error("not allowed together with echo");
  }
  for (v1::GenerateRequest& one : prompts) {
    request.prompts.push_back(one.text());
    one.MergeFrom(common);
    // What ids read as is for the worker to say.
    if (request.echo && !request.with_logprobs && one.has_token_ids()) {
      one.mutable_prompt_logprobs()->set_tokens_only(true);
    }
    request.generate.push_back(std::move(one));
  }
  return request;
}

}  // namespace conclave::gateway::openai
