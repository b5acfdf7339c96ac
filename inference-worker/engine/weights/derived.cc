#include "engine/weights/derived.h"

#include <sys/mman.h>

#include <algorithm>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace conclave::engine {
namespace {

constexpr int64_t kBytesPerThread = 1 << 20;
constexpr int64_t kThreadsMax = 32;

}  // namespace

absl::StatusOr<std::unique_ptr<DerivedTensor>> DerivedTensor::Make(DType dtype, const Shape& shape,
                                                                   RowMaker maker) {
  TensorView view{.dtype = dtype, .shape = shape};
  void* const data = mmap(nullptr, static_cast<size_t>(view.bytes()), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return base::ResourceExhausted("no address space for " + std::to_string(view.bytes()) +
                                   " bytes");
  }
  view.data = static_cast<std::byte*>(data);
  return std::unique_ptr<DerivedTensor>(
      new DerivedTensor(view, static_cast<std::byte*>(data), std::move(maker)));
}

DerivedTensor::~DerivedTensor() { munmap(data_, static_cast<size_t>(view_.bytes())); }

void DerivedTensor::Prepare() {
  const std::lock_guard lock(mutex_);
  if (ready_) return;
  const int64_t rows = view_.rows(), row_bytes = view_.row_bytes();
  const int64_t cores = std::max<int64_t>(1, std::thread::hardware_concurrency());
  const int64_t threads =
      std::clamp<int64_t>(view_.bytes() / kBytesPerThread, 1, std::min({rows, cores, kThreadsMax}));
  const auto make = [&](int64_t which) {
    const RowMaker maker = maker_;
    for (int64_t row = rows * which / threads; row < rows * (which + 1) / threads; ++row) {
      maker(row, data_ + row * row_bytes);
    }
  };
  std::vector<std::jthread> others;
  for (int64_t which = 1; which < threads; ++which) others.emplace_back(make, which);
  make(0);
  others.clear();  // joins
  ready_ = true;
}

void DerivedTensor::Release() {
  const std::lock_guard lock(mutex_);
  madvise(data_, static_cast<size_t>(view_.bytes()), MADV_DONTNEED);
  ready_ = false;
}

}  // namespace conclave::engine
