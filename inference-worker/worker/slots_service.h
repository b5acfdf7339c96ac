// conclave.v1.Slots over model_host.h.
#pragma once

#include "conclave/v1/slots.grpc.pb.h"
#include "worker/model_host.h"

namespace conclave::worker {

// Thread-safe. Destroy it after the server has stopped.
class SlotsService final : public conclave::v1::Slots::CallbackService {
 public:
  explicit SlotsService(const ModelHost* host) : host_(host) {}

  grpc::ServerUnaryReactor* CountSlots(grpc::CallbackServerContext* context,
                                       const conclave::v1::CountSlotsRequest* request,
                                       conclave::v1::CountSlotsReply* reply) override;

 private:
  const ModelHost* const host_;
};

}  // namespace conclave::worker
