// Fetches weights by name and insists on their shape, so that a model file that lies is refused
// with both sides named:
//   "tiny.gguf: blk.0.attn_q.weight: expected [64][64], found [64][32] of F16"
// Also remembers what was asked for, so that leftovers can be told.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/tensor/tensor_view.h"
#include "engine/weights/source.h"

namespace conclave::engine {

// Not thread-safe; used while a model is opened. `source` outlives it.
class Binder final {
 public:
  explicit Binder(const ModelSource& source) : source_(source) {}

  // NOT_FOUND when there is no such tensor; INVALID_ARGUMENT for another shape.
  absl::StatusOr<TensorView> Get(std::string_view name, const Shape& shape);
  // As Get, but a missing tensor gives an empty view.
  absl::StatusOr<TensorView> GetOptional(std::string_view name, const Shape& shape);
  // All elements of a small tensor, dequantised, row after row: the biases of experts. Finite
  // values only. Empty when there is no such tensor.
  absl::StatusOr<std::vector<float>> GetOptionalValues(std::string_view name, const Shape& shape);
  // A vector of `n` elements likewise: norms, biases, frequency factors.
  absl::StatusOr<std::vector<float>> GetVector(std::string_view name, int64_t n);
  // Empty when there is no such tensor.
  absl::StatusOr<std::vector<float>> GetOptionalVector(std::string_view name, int64_t n);

  // Names in the file that nobody asked for, in file order.
  std::vector<std::string> Leftovers() const;

  const ModelSource& source() const { return source_; }

 private:
  const ModelSource& source_;
  std::set<std::string, std::less<>> asked_;
};

}  // namespace conclave::engine
