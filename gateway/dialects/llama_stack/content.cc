#include "gateway/dialects/llama_stack/content.h"

#include <utility>

namespace conclave::gateway::llama_stack {
namespace {

using base::JsonValue;

absl::StatusOr<std::string> ReadItem(JsonValue item) {
  if (item.is_string()) return item.AsString();
  if (!item.is_object()) {
    return item.Error(item.present() ? "expected string, object or array" : "required");
  }
  // The media objects of 2024 had no type.
  if (item.Get("image").present() && !item.Get("type").present()) {
    return item.Get("image").Error("images are not supported by this server");
  }
  // A part of text may leave its type out.
  if (item.Get("type").missing() && item.Get("text").present()) return item.Get("text").AsString();
  ASSIGN_OR_RETURN(const std::string type, item.Get("type").AsString());
  if (type != "text") {
    return item.Get("type").Error("\"" + type + "\" items are not supported by this server");
  }
  return item.Get("text").AsString();
}

}  // namespace

absl::StatusOr<std::string> ReadContent(JsonValue content) {
  if (!content.is_array()) return ReadItem(content);
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    ASSIGN_OR_RETURN(const std::string piece, ReadItem(content.At(i)));
    text += piece;
  }
  return text;
}

}  // namespace conclave::gateway::llama_stack
