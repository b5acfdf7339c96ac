#include "engine/weights/hf/source.h"

namespace conclave::engine {

absl::Status HfSource::Add(std::string name, HfTensor tensor) {
  if (!tensor.plain.empty()) {
    names_.AddTensor(std::move(name), tensor.plain);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(std::unique_ptr<DerivedTensor> made,
                   DerivedTensor::Make(tensor.dtype, tensor.shape, std::move(tensor.row)));
  names_.AddTensor(std::move(name), made->view());
  const std::byte* const data = made->view().data;
  derived_.emplace(data, std::move(made));
  return absl::OkStatus();
}

void HfSource::Prepare(const TensorEntry& entry) const {
  if (const auto made = derived_.find(entry.view.data); made != derived_.end()) {
    made->second->Prepare();
  }
}

void HfSource::DoneWith(const TensorView& tensor) const {
  if (const auto made = derived_.find(tensor.data); made != derived_.end()) {
    made->second->Release();
  } else {
    raw_->DoneWith(tensor);
  }
}

}  // namespace conclave::engine
