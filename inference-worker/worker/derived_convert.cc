#include "worker/derived_convert.h"

#include <limits>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/status.h"
#include "base/strings.h"
#include "engine/chat/ollama_template.h"
#include "engine/chat/template.h"
#include "worker/convert.h"

namespace conclave::worker {
namespace {

namespace pb = conclave::v1;
using base::JsonValue;

constexpr size_t kParametersBytesMax = 16 << 10;
constexpr size_t kTextBytesMax = 1 << 20;
constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();

absl::Status Bad(std::string_view field, std::string_view what) {
  return base::WithParam(
      base::InvalidArgument(absl::StrCat("derived.", std::string(field), ": ", std::string(what))),
      absl::StrCat("derived.", std::string(field)));
}

template <typename Set>
absl::Status ReadNumber(JsonValue root, std::string_view name, Set set) {
  const JsonValue value = root.Get(name);
  if (value.missing()) return absl::OkStatus();
  const absl::StatusOr<double> number = value.AsNumber();
  if (!number.ok()) return Bad(absl::StrCat("parameters.", std::string(name)), "must be a number");
  set(*number);
  return absl::OkStatus();
}

template <typename Set>
absl::Status ReadInt(JsonValue root, std::string_view name, int64_t min, Set set) {
  const JsonValue value = root.Get(name);
  if (value.missing()) return absl::OkStatus();
  const absl::StatusOr<int64_t> number = value.AsInt(min, kInt32Max);
  if (!number.ok()) {
    return Bad(absl::StrCat("parameters.", std::string(name)),
               absl::StrCat("must be an integer from ", min, " to ", kInt32Max));
  }
  set(*number);
  return absl::OkStatus();
}

absl::Status ReadStop(JsonValue stop, pb::StopConditions* to) {
  if (stop.missing()) return absl::OkStatus();
  const size_t count = stop.is_array() ? stop.size() : 1;
  for (size_t i = 0; i < count; ++i) {
    const absl::StatusOr<std::string> text = (stop.is_array() ? stop.At(i) : stop).AsString();
    if (!text.ok()) return Bad("parameters.stop", "must be a string or an array of strings");
    if (!text->empty()) to->add_strings(*text);
  }
  return absl::OkStatus();
}

// Ollama's words; what is not one of these is kept and shown, and decides nothing.
absl::Status ReadParameters(const std::string& json, pb::GenerateRequest* to,
                            std::optional<int32_t>* context_length) {
  if (json.empty()) return absl::OkStatus();
  if (json.size() > kParametersBytesMax) return Bad("parameters", "more than 16 KiB");
  const absl::StatusOr<base::JsonDocument> document = base::JsonDocument::Parse(json);
  if (!document.ok() || !document->root().is_object()) return Bad("parameters", "not an object");
  const JsonValue root = document->root();
  pb::SamplingParams* s = to->mutable_sampling();
  const auto real = [](auto set) { return [set](double v) { set(static_cast<float>(v)); }; };
  const auto whole = [](auto set) { return [set](int64_t v) { set(static_cast<int32_t>(v)); }; };
  RETURN_IF_ERROR(ReadNumber(root, "temperature", real([s](float v) { s->set_temperature(v); })));
  RETURN_IF_ERROR(ReadNumber(root, "top_p", real([s](float v) { s->set_top_p(v); })));
  RETURN_IF_ERROR(ReadNumber(root, "min_p", real([s](float v) { s->set_min_p(v); })));
  RETURN_IF_ERROR(ReadNumber(root, "typical_p", real([s](float v) { s->set_typical_p(v); })));
  RETURN_IF_ERROR(
      ReadNumber(root, "repeat_penalty", real([s](float v) { s->set_repetition_penalty(v); })));
  RETURN_IF_ERROR(
      ReadNumber(root, "presence_penalty", real([s](float v) { s->set_presence_penalty(v); })));
  RETURN_IF_ERROR(
      ReadNumber(root, "frequency_penalty", real([s](float v) { s->set_frequency_penalty(v); })));
  RETURN_IF_ERROR(ReadInt(root, "top_k", 0, whole([s](int32_t v) { s->set_top_k(v); })));
  RETURN_IF_ERROR(
      ReadInt(root, "repeat_last_n", -1, whole([s](int32_t v) { s->set_penalty_last_n(v); })));
  RETURN_IF_ERROR(ReadInt(root, "seed", -1, [s](int64_t v) {
    if (v >= 0) s->set_seed(static_cast<uint64_t>(v));
  }));
  RETURN_IF_ERROR(ReadInt(root, "num_predict", -2, whole([to](int32_t v) {
                            if (v > 0) to->mutable_stop()->set_max_tokens(v);
                          })));
  RETURN_IF_ERROR(ReadInt(root, "num_ctx", 1, whole([&](int32_t v) { *context_length = v; })));
  return ReadStop(root.Get("stop"), to->mutable_stop());
}

// A template that cannot be read is refused before anything is stored.
absl::Status ReadTemplate(const std::string& source, DerivedSpec* spec) {
  const auto parsed = engine::ChatTemplate::Parse(source, {});
  if (!parsed.ok()) return Bad("template", base::Std(parsed.status().message()));
  spec->chat_template = source;
  if (const engine::OllamaTemplate* const go = (*parsed)->ollama()) {
    spec->abilities = TemplateAbilities{
        .tools = go->Names("tools"), .thinking = go->thinks(), .insert = go->Names("suffix")};
  }
  return absl::OkStatus();
}

pb::Role RoleOf(const std::string& name) {
  if (name == "system") return pb::ROLE_SYSTEM;
  return name == "assistant" ? pb::ROLE_ASSISTANT : pb::ROLE_USER;
}

}  // namespace

absl::StatusOr<DerivedSpec> FromProto(const pb::DerivedModel& from) {
  DerivedSpec spec;
  spec.base = from.base();
  for (const auto& [field, text] : {std::pair{"system", &from.system()},
                                    {"template", &from.template_()},
                                    {"license", &from.license()}}) {
    if (text->size() > kTextBytesMax) return Bad(field, "more than 1 MiB");
  }
  if (from.has_system()) spec.system = from.system();
  if (from.has_template_() && !from.template_().empty()) {
    RETURN_IF_ERROR(ReadTemplate(from.template_(), &spec));
  }
  // The bounds of a request are the bounds of its defaults.
  pb::GenerateRequest request;
  RETURN_IF_ERROR(ReadParameters(from.parameters_json(), &request, &spec.context_length));
  request.set_text("x");
  ASSIGN_OR_RETURN(backends::GenerateRequest defaults, FromProto(std::move(request), "derived"));
  spec.sampling = std::move(defaults.sampling);
  spec.stop = std::move(defaults.stop);
  pb::ChatPrompt examples;
  *examples.mutable_messages() = from.messages();
  if (!from.messages().empty()) {
    ASSIGN_OR_RETURN(backends::ChatPrompt chat, FromProto(std::move(examples)));
    spec.messages = std::move(chat.conversation.messages);
  }
  spec.license = from.license();
  spec.parameters = from.parameters_json();
  return spec;
}

void ToProto(const DerivedSpec& from, bool with_texts, pb::DerivedModel* to) {
  to->set_base(from.base);
  to->set_parameters_json(from.parameters);
  if (!with_texts) return;
  if (from.system) to->set_system(*from.system);
  if (from.chat_template) to->set_template_(*from.chat_template);
  to->set_license(from.license);
  for (const engine::Message& message : from.messages) {
    pb::ChatMessage* example = to->add_messages();
    example->set_role(RoleOf(message.role));
    if (!message.content_is_null) example->add_content()->set_text(message.content);
    example->set_content_is_null(message.content_is_null);
    example->set_reasoning(message.reasoning);
  }
}

}  // namespace conclave::worker
