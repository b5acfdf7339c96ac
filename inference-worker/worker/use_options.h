// How long a call may wait for its model, and how long the model stays afterwards.
#pragma once

#include <grpcpp/grpcpp.h>

#include <optional>

#include "conclave/v1/common.pb.h"
#include "worker/model_host.h"

namespace conclave::worker {

// Never past the call's own deadline; without one an hour at most.
UseOptions UseOptionsOf(const conclave::v1::RequestMeta& meta,
                        const grpc::CallbackServerContext& context);
UseOptions UseOptionsFor(std::optional<int64_t> load_wait_ms, std::optional<int64_t> keep_alive_ms,
                         const grpc::CallbackServerContext& context);

}  // namespace conclave::worker
