// A worker without an engine, over real gRPC: it "generates" a known sequence of tokens (a function
// of seed and position, so that a resumed stream can be compared with an unbroken one) and
// misbehaves as told. For tests of whoever calls workers.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "conclave/v1/inference.pb.h"

namespace conclave::support {

// What the next Generate calls do. Positions count Deltas from the start of the whole stream.
struct Script {
  int tokens = 20;       // of each answer
  int die_at = -1;       // the stream ends with UNAVAILABLE instead of this Delta
  int silent_at = -1;    // nothing is written from this Delta on
  int fail_at = -1;      // a Failed event with `failure` instead of this Delta
  absl::Status refusal;  // instead of Accepted
  absl::Status failure = absl::InternalError("scripted");
};

class FakeWorker final {
 public:
  // Serves "fake" (revision "r1") for Generate and Embed on `port`; 0 = any free one.
  explicit FakeWorker(std::string worker_id, int port = 0, const std::string& host = "127.0.0.1");
  ~FakeWorker();

  std::string address() const;
  int port() const;
  void SetScript(const Script& script);
  void SetDraining(bool draining);
  void SetModelState(int state);  // conclave::v1::ModelStatus::State
  void SetRevision(const std::string& revision);
  // Watch goes silent, calls go on.
  void MuteWatch(bool mute);
  // How many vectors Embed leaves out.
  void SetEmbedMissing(int count);

  // The token at a position of an answer.
  static int32_t Token(uint64_t seed, int64_t position, int index = 0);

  // Begins draining and waits until no call is inside, as a worker's shutdown does.
  bool Drain(std::chrono::milliseconds timeout);

  std::atomic<int> generates{0};
  std::atomic<int> active{0};  // Generate calls not yet done
  std::atomic<int> cancels{0};
  std::atomic<int64_t> writes{0};  // Deltas whose write was acknowledged

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace conclave::support
