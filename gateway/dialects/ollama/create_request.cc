#include "gateway/dialects/ollama/create_request.h"

#include <algorithm>
#include <utility>

#include "base/json.h"
#include "gateway/dialects/ollama/names.h"
#include "gateway/dialects/registry.h"

namespace conclave::gateway::ollama {
namespace {

using base::JsonValue;

absl::StatusOr<std::string> ReadName(JsonValue root) {
  JsonValue name = root.Get("model");
  if (name.missing()) name = root.Get("name");
  const absl::StatusOr<std::string> text = name.AsString();
  if (!text.ok() || text->empty()) return base::InvalidArgument("model is required");
  return *text;
}

// The name a new model gets: that of the model it replaces, whatever its case, or the one given
// without a tag that says nothing.
std::string NewName(const ModelDirectory& models, const std::string& name) {
  const absl::StatusOr<std::string> there = ResolveModel(models, name);
  return there.ok() ? *there : Untagged(name);
}

absl::Status RefuseUnserved(JsonValue root) {
  ASSIGN_OR_RETURN(const std::optional<std::string> quantize,
                   root.Get("quantize").OptionalString());
  if (!quantize.value_or("").empty()) {
    return base::Unimplemented("quantize: not done here; conclave-quantize does it beforehand");
  }
  if (root.Get("adapters").size() > 0) return base::Unimplemented("adapters: not served");
  if (root.Get("draft_files").size() > 0) return base::Unimplemented("draft_files: not served");
  return absl::OkStatus();
}

// Of what will be stored: PostgreSQL keeps no NUL.
absl::StatusOr<base::JsonDocument> ParseStored(std::string_view body) {
  base::JsonLimits limits;
  limits.allow_nul_in_strings = false;
  return base::JsonDocument::Parse(body, limits);
}

// The digest of the one GGUF file, or empty when no files are given.
absl::StatusOr<std::string> ReadFiles(JsonValue files) {
  if (files.missing()) return std::string();
  RETURN_IF_ERROR(files.ExpectObject());
  if (files.size() == 0) return std::string();
  if (files.size() > 1) {
    return base::Unimplemented("files: a model is made of one GGUF file here");
  }
  absl::StatusOr<std::string> digest = std::string();
  files.ForEachMember([&](std::string_view, JsonValue value) {
    digest = value.AsString();
    if (digest.ok()) digest = NormalDigest(*digest);
  });
  return digest;
}

}  // namespace

absl::StatusOr<std::string> NormalDigest(std::string_view text) {
  constexpr std::string_view kPrefix = "sha256";
  const bool shaped = text.size() == kPrefix.size() + 1 + 64 &&
                      text.substr(0, kPrefix.size()) == kPrefix &&
                      (text[kPrefix.size()] == ':' || text[kPrefix.size()] == '-');
  const std::string_view hex = shaped ? text.substr(kPrefix.size() + 1) : std::string_view();
  const bool good = shaped && std::all_of(hex.begin(), hex.end(), [](char c) {
                      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                    });
  if (!good) return base::InvalidArgument("invalid digest: expected sha256:<64 hex digits>");
  return "sha256:" + std::string(hex);
}

absl::StatusOr<std::string> DecodeName(std::string_view body) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(body));
  return ReadName(document.root());
}

absl::StatusOr<PullRequest> DecodePullRequest(std::string_view body) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, ParseStored(body));
  PullRequest request;
  ASSIGN_OR_RETURN(request.name, ReadName(document.root()));
  ASSIGN_OR_RETURN(const std::optional<bool> stream, document.root().Get("stream").OptionalBool());
  request.stream = stream.value_or(true);
  return request;
}

absl::StatusOr<CreateRequest> DecodeCreateRequest(const ModelDirectory& models,
                                                  std::string_view body) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, ParseStored(body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  CreateRequest request;
  ASSIGN_OR_RETURN(const std::string name, ReadName(root));
  RETURN_IF_ERROR(RefuseUnserved(root));
  ASSIGN_OR_RETURN(const std::optional<bool> stream, root.Get("stream").OptionalBool());
  request.stream = stream.value_or(true);
  ASSIGN_OR_RETURN(const std::optional<std::string> from, root.Get("from").OptionalString());
  ASSIGN_OR_RETURN(request.digest, ReadFiles(root.Get("files")));
  const bool has_from = !from.value_or("").empty();
  if (has_from == !request.digest.empty()) {
    return base::InvalidArgument(has_from ? "cannot specify both 'from' and 'files'"
                                          : "neither 'from' or 'files' was specified");
  }
  v1::ModelRegistration* registration = request.registration.mutable_registration();
  registration->set_name(NewName(models, name));
  request.registration.set_replace(true);
  v1::DerivedModel said;
  RETURN_IF_ERROR(ReadDerived(root, &said));
  if (has_from) {
    ASSIGN_OR_RETURN(std::string base_name, ResolveModel(models, *from));
    said.set_base(std::move(base_name));
    *registration->mutable_derived() = std::move(said);
    return request;
  }
  registration->set_path("sha256-" + request.digest.substr(request.digest.find(':') + 1));
  if (said.ByteSizeLong() > 0) *registration->mutable_derived() = std::move(said);
  return request;
}

absl::StatusOr<v1::RegisterModelRequest> DecodeCopyRequest(const ModelDirectory& models,
                                                           std::string_view body) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, ParseStored(body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  ASSIGN_OR_RETURN(const std::string source, root.Get("source").AsString());
  ASSIGN_OR_RETURN(const std::string destination, root.Get("destination").AsString());
  v1::RegisterModelRequest request;
  ASSIGN_OR_RETURN(std::string base_name, ResolveModel(models, source));
  request.mutable_registration()->set_name(NewName(models, destination));
  if (request.registration().name() == base_name) {
    return base::InvalidArgument("destination: \"" + destination + "\" is the model itself");
  }
  request.mutable_registration()->mutable_derived()->set_base(std::move(base_name));
  request.set_replace(true);
  return request;
}

}  // namespace conclave::gateway::ollama
