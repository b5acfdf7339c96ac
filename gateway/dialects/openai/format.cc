#include "gateway/dialects/openai/format.h"

#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gateway/dialects/openai/sampling.h"

namespace conclave::gateway::openai {
namespace {

using base::JsonValue;

constexpr size_t kChoicesMax = 4'096;

// A schema may be given as text, as vLLM's clients do.
absl::Status ReadSchema(JsonValue schema, v1::ResponseFormat* format) {
  format->set_place(schema.path());
  v1::JsonSchema* const to = format->mutable_json_schema();
  if (schema.is_string()) {
    ASSIGN_OR_RETURN(std::string text, schema.AsString());
    to->set_schema_json(std::move(text));
    return absl::OkStatus();
  }
  if (!schema.is_object() && !schema.is_bool()) return schema.Error("expected a JSON schema");
  to->set_schema_json(schema.ToJson());
  return absl::OkStatus();
}

absl::Status ReadRegex(JsonValue value, v1::ResponseFormat* format) {
  ASSIGN_OR_RETURN(std::string text, value.AsString());
  format->set_regex(std::move(text));
  format->set_place(value.path());
  return absl::OkStatus();
}

absl::Status ReadGrammar(JsonValue value, v1::ResponseFormat* format) {
  ASSIGN_OR_RETURN(std::string text, value.AsString());
  format->set_gbnf(std::move(text));
  format->set_place(value.path());
  return absl::OkStatus();
}

// As a grammar of one rule.
absl::Status ReadChoice(JsonValue value, v1::ResponseFormat* format) {
  RETURN_IF_ERROR(value.ExpectArray());
  if (value.size() == 0 || value.size() > kChoicesMax) {
    return value.Error(absl::StrCat("expected 1 to ", kChoicesMax, " texts"));
  }
  std::string rule = "root ::=";
  for (size_t i = 0; i < value.size(); ++i) {
    ASSIGN_OR_RETURN(const std::string text, value.At(i).AsString());
    absl::StrAppend(&rule, i == 0 ? " \"" : " | \"",
                    absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
  }
  format->set_gbnf(rule);
  format->set_place(value.path());
  return absl::OkStatus();
}

absl::Status ReadResponseFormat(JsonValue value, v1::ResponseFormat* format) {
  RETURN_IF_ERROR(value.ExpectObject());
  ASSIGN_OR_RETURN(const std::string type, value.Get("type").AsString());
  if (type == "text") {
    format->set_text(true);
    return absl::OkStatus();
  }
  if (type == "json_object") {
    // llama-server's and TGI's spellings of a schema.
    for (const std::string_view name : {"schema", "value"}) {
      const JsonValue schema = value.Get(name);
      if (!schema.missing()) return ReadSchema(schema, format);
    }
    format->set_json_object(true);
    return absl::OkStatus();
  }
  if (type == "json") return ReadSchema(value.Get("value"), format);
  if (type == "regex") return ReadRegex(value.Get("value"), format);
  if (type != "json_schema") {
    return value.Get("type").Error("expected text, json_object, json_schema, json or regex");
  }
  const JsonValue given = value.Get("json_schema");
  RETURN_IF_ERROR(given.ExpectObject());
  v1::JsonSchema* const to = format->mutable_json_schema();
  ASSIGN_OR_RETURN(std::string name, given.Get("name").AsString());
  to->set_name(std::move(name));
  ASSIGN_OR_RETURN(const std::optional<bool> strict, given.Get("strict").OptionalBool());
  to->set_strict(strict.value_or(false));
  const JsonValue schema = given.Get("schema");
  if (!schema.missing()) return ReadSchema(schema, format);
  format->set_json_object(true);
  return absl::OkStatus();
}

struct Field {
  std::string_view name;
  absl::Status (*read)(JsonValue value, v1::ResponseFormat* format);
};

constexpr Field kFields[] = {{"response_format", ReadResponseFormat},
                             {"json_schema", ReadSchema},
                             {"grammar", ReadGrammar},
                             {"ebnf", ReadGrammar},
                             {"regex", ReadRegex},
                             {"guided_json", ReadSchema},
                             {"guided_regex", ReadRegex},
                             {"guided_choice", ReadChoice},
                             {"guided_grammar", ReadGrammar}};

constexpr Field kStructuredOutputs[] = {
    {"json", ReadSchema}, {"regex", ReadRegex}, {"choice", ReadChoice}, {"grammar", ReadGrammar}};

bool IsTheSame(const v1::ResponseFormat& a, const v1::ResponseFormat& b) {
  return a.format_case() == b.format_case() && a.json_object() == b.json_object() &&
         a.json_schema().schema_json() == b.json_schema().schema_json() && a.gbnf() == b.gbnf() &&
         a.regex() == b.regex();
}

bool IsGiven(JsonValue value) {
  return !value.missing() && !(value.is_string() && value.AsString().value_or("").empty());
}

}  // namespace

absl::Status ReadFormat(JsonValue root, v1::GenerateRequest* request) {
  v1::ResponseFormat format;
  const auto read = [&](const Field& field, JsonValue value) {
    if (!IsGiven(value)) return absl::OkStatus();
    v1::ResponseFormat read;
    RETURN_IF_ERROR(field.read(value, &read));
    // Clients give it under the names of two releases of a server. What differs, "text" aside,
    // would have to be ignored.
    const bool taken = format.format_case() != v1::ResponseFormat::FORMAT_NOT_SET && !format.text();
    if (taken && IsTheSame(read, format)) return absl::OkStatus();
    if (taken) return value.Error("the answer's format is given twice");
    format = std::move(read);
    return absl::OkStatus();
  };
  for (const Field& field : kFields) RETURN_IF_ERROR(read(field, root.Get(field.name)));
  const JsonValue structured = root.Get("structured_outputs");
  if (!structured.missing()) {
    RETURN_IF_ERROR(structured.ExpectObject());
    RETURN_IF_ERROR(RefuseFields(structured, {"structural_tag"}));
    for (const Field& field : kStructuredOutputs) {
      RETURN_IF_ERROR(read(field, structured.Get(field.name)));
    }
  }
  if (format.format_case() != v1::ResponseFormat::FORMAT_NOT_SET) {
    *request->mutable_response_format() = std::move(format);
  }
  return absl::OkStatus();
}

}  // namespace conclave::gateway::openai
