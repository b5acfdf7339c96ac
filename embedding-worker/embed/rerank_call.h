// One Rerank call: pairs of the query with each document go to the batcher together.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "base/gate.h"
#include "conclave/v1/embedding.grpc.pb.h"
#include "embed/call.h"
#include "embed/model_slot.h"

namespace conclave::embed {

// gRPC holds one reference to OnDone, the batcher another until it has answered.
class RerankCall final : public grpc::ServerUnaryReactor,
                         public std::enable_shared_from_this<RerankCall> {
 public:
  RerankCall(grpc::CallbackServerContext* context, conclave::v1::RerankReply* reply,
             const EmbedMetrics& metrics, std::optional<base::Gate::Pass> pass)
      : context_(context),
        reply_(reply),
        metrics_(metrics),
        pass_(std::move(pass)),
        arrived_(base::Clock::System().Now()) {}

  // Keeps itself alive until OnDone.
  void Hold() { self_ = shared_from_this(); }
  // Tokenises and queues; not for a thread of gRPC's.
  void Prepare(ModelSlot& slot, const conclave::v1::RerankRequest& request);
  void Refuse(const absl::Status& status);

 private:
  absl::Status Submit(ModelSlot& slot, const conclave::v1::RerankRequest& request);
  void OnResult(const absl::StatusOr<BatchResult>& result);
  void OnCancel() override { cancelled_ = true; }
  void OnDone() override;

  grpc::CallbackServerContext* const context_;
  conclave::v1::RerankReply* const reply_;  // filled in by whoever has the call in hand
  const EmbedMetrics metrics_;
  std::optional<base::Gate::Pass> pass_;
  const base::SteadyTime arrived_;
  std::shared_ptr<RerankCall> self_;
  std::atomic<bool> cancelled_{false};
  ModelUse use_;
  bool raw_scores_ = false;
};

}  // namespace conclave::embed
