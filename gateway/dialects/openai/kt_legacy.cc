#include "gateway/dialects/openai/kt_legacy.h"

#include "base/json.h"
#include "gateway/dialects/openai/errors.h"

namespace conclave::gateway::openai {
namespace {

using base::JsonValue;
using base::JsonWriter;

void Frame(std::string_view json, std::string* out) {
  *out += "data:";
  *out += json;
  *out += "\n\n";
}

std::string Chunk(std::string_view text, bool last) {
  JsonWriter json;
  json.BeginObject();
  json.Key("choices");
  json.BeginArray();
  json.BeginObject();
  json.Key("delta");
  json.BeginObject();
  json.Field("content", text);
  json.EndObject();
  if (last) json.Field("finish_reason", "");
  json.EndObject();
  json.EndArray();
  json.EndObject();
  return json.Take();
}

std::string_view Spelling(std::string_view name) {
  if (name == "meta_data") return "metadata";
  if (name == "max_propmp_tokens") return "max_prompt_tokens";
  return name;
}

bool HoldsFields(std::string_view name) {
  return name == "thread" || name == "messages" || name == "additional_messages";
}

void Respell(JsonWriter& json, JsonValue value) {
  if (value.is_array()) {
    json.BeginArray();
    for (size_t i = 0; i < value.size(); ++i) Respell(json, value.At(i));
    return json.EndArray();
  }
  if (!value.is_object()) return json.Raw(value.ToJson());
  json.BeginObject();
  value.ForEachMember([&](std::string_view name, JsonValue member) {
    json.Key(Spelling(name));
    if (HoldsFields(name)) return Respell(json, member);
    json.Raw(member.ToJson());
  });
  json.EndObject();
}

}  // namespace

std::string FlatErrorJson(const ErrorInfo& error) {
  JsonWriter json;
  json.BeginObject();
  json.Field("object", "error");
  json.Field("message", error.message);
  json.Field("type", "BadRequestError");
  json.NullField("param");
  json.Field("code", 400);
  json.EndObject();
  return json.Take();
}

void KtCompletionStream::OnEvent(const v1::GenerateEvent& event, std::string* out) {
  const std::string& text = event.delta().text();
  if (event.has_delta() && !text.empty()) Frame(Chunk(text, false), out);
}

void KtCompletionStream::End(std::string* out) {
  Frame(Chunk("", true), out);
  AppendSse("[DONE]", out);
}

void KtCompletionStream::Error(const ErrorInfo& error, std::string* out) {
  Frame(ErrorJson(error), out);
}

std::string Respelled(std::string_view body) {
  const auto document = base::JsonDocument::Parse(body);
  if (!document.ok() || !document->root().is_object()) return std::string(body);
  JsonWriter json;
  Respell(json, document->root());
  return json.Take();
}

bool KtSendsEvent(std::string_view event) {
  constexpr std::string_view kRun = "thread.run.";
  if (event == "thread.message.delta" || event == "error") return true;
  return event.substr(0, kRun.size()) == kRun && event != "thread.run.queued" &&
         event.substr(0, 16) != "thread.run.step.";
}

}  // namespace conclave::gateway::openai
