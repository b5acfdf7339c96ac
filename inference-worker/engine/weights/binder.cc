#include "engine/weights/binder.h"

#include <cmath>

#include "engine/quant/format.h"

namespace conclave::engine {
namespace {

std::string Named(const ModelSource& source, std::string_view name) {
  return std::string(source.path()) + ": " + std::string(name);
}

}  // namespace

absl::StatusOr<TensorView> Binder::Get(std::string_view name, const Shape& shape) {
  ASSIGN_OR_RETURN(const TensorView view, GetOptional(name, shape));
  if (view.empty()) {
    return base::NotFound(Named(source_, name) + ": expected " + shape.ToString() +
                          ", found no such tensor");
  }
  return view;
}

absl::StatusOr<TensorView> Binder::GetOptional(std::string_view name, const Shape& shape) {
  asked_.emplace(name);
  const TensorEntry* entry = source_.FindTensor(name);
  if (entry == nullptr) return TensorView();
  if (!(entry->view.shape == shape)) {
    return base::InvalidArgument(Named(source_, name) + ": expected " + shape.ToString() +
                                 ", found " + entry->view.shape.ToString() + " of " +
                                 std::string(NameOf(entry->view.dtype)));
  }
  source_.Prepare(*entry);
  return entry->view;
}

absl::StatusOr<std::vector<float>> Binder::GetOptionalValues(std::string_view name,
                                                             const Shape& shape) {
  ASSIGN_OR_RETURN(const TensorView view, GetOptional(name, shape));
  std::vector<float> values;
  if (view.empty()) return values;
  const QuantFormat* format = FindFormat(view.dtype);
  if (format == nullptr) {
    return base::Unimplemented(Named(source_, name) + ": no arithmetic for " +
                               std::string(NameOf(view.dtype)));
  }
  values.resize(static_cast<size_t>(shape.elements()));
  for (int64_t row = 0; row < view.rows(); ++row) {
    format->dequantize_row(view.row(row), values.data() + row * view.cols(), view.cols());
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      return base::InvalidArgument(Named(source_, name) + ": element " + std::to_string(i) +
                                   " is not finite");
    }
  }
  return values;
}

absl::StatusOr<std::vector<float>> Binder::GetVector(std::string_view name, int64_t n) {
  ASSIGN_OR_RETURN(std::vector<float> values, GetOptionalVector(name, n));
  if (values.empty()) {
    return base::NotFound(Named(source_, name) + ": expected " + Shape({n}).ToString() +
                          ", found no such tensor");
  }
  return values;
}

absl::StatusOr<std::vector<float>> Binder::GetOptionalVector(std::string_view name, int64_t n) {
  return GetOptionalValues(name, Shape({n}));
}

std::vector<std::string> Binder::Leftovers() const {
  std::vector<std::string> names;
  for (const TensorEntry& entry : source_.tensors()) {
    if (asked_.find(entry.name) == asked_.end()) names.push_back(entry.name);
  }
  return names;
}

}  // namespace conclave::engine
