// One reranking, from a decoded request to its scores, for every dialect.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "gateway/dialects/generation.h"

namespace conclave::gateway {

inline constexpr size_t kRankedMax = 1'024;  // documents of a request

// Admission and the call: a score for each document. The model is one that is known to rerank.
Task<absl::StatusOr<v1::RerankReply>> RankDocuments(const Services& services, Exchange& exchange,
                                                    v1::RerankRequest request);

// Places of the documents, the best first; equal scores keep their order.
//   top_n: so many of them; 0 = all.
std::vector<int> Ranking(const v1::RerankReply& reply, int64_t top_n);

}  // namespace conclave::gateway
