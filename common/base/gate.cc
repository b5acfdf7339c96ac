#include "base/gate.h"

namespace conclave::base {

Gate::Pass& Gate::Pass::operator=(Pass&& other) noexcept {
  if (this != &other) {
    if (gate_ != nullptr) gate_->Leave();
    gate_ = std::exchange(other.gate_, nullptr);
  }
  return *this;
}

Gate::Pass::~Pass() {
  if (gate_ != nullptr) gate_->Leave();
}

std::optional<Gate::Pass> Gate::Enter() {
  const std::lock_guard lock(mutex_);
  if (closed_) return std::nullopt;
  ++inside_;
  return Pass(this);
}

void Gate::Close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

bool Gate::WaitUntilEmpty(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return empty_.wait_for(lock, timeout, [&] { return inside_ == 0; });
}

int Gate::inside() const {
  const std::lock_guard lock(mutex_);
  return inside_;
}

bool Gate::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

void Gate::Leave() {
  // Notified under the lock: the waiter may destroy the gate as soon as it sees zero.
  const std::lock_guard lock(mutex_);
  if (--inside_ == 0) empty_.notify_all();
}

}  // namespace conclave::base
