#include "store/validate.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/strings.h"

namespace conclave::store {
namespace {

namespace pb = conclave::v1;
using Tools = google::protobuf::RepeatedPtrField<pb::AssistantTool>;

constexpr int kMetadataPairsMax = 16;
constexpr int kMetadataKeyMax = 64;
constexpr int kMetadataValueMax = 512;
constexpr int kNameMax = 256;
constexpr int kDescriptionMax = 512;
constexpr int kInstructionsMax = 256'000;
constexpr int kAssistantToolsMax = 128;
constexpr int kFunctionNameMax = 64;
constexpr int kFunctionDescriptionMax = 4096;
constexpr int kFunctionSchemaBytesMax = 256 << 10;
constexpr int kStoredJsonBytesMax = 1 << 20;
constexpr int kMessageTextMax = 1'000'000;
constexpr int kContentPartsMax = 100;
constexpr int kAttachmentsMax = 10;
constexpr int kFileIdsMax = 20;
constexpr int kVectorStoresMax = 1;

int64_t CodePoints(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

absl::Status TooLongArray(std::string_view field, int count, int max) {
  return InvalidField(field, "array_above_max_length",
                      absl::StrCat("array too long. Expected an array with maximum length ", max,
                                   ", but got an array with length ", count, " instead."));
}

// JSON that will be stored as it is: bounded in size and depth, no U+0000 in strings.
absl::StatusOr<base::JsonDocument> ParseStored(std::string_view field, std::string_view json,
                                               size_t bytes_max = kStoredJsonBytesMax) {
  if (json.size() > bytes_max) {
    return InvalidField(field, "string_above_max_length",
                        absl::StrCat("expected at most ", bytes_max, " bytes of JSON, but got ",
                                     json.size(), " instead."));
  }
  base::JsonLimits limits;
  limits.allow_nul_in_strings = false;
  absl::StatusOr<base::JsonDocument> document = base::JsonDocument::Parse(json, limits);
  if (document.ok()) return document;
  return InvalidField(field, "invalid_json", base::Std(document.status().message()));
}

absl::Status CheckFunction(const std::string& field, const pb::FunctionTool& function) {
  if (function.name().empty()) return MissingField(absl::StrCat(field, ".name"));
  RETURN_IF_ERROR(CheckText(absl::StrCat(field, ".name"), function.name(), kFunctionNameMax));
  const bool plain = std::all_of(function.name().begin(), function.name().end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
  if (!plain) {
    return InvalidField(absl::StrCat(field, ".name"), "invalid_value",
                        "string does not match pattern. Expected a string that matches the "
                        "pattern '^[a-zA-Z0-9_-]+$'.");
  }
  RETURN_IF_ERROR(CheckText(absl::StrCat(field, ".description"), function.description(),
                            kFunctionDescriptionMax));
  if (function.parameters_json().empty()) return absl::OkStatus();
  const std::string parameters = absl::StrCat(field, ".parameters");
  ASSIGN_OR_RETURN(const base::JsonDocument document,
                   ParseStored(parameters, function.parameters_json(), kFunctionSchemaBytesMax));
  if (!document.root().is_object()) {
    return InvalidField(parameters, "invalid_type", "expected an object.");
  }
  return absl::OkStatus();
}

absl::Status CheckFileSearch(const std::string& field, const pb::FileSearchTool& tool) {
  if (tool.has_max_num_results()) {
    RETURN_IF_ERROR(
        CheckRange(absl::StrCat(field, ".max_num_results"), tool.max_num_results(), 1, 50));
  }
  if (tool.ranking_options_json().empty()) return absl::OkStatus();
  return ParseStored(absl::StrCat(field, ".ranking_options"), tool.ranking_options_json()).status();
}

absl::Status CheckListMax(std::string_view field, base::JsonValue list, int max) {
  if (list.missing()) return absl::OkStatus();
  if (!list.is_array()) return InvalidField(field, "invalid_type", "expected an array.");
  if (static_cast<int>(list.size()) > max) {
    return TooLongArray(field, static_cast<int>(list.size()), max);
  }
  return absl::OkStatus();
}

bool HasTool(const Tools& tools, const std::string& type, const std::string& function) {
  return std::any_of(tools.begin(), tools.end(), [&](const pb::AssistantTool& tool) {
    if (type == "code_interpreter") return tool.has_code_interpreter();
    if (type == "file_search") return tool.has_file_search();
    return tool.has_function() && tool.function().name() == function;
  });
}

}  // namespace

absl::Status InvalidField(std::string_view field, std::string_view reason, std::string_view what) {
  return base::WithReason(
      base::WithParam(base::InvalidArgument(
                          absl::StrCat("Invalid '", base::Abs(field), "': ", base::Abs(what))),
                      field),
      reason);
}

absl::Status MissingField(std::string_view field) {
  return base::WithReason(
      base::WithParam(base::InvalidArgument(
                          absl::StrCat("Missing required parameter: '", base::Abs(field), "'.")),
                      field),
      "missing_required_parameter");
}

absl::Status CheckText(std::string_view field, std::string_view text, int64_t length_max) {
  if (text.find('\0') != std::string_view::npos) {
    return InvalidField(field, "invalid_value", "the character U+0000 cannot be stored.");
  }
  const int64_t length = CodePoints(text);
  if (length <= length_max) return absl::OkStatus();
  return InvalidField(
      field, "string_above_max_length",
      absl::StrCat("string too long. Expected a string with maximum length ", length_max,
                   ", but got a string with length ", length, " instead."));
}

absl::Status CheckMetadata(const StringMap& metadata) {
  if (metadata.size() > kMetadataPairsMax) {
    return InvalidField("metadata", "object_above_max_properties",
                        absl::StrCat("too many properties. Expected an object with at most ",
                                     kMetadataPairsMax, " properties, but got an object with ",
                                     metadata.size(), " properties instead."));
  }
  for (const auto& [key, value] : metadata) {
    RETURN_IF_ERROR(CheckText("metadata", key, kMetadataKeyMax));
    RETURN_IF_ERROR(CheckText(absl::StrCat("metadata.", key), value, kMetadataValueMax));
  }
  return absl::OkStatus();
}

absl::Status CheckRange(std::string_view field, double value, double min, double max) {
  if (value >= min && value <= max) return absl::OkStatus();  // false for NaN
  const bool below = value < min;
  return InvalidField(field, below ? "decimal_below_min_value" : "decimal_above_max_value",
                      absl::StrCat("expected a value between ", min, " and ", max, ", but got ",
                                   value, " instead."));
}

absl::Status CheckTools(const Tools& tools, int count_max) {
  if (tools.size() > count_max) return TooLongArray("tools", tools.size(), count_max);
  for (int i = 0; i < tools.size(); ++i) {
    const std::string field = absl::StrCat("tools[", i, "]");
    switch (tools[i].tool_case()) {
      case pb::AssistantTool::kFunction:
        RETURN_IF_ERROR(CheckFunction(absl::StrCat(field, ".function"), tools[i].function()));
        break;
      case pb::AssistantTool::kFileSearch:
        RETURN_IF_ERROR(
            CheckFileSearch(absl::StrCat(field, ".file_search"), tools[i].file_search()));
        break;
      case pb::AssistantTool::kCodeInterpreter:
        break;
      case pb::AssistantTool::TOOL_NOT_SET:
        return MissingField(absl::StrCat(field, ".type"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckToolResources(std::string_view json) {
  if (json.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const base::JsonDocument document, ParseStored("tool_resources", json));
  const base::JsonValue root = document.root();
  if (!root.is_object())
    return InvalidField("tool_resources", "invalid_type", "expected an object.");
  RETURN_IF_ERROR(CheckListMax("tool_resources.code_interpreter.file_ids",
                               root.Get("code_interpreter").Get("file_ids"), kFileIdsMax));
  const base::JsonValue search = root.Get("file_search");
  RETURN_IF_ERROR(CheckListMax("tool_resources.file_search.vector_store_ids",
                               search.Get("vector_store_ids"), kVectorStoresMax));
  RETURN_IF_ERROR(CheckListMax("tool_resources.file_search.vector_stores",
                               search.Get("vector_stores"), kVectorStoresMax));
  if (!search.Get("vector_store_ids").missing() && !search.Get("vector_stores").missing()) {
    return InvalidField("tool_resources.file_search", "invalid_value",
                        "give either vector_store_ids or vector_stores, not both.");
  }
  return absl::OkStatus();
}

absl::Status CheckResponseFormat(std::string_view json) {
  if (json.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const base::JsonDocument document, ParseStored("response_format", json));
  const base::JsonValue root = document.root();
  std::string type;
  if (root.is_string()) {
    ASSIGN_OR_RETURN(type, root.AsString());
    if (type == "auto") return absl::OkStatus();
  } else if (root.is_object() && root.Get("type").is_string()) {
    ASSIGN_OR_RETURN(type, root.Get("type").AsString());
    if (type == "text" || type == "json_object") return absl::OkStatus();
    if (type == "json_schema" && root.Get("json_schema").is_object()) return absl::OkStatus();
  }
  return InvalidField("response_format", "invalid_value",
                      "expected 'auto' or an object of type 'text', 'json_object' or "
                      "'json_schema'.");
}

absl::Status CheckToolChoice(std::string_view json, const Tools& tools) {
  if (json.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const base::JsonDocument document, ParseStored("tool_choice", json));
  const base::JsonValue root = document.root();
  if (root.is_string()) {
    ASSIGN_OR_RETURN(const std::string mode, root.AsString());
    if (mode == "none" || mode == "auto") return absl::OkStatus();
    if (mode == "required") {
      if (!tools.empty()) return absl::OkStatus();
      return InvalidField("tool_choice", "invalid_value",
                          "'required' is only possible when 'tools' are given.");
    }
  } else if (root.is_object() && root.Get("type").is_string()) {
    ASSIGN_OR_RETURN(const std::string type, root.Get("type").AsString());
    std::string function;
    if (root.Get("function").Get("name").is_string()) {
      ASSIGN_OR_RETURN(function, root.Get("function").Get("name").AsString());
    }
    if (type != "function" && type != "code_interpreter" && type != "file_search") {
      return InvalidField("tool_choice.type", "invalid_value", "unknown type of tool.");
    }
    if (HasTool(tools, type, function)) return absl::OkStatus();
    return InvalidField("tool_choice", "invalid_value", "the tool is not among 'tools'.");
  }
  return InvalidField("tool_choice", "invalid_value",
                      "expected 'none', 'auto', 'required' or an object that names a tool.");
}

absl::Status CheckReasoningEffort(std::string_view effort) {
  constexpr std::array<std::string_view, 7> kEfforts = {"none", "minimal", "low", "medium",
                                                        "high", "xhigh",   "max"};
  if (std::find(kEfforts.begin(), kEfforts.end(), effort) != kEfforts.end()) {
    return absl::OkStatus();
  }
  return InvalidField("reasoning_effort", "invalid_value",
                      "expected 'none', 'minimal', 'low', 'medium', 'high', 'xhigh' or 'max'.");
}

absl::Status CheckAssistant(const pb::Assistant& assistant) {
  if (assistant.model().empty()) return MissingField("model");
  RETURN_IF_ERROR(CheckText("model", assistant.model(), kNameMax));
  RETURN_IF_ERROR(CheckText("name", assistant.name(), kNameMax));
  RETURN_IF_ERROR(CheckText("description", assistant.description(), kDescriptionMax));
  RETURN_IF_ERROR(CheckText("instructions", assistant.instructions(), kInstructionsMax));
  RETURN_IF_ERROR(CheckTools(assistant.tools(), kAssistantToolsMax));
  RETURN_IF_ERROR(CheckToolResources(assistant.tool_resources_json()));
  RETURN_IF_ERROR(CheckMetadata(assistant.metadata()));
  if (assistant.has_temperature()) {
    RETURN_IF_ERROR(CheckRange("temperature", assistant.temperature(), 0, 2));
  }
  if (assistant.has_top_p()) RETURN_IF_ERROR(CheckRange("top_p", assistant.top_p(), 0, 1));
  RETURN_IF_ERROR(CheckResponseFormat(assistant.response_format_json()));
  if (!assistant.has_reasoning_effort()) return absl::OkStatus();
  return CheckReasoningEffort(assistant.reasoning_effort());
}

absl::Status CheckMessage(std::string_view field, const pb::Message& message) {
  const auto name = [&](std::string_view part) {
    return absl::StrCat(base::Abs(field), base::Abs(part));
  };
  if (message.role() == pb::Message::ROLE_UNSPECIFIED) return MissingField(name("role"));
  if (message.content().empty()) return MissingField(name("content"));
  if (message.content_size() > kContentPartsMax) {
    return TooLongArray(name("content"), message.content_size(), kContentPartsMax);
  }
  bool empty = true;
  for (int i = 0; i < message.content_size(); ++i) {
    const pb::MessageContent& part = message.content(i);
    const std::string part_name = absl::StrCat(name("content["), i, "]");
    if (part.content_case() != pb::MessageContent::kText) {
      return InvalidField(part_name, "invalid_value", "only text is supported.");
    }
    RETURN_IF_ERROR(CheckText(part_name, part.text().value(), kMessageTextMax));
    empty = empty && part.text().value().empty();
  }
  if (empty) {
    return InvalidField(name("content"), "invalid_value", "message content must be non-empty.");
  }
  if (!message.attachments_json().empty()) {
    ASSIGN_OR_RETURN(const base::JsonDocument document,
                     ParseStored(name("attachments"), message.attachments_json()));
    RETURN_IF_ERROR(CheckListMax(name("attachments"), document.root(), kAttachmentsMax));
  }
  return CheckMetadata(message.metadata());
}

}  // namespace conclave::store
