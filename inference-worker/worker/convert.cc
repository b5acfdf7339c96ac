#include "worker/convert.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "mesh/grpc_status.h"

namespace conclave::worker {
namespace {

namespace pb = conclave::v1;

constexpr int kMessagesMax = 16'384;
constexpr int kPartsMax = 1'024;
constexpr int kToolsMax = 128;
constexpr int kToolCallsMax = 128;
constexpr int kVariablesMax = 64;
constexpr int kStopStringsMax = 16;
constexpr size_t kStopBytesMax = 1'024;
constexpr int kStopIdsMax = 256;
constexpr int kLogitBiasMax = 1'024;
constexpr int kLogprobsMax = 20;
constexpr size_t kInfillBytesMax = 1 << 20;  // of the suffix, and of all files
constexpr int kInfillFilesMax = 256;
constexpr int kEmittedMax = 1 << 20;
constexpr int32_t kTokensMax = 1 << 30;

absl::Status Bad(std::string_view param, std::string_view what) {
  return base::WithParam(
      base::InvalidArgument(absl::StrCat(std::string(param), ": ", std::string(what))), param);
}

absl::Status InRange(std::string_view param, double value, double min, double max) {
  if (value >= min && value <= max) return absl::OkStatus();  // false for NaN
  return Bad(param, absl::StrCat("must be between ", min, " and ", max));
}

absl::Status AtMost(std::string_view param, int64_t count, int64_t max) {
  if (count <= max) return absl::OkStatus();
  return Bad(param, absl::StrCat("has ", count, " entries, the limit is ", max));
}

bool IsToolName(std::string_view name) {
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  };
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), good);
}

absl::StatusOr<std::string> RoleName(pb::Role role, const std::string& path) {
  switch (role) {
    case pb::ROLE_SYSTEM:
      return "system";
    case pb::ROLE_USER:
      return "user";
    case pb::ROLE_ASSISTANT:
      return "assistant";
    case pb::ROLE_TOOL:
      return "tool";
    default:
      return Bad(path, "unknown role");
  }
}

absl::StatusOr<engine::Message> ReadMessage(pb::ChatMessage&& from, const std::string& path) {
  engine::Message message;
  ASSIGN_OR_RETURN(message.role, RoleName(from.role(), path + ".role"));
  RETURN_IF_ERROR(AtMost(path + ".content", from.content_size(), kPartsMax));
  RETURN_IF_ERROR(AtMost(path + ".tool_calls", from.tool_calls_size(), kToolCallsMax));
  for (const pb::ContentPart& part : from.content()) {
    if (part.has_text()) {
      message.content += part.text();
    } else if (part.has_refusal()) {
      message.content += part.refusal();
    } else {
      return Bad(path + ".content", "only text parts are supported");
    }
  }
  message.content_is_null = from.content_is_null();
  message.reasoning = std::move(*from.mutable_reasoning());
  message.tool_call_id = std::move(*from.mutable_tool_call_id());
  message.name = std::move(*from.mutable_name());
  for (pb::ToolCall& call : *from.mutable_tool_calls()) {
    message.tool_calls.push_back({.id = std::move(*call.mutable_id()),
                                  .name = std::move(*call.mutable_name()),
                                  .arguments = std::move(*call.mutable_arguments())});
  }
  return message;
}

absl::StatusOr<backends::ToolChoice> ReadToolChoice(const pb::ToolChoice& from,
                                                    const std::vector<engine::Tool>& tools) {
  using Mode = backends::ToolChoice::Mode;
  backends::ToolChoice choice;
  switch (from.mode()) {
    case pb::ToolChoice::MODE_UNSPECIFIED:
      choice.mode = tools.empty() ? Mode::kNone : Mode::kAuto;
      return choice;
    case pb::ToolChoice::MODE_NONE:
      choice.mode = Mode::kNone;
      return choice;
    case pb::ToolChoice::MODE_AUTO:
      choice.mode = Mode::kAuto;
      return choice;
    case pb::ToolChoice::MODE_REQUIRED:
      choice.mode = Mode::kRequired;
      if (tools.empty()) return Bad("tool_choice", "required, but there are no tools");
      return choice;
    case pb::ToolChoice::MODE_NAMED: {
      choice.mode = Mode::kNamed;
      choice.name = from.name();
      const bool known = std::any_of(tools.begin(), tools.end(), [&](const engine::Tool& tool) {
        return tool.name == choice.name;
      });
      if (!known) return Bad("tool_choice", "names a function that is not among the tools");
      return choice;
    }
    default:
      return Bad("tool_choice", "unknown mode");
  }
}

absl::Status ReadSampling(const pb::SamplingParams& from, backends::Sampling* to) {
  const auto read = [](bool has, auto value, std::string_view name, double min, double max,
                       auto* place) -> absl::Status {
    if (!has) return absl::OkStatus();
    RETURN_IF_ERROR(InRange(name, static_cast<double>(value), min, max));
    *place = value;
    return absl::OkStatus();
  };
  constexpr double kIntMax = 1 << 30;
  RETURN_IF_ERROR(
      read(from.has_temperature(), from.temperature(), "temperature", 0, 2, &to->temperature));
  RETURN_IF_ERROR(read(from.has_top_k(), from.top_k(), "top_k", 0, kIntMax, &to->top_k));
  RETURN_IF_ERROR(read(from.has_top_p(), from.top_p(), "top_p", 0, 1, &to->top_p));
  RETURN_IF_ERROR(read(from.has_min_p(), from.min_p(), "min_p", 0, 1, &to->min_p));
  RETURN_IF_ERROR(read(from.has_typical_p(), from.typical_p(), "typical_p", 0, 1, &to->typical_p));
  RETURN_IF_ERROR(read(from.has_repetition_penalty(), from.repetition_penalty(),
                       "repetition_penalty", 0.01, 10, &to->repetition_penalty));
  RETURN_IF_ERROR(read(from.has_frequency_penalty(), from.frequency_penalty(), "frequency_penalty",
                       -2, 2, &to->frequency_penalty));
  RETURN_IF_ERROR(read(from.has_presence_penalty(), from.presence_penalty(), "presence_penalty", -2,
                       2, &to->presence_penalty));
  RETURN_IF_ERROR(read(from.has_penalty_last_n(), from.penalty_last_n(), "penalty_last_n", -1,
                       kIntMax, &to->penalty_last_n));
  if (from.has_seed()) to->seed = from.seed();
  RETURN_IF_ERROR(AtMost("logit_bias", from.logit_bias_size(), kLogitBiasMax));
  for (const pb::LogitBias& entry : from.logit_bias()) {
    RETURN_IF_ERROR(InRange("logit_bias", entry.bias(), -100, 100));
    RETURN_IF_ERROR(InRange("logit_bias", entry.token_id(), 0, kIntMax));
    to->logit_bias.emplace_back(entry.token_id(), entry.bias());
  }
  return absl::OkStatus();
}

absl::Status ReadStop(pb::StopConditions&& from, backends::StopConditions* to) {
  if (from.has_max_tokens()) {
    RETURN_IF_ERROR(InRange("max_tokens", from.max_tokens(), 0, kTokensMax));
    to->max_tokens = from.max_tokens();
  }
  RETURN_IF_ERROR(InRange("min_tokens", from.min_tokens(), 0, kTokensMax));
  to->min_tokens = from.min_tokens();
  to->ignore_eos = from.ignore_eos();
  RETURN_IF_ERROR(AtMost("stop", from.strings_size(), kStopStringsMax));
  for (std::string& text : *from.mutable_strings()) {
    if (text.empty()) return Bad("stop", "must not be empty");
    if (text.size() > kStopBytesMax) return Bad("stop", "longer than 1024 bytes");
    to->strings.push_back(std::move(text));
  }
  RETURN_IF_ERROR(AtMost("stop_token_ids", from.token_ids_size(), kStopIdsMax));
  to->token_ids.assign(from.token_ids().begin(), from.token_ids().end());
  return absl::OkStatus();
}

backends::ResponseFormat ReadFormat(pb::ResponseFormat&& from) {
  using Kind = backends::ResponseFormat::Kind;
  backends::ResponseFormat to;
  switch (from.format_case()) {
    case pb::ResponseFormat::kJsonObject:
      to.kind = from.json_object() ? Kind::kJsonObject : Kind::kText;
      break;
    case pb::ResponseFormat::kJsonSchema:
      to.kind = Kind::kJsonSchema;
      to.definition = std::move(*from.mutable_json_schema()->mutable_schema_json());
      break;
    case pb::ResponseFormat::kGbnf:
      to.kind = Kind::kGbnf;
      to.definition = std::move(*from.mutable_gbnf());
      break;
    case pb::ResponseFormat::kRegex:
      to.kind = Kind::kRegex;
      to.definition = std::move(*from.mutable_regex());
      break;
    default:
      break;
  }
  if (!from.place().empty()) to.place = std::move(*from.mutable_place());
  return to;
}

absl::StatusOr<backends::Resume> ReadResume(const pb::ResumeState& from, int32_t n) {
  RETURN_IF_ERROR(AtMost("resume.emitted_token_ids", from.emitted_token_ids_size(), kEmittedMax));
  if (from.next_seq() < 0) return Bad("resume.next_seq", "must not be negative");
  backends::Resume resume;
  resume.seed = from.seed();
  resume.next_seq = from.next_seq();
  if (n == 1) {
    const auto& ids = from.emitted_token_ids();
    resume.answers.push_back({.emitted = {ids.begin(), ids.end()}, .num_deltas = from.next_seq()});
    return resume;
  }
  if (from.answers_size() != n) return Bad("resume.answers", "one for each answer, please");
  bool all_finished = true;
  for (const pb::ResumeState::Answer& one : from.answers()) {
    const auto& ids = one.emitted_token_ids();
    RETURN_IF_ERROR(AtMost("resume.answers.emitted_token_ids", ids.size(), kEmittedMax));
    if (one.num_deltas() < 0) return Bad("resume.answers.num_deltas", "must not be negative");
    resume.answers.push_back({.emitted = {ids.begin(), ids.end()},
                              .num_deltas = one.num_deltas(),
                              .finished = one.finished()});
    all_finished = all_finished && one.finished();
  }
  if (all_finished) return Bad("resume.answers", "nothing is left to be said");
  return resume;
}

void WriteLogprob(backends::TokenLogprob&& from, pb::TokenLogprob* to) {
  to->set_token_id(from.id);
  to->set_logprob(from.logprob);
  to->set_token(std::move(from.bytes));
  for (backends::TokenLogprob& top : from.top) WriteLogprob(std::move(top), to->add_top());
}

void Write(const backends::Progress& from, pb::Progress* to) {
  using Phase = backends::Progress::Phase;
  to->set_phase(from.phase == Phase::kQueued    ? pb::Progress::PHASE_QUEUED
                : from.phase == Phase::kPrefill ? pb::Progress::PHASE_PREFILL
                                                : pb::Progress::PHASE_DECODE);
  to->set_done(from.done);
  to->set_total(from.total);
}

void Write(backends::PromptTokens&& from, pb::PromptLogprobs* to) {
  to->set_position(from.position);
  to->set_text(std::move(from.text));
  for (backends::TokenLogprob& token : from.tokens)
    WriteLogprob(std::move(token), to->add_tokens());
}

void Write(backends::ToolCallDelta&& from, pb::ToolCallDelta* to) {
  using State = backends::ToolCallDelta::State;
  to->set_index(from.index);
  to->set_state(from.state == State::kStarted      ? pb::ToolCallDelta::STATE_STARTED
                : from.state == State::kInProgress ? pb::ToolCallDelta::STATE_IN_PROGRESS
                : from.state == State::kSucceeded  ? pb::ToolCallDelta::STATE_SUCCEEDED
                                                   : pb::ToolCallDelta::STATE_FAILED);
  to->set_id(std::move(from.id));
  to->set_name(std::move(from.name));
  to->set_arguments(std::move(from.arguments));
}

void Write(backends::Delta&& from, pb::Delta* to) {
  to->set_index(from.index);
  to->set_seq(from.seq);
  to->mutable_token_ids()->Add(from.token_ids.begin(), from.token_ids.end());
  to->set_text(std::move(from.text));
  to->set_reasoning(std::move(from.reasoning));
  if (from.tool_call) Write(std::move(*from.tool_call), to->mutable_tool_call());
  for (backends::TokenLogprob& entry : from.logprobs) {
    WriteLogprob(std::move(entry), to->add_logprobs());
  }
}

void Write(backends::Finished&& from, const ServedTimes& times, pb::Finished* to) {
  using Reason = backends::Finished::Reason;
  to->set_index(from.index);
  to->set_reason(from.reason == Reason::kStop        ? pb::Finished::REASON_STOP
                 : from.reason == Reason::kLength    ? pb::Finished::REASON_LENGTH
                 : from.reason == Reason::kToolCalls ? pb::Finished::REASON_TOOL_CALLS
                                                     : pb::Finished::REASON_CANCELLED);
  to->set_matched_stop(std::move(from.matched_stop));
  to->set_matched_stop_id(from.matched_stop_id);
  pb::Usage* usage = to->mutable_usage();
  usage->set_prompt_tokens(from.usage.prompt_tokens);
  usage->set_completion_tokens(from.usage.completion_tokens);
  usage->set_cached_tokens(from.usage.cached_tokens);
  usage->set_reasoning_tokens(from.usage.reasoning_tokens);
  pb::Timings* timings = to->mutable_timings();
  timings->set_queue_ms(from.timings.queue_ms);
  timings->set_tokenize_ms(from.timings.tokenize_ms);
  timings->set_prefill_ms(from.timings.prefill_ms);
  timings->set_decode_ms(from.timings.decode_ms);
  timings->set_load_ms(times.load_ms);
  timings->set_total_ms(times.total_ms);
}

absl::StatusOr<std::optional<backends::Infill>> ReadInfill(pb::GenerateRequest* from) {
  if (from->suffix().empty() && !from->has_infill()) return std::nullopt;
  backends::Infill infill;
  if (from->suffix().size() > kInfillBytesMax) return Bad("suffix", "longer than 1 MiB");
  infill.suffix = std::move(*from->mutable_suffix());
  auto* const files = from->mutable_infill()->mutable_files();
  if (files->size() > kInfillFilesMax) {
    return Bad("infill.files", absl::StrCat("at most ", kInfillFilesMax));
  }
  size_t bytes = 0;
  for (pb::InfillFile& file : *files) {
    bytes += file.name().size() + file.text().size();
    infill.files.push_back(
        {.name = std::move(*file.mutable_name()), .text = std::move(*file.mutable_text())});
  }
  if (bytes > kInfillBytesMax) return Bad("infill.files", "longer than 1 MiB together");
  return infill;
}

// Where the prompt ends: before an answer, behind the turns, or in the last of them.
absl::Status ReadContinuation(const pb::ChatPrompt& from, engine::Conversation* to) {
  to->continue_final_message = from.continue_final_message();
  to->add_generation_prompt =
      from.has_add_generation_prompt() ? from.add_generation_prompt() : !to->continue_final_message;
  if (!to->continue_final_message) return absl::OkStatus();
  if (to->add_generation_prompt) {
    return Bad("continue_final_message", "goes without add_generation_prompt");
  }
  const engine::Message& last = to->messages.back();
  if (last.content.find_first_not_of(" \t\r\n") == std::string::npos) {
    return Bad("continue_final_message", "the last message has no text to go on from");
  }
  if (!last.tool_calls.empty()) {
    return Bad("continue_final_message", "the last message calls tools");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<backends::ChatPrompt> FromProto(pb::ChatPrompt&& from) {
  RETURN_IF_ERROR(AtMost("messages", from.messages_size(), kMessagesMax));
  RETURN_IF_ERROR(AtMost("tools", from.tools_size(), kToolsMax));
  RETURN_IF_ERROR(AtMost("template_variables", static_cast<int64_t>(from.template_variables_size()),
                         kVariablesMax));
  if (from.messages_size() == 0) return Bad("messages", "must not be empty");
  backends::ChatPrompt chat;
  for (int i = 0; i < from.messages_size(); ++i) {
    ASSIGN_OR_RETURN(engine::Message message, ReadMessage(std::move(*from.mutable_messages(i)),
                                                          absl::StrCat("messages[", i, "]")));
    chat.conversation.messages.push_back(std::move(message));
  }
  for (int i = 0; i < from.tools_size(); ++i) {
    pb::Tool& tool = *from.mutable_tools(i);
    if (!IsToolName(tool.name())) {
      return Bad(absl::StrCat("tools[", i, "].name"),
                 "must be 1 to 64 letters, digits, dots, dashes or underscores");
    }
    chat.conversation.tools.push_back({.name = std::move(*tool.mutable_name()),
                                       .description = std::move(*tool.mutable_description()),
                                       .parameters = std::move(*tool.mutable_parameters_json()),
                                       .strict = tool.strict(),
                                       .place = std::move(*tool.mutable_place())});
  }
  ASSIGN_OR_RETURN(chat.tool_choice, ReadToolChoice(from.tool_choice(), chat.conversation.tools));
  chat.parallel_tool_calls = from.parallel_tool_calls();
  if (from.has_reasoning_budget()) {
    RETURN_IF_ERROR(InRange("reasoning_budget", from.reasoning_budget(), 0, kTokensMax));
    chat.reasoning_budget = from.reasoning_budget();
  }
  for (auto& [name, json] : *from.mutable_template_variables()) {
    chat.conversation.template_variables.emplace_back(name, std::move(json));
  }
  // A proto map has no order; the rendered prompt must.
  std::sort(chat.conversation.template_variables.begin(),
            chat.conversation.template_variables.end());
  RETURN_IF_ERROR(ReadContinuation(from, &chat.conversation));
  return chat;
}

absl::StatusOr<backends::GenerateRequest> FromProto(pb::GenerateRequest&& from, std::string id) {
  backends::GenerateRequest request;
  request.id = std::move(id);
  RETURN_IF_ERROR(InRange("n", from.n(), 0, engine::kAnswersMax));
  request.n = std::max(from.n(), 1);
  if (from.stream_credit() < 0) return Bad("stream_credit", "must not be negative");
  switch (from.prompt_case()) {
    case pb::GenerateRequest::kChat: {
      ASSIGN_OR_RETURN(backends::ChatPrompt chat, FromProto(std::move(*from.mutable_chat())));
      request.prompt = std::move(chat);
      break;
    }
    case pb::GenerateRequest::kText:
      if (from.text().empty() && !from.has_infill()) return Bad("prompt", "must not be empty");
      request.prompt = backends::TextPrompt{std::move(*from.mutable_text())};
      break;
    case pb::GenerateRequest::kTokenIds: {
      const auto& ids = from.token_ids().ids();
      if (ids.empty()) return Bad("prompt", "must not be empty");
      request.prompt = backends::TokenPrompt{{ids.begin(), ids.end()}};
      break;
    }
    default:
      return Bad("prompt", "required");
  }
  RETURN_IF_ERROR(ReadSampling(from.sampling(), &request.sampling));
  RETURN_IF_ERROR(ReadStop(std::move(*from.mutable_stop()), &request.stop));
  if (from.has_logprobs()) {
    RETURN_IF_ERROR(InRange("top_logprobs", from.logprobs().top(), 0, kLogprobsMax));
    request.top_logprobs = from.logprobs().top();
  }
  if (from.has_prompt_logprobs()) {
    RETURN_IF_ERROR(InRange("prompt_logprobs", from.prompt_logprobs().top(), 0, kLogprobsMax));
    request.prompt_report = {
        .top_logprobs = from.prompt_logprobs().tokens_only() ? -1 : from.prompt_logprobs().top(),
        .stop_token = from.prompt_logprobs().stop_token()};
  }
  ASSIGN_OR_RETURN(request.infill, ReadInfill(&from));
  request.response_format = ReadFormat(std::move(*from.mutable_response_format()));
  if (from.has_resume()) {
    ASSIGN_OR_RETURN(request.resume, ReadResume(from.resume(), request.n));
  }
  request.split_reasoning = from.reasoning_format() != pb::GenerateRequest::REASONING_FORMAT_NONE;
  // Tenants do not share prefixes unless they agree on a salt: hits are visible in the timing.
  const pb::RequestMeta& meta = from.meta();
  request.cache_salt = meta.cache_salt().empty() ? meta.tenant() : meta.cache_salt();
  return request;
}

pb::GenerateEvent ToProto(backends::Event&& event, const ServedTimes& times) {
  pb::GenerateEvent to;
  if (auto* progress = std::get_if<backends::Progress>(&event)) {
    Write(*progress, to.mutable_progress());
  } else if (auto* prompt = std::get_if<backends::PromptTokens>(&event)) {
    Write(std::move(*prompt), to.mutable_prompt_logprobs());
  } else if (auto* delta = std::get_if<backends::Delta>(&event)) {
    Write(std::move(*delta), to.mutable_delta());
  } else if (auto* finished = std::get_if<backends::Finished>(&event)) {
    Write(std::move(*finished), times, to.mutable_finished());
  } else {
    *to.mutable_failed()->mutable_error() =
        mesh::ToDetail(std::get<backends::Failed>(event).status);
  }
  return to;
}

void ToProto(const backends::ModelDetails& from, bool with_texts, pb::ModelDetails* to) {
  to->set_format(from.format);
  to->set_family(from.family);
  to->set_parameter_size(ParameterSize(from.parameters));
  to->set_quantization(from.quantization);
  to->set_parameters(from.parameters);
  to->set_size_bytes(from.size_bytes);
  to->set_embedding_length(from.embedding_length);
  to->set_vocab_size(from.vocab_size);
  to->set_memory_bytes(from.memory_bytes);
  to->set_device_bytes(from.device_bytes);
  if (!with_texts) return;
  to->set_chat_template(from.chat_template);
  to->set_license(from.license);
  pb::TokenizerInfo* const tokenizer = to->mutable_tokenizer();
  tokenizer->set_kind(from.tokenizer.kind);
  tokenizer->set_bos_token(from.tokenizer.bos_token);
  tokenizer->set_eos_token(from.tokenizer.eos_token);
  tokenizer->set_pad_token(from.tokenizer.pad_token);
  tokenizer->set_unk_token(from.tokenizer.unk_token);
  tokenizer->set_adds_bos(from.tokenizer.adds_bos);
  for (const auto& [key, json] : from.metadata) (*to->mutable_metadata())[key] = json;
}

void ToProto(const backends::ExpertReport& from, pb::ExpertPlacement* to) {
  to->set_device(from.device);
  to->set_plan(from.plan);
  to->set_moves(from.moves);
  to->set_selections(from.selections);
  to->set_device_selections(from.device_selections);
  to->set_device_share(from.device_share);
  to->set_exchanges(from.exchanges);
  to->set_moved_bytes(from.moved_bytes);
  to->set_refused(from.refused);
  for (const backends::ExpertReport::Layer& layer : from.layers) {
    pb::ExpertPlacement::Layer* const one = to->add_layers();
    one->set_layer(layer.layer);
    one->mutable_device_experts()->Assign(layer.device_experts.begin(), layer.device_experts.end());
    one->mutable_hotness()->Assign(layer.hotness.begin(), layer.hotness.end());
  }
}

void ToProto(const backends::Load& from, pb::WorkerLoad* to) {
  to->set_running(to->running() + from.running);
  to->set_waiting(to->waiting() + from.waiting);
  to->set_waiting_tokens(to->waiting_tokens() + from.waiting_tokens);
  to->set_slots(to->slots() + from.slots);
  to->set_kv_blocks_used(to->kv_blocks_used() + from.kv_blocks_used);
  to->set_kv_blocks_total(to->kv_blocks_total() + from.kv_blocks_total);
  to->set_decode_tps(to->decode_tps() + from.decode_tps);
  to->set_prefill_tps(to->prefill_tps() + from.prefill_tps);
  to->set_step_ms_p50(std::max(to->step_ms_p50(), from.step_ms_p50));
}

std::string ParameterSize(int64_t parameters) {
  if (parameters <= 0) return "";
  const auto n = static_cast<double>(parameters);
  if (n >= 1e9) return absl::StrFormat("%.1fB", n / 1e9);
  if (n >= 1e6) return absl::StrFormat("%.1fM", n / 1e6);
  return absl::StrFormat("%.1fK", n / 1e3);
}

}  // namespace conclave::worker
