#include "gateway/dialects/coverage_text.h"

#include <span>
#include <string_view>

#include "base/json.h"
#include "gateway/dialects/dialect.h"

namespace conclave::gateway {
namespace {

using base::JsonWriter;

constexpr std::string_view kHead =
    R"(# Coverage: what happens to every parameter

Made from the tables next to the decoders by `conclave-gateway --print-coverage`; a test sends each row's
sample to the route and fails when the row is not true, another one when this file is not what the command
prints. `GET /v1/capabilities` gives the same as JSON, with what each loaded model can.

- **honoured**: what it asks for is done.
- **honoured if the model can**: refused, or of no effect, where the model or its template has no such thing.
- **refused**: 4xx or 501 that names it, when it asks for something; null, false, "", [] and {} ask for nothing.
- **ignored**: accepted, and nothing changes. So is every field that stands in no row, unless the endpoint
  says otherwise.

Paths under `/v1` are served without it as well, those of the OpenAI dialect also under `/openai/v1` and
`/openai`, where Azure has them, and all of them with a slash at the end.
)";

void AppendRows(std::span<const Parameter> rows, std::string_view where, std::string* out) {
  for (const Parameter& row : rows) {
    *out += "| `" + std::string(row.name) + "`" + std::string(row.required ? ", required" : "") +
            std::string(where) + " | " + std::string(TreatmentName(row.treatment)) + " | " +
            std::string(row.note) + " |\n";
  }
}

void AppendEndpoint(const Endpoint& endpoint, std::string* out) {
  *out += "\n### " + std::string(endpoint.method) + " " + std::string(endpoint.path) + "\n\n" +
          std::string(endpoint.summary) + ".";
  if (endpoint.refuses_unknown) *out += " A field that stands in no row is refused.";
  *out += "\n";
  if (endpoint.parameters.empty() && endpoint.query.empty()) return;
  *out += "\n| parameter | what happens | |\n|---|---|---|\n";
  AppendRows(endpoint.parameters, "", out);
  AppendRows(endpoint.query, " (query)", out);
}

void WriteRows(JsonWriter& json, std::span<const Parameter> rows, std::string_view in) {
  for (const Parameter& row : rows) {
    json.BeginObject();
    json.Field("name", row.name);
    json.Field("in", in);
    json.Field("treatment", TreatmentName(row.treatment));
    if (row.required) json.Field("required", true);
    json.RawField("schema", row.schema);
    if (!row.note.empty()) json.Field("note", row.note);
    json.EndObject();
  }
}

void WriteDialect(JsonWriter& json, const Dialect& dialect) {
  const Coverage coverage = dialect.coverage();
  json.BeginObject();
  json.Field("name", dialect.name);
  json.Key("endpoints");
  json.BeginArray();
  for (const Endpoint& endpoint : coverage.endpoints) {
    json.BeginObject();
    json.Field("method", endpoint.method);
    json.Field("path", endpoint.path);
    json.Field("summary", endpoint.summary);
    if (!endpoint.body.empty()) {
      json.Field("unknown_fields", endpoint.refuses_unknown ? "refused" : "ignored");
    }
    json.Key("parameters");
    json.BeginArray();
    WriteRows(json, endpoint.parameters, "body");
    WriteRows(json, endpoint.query, "query");
    json.EndArray();
    json.EndObject();
  }
  json.EndArray();
  json.Key("not_served");
  json.BeginArray();
  for (const Unserved& family : coverage.unserved) {
    json.BeginObject();
    json.Field("path", family.path);
    json.Field("status", family.status);
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
}

}  // namespace

std::string CoverageMarkdown() {
  std::string text(kHead);
  for (const Dialect& dialect : AllDialects()) {
    text += "\n## " + std::string(dialect.name) + "\n";
    const Coverage coverage = dialect.coverage();
    for (const Endpoint& endpoint : coverage.endpoints) AppendEndpoint(endpoint, &text);
    if (coverage.unserved.empty()) continue;
    text += "\n### Not served\n\n| path, and all below it | status |\n|---|---|\n";
    for (const Unserved& family : coverage.unserved) {
      text += "| `" + std::string(family.path) + "` | " + std::to_string(family.status) + " |\n";
    }
  }
  return text;
}

std::string CapabilitiesJson(const std::vector<v1::ModelStatus>& models) {
  JsonWriter json;
  json.BeginObject();
  json.Field("object", "capabilities");
  json.Key("models");
  json.BeginArray();
  for (const v1::ModelStatus& model : models) {
    json.BeginObject();
    json.Field("id", model.name());
    json.Key("capabilities");
    json.BeginArray();
    for (const std::string& word : model.capabilities()) json.String(word);
    json.EndArray();
    json.Field("context_length", model.context_length());
    json.EndObject();
  }
  json.EndArray();
  json.Key("dialects");
  json.BeginArray();
  for (const Dialect& dialect : AllDialects()) WriteDialect(json, dialect);
  json.EndArray();
  json.EndObject();
  return json.Take();
}

}  // namespace conclave::gateway
