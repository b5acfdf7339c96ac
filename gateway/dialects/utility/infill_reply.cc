#include "gateway/dialects/utility/infill_reply.h"

#include "base/json.h"
#include "gateway/dialects/openai/answer.h"
#include "gateway/dialects/openai/errors.h"

namespace conclave::gateway::utility {
namespace {

using base::JsonDocument;
using base::JsonValue;
using base::JsonWriter;

// Requests have no slots here.
constexpr int kNoSlot = -1;

template <typename Ids>
void WriteTokens(JsonWriter& json, const Ids& ids, bool wanted) {
  json.Key("tokens");
  json.BeginArray();
  if (wanted) {
    for (const int32_t id : ids) json.Int(id);
  }
  json.EndArray();
}

void WriteToken(JsonWriter& json, const v1::TokenLogprob& token, bool with_top) {
  json.BeginObject();
  json.Field("id", token.token_id());
  WriteTokenFields(json, token);
  if (with_top) {
    json.Key("top_logprobs");
    json.BeginArray();
    for (const v1::TokenLogprob& other : token.top()) WriteToken(json, other, false);
    json.EndArray();
  }
  json.EndObject();
}

template <typename Logprobs>
void WriteProbabilities(JsonWriter& json, const Logprobs& logprobs) {
  if (logprobs.empty()) return;
  json.Key("completion_probabilities");
  json.BeginArray();
  for (const v1::TokenLogprob& token : logprobs) WriteToken(json, token, true);
  json.EndArray();
}

std::string_view StopType(const v1::Finished& finished) {
  if (finished.reason() == v1::Finished::REASON_LENGTH) return "limit";
  return finished.matched_stop().empty() ? "eos" : "word";
}

// The end of an answer: what was read, what came of it, and how long it took.
void WriteEnding(JsonWriter& json, const v1::Finished& finished) {
  const v1::Usage& usage = finished.usage();
  json.Field("stop", true);
  json.Field("tokens_predicted", usage.completion_tokens());
  json.Field("tokens_evaluated", usage.prompt_tokens());
  json.Field("truncated", false);
  json.Field("stop_type", StopType(finished));
  json.Field("stopping_word", finished.matched_stop());
  json.Field("tokens_cached", usage.prompt_tokens() + usage.completion_tokens());
  openai::WriteTimings(json, usage, finished.timings());
}

// The value at "a/b/c".
JsonValue At(JsonValue root, std::string_view path) {
  while (true) {
    const size_t slash = path.find('/');
    root = root.Get(path.substr(0, slash));
    if (slash == std::string_view::npos) return root;
    path.remove_prefix(slash + 1);
  }
}

// The object with nothing but the fields, each under its path.
std::string Choose(std::string object, const std::vector<std::string>& fields) {
  if (fields.empty()) return object;
  const auto document = JsonDocument::Parse(object);
  if (!document.ok()) return object;
  JsonWriter json;
  json.BeginObject();
  for (const std::string& path : fields) {
    const JsonValue value = At(document->root(), path);
    if (value.present()) json.RawField(path, value.ToJson());
  }
  json.EndObject();
  return json.Take();
}

void WriteHead(JsonWriter& json, std::string_view content) {
  json.Field("index", 0);
  json.Field("content", content);
  json.Field("id_slot", kNoSlot);
}

}  // namespace

std::string EncodeInfill(const InfillShape& shape, const Completion& completion) {
  const Completion::Choice& choice = completion.choices.front();
  JsonWriter json;
  json.BeginObject();
  WriteHead(json, choice.text);
  WriteTokens(json, choice.token_ids, shape.with_tokens);
  json.Field("model", shape.model);
  json.Field("has_new_line", choice.text.find('\n') != std::string::npos);
  WriteEnding(json, choice.finished);
  WriteProbabilities(json, choice.logprobs);
  json.EndObject();
  return Choose(json.Take(), shape.fields);
}

void InfillStream::OnEvent(const v1::GenerateEvent& event, std::string* out) {
  if (event.has_accepted()) accepted_ = event.accepted();
  JsonWriter json;
  json.BeginObject();
  if (event.has_delta()) {
    const v1::Delta& delta = event.delta();
    num_predicted_ += delta.token_ids_size();
    WriteHead(json, delta.text());
    WriteTokens(json, delta.token_ids(), true);
    json.Field("stop", false);
    json.Field("tokens_predicted", num_predicted_);
    json.Field("tokens_evaluated", accepted_.prompt_tokens());
    WriteProbabilities(json, delta.logprobs());
    json.EndObject();
    AppendSse(json.Take(), out);
  } else if (event.has_finished()) {
    WriteHead(json, "");
    WriteTokens(json, v1::Delta().token_ids(), false);
    json.Field("model", shape_.model);
    WriteEnding(json, event.finished());
    json.EndObject();
    AppendSse(Choose(json.Take(), shape_.fields), out);
  }
}

void InfillStream::Error(const ErrorInfo& error, std::string* out) {
  AppendSse(openai::ErrorJson(error), out);
}

}  // namespace conclave::gateway::utility
