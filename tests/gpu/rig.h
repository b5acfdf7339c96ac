// A device beside the processors: runs one operation on both and holds the results together.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/kernels/kernels.h"

namespace conclave::engine {

// Values in the memory of some kernels.
template <typename T>
class OnDevice final {
 public:
  OnDevice(Kernels& kernels, std::span<const T> values) : kernels_(kernels), count_(values.size()) {
    absl::StatusOr<Buffer> buffer =
        kernels.memory().Allocate(static_cast<int64_t>(values.size_bytes()));
    if (buffer.ok()) buffer_ = *std::move(buffer);
    if (buffer_.size() > 0) {
      (void)kernels.memory().Upload(values.data(), static_cast<int64_t>(values.size_bytes()),
                                    buffer_.data());
    }
  }
  // Not a number, so that what an operation leaves out shows.
  OnDevice(Kernels& kernels, int64_t count)
      : OnDevice(kernels, std::vector<T>(static_cast<size_t>(count), Poison())) {}

  T* data() { return buffer_.as<T>(); }
  // Empty when the device has failed.
  std::vector<T> Read() {
    static_assert(sizeof(T) == sizeof(float));
    const absl::StatusOr<float*> view =
        kernels_.HostView(reinterpret_cast<float*>(data()), static_cast<int64_t>(count_));
    if (!view.ok()) return {};
    std::vector<T> values(count_);
    std::memcpy(values.data(), *view, count_ * sizeof(T));
    return values;
  }

 private:
  static T Poison() {
    if constexpr (std::is_floating_point_v<T>) {
      return NAN;
    } else {
      return T{-1};
    }
  }

  Kernels& kernels_;
  size_t count_;
  Buffer buffer_;
};

// Counts and prints: one line per check, and at the end the worst of each operation and what
// failed.
class Report final {
 public:
  // The largest difference, relative to the largest expected magnitude, must stay below `bound`.
  void Compare(const std::string& op, const std::string& what, const std::vector<float>& found,
               const std::vector<float>& expected, double bound) {
    double scale = 1e-30;
    double error = found.size() == expected.size() ? 0 : INFINITY;
    for (size_t i = 0; i < expected.size() && i < found.size(); ++i) {
      scale = std::max(scale, std::fabs(double{expected[i]}));
      const double apart = std::fabs(double{found[i]} - double{expected[i]});
      error = std::isnan(apart) ? INFINITY : std::max(error, apart);
    }
    Line(op, what, error / scale, bound, error / scale <= bound);
  }
  void Within(const std::string& op, const std::string& what, double error, double bound) {
    Line(op, what, error, bound, error <= bound);
  }
  void Same(const std::string& op, const std::string& what, bool same) {
    Line(op, what, same ? 0 : 1, 0, same);
  }
  int failures() const { return failures_; }

  // The end of the output says it all again in short.
  void Summarise() const {
    std::printf("\nworst error by operation\n");
    for (const auto& [op, error] : worst_) std::printf("  %-14s %10.2e\n", op.c_str(), error);
    constexpr size_t kShown = 40;
    for (size_t i = 0; i < std::min(kShown, failed_lines_.size()); ++i) {
      std::fputs(failed_lines_[i].c_str(), stdout);
    }
    std::printf("%d checks, %d failed\n", checks_, failures_);
  }

 private:
  void Line(const std::string& op, const std::string& what, double error, double bound, bool ok) {
    char line[400];
    std::snprintf(line, sizeof line, "%-14s %-44s %10.2e  %8.0e  %s\n", op.c_str(), what.c_str(),
                  error, bound, ok ? "ok" : "FAIL");
    std::fputs(line, stdout);
    std::fflush(stdout);
    ++checks_;
    double& worst = worst_[op];
    worst = std::max(worst, error);
    if (ok) return;
    ++failures_;
    failed_lines_.emplace_back(line);
  }

  int checks_ = 0;
  int failures_ = 0;
  std::map<std::string, double> worst_;  // by operation
  std::vector<std::string> failed_lines_;
};

// The operations of the table, formats and shapes. `quick` leaves out what takes long.
void CheckOperations(Kernels& device, Kernels& cpu, bool quick, Report& report);
// Latent attention with keys and values of every head made first.
void CheckExpanded(Kernels& device, Kernels& cpu, bool quick, Report& report);
// What kernels made to be fast (KernelOptions::fast) compute otherwise than others.
void CheckFast(Kernels& fast, Kernels& cpu, bool quick, Report& report);
// Rows of logits read in part: digests, changes and blocks, to the bit.
void CheckLogitRows(Kernels& device, bool quick, Report& report);
// Prints how long operations take on a device, of shapes that large models have; with `fast`, also
// those that CheckFast is about.
void TimeOperations(Kernels& device, Kernels& fast);
// A model file on both: how far each is from the exact answer, greedy tokens, and on the device
// batches, where numerics are exact, against single sequences. Writes the weights in F32 where
// temporary files go.
struct Device {
  std::string name;
  int32_t gpu_experts = -1;  // EngineOptions'
  std::string numerics = "exact";
};
absl::Status CheckModel(const std::string& path, const Device& device, int32_t tokens,
                        Report& report);

}  // namespace conclave::engine
