#include "gateway/dialects/ollama/generate_request.h"

#include <limits>
#include <utility>

namespace conclave::gateway::ollama {
namespace {

using base::JsonValue;

constexpr size_t kContextMax = 1u << 20;

absl::Status ReadContext(JsonValue context, std::vector<int32_t>* out) {
  if (context.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(context.ExpectArray());
  if (context.size() > kContextMax) return context.Error("too many tokens");
  out->reserve(context.size());
  for (size_t i = 0; i < context.size(); ++i) {
    ASSIGN_OR_RETURN(const int64_t id, context.At(i).AsInt(0, std::numeric_limits<int32_t>::max()));
    out->push_back(static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

void AddText(v1::Role role, std::string text, v1::ChatPrompt* chat) {
  v1::ChatMessage* message = chat->add_messages();
  message->set_role(role);
  message->add_content()->set_text(std::move(text));
}

absl::Status RefuseUnserved(JsonValue root, const std::string& model) {
  const auto given = [&root](std::string_view name) {
    return root.Get(name).OptionalString().value_or(std::nullopt).value_or(std::string());
  };
  if (root.Get("images").size() > 0) {
    return base::InvalidArgument("\"" + model + "\" does not support images");
  }
  // A template from a request is a program from a stranger.
  if (!given("template").empty()) {
    return base::InvalidArgument("template: templates of requests are not accepted");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GenerateRequest> DecodeGenerateRequest(std::string_view body) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  GenerateRequest request;
  ASSIGN_OR_RETURN(request.common, ReadCommon(root, &request.generate));
  RETURN_IF_ERROR(RefuseUnserved(root, request.common.model));
  ASSIGN_OR_RETURN(std::optional<std::string> prompt, root.Get("prompt").OptionalString());
  ASSIGN_OR_RETURN(std::optional<std::string> system, root.Get("system").OptionalString());
  ASSIGN_OR_RETURN(const std::optional<bool> raw, root.Get("raw").OptionalBool());
  RETURN_IF_ERROR(ReadContext(root.Get("context"), &request.context));
  request.raw = raw.value_or(false);
  const bool has_system = system && !system->empty();
  if (request.raw && (has_system || !request.context.empty())) {
    return base::InvalidArgument("raw mode does not support template, system, or context");
  }
  ASSIGN_OR_RETURN(std::optional<std::string> suffix, root.Get("suffix").OptionalString());
  request.fills_gap = !suffix.value_or("").empty();
  request.load_only = prompt.value_or("").empty() && !request.fills_gap;
  if (request.load_only) return request;
  if (request.fills_gap) {
    if (!request.context.empty()) return base::InvalidArgument("suffix does not support context");
    request.generate.set_text(std::move(prompt).value_or(std::string()));
    request.generate.set_suffix(*std::move(suffix));
    request.generate.mutable_infill();
    return request;
  }
  if (request.raw) {
    request.generate.set_text(*std::move(prompt));
    return request;
  }
  v1::ChatPrompt* chat = request.generate.mutable_chat();
  if (has_system) AddText(v1::ROLE_SYSTEM, *std::move(system), chat);
  AddText(v1::ROLE_USER, *std::move(prompt), chat);
  RETURN_IF_ERROR(ReadThink(root.Get("think"), chat));
  return request;
}

}  // namespace conclave::gateway::ollama
