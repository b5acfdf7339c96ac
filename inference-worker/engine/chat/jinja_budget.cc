#include "engine/chat/jinja_budget.h"

#include "absl/strings/str_cat.h"

namespace conclave::engine::jinja {

absl::Status Budget::Step(int64_t count) {
  constexpr int64_t kStepsPerClock = 4096;
  steps_ += count;
  if (steps_ > limits_.steps_max) {
    return base::InvalidArgument(absl::StrCat("takes more than ", limits_.steps_max, " steps"));
  }
  if (steps_ >= next_clock_) {
    next_clock_ = steps_ + kStepsPerClock;
    if (std::chrono::steady_clock::now() > deadline_) {
      return base::InvalidArgument(
          absl::StrCat("takes longer than ", limits_.time_max.count(), " ms"));
    }
  }
  return absl::OkStatus();
}

absl::Status Budget::Bytes(size_t bytes) {
  constexpr size_t kBytesPerStep = 64;
  return Step(static_cast<int64_t>(bytes / kBytesPerStep));
}

absl::Status Budget::String(size_t bytes) {
  if (bytes > limits_.output_bytes_max) {
    return base::InvalidArgument(
        absl::StrCat("makes a string longer than ", limits_.output_bytes_max, " bytes"));
  }
  RETURN_IF_ERROR(Bytes(bytes));
  return Memory(bytes + 64);
}

absl::Status Budget::Items(size_t items) {
  RETURN_IF_ERROR(Step(static_cast<int64_t>(items)));
  return Memory(64 + 32 * items);
}

absl::Status Budget::Memory(size_t bytes) {
  memory_ += bytes;
  if (memory_ > limits_.memory_bytes_max) {
    return base::InvalidArgument(
        absl::StrCat("uses more than ", limits_.memory_bytes_max, " bytes of memory"));
  }
  return absl::OkStatus();
}

absl::Status Budget::Depth::Check() const {
  if (budget_.depth_ > budget_.limits_.depth_max) {
    return base::InvalidArgument(
        absl::StrCat("nests deeper than ", budget_.limits_.depth_max, " levels"));
  }
  return absl::OkStatus();
}

}  // namespace conclave::engine::jinja
