#include "worker/slots_service.h"

#include <algorithm>

#include "mesh/grpc_status.h"

namespace conclave::worker {
namespace {

namespace pb = conclave::v1;

constexpr std::string_view kOwnEngine = "native";

// What is not in memory yet will have as many as every model of our engine.
int32_t SlotsToCome(const ModelHost& host, const HostedModel& model) {
  return model.backend_kind == kOwnEngine ? host.options().engine.max_sequences : 0;
}

}  // namespace

grpc::ServerUnaryReactor* SlotsService::CountSlots(grpc::CallbackServerContext* context,
                                                   const pb::CountSlotsRequest* request,
                                                   pb::CountSlotsReply* reply) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto model = host_->Find(request->model());
  if (model.ok()) {
    const auto backend = (*model)->backend();
    const backends::Load load = backend == nullptr ? backends::Load() : backend->load();
    reply->set_total(backend == nullptr ? SlotsToCome(*host_, **model) : load.slots);
    reply->set_busy(std::min(load.running, reply->total()));
  }
  reactor->Finish(mesh::ToGrpc(model.status(), context));
  return reactor;
}

}  // namespace conclave::worker
