#include "store/rows.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/strings.h"
#include "google/protobuf/util/json_util.h"

namespace conclave::store {

namespace json = google::protobuf::util;

std::string TenantOf(const conclave::v1::RequestMeta& meta) {
  return meta.tenant().empty() ? "default" : meta.tenant();
}

std::string ToJsonRow(const google::protobuf::Message& message) {
  json::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  // It fails only for Any and other special types, which our messages do not have.
  (void)json::MessageToJsonString(message, &text, options);
  return text;
}

absl::Status FromJsonRow(std::string_view text, google::protobuf::Message* message) {
  json::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  const auto status = json::JsonStringToMessage({text.data(), text.size()}, message, options);
  if (status.ok()) return absl::OkStatus();
  return base::Internal(absl::StrCat("a row does not hold a ", std::string(message->GetTypeName()),
                                     ": ", status.ToString()));
}

std::string MapToJson(const StringMap& map) {
  const std::map<std::string, std::string> sorted(map.begin(), map.end());
  base::JsonWriter writer;
  writer.BeginObject();
  for (const auto& [key, value] : sorted) writer.Field(key, value);
  writer.EndObject();
  return writer.Take();
}

absl::Status MapFromJson(std::string_view text, StringMap* map) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(text));
  map->clear();
  absl::Status status;
  document.root().ForEachMember([&](std::string_view key, base::JsonValue value) {
    absl::StatusOr<std::string> string = value.AsString();
    if (!string.ok()) {
      status.Update(string.status());
      return;
    }
    (*map)[std::string(key)] = *std::move(string);
  });
  return status;
}

}  // namespace conclave::store
