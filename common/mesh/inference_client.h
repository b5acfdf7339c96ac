// Calls to the inference workers. Generate picks the worker, retries, and takes an interrupted
// stream up again on another worker (or on the same one, restarted), so that the caller sees one
// unbroken sequence of events.
//
// Retries. Before the first event has been delivered: up to 2 further tries, on other workers
// first, inside the deadline and a budget of a tenth of all requests; only for UNAVAILABLE, a lost
// worker, or RESOURCE_EXHAUSTED with a retry-after when another worker is there. Afterwards: a lost
// worker (connection gone, 5 s without a message while one is awaited, a new epoch) is replaced up
// to 3 times through ResumeState; a new worker is awaited for up to 30 s. Deltas whose seq was seen
// are dropped; Accepted is delivered once.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "base/metrics.h"
#include "base/status.h"
#include "conclave/v1/inference.pb.h"
#include "mesh/channel.h"
#include "mesh/discovery.h"

namespace conclave::mesh {

// Receives the events of one Generate, one call at a time: on the event loop of the thread that
// called Generate (base/event_loops.h) when it has one, which must run until the client is stopped;
// else on a thread of the client's. Errors of picking may come on another one. Do not block. Calling ReadNext or Cancel from inside is fine.
class GenerateObserver {
 public:
  virtual ~GenerateObserver() = default;
  // Exactly one per ReadNext(), unless the stream ends. Accepted, Progress, Delta or Finished: a
  // Failed becomes the status of OnDone. The event may be moved from.
  virtual void OnEvent(conclave::v1::GenerateEvent& event) = 0;
  // Exactly once, last. OK: every index has finished. It may come without a ReadNext (cancelled,
  // deadline). No OnEvent is running or will come.
  virtual void OnDone(const absl::Status& status) = 0;
};

// A running Generate. Dropping the handle does not cancel; the call lives until OnDone.
class GenerateCall : public CallHandle {
 public:
  // Asks for the next event, also for the first. At most one may be outstanding: call it again only
  // after OnEvent. Not asking is the back-pressure: HTTP/2 windows fill (about 64 KB) and the
  // worker pauses the sequence. Thread-safe; ignored after the end.
  virtual void ReadNext() = 0;
};

struct InferenceClientOptions {
  std::chrono::milliseconds silence_max{5'000};       // no message while awaited: worker lost
  std::chrono::milliseconds worker_wait_max{30'000};  // for a worker to (re)appear, mid-stream
  std::chrono::milliseconds first_wait_max{2'000};    // the same before the first event
  int retries_max = 2;
  int resumes_max = 3;
};

template <typename Reply>
using ReplyCallback = absl::AnyInvocable<void(absl::StatusOr<Reply>)>;

// Thread-safe.
class InferenceClient final {
 public:
  // `discovery` must outlive the client. `metrics` may be null: conclave_retries_total,
  // conclave_migrations_total{result}.
  InferenceClient(Discovery* discovery, const InferenceClientOptions& options,
                  base::Metrics* metrics = nullptr);
  ~InferenceClient();  // stops
  InferenceClient(const InferenceClient&) = delete;
  InferenceClient& operator=(const InferenceClient&) = delete;

  // The observer is shared until OnDone returned. OnDone may come before Generate returns only
  // on another thread. Errors of picking (model_not_found, model_loading, no_worker) come by
  // OnDone.
  std::shared_ptr<GenerateCall> Generate(conclave::v1::GenerateRequest request,
                                         const CallOptions& options,
                                         std::shared_ptr<GenerateObserver> observer);

  // On any worker that serves request.model; with the same retries. The callback comes exactly
  // once, on a thread of gRPC's.
  std::shared_ptr<CallHandle> Tokenize(conclave::v1::TokenizeRequest request,
                                       const CallOptions& options,
                                       ReplyCallback<conclave::v1::TokenizeReply> done);
  std::shared_ptr<CallHandle> Detokenize(conclave::v1::DetokenizeRequest request,
                                         const CallOptions& options,
                                         ReplyCallback<conclave::v1::DetokenizeReply> done);
  // As the others: a worker that is lost on the way is replaced, so a model may see a body twice.
  std::shared_ptr<CallHandle> Predict(conclave::v1::PredictRequest request,
                                      const CallOptions& options,
                                      ReplyCallback<conclave::v1::PredictReply> done);

  Discovery& discovery();

  // Cancels the calls and waits up to 5 s for their ends. Idempotent; nothing may be called after.
  void Stop();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace conclave::mesh
