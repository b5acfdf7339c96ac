// The requests of inference: chat completion and completion, one or a batch, embeddings,
// reranking.
#pragma once

#include <string_view>
#include <vector>

#include "conclave/v1/embedding.pb.h"
#include "gateway/dialects/llama_stack/wire.h"

namespace conclave::gateway::llama_stack {

struct InferenceRequest {
  v1::GenerateRequest generate;
  bool stream = false;
};

// INVALID_ARGUMENT and UNIMPLEMENTED name the field. A conversation that brings no system message
// gets `default_system_prompt` unless that is empty.
absl::StatusOr<InferenceRequest> DecodeChat(const Wire& wire, std::string_view body,
                                            std::string_view default_system_prompt);
absl::StatusOr<InferenceRequest> DecodeCompletion(const Wire& wire, std::string_view body);

// At least one request, all of one model.
absl::StatusOr<std::vector<v1::GenerateRequest>> DecodeChatBatch(
    const Wire& wire, std::string_view body, std::string_view default_system_prompt);
absl::StatusOr<std::vector<v1::GenerateRequest>> DecodeCompletionBatch(const Wire& wire,
                                                                       std::string_view body);

absl::StatusOr<v1::EmbedRequest> DecodeEmbeddings(const Wire& wire, std::string_view body);

struct RankingRequest {
  v1::RerankRequest rerank;
  int64_t results_max = 0;  // 0 = all
};
absl::StatusOr<RankingRequest> DecodeRanking(std::string_view body);

}  // namespace conclave::gateway::llama_stack
