// Streams of one kind of work, opened over and over, and what they cost: the same for HTTP and for
// gRPC, so that the difference is the gateway's.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace conclave::bench {

struct LoadOptions {
  std::string model = "scripted";
  std::string prompt;   // of the one user message
  std::string api_key;  // HTTP; empty = none
  int streams = 1;      // at once
  int requests = 100;   // in all, the warm-up not counted
  int warm_up = 10;
  std::chrono::seconds timeout{300};  // for the whole load
};

// Milliseconds of one request, from the moment it is sent.
struct Sample {
  double first_ms = 0;  // to the first piece of the answer
  double whole_ms = 0;  // to its end
  int64_t pieces = 0;   // events that carry text
};

// One request of the load that is under way: counts pieces, notes times.
class Stopwatch final {
 public:
  void Start() {
    started_ = Clock::now();
    sample_ = {};
  }
  void Pieces(int64_t count) {
    if (count == 0) return;
    if (sample_.pieces == 0) sample_.first_ms = Elapsed();
    sample_.pieces += count;
  }
  Sample Stop() {
    sample_.whole_ms = Elapsed();
    return sample_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  double Elapsed() const {
    return std::chrono::duration<double, std::milli>(Clock::now() - started_).count();
  }
  Clock::time_point started_;
  Sample sample_;
};

// POST /v1/chat/completions with "stream": true at host:port; kept-alive connections, one thread.
// UNAVAILABLE, DEADLINE_EXCEEDED; INTERNAL for an answer that is no stream or has no end.
absl::StatusOr<std::vector<Sample>> LoadHttp(const std::string& address,
                                             const LoadOptions& options);

// conclave.v1.Inference/Generate of the worker at host:port; one channel, one thread.
absl::StatusOr<std::vector<Sample>> LoadGrpc(const std::string& address,
                                             const LoadOptions& options);

}  // namespace conclave::bench
