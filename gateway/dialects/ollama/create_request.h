// POST /api/create, /api/copy and /api/pull: the requests.
#pragma once

#include <string>
#include <string_view>

#include "conclave/v1/registrations.pb.h"
#include "gateway/upstream/services.h"

namespace conclave::gateway::ollama {

struct CreateRequest {
  v1::RegisterModelRequest registration;
  std::string digest;  // of the blob it is made of; empty = from another model
  bool stream = true;
};

// NOT_FOUND: no such model to make it from. UNIMPLEMENTED: quantize, adapters, several files.
absl::StatusOr<CreateRequest> DecodeCreateRequest(const ModelDirectory& models,
                                                  std::string_view body);

// A copy is a model of its own, made from the other with nothing changed.
absl::StatusOr<v1::RegisterModelRequest> DecodeCopyRequest(const ModelDirectory& models,
                                                           std::string_view body);

struct PullRequest {
  std::string name;
  bool stream = true;
};
absl::StatusOr<PullRequest> DecodePullRequest(std::string_view body);

// The model a body names: "model", or "name", the older spelling.
absl::StatusOr<std::string> DecodeName(std::string_view body);

// "sha256:<64 hex digits>"; "sha256-…" is taken for the same. INVALID_ARGUMENT.
absl::StatusOr<std::string> NormalDigest(std::string_view text);

}  // namespace conclave::gateway::ollama
