// Draining as a type: work enters, leaves, and the owner closes the gate and waits until all left.
//
//   std::optional<Gate::Pass> pass = gate.Enter();
//   if (!pass) return absl::UnavailableError("draining");   // closed
//   … the pass leaves when it is destroyed …
//
// Thread-safe. The gate must outlive its passes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

namespace conclave::base {

class Gate final {
 public:
  class Pass final {
   public:
    Pass(Pass&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Pass& operator=(Pass&& other) noexcept;
    ~Pass();

   private:
    friend class Gate;
    explicit Pass(Gate* gate) : gate_(gate) {}
    Gate* gate_;
  };

  std::optional<Pass> Enter();

  // Nobody enters any more. Idempotent.
  void Close();
  // True when the last pass left before the deadline.
  bool WaitUntilEmpty(std::chrono::milliseconds timeout);

  int inside() const;
  bool closed() const;

 private:
  void Leave();

  mutable std::mutex mutex_;
  std::condition_variable empty_;
  int inside_ = 0;
  bool closed_ = false;
};

}  // namespace conclave::base
