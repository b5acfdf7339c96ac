// POST /v1/embeddings: request and answer.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "conclave/v1/embedding.pb.h"
#include "gateway/upstream/services.h"

namespace conclave::gateway::openai {

struct EmbeddingsRequest {
  v1::EmbedRequest embed;
  bool base64 = false;
};

absl::StatusOr<EmbeddingsRequest> DecodeEmbeddingsRequest(std::string_view body);

std::string EncodeEmbeddings(const std::string& model, const Embeddings& embeddings, bool base64);

// Standard alphabet, padded.
std::string Base64(std::string_view bytes);

}  // namespace conclave::gateway::openai
