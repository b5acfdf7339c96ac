// Where the callbacks of this process' calls run: one completion queue with one thread, in place of
// gRPC's own callback threads. Those are at least two for a queue, and they wake each other in turn
// for every message (docs/decisions/0013).
#pragma once

#include <memory>

namespace grpc {
class ChannelInterface;
}

namespace conclave::mesh {

// The same channel, except that callbacks of its calls come on the one thread of the process that
// is there for them. It begins with the first channel and is never stopped: a call's context may
// hold its channel until after everything else, and a thread cannot await its own end. Callbacks
// must not block. Blocking calls go as before.
std::shared_ptr<grpc::ChannelInterface> WithClientQueue(
    std::shared_ptr<grpc::ChannelInterface> channel);

}  // namespace conclave::mesh
