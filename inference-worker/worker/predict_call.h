// One Predict call: finds the model, hands the body over, and answers when the model does. A caller
// that goes away cancels it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/gate.h"
#include "conclave/v1/inference.pb.h"
#include "worker/model_host.h"

namespace conclave::worker {

// Thread-safe. gRPC owns one reference from Start to OnDone, the backend another while the request
// lives there.
class PredictCall final : public grpc::ServerUnaryReactor,
                          public std::enable_shared_from_this<PredictCall> {
 public:
  PredictCall(ModelHost* host, grpc::CallbackServerContext* context,
              const conclave::v1::PredictRequest* request, conclave::v1::PredictReply* reply,
              std::optional<base::Gate::Pass> pass);

  // Keeps itself alive until OnDone.
  void Start() { self_ = shared_from_this(); }
  // Checks the body and hands it over once the model is loaded; not for a gRPC thread.
  void Run();
  void Refuse(const absl::Status& status);

 private:
  absl::Status Submit(absl::StatusOr<ModelLease> got);
  void End(absl::StatusOr<std::string> body);
  void OnCancel() override;
  void OnDone() override;

  ModelHost* const host_;
  grpc::CallbackServerContext* const context_;
  const conclave::v1::PredictRequest* const request_;
  conclave::v1::PredictReply* const reply_;
  const base::SteadyTime arrived_;
  const std::string id_;

  std::mutex mutex_;
  std::shared_ptr<PredictCall> self_;
  std::optional<base::Gate::Pass> pass_;
  std::optional<ModelLease> lease_;
  uint64_t use_ = 0;  // of the host, while waiting for the model
  bool submitted_ = false;
  bool cancelled_ = false;
};

}  // namespace conclave::worker
