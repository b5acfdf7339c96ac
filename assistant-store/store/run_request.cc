#include "store/run_request.h"

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "store/validate.h"

namespace conclave::store {
namespace {

namespace pb = conclave::v1;

constexpr int kModelMax = 256;
constexpr int kInstructionsMax = 256'000;
constexpr int kRunToolsMax = 20;
constexpr int kAdditionalMessagesMax = 1000;
constexpr int kTokenLimitMin = 256;
constexpr int kToolOutputMax = 512'000;

absl::Status CheckTokenLimit(std::string_view field, int32_t value) {
  if (value >= kTokenLimitMin) return absl::OkStatus();
  return InvalidField(field, "integer_below_min_value",
                      absl::StrCat("integer below minimum value. Expected a value >= ",
                                   kTokenLimitMin, ", but got ", value, " instead."));
}

absl::Status CheckTruncation(const pb::TruncationStrategy& strategy) {
  if (strategy.type().empty() || strategy.type() == "auto") return absl::OkStatus();
  if (strategy.type() != "last_messages") {
    return InvalidField("truncation_strategy.type", "invalid_value",
                        "expected 'auto' or 'last_messages'.");
  }
  if (strategy.last_messages() >= 1) return absl::OkStatus();
  return InvalidField("truncation_strategy.last_messages", "integer_below_min_value",
                      "expected a value >= 1.");
}

absl::Status CheckSampling(const pb::CreateRunRequest& request) {
  if (request.has_temperature()) {
    RETURN_IF_ERROR(CheckRange("temperature", request.temperature(), 0, 2));
  }
  if (request.has_top_p()) RETURN_IF_ERROR(CheckRange("top_p", request.top_p(), 0, 1));
  if (request.has_max_prompt_tokens()) {
    RETURN_IF_ERROR(CheckTokenLimit("max_prompt_tokens", request.max_prompt_tokens()));
  }
  if (request.has_max_completion_tokens()) {
    RETURN_IF_ERROR(CheckTokenLimit("max_completion_tokens", request.max_completion_tokens()));
  }
  RETURN_IF_ERROR(CheckResponseFormat(request.response_format_json()));
  if (!request.has_reasoning_effort()) return absl::OkStatus();
  return CheckReasoningEffort(request.reasoning_effort());
}

template <typename Optional, typename Fallback>
auto Either(bool given, const Optional& value, const Fallback& fallback) {
  return given ? value : fallback;
}

}  // namespace

absl::Status CheckRunRequest(const pb::CreateRunRequest& request) {
  if (request.assistant_id().empty()) return MissingField("assistant_id");
  RETURN_IF_ERROR(CheckText("model", request.model(), kModelMax));
  RETURN_IF_ERROR(CheckText("instructions", request.instructions(), kInstructionsMax));
  RETURN_IF_ERROR(
      CheckText("additional_instructions", request.additional_instructions(), kInstructionsMax));
  if (request.additional_messages_size() > kAdditionalMessagesMax) {
    return InvalidField("additional_messages", "array_above_max_length",
                        absl::StrCat("expected at most ", kAdditionalMessagesMax, " messages."));
  }
  for (int i = 0; i < request.additional_messages_size(); ++i) {
    RETURN_IF_ERROR(CheckMessage(absl::StrCat("additional_messages[", i, "]."),
                                 request.additional_messages(i)));
  }
  RETURN_IF_ERROR(CheckTools(request.tools(), kRunToolsMax));
  RETURN_IF_ERROR(CheckMetadata(request.metadata()));
  RETURN_IF_ERROR(CheckTruncation(request.truncation_strategy()));
  return CheckSampling(request);
}

absl::StatusOr<pb::Run> RunParams(const pb::CreateRunRequest& request,
                                  const pb::Assistant& assistant) {
  pb::Run run;
  run.set_assistant_id(assistant.id());
  run.set_model(Either(!request.model().empty(), request.model(), assistant.model()));
  run.set_instructions(
      Either(request.has_instructions(), request.instructions(), assistant.instructions()));
  if (!request.additional_instructions().empty()) {
    if (!run.instructions().empty()) run.mutable_instructions()->append("\n");
    run.mutable_instructions()->append(request.additional_instructions());
  }
  *run.mutable_tools() =
      request.tools_given() || !request.tools().empty() ? request.tools() : assistant.tools();
  if (request.has_temperature() || assistant.has_temperature()) {
    run.set_temperature(
        Either(request.has_temperature(), request.temperature(), assistant.temperature()));
  }
  if (request.has_top_p() || assistant.has_top_p()) {
    run.set_top_p(Either(request.has_top_p(), request.top_p(), assistant.top_p()));
  }
  if (request.has_max_prompt_tokens()) run.set_max_prompt_tokens(request.max_prompt_tokens());
  if (request.has_max_completion_tokens()) {
    run.set_max_completion_tokens(request.max_completion_tokens());
  }
  *run.mutable_truncation_strategy() = request.truncation_strategy();
  if (run.truncation_strategy().type().empty()) {
    run.mutable_truncation_strategy()->set_type("auto");
  }
  RETURN_IF_ERROR(CheckToolChoice(request.tool_choice_json(), run.tools()));
  run.set_tool_choice_json(request.tool_choice_json());
  run.set_parallel_tool_calls(!request.has_parallel_tool_calls() || request.parallel_tool_calls());
  run.set_response_format_json(Either(!request.response_format_json().empty(),
                                      request.response_format_json(),
                                      assistant.response_format_json()));
  if (request.has_reasoning_effort() || assistant.has_reasoning_effort()) {
    run.set_reasoning_effort(Either(request.has_reasoning_effort(), request.reasoning_effort(),
                                    assistant.reasoning_effort()));
  }
  return run;
}

absl::Status CheckToolOutputs(const google::protobuf::RepeatedPtrField<pb::ToolCall>& calls,
                              const google::protobuf::RepeatedPtrField<pb::ToolOutput>& outputs) {
  std::set<std::string> expected;
  for (const pb::ToolCall& call : calls) expected.insert(call.id());
  std::set<std::string> given;
  for (const pb::ToolOutput& output : outputs) {
    RETURN_IF_ERROR(CheckText("tool_outputs", output.output(), kToolOutputMax));
    if (!given.insert(output.tool_call_id()).second) {
      return InvalidField("tool_outputs", "invalid_value",
                          absl::StrCat("'", output.tool_call_id(), "' is answered twice."));
    }
  }
  if (given == expected) return absl::OkStatus();
  return base::WithParam(base::InvalidArgument(absl::StrCat(
                             "Expected tool outputs for call_ids [", absl::StrJoin(expected, ", "),
                             "], got [", absl::StrJoin(given, ", "), "]")),
                         "tool_outputs");
}

}  // namespace conclave::store
