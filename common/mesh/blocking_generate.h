// Generate for code that runs on a thread of its own and may wait: the store's executors, tools.
//
//   BlockingGenerate stream(client, request, {.deadline = …});
//   for (;;) {
//     ASSIGN_OR_RETURN(std::optional<pb::GenerateEvent> event, stream.Next(1s));
//     if (!event) break;                       // the end: stream.status()
//     …
//   }
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "base/status.h"
#include "conclave/v1/inference.pb.h"
#include "mesh/inference_client.h"

namespace conclave::mesh {

// Next from one thread; Cancel from any.
class BlockingGenerate final {
 public:
  BlockingGenerate(InferenceClient& client, conclave::v1::GenerateRequest request,
                   const CallOptions& options);
  ~BlockingGenerate();  // cancels; does not wait

  // The next event; nothing = the stream has ended, see status(). DEADLINE_EXCEEDED: nothing came
  // within `timeout`; the stream goes on and Next may be called again.
  absl::StatusOr<std::optional<conclave::v1::GenerateEvent>> Next(
      std::chrono::milliseconds timeout);
  void Cancel();
  // After the end.
  absl::Status status() const;

 private:
  class State;
  std::shared_ptr<State> state_;
  std::shared_ptr<GenerateCall> call_;
};

}  // namespace conclave::mesh
