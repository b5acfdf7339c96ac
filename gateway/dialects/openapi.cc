#include "gateway/dialects/openapi.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "base/check.h"
#include "base/json.h"
#include "gateway/dialects/answer_fields.h"
#include "gateway/dialects/bare_path.h"
#include "gateway/dialects/dialect.h"

namespace conclave::gateway {
namespace {

using base::JsonDocument;
using base::JsonValue;
using base::JsonWriter;

// The fields of one object, as a tree: "messages[].content" is the field content of the items of
// the field messages.
struct Field {
  const Parameter* row = nullptr;  // none: it only has fields
  bool is_array = false;           // the fields below are those of its items
  std::map<std::string, std::unique_ptr<Field>, std::less<>> fields;

  Field* Child(std::string_view name) {
    auto& child = fields[std::string(name)];
    if (!child) child = std::make_unique<Field>();
    return child.get();
  }
};

void Insert(const Parameter& row, Field* root) {
  std::string_view name = row.name;
  if (name.find(" (") != std::string_view::npos) return;  // a further kind of a field
  Field* at = root;
  while (true) {
    const size_t dot = name.find('.');
    std::string_view step = name.substr(0, dot);
    const bool items = step.size() > 2 && step.substr(step.size() - 2) == "[]";
    if (items) step.remove_suffix(2);
    at = at->Child(step);
    at->is_array = at->is_array || items;
    if (dot == std::string_view::npos) break;
    name.remove_prefix(dot + 1);
  }
  at->row = &row;
}

void WriteMembers(JsonWriter& json, std::string_view object) {
  const auto document = JsonDocument::Parse(object);
  CHECK(document.ok());  // a table's own text
  document->root().ForEachMember(
      [&json](std::string_view key, JsonValue value) { json.RawField(key, value.ToJson()); });
}

void WriteFields(JsonWriter& json, const Field& field);

// A field's own schema, what happens to it, and the fields below.
void WriteField(JsonWriter& json, const Field& field) {
  json.BeginObject();
  if (field.row != nullptr) {
    if (!field.row->note.empty()) json.Field("description", field.row->note);
    json.Field("x-treatment", TreatmentName(field.row->treatment));
  }
  const bool below = !field.fields.empty();
  if (!below && field.row != nullptr) WriteMembers(json, field.row->schema);
  if (below) {
    // The row's schema may say array or string as well: those of the fields below hold only where
    // there is an object.
    if (field.row != nullptr) WriteMembers(json, field.row->schema);
    if (field.is_array) {
      json.Key("items");
      json.BeginObject();
    }
    WriteFields(json, field);
    if (field.is_array) json.EndObject();
  }
  json.EndObject();
}

void WriteFields(JsonWriter& json, const Field& field) {
  json.Key("properties");
  json.BeginObject();
  for (const auto& [name, child] : field.fields) {
    json.Key(name);
    WriteField(json, *child);
  }
  json.EndObject();
}

void WriteBodySchema(JsonWriter& json, const Endpoint& endpoint) {
  Field root;
  for (const Parameter& row : endpoint.parameters) Insert(row, &root);
  json.BeginObject();
  json.Field("type", "object");
  WriteFields(json, root);
  json.Key("required");
  json.BeginArray();
  for (const Parameter& row : endpoint.parameters) {
    if (row.required) json.String(row.name);
  }
  json.EndArray();
  if (endpoint.refuses_unknown) json.Field("additionalProperties", false);
  json.EndObject();
}

// "POST /v1/threads/{thread}/runs" → "post_threads_thread_runs".
std::string NameOf(std::string_view method, std::string_view path) {
  std::string name;
  for (const char c : method) name += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  for (const char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-';  // "chat-completion" and "chat_completion" are two paths
    if (plain) {
      name += c;
    } else if (name.back() != '_') {
      name += '_';
    }
  }
  while (name.back() == '_') name.pop_back();
  return name;
}

// "/v1/models/{model...}" → "/v1/models/{model}".
std::string PathOf(std::string_view pattern) {
  std::string path(pattern);
  for (size_t at = 0; (at = path.find("...}", at)) != std::string::npos;) path.erase(at, 3);
  return path;
}

// Of the schema of its body.
std::string SchemaName(const Endpoint& endpoint) {
  return NameOf(endpoint.method,
                PathOf(endpoint.has_no_twin ? endpoint.path : BarePath(endpoint.path)));
}

// "id:string choices:array" → an object that has both.
std::string AnswerSchema(std::string_view fields) {
  if (fields.empty()) return std::string(schema::kAny);
  JsonWriter properties;
  JsonWriter required;
  properties.BeginObject();
  required.BeginArray();
  while (!fields.empty()) {
    const std::string_view field = fields.substr(0, fields.find(' '));
    fields.remove_prefix(std::min(fields.size(), field.size() + 1));
    const size_t colon = field.find(':');
    properties.Key(field.substr(0, colon));
    properties.BeginObject();
    properties.Field("type", field.substr(colon + 1));
    properties.EndObject();
    required.String(field.substr(0, colon));
  }
  properties.EndObject();
  required.EndArray();
  JsonWriter json;
  json.BeginObject();
  json.Field("type", "object");
  json.RawField("properties", properties.Take());
  json.RawField("required", required.Take());
  json.EndObject();
  return json.Take();
}

void WriteParameter(JsonWriter& json, std::string_view name, std::string_view in,
                    std::string_view schema, std::string_view note, bool required) {
  json.BeginObject();
  json.Field("name", name);
  json.Field("in", in);
  if (required) json.Field("required", true);
  if (!note.empty()) json.Field("description", note);
  json.RawField("schema", schema);
  json.EndObject();
}

void WriteParameters(JsonWriter& json, const Endpoint& endpoint, const std::string& path) {
  json.Key("parameters");
  json.BeginArray();
  for (size_t open = path.find('{'); open != std::string::npos; open = path.find('{', open + 1)) {
    const std::string name = path.substr(open + 1, path.find('}', open) - open - 1);
    WriteParameter(json, name, "path", schema::kString, {}, true);
  }
  for (const Parameter& row : endpoint.query) {
    WriteParameter(json, row.name, "query", row.schema, row.note, row.required);
  }
  json.EndArray();
}

void WriteMedia(JsonWriter& json, std::string_view type, std::string_view schema) {
  json.Key(type);
  json.BeginObject();
  json.RawField("schema", schema);
  json.EndObject();
}

void WriteResponses(JsonWriter& json, const Endpoint& endpoint, std::string_view error) {
  json.Key("responses");
  json.BeginObject();
  json.Key("200");
  json.BeginObject();
  json.Field("description", endpoint.summary);
  if (!endpoint.answer.empty()) {
    json.Key("content");
    json.BeginObject();
    const bool is_json = endpoint.answer == "application/json";
    const std::string_view fields = AnswerFieldsOf(endpoint.method, endpoint.path);
    WriteMedia(json, endpoint.answer,
               is_json ? AnswerSchema(fields) : std::string(schema::kString));
    if (!endpoint.stream.empty()) WriteMedia(json, endpoint.stream, schema::kString);
    json.EndObject();
  }
  json.EndObject();
  for (const char* const range : {"4XX", "5XX"}) {
    json.Key(range);
    json.BeginObject();
    json.Field("$ref", "#/components/responses/" + std::string(error));
    json.EndObject();
  }
  json.EndObject();
}

// Which form a family's errors have: its function is its identity.
class ErrorForms final {
 public:
  std::string NameOf(ErrorBody body) {
    for (size_t i = 0; i < bodies_.size(); ++i) {
      if (bodies_[i] == body) return "error_" + std::to_string(i);
    }
    bodies_.push_back(body);
    return "error_" + std::to_string(bodies_.size() - 1);
  }

  void Write(JsonWriter& json) const {
    ErrorInfo example{400, "model: required", "invalid_value", "model", 0, "req_0"};
    for (size_t i = 0; i < bodies_.size(); ++i) {
      json.Key("error_" + std::to_string(i));
      json.BeginObject();
      json.Field("description", "What went wrong, in the form of this family of paths");
      json.Key("content");
      json.BeginObject();
      json.Key("application/json");
      json.BeginObject();
      json.RawField("schema", schema::kObject);
      json.RawField("example", bodies_[i](example));
      json.EndObject();
      json.EndObject();
      json.EndObject();
    }
  }

 private:
  std::vector<ErrorBody> bodies_;
};

struct Operation {
  const Route* route;
  const Endpoint* endpoint;
  std::string_view dialect;
};

void WriteOperation(JsonWriter& json, const Operation& operation, std::string_view error) {
  const Endpoint& endpoint = *operation.endpoint;
  const Route& route = *operation.route;
  const std::string path = PathOf(route.pattern);
  json.BeginObject();
  json.Field("operationId", NameOf(route.method, path));
  json.Field("summary", endpoint.summary);
  json.Key("tags");
  json.BeginArray();
  json.String(operation.dialect);
  json.EndArray();
  WriteParameters(json, endpoint, path);
  if (!endpoint.body.empty()) {
    json.Key("requestBody");
    json.BeginObject();
    json.Key("content");
    json.BeginObject();
    json.Key("application/json");
    json.BeginObject();
    json.Key("schema");
    json.BeginObject();
    json.Field("$ref", "#/components/schemas/" + SchemaName(endpoint));
    json.EndObject();
    json.RawField("example", endpoint.body);
    json.EndObject();
    json.EndObject();
    json.EndObject();
  }
  WriteResponses(json, endpoint, error);
  if (route.options.open) json.RawField("security", "[]");
  json.EndObject();
}

void WritePaths(JsonWriter& json, const Router& router, const std::vector<Operation>& operations,
                ErrorForms* forms) {
  std::map<std::string, std::vector<const Operation*>> by_path;
  for (const Operation& operation : operations) {
    by_path[PathOf(operation.route->pattern)].push_back(&operation);
  }
  json.Key("paths");
  json.BeginObject();
  for (const auto& [path, all] : by_path) {
    json.Key(path);
    json.BeginObject();
    for (const Operation* operation : all) {
      json.Key(NameOf(operation->route->method, ""));
      WriteOperation(json, *operation,
                     forms->NameOf(router.error_family(operation->route->method, path).body));
    }
    json.EndObject();
  }
  json.EndObject();
}

void WriteComponents(JsonWriter& json, const std::vector<Operation>& operations,
                     const ErrorForms& forms) {
  json.Key("components");
  json.BeginObject();
  json.Key("schemas");
  json.BeginObject();
  std::set<const Endpoint*> written;
  for (const Operation& operation : operations) {
    const Endpoint& endpoint = *operation.endpoint;
    if (endpoint.body.empty() || !written.insert(&endpoint).second) continue;
    json.Key(SchemaName(endpoint));
    WriteBodySchema(json, endpoint);
  }
  json.EndObject();
  json.Key("responses");
  json.BeginObject();
  forms.Write(json);
  json.EndObject();
  json.RawField("securitySchemes",
                R"({"bearer":{"type":"http","scheme":"bearer"},)"
                R"("x_api_key":{"type":"apiKey","in":"header","name":"x-api-key"},)"
                R"("api_key":{"type":"apiKey","in":"header","name":"api-key"}})");
  json.EndObject();
}

}  // namespace

std::string OpenApiJson(const Router& router, std::string_view version) {
  std::vector<Coverage> tables;
  for (const Dialect& dialect : AllDialects()) tables.push_back(dialect.coverage());
  std::vector<Operation> operations;
  const std::vector<const Route*> routes = router.routes();
  for (size_t i = 0; i < tables.size(); ++i) {
    for (const Endpoint& endpoint : tables[i].endpoints) {
      for (const Route* route : routes) {
        if (route->method == endpoint.method && IsAt(endpoint, route->pattern)) {
          operations.push_back({route, &endpoint, AllDialects()[i].name});
        }
      }
    }
  }
  ErrorForms forms;
  JsonWriter json;
  json.BeginObject();
  json.Field("openapi", "3.1.0");
  json.Key("info");
  json.BeginObject();
  json.Field("title", "Conclave");
  json.Field("version", version);
  json.EndObject();
  json.RawField("security", R"([{"bearer":[]},{"x_api_key":[]},{"api_key":[]},{}])");
  WritePaths(json, router, operations, &forms);
  WriteComponents(json, operations, forms);
  json.Key("x-not-served");
  json.BeginArray();
  for (const Coverage& table : tables) {
    for (const Unserved& family : table.unserved) json.String(family.path);
  }
  json.EndArray();
  json.EndObject();
  return json.Take();
}

}  // namespace conclave::gateway
