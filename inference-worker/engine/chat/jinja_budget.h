// What one rendering may use. Every loop of the interpreter asks here, so that no template runs for
// long or fills the memory (mesh reference M15).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "base/status.h"

namespace conclave::engine::jinja {

// Beyond them: INVALID_ARGUMENT.
struct Limits {
  int64_t steps_max = 200'000;           // evaluated nodes, visited items, 64 bytes of a string …
  size_t output_bytes_max = 16u << 20;   // of the output, and of any one string
  size_t memory_bytes_max = 256u << 20;  // of all values made, roughly; nothing is given back
  int depth_max = 300;                   // nested evaluation
  std::chrono::milliseconds time_max{2000};
};

class Budget final {
 public:
  explicit Budget(const Limits& limits)
      : limits_(limits), deadline_(std::chrono::steady_clock::now() + limits.time_max) {}

  absl::Status Step(int64_t count = 1);
  // Before `bytes` of a string are walked.
  absl::Status Bytes(size_t bytes);
  // Before a string of `bytes` is made.
  absl::Status String(size_t bytes);
  // Before a list or dict of `items` is made.
  absl::Status Items(size_t items);
  const Limits& limits() const { return limits_; }

  // Counts nesting while it lives; ok() says whether it is still allowed.
  class Depth final {
   public:
    explicit Depth(Budget& budget) : budget_(budget) { ++budget_.depth_; }
    ~Depth() { --budget_.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;
    absl::Status Check() const;

   private:
    Budget& budget_;
  };

 private:
  absl::Status Memory(size_t bytes);

  Limits limits_;
  std::chrono::steady_clock::time_point deadline_;
  int64_t steps_ = 0;
  int64_t next_clock_ = 0;  // the clock is read every few thousand steps
  size_t memory_ = 0;
  int depth_ = 0;
};

}  // namespace conclave::engine::jinja
