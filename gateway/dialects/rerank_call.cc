#include "gateway/dialects/rerank_call.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace conclave::gateway {

Task<absl::StatusOr<v1::RerankReply>> RankDocuments(const Services& services, Exchange& exchange,
                                                    v1::RerankRequest request) {
  if (services.embedding == nullptr) co_return base::Unimplemented("model: no embedding worker");
  exchange.record.model = request.model();
  absl::StatusOr<Admission::Permit> permit =
      co_await services.admission->Enter(request.model(), exchange.out);
  if (!permit.ok()) co_return permit.status();
  *request.mutable_meta() = MetaOf(exchange.request);
  const int documents = request.documents_size();
  Call<v1::RerankReply> call = services.embedding->Rerank(
      std::move(request), std::chrono::steady_clock::now() + services.times.embed);
  absl::StatusOr<v1::RerankReply> reply = co_await AwaitReply(std::move(call), exchange.out);
  if (!reply.ok()) co_return reply.status();
  if (reply->scores_size() != documents) {
    co_return base::Internal("the embedding worker did not answer with one score per document");
  }
  exchange.record.prompt_tokens = reply->usage().prompt_tokens();
  services.metrics->ForModel(exchange.record.model)
      ->prompt_tokens.Add(reply->usage().prompt_tokens());
  co_return reply;
}

std::vector<int> Ranking(const v1::RerankReply& reply, int64_t top_n) {
  std::vector<int> order(static_cast<size_t>(reply.scores_size()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&reply](int a, int b) {
    return reply.scores(a).score() > reply.scores(b).score();
  });
  if (top_n > 0 && static_cast<size_t>(top_n) < order.size()) {
    order.resize(static_cast<size_t>(top_n));
  }
  return order;
}

}  // namespace conclave::gateway
