#include "backends/remote_openai_wire.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/utf8.h"

namespace conclave::backends {
namespace {

using base::JsonValue;

constexpr size_t kMessageBytesMax = 1'024;
constexpr int64_t kCallsMax = 128;
constexpr int64_t kCountMax = 1 << 30;
constexpr size_t kArgumentsBytesMax = size_t{4} << 20;
constexpr std::chrono::milliseconds kRetryAfter{1'000};

absl::Status Invalid(std::string_view what) {
  return base::WithReason(base::Internal(absl::StrCat(
                              "the remote server's answer is not understood: ", std::string(what))),
                          "upstream_invalid");
}

absl::StatusOr<int32_t> Count(JsonValue value) {
  ASSIGN_OR_RETURN(const auto count, value.OptionalInt(0, kCountMax));
  return static_cast<int32_t>(count.value_or(0));
}

absl::StatusOr<std::string> TextIn(JsonValue value) {
  ASSIGN_OR_RETURN(auto text, value.OptionalString());
  return std::move(text).value_or("");
}

absl::StatusOr<TokenLogprob> ReadLogprob(JsonValue entry) {
  TokenLogprob out;
  out.id = -1;  // this wire has no ids
  ASSIGN_OR_RETURN(const double logprob, entry.Get("logprob").AsNumber());
  out.logprob = static_cast<float>(logprob);
  const JsonValue bytes = entry.Get("bytes");
  if (bytes.is_array()) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      ASSIGN_OR_RETURN(const int64_t byte, bytes.At(i).AsInt(0, 255));
      out.bytes += static_cast<char>(byte);
    }
  } else {
    ASSIGN_OR_RETURN(out.bytes, TextIn(entry.Get("token")));
  }
  const JsonValue top = entry.Get("top_logprobs");
  for (size_t i = 0; i < top.size(); ++i) {
    ASSIGN_OR_RETURN(TokenLogprob other, ReadLogprob(top.At(i)));
    out.top.push_back(std::move(other));
  }
  return out;
}

// completions: parallel arrays of text and numbers.
absl::Status ReadLegacyLogprobs(JsonValue from, std::vector<TokenLogprob>* to) {
  const JsonValue tokens = from.Get("tokens");
  const JsonValue values = from.Get("token_logprobs");
  const JsonValue tops = from.Get("top_logprobs");
  for (size_t i = 0; i < tokens.size() && i < values.size(); ++i) {
    TokenLogprob out;
    out.id = -1;
    ASSIGN_OR_RETURN(out.bytes, tokens.At(i).AsString());
    if (!values.At(i).is_null()) {
      ASSIGN_OR_RETURN(const double value, values.At(i).AsNumber());
      out.logprob = static_cast<float>(value);
    }
    absl::Status status;
    if (i < tops.size()) {
      tops.At(i).ForEachMember([&](std::string_view token, JsonValue value) {
        const auto number = value.AsNumber();
        if (!number.ok()) return void(status = number.status());
        TokenLogprob other;
        other.id = -1;
        other.bytes = token;
        other.logprob = static_cast<float>(*number);
        out.top.push_back(std::move(other));
      });
    }
    RETURN_IF_ERROR(status);
    to->push_back(std::move(out));
  }
  return absl::OkStatus();
}

struct ErrorObject {
  std::string message;
  std::string code;
  std::string param;
};

std::string Loose(JsonValue value) {
  if (value.is_string()) return *value.AsString();
  return value.is_integer() ? value.ToJson() : std::string();
}

// {"error":{message,code,type,param}}, {"error":"…"}, {"message":…}, {"detail":…}; anything else is
// no error object.
std::optional<ErrorObject> ReadError(JsonValue root) {
  ErrorObject error;
  const JsonValue inner = root.Get("error");
  if (inner.is_object()) {
    error.message = Loose(inner.Get("message"));
    error.code = Loose(inner.Get("code"));
    if (error.code.empty()) error.code = Loose(inner.Get("type"));
    error.param = Loose(inner.Get("param"));
  } else if (inner.is_string()) {
    error.message = Loose(inner);
  } else if (root.Get("message").is_string() && root.Get("choices").missing()) {
    error.message = Loose(root.Get("message"));
    error.code = Loose(root.Get("code"));
    error.param = Loose(root.Get("param"));
  } else if (root.Get("detail").is_string()) {
    error.message = Loose(root.Get("detail"));
  } else {
    return std::nullopt;
  }
  error.message = base::Utf8Prefix(error.message, kMessageBytesMax);
  return error;
}

absl::Status StatusOfHttp(int status, const std::string& text) {
  if (status == 404) return base::WithReason(base::NotFound(text), "model_not_found");
  if (status == 408 || status == 504) {
    return base::WithReason(absl::DeadlineExceededError(text), "upstream_timeout");
  }
  if (status == 413) return absl::OutOfRangeError(text);
  if (status == 429) return base::WithReason(base::ResourceExhausted(text), "upstream_busy");
  if (status == 501) return base::Unimplemented(text);
  if (status >= 500) return base::WithReason(base::Unavailable(text), "upstream_error");
  if (status >= 400) return base::InvalidArgument(text);
  return base::WithReason(base::Internal(text), "upstream_error");
}

absl::Status Explain(int http_status, const ErrorObject& error) {
  const std::string text = error.message.empty()
                               ? absl::StrCat("the remote server answered ", http_status)
                               : absl::StrCat("the remote server: ", error.message);
  if (http_status == 401 || http_status == 403) {
    return base::WithReason(
        base::Internal("the remote server does not accept this server's credentials"),
        "upstream_auth");
  }
  if (error.code == "context_length_exceeded") {
    return base::WithReason(absl::OutOfRangeError(text), "context_length_exceeded");
  }
  absl::Status status = StatusOfHttp(http_status, text);
  if (!error.param.empty()) status = base::WithParam(std::move(status), error.param);
  return status;
}

// An error object inside a stream carries no status line; its code may be one, or a word.
int HttpStatusOf(const ErrorObject& error) {
  if (error.code.size() == 3 && error.code.find_first_not_of("0123456789") == std::string::npos) {
    return std::stoi(error.code);
  }
  if (error.code.find("invalid_request") != std::string::npos) return 400;
  if (error.code.find("rate_limit") != std::string::npos) return 429;
  return 500;
}

}  // namespace

absl::Status OpenAiError(const HttpHead& head, std::string_view body) {
  ErrorObject error;
  if (head.status >= 300 && head.status < 400) {
    return base::WithReason(
        base::Internal("the remote server answered with a redirect, which is not followed"),
        "upstream_redirect");
  }
  if (const auto document = base::JsonDocument::Parse(body); document.ok()) {
    error = ReadError(document->root()).value_or(ErrorObject());
  }
  absl::Status status = Explain(head.status, error);
  if (head.status == 429 || head.status == 503) {
    status = base::WithRetryAfter(std::move(status),
                                  head.retry_after.count() > 0 ? head.retry_after : kRetryAfter);
  }
  return status;
}

absl::Status OpenAiStream::Read(std::string_view data, std::vector<Event>* events) {
  if (done_) return absl::OkStatus();
  if (data == "[DONE]") {
    done_ = true;
    return absl::OkStatus();
  }
  const auto document = base::JsonDocument::Parse(data);
  if (!document.ok()) return Invalid(std::string(document.status().message()));
  const JsonValue root = document->root();
  if (!root.is_object()) return Invalid("a chunk that is no object");
  if (root.Get("choices").missing()) {
    if (const auto error = ReadError(root)) return Explain(HttpStatusOf(*error), *error);
  }
  const JsonValue choices = root.Get("choices");
  for (size_t i = 0; i < choices.size(); ++i) {
    const absl::Status status = ReadChoice(choices.At(i), events);
    if (!status.ok()) return Invalid(std::string(status.message()));
  }
  const absl::Status status = ReadUsage(root.Get("usage"));
  return status.ok() ? status : Invalid(std::string(status.message()));
}

absl::Status OpenAiStream::ReadLine(JsonValue line, std::vector<Event>* events) {
  if (!line.Get("error").missing()) {
    const ErrorObject error = ReadError(line).value_or(ErrorObject());
    return Explain(HttpStatusOf(error), error);
  }
  absl::Status status = ReadChoice(line, events);
  if (status.ok()) status = ReadUsage(line.Get("usage"));
  return status.ok() ? status : Invalid(std::string(status.message()));
}

absl::Status OpenAiStream::ReadChoice(JsonValue choice, std::vector<Event>* events) {
  if (options_.logprobs) RETURN_IF_ERROR(ReadLogprobs(choice.Get("logprobs")));
  const JsonValue delta = choice.Get("delta");
  std::string reasoning;
  std::string text;
  if (delta.is_object()) {
    ASSIGN_OR_RETURN(reasoning, TextIn(delta.Get("reasoning_content")));
    if (reasoning.empty()) {
      ASSIGN_OR_RETURN(reasoning, TextIn(delta.Get("reasoning")));  // vLLM from 0.12, OpenRouter
    }
    ASSIGN_OR_RETURN(text, TextIn(delta.Get("content")));
    if (text.empty()) {
      ASSIGN_OR_RETURN(text, TextIn(delta.Get("refusal")));
    }
  } else {
    ASSIGN_OR_RETURN(text, TextIn(choice.Get("text")));
  }
  if (!reasoning.empty()) Reasoning(std::move(reasoning), events);
  if (!text.empty()) Text(std::move(text), events);
  if (delta.is_object()) RETURN_IF_ERROR(ReadToolCalls(delta.Get("tool_calls"), events));
  // Logprobs of tokens whose text is held back, or special.
  if (!logprobs_.empty()) Emit({}, events);
  return ReadFinish(choice);
}

absl::Status OpenAiStream::ReadFinish(JsonValue choice) {
  ASSIGN_OR_RETURN(const std::string reason, TextIn(choice.Get("finish_reason")));
  if (reason.empty()) return absl::OkStatus();
  if (reason == "length") {
    reason_ = Finished::Reason::kLength;
  } else if (reason == "tool_calls" || reason == "function_call") {
    reason_ = Finished::Reason::kToolCalls;
  } else {
    reason_ = Finished::Reason::kStop;  // "stop", "content_filter", "eos_token", …
  }
  const JsonValue matched = choice.Get("stop_reason");  // vLLM; SGLang calls it matched_stop
  const JsonValue stop = matched.missing() ? choice.Get("matched_stop") : matched;
  if (stop.is_string()) {
    ASSIGN_OR_RETURN(matched_stop_, stop.AsString());
  } else if (stop.is_integer()) {
    ASSIGN_OR_RETURN(const int64_t id, stop.AsInt(0, kCountMax));
    matched_stop_id_ = static_cast<TokenId>(id);
  }
  return absl::OkStatus();
}

absl::Status OpenAiStream::ReadToolCalls(JsonValue calls, std::vector<Event>* events) {
  for (size_t i = 0; i < calls.size(); ++i) {
    const JsonValue call = calls.At(i);
    ASSIGN_OR_RETURN(const auto index, call.Get("index").OptionalInt(0, kCallsMax - 1));
    const JsonValue function = call.Get("function");
    ASSIGN_OR_RETURN(std::string id, TextIn(call.Get("id")));
    ASSIGN_OR_RETURN(std::string name, TextIn(function.Get("name")));
    ASSIGN_OR_RETURN(std::string arguments, TextIn(function.Get("arguments")));
    // Without an index, a name begins the next call.
    const int64_t theirs = index.value_or(name.empty() ? their_call_ : their_call_ + 1);
    if (theirs != their_call_ || call_ < 0) {
      EndCall(events);
      if (name.empty()) return call.Error("a call without a name");
      if (call_ + 1 >= kCallsMax) return call.Error("too many calls");
      their_call_ = theirs;
      ++call_;
      if (id.empty()) id = absl::StrCat(options_.call_id_prefix, call_);
      Delta delta;
      delta.tool_call = ToolCallDelta{.index = call_,
                                      .state = ToolCallDelta::State::kStarted,
                                      .id = std::move(id),
                                      .name = std::move(name),
                                      .arguments = ""};
      Emit(std::move(delta), events);
    }
    if (arguments.empty()) continue;
    arguments_ += arguments;
    if (arguments_.size() > kArgumentsBytesMax) return call.Error("arguments of more than 4 MiB");
    Delta delta;
    delta.tool_call = ToolCallDelta{.index = call_,
                                    .state = ToolCallDelta::State::kInProgress,
                                    .id = "",
                                    .name = "",
                                    .arguments = std::move(arguments)};
    Emit(std::move(delta), events);
  }
  return absl::OkStatus();
}

void OpenAiStream::EndCall(std::vector<Event>* events) {
  if (call_ < 0 || their_call_ < 0) return;
  const auto document = base::JsonDocument::Parse(arguments_);
  const bool good = document.ok() && document->root().is_object();
  Delta delta;
  delta.tool_call = ToolCallDelta{
      .index = call_,
      .state = good ? ToolCallDelta::State::kSucceeded : ToolCallDelta::State::kFailed,
      .id = "",
      .name = "",
      .arguments = ""};
  Emit(std::move(delta), events);
  arguments_.clear();
  their_call_ = -1;
}

absl::Status OpenAiStream::ReadLogprobs(JsonValue logprobs) {
  if (logprobs.missing()) return absl::OkStatus();
  const JsonValue content = logprobs.Get("content");
  if (content.missing()) return ReadLegacyLogprobs(logprobs, &logprobs_);
  for (size_t i = 0; i < content.size(); ++i) {
    ASSIGN_OR_RETURN(TokenLogprob entry, ReadLogprob(content.At(i)));
    logprobs_.push_back(std::move(entry));
  }
  return absl::OkStatus();
}

absl::Status OpenAiStream::ReadUsage(JsonValue usage) {
  if (usage.missing()) return absl::OkStatus();
  Usage read;
  ASSIGN_OR_RETURN(read.prompt_tokens, Count(usage.Get("prompt_tokens")));
  ASSIGN_OR_RETURN(read.completion_tokens, Count(usage.Get("completion_tokens")));
  ASSIGN_OR_RETURN(read.cached_tokens,
                   Count(usage.Get("prompt_tokens_details").Get("cached_tokens")));
  ASSIGN_OR_RETURN(read.reasoning_tokens,
                   Count(usage.Get("completion_tokens_details").Get("reasoning_tokens")));
  usage_ = read;
  return absl::OkStatus();
}

void OpenAiStream::Reasoning(std::string text, std::vector<Event>* events) {
  Delta delta;
  ++chunks_;
  if (options_.split_reasoning) {
    delta.reasoning = std::move(text);
  } else {
    delta.text = std::exchange(thinking_, true) ? std::move(text) : "<think>" + text;
  }
  Emit(std::move(delta), events);
}

void OpenAiStream::Text(std::string text, std::vector<Event>* events) {
  Delta delta;
  ++chunks_;
  delta.text = std::exchange(thinking_, false) ? "</think>" + text : std::move(text);
  Emit(std::move(delta), events);
}

void OpenAiStream::Emit(Delta delta, std::vector<Event>* events) {
  delta.seq = next_seq_++;
  delta.logprobs = std::exchange(logprobs_, {});
  events->push_back(std::move(delta));
}

absl::StatusOr<Finished> OpenAiStream::End(std::vector<Event>* events) {
  if (!reason_) {
    return base::WithReason(base::Internal("the remote server ended its answer early"),
                            "upstream_lost");
  }
  EndCall(events);
  Finished finished;
  finished.reason = *reason_;
  // Some say "stop" after a call.
  if (call_ >= 0 && finished.reason == Finished::Reason::kStop) {
    finished.reason = Finished::Reason::kToolCalls;
  }
  finished.matched_stop = matched_stop_;
  finished.matched_stop_id = matched_stop_id_;
  // A server that tells no usage has at least sent so many pieces.
  if (usage_) {
    finished.usage = *usage_;
  } else {
    finished.usage.completion_tokens = chunks_;
  }
  return finished;
}

}  // namespace conclave::backends
