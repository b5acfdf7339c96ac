#include "gateway/dialects/openai/answer.h"

#include <chrono>

#include "gateway/dialects/openai/errors.h"

namespace conclave::gateway::openai {

using base::JsonWriter;

AnswerIdentity NewAnswer(const Services& services, std::string_view id_prefix,
                         const v1::GenerateRequest& request) {
  AnswerIdentity identity;
  identity.id = services.new_id(id_prefix);
  identity.created = services.clock->UnixSeconds();
  identity.model = request.model();
  return identity;
}

void WriteAnswerHead(JsonWriter& json, const AnswerIdentity& identity, std::string_view object,
                     const std::string& fingerprint) {
  json.Field("id", identity.id);
  json.Field("object", object);
  if (identity.created_ms) {
    json.Field("created", static_cast<double>(*identity.created_ms) / 1000);
  } else {
    json.Field("created", identity.created);
  }
  json.Field("model", identity.model);
  if (!fingerprint.empty()) json.Field("system_fingerprint", fingerprint);
}

std::string FingerprintOf(const v1::Accepted& accepted) {
  constexpr size_t kDigits = 12;
  std::string_view revision = accepted.model_revision();
  const size_t colon = revision.rfind(':');
  if (colon != std::string_view::npos) revision.remove_prefix(colon + 1);
  if (revision.empty()) return {};
  // What follows a plus sign is how the worker computes, where that is not exact.
  const size_t plus = std::min(revision.find('+'), revision.size());
  std::string fingerprint = "fp_" + std::string(revision.substr(0, std::min(plus, kDigits)));
  if (plus < revision.size()) fingerprint += "_" + std::string(revision.substr(plus + 1));
  return fingerprint;
}

void TextOrNull(JsonWriter& json, std::string_view key, bool has, std::string_view text) {
  if (has) {
    json.Field(key, text);
  } else {
    json.NullField(key);
  }
}

void WriteFinishReason(JsonWriter& json, std::string_view finish) {
  TextOrNull(json, "finish_reason", !finish.empty(), finish);
}

std::string_view FinishReasonName(v1::Finished::Reason reason) {
  switch (reason) {
    case v1::Finished::REASON_LENGTH:
      return "length";
    case v1::Finished::REASON_TOOL_CALLS:
      return "tool_calls";
    default:
      return "stop";
  }
}

void WriteUsage(JsonWriter& json, const v1::Usage& usage, const v1::Timings* speed) {
  json.BeginObject();
  json.Field("prompt_tokens", usage.prompt_tokens());
  json.Field("completion_tokens", usage.completion_tokens());
  json.Field("total_tokens", usage.prompt_tokens() + usage.completion_tokens());
  json.Key("prompt_tokens_details");
  json.BeginObject();
  json.Field("cached_tokens", usage.cached_tokens());
  json.Field("audio_tokens", 0);
  json.EndObject();
  json.Key("completion_tokens_details");
  json.BeginObject();
  json.Field("reasoning_tokens", usage.reasoning_tokens());
  json.Field("audio_tokens", 0);
  json.Field("accepted_prediction_tokens", 0);
  json.Field("rejected_prediction_tokens", 0);
  json.EndObject();
  if (speed != nullptr) {
    json.Field("prefill_time", speed->prefill_ms() / 1000);
    json.Field("decode_time", speed->decode_ms() / 1000);
  }
  json.EndObject();
}

void WriteTimings(JsonWriter& json, const v1::Usage& usage, const v1::Timings& timings) {
  const auto write_pace = [&json](const std::string& what, int n, double ms) {
    json.Field(what + "_n", n);
    json.Field(what + "_ms", ms);
    json.Field(what + "_per_token_ms", n > 0 ? ms / n : 0.0);
    json.Field(what + "_per_second", ms > 0 ? n * 1000.0 / ms : 0.0);
  };
  json.Key("timings");
  json.BeginObject();
  json.Field("cache_n", usage.cached_tokens());
  write_pace("prompt", usage.prompt_tokens() - usage.cached_tokens(), timings.prefill_ms());
  write_pace("predicted", usage.completion_tokens(), timings.decode_ms());
  json.EndObject();
}

void WriteToolCall(JsonWriter& json, const v1::ToolCall& call) {
  json.BeginObject();
  json.Field("id", call.id());
  json.Field("type", "function");
  json.Key("function");
  json.BeginObject();
  json.Field("name", call.name());
  json.Field("arguments", call.arguments());
  json.EndObject();
  json.EndObject();
}

void AnswerStream::OnEvent(const v1::GenerateEvent& event, std::string* out) {
  switch (event.event_case()) {
    case v1::GenerateEvent::kAccepted:
      fingerprint_ = FingerprintOf(event.accepted());
      accepted_ = event.accepted();
      accepted_at_ = std::chrono::steady_clock::now();
      return OnAccepted(out);
    case v1::GenerateEvent::kProgress:
      if (reports_.progress) SendProgress(event.progress(), out);
      return;
    case v1::GenerateEvent::kPromptLogprobs:
      return OnPrompt(event.prompt_logprobs(), out);
    case v1::GenerateEvent::kDelta:
      return OnDelta(event.delta(), out);
    case v1::GenerateEvent::kFinished:
      AddUsage(event.finished().usage(), &usage_);
      timings_ = event.finished().timings();
      if (usage_first_) SendUsage(out);
      finished_ = &event.finished();
      OnFinished(event.finished(), out);
      finished_ = nullptr;
      return;
    default:
      return;
  }
}

void AnswerStream::Chunk(absl::FunctionRef<void(JsonWriter&)> write_choice, std::string* out) {
  JsonWriter json;
  json.BeginObject();
  WriteAnswerHead(json, identity_, object_, fingerprint_);
  json.Key("choices");
  json.BeginArray();
  json.BeginObject();
  write_choice(json);
  json.EndObject();
  json.EndArray();
  if (include_usage_) json.NullField("usage");
  if (reports_.timings && finished_ != nullptr) {
    WriteTimings(json, finished_->usage(), finished_->timings());
  }
  json.EndObject();
  AppendSse(json.Take(), out);
}

void AnswerStream::SendUsage(std::string* out) {
  JsonWriter json;
  json.BeginObject();
  WriteAnswerHead(json, identity_, object_, fingerprint_);
  json.Key("choices");
  json.BeginArray();
  json.EndArray();
  json.Key("usage");
  WriteUsage(json, usage_, reports_.speed ? &timings_ : nullptr);
  json.EndObject();
  AppendSse(json.Take(), out);
}

// How far the prompt is read: done, of it what the cache had, of all.
void AnswerStream::SendProgress(const v1::Progress& progress, std::string* out) {
  if (progress.phase() != v1::Progress::PHASE_PREFILL) return;
  const std::chrono::duration<double, std::milli> time =
      std::chrono::steady_clock::now() - accepted_at_;
  JsonWriter json;
  json.BeginObject();
  WriteAnswerHead(json, identity_, object_, fingerprint_);
  json.Key("choices");
  json.BeginArray();
  json.EndArray();
  if (include_usage_) json.NullField("usage");
  json.Key("prompt_progress");
  json.BeginObject();
  json.Field("total", progress.total());
  json.Field("cache", accepted_.cached_tokens());
  json.Field("processed", progress.done());
  json.Field("time_ms", static_cast<int64_t>(time.count()));
  json.EndObject();
  json.EndObject();
  AppendSse(json.Take(), out);
}

void AnswerStream::End(std::string* out) {
  if (include_usage_ && !usage_first_) SendUsage(out);
  AppendSse("[DONE]", out);
}

void AnswerStream::Error(const ErrorInfo& error, std::string* out) {
  AppendSse(ErrorJson(error), out);
}

}  // namespace conclave::gateway::openai
