#include "engine/weights/derived.h"

#include <sys/mman.h>

#include <string>
#include <utility>

namespace conclave::engine {

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
  const int64_t row_bytes = view_.row_bytes();
  for (int64_t row = 0; row < view_.rows(); ++row) maker_(row, data_ + row * row_bytes);
  ready_ = true;
}

void DerivedTensor::Release() {
  const std::lock_guard lock(mutex_);
  madvise(data_, static_cast<size_t>(view_.bytes()), MADV_DONTNEED);
  ready_ = false;
}

}  // namespace conclave::engine
