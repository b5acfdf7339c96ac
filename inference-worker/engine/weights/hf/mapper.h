// Gives the tensors of a checkpoint the names, shapes and order of a GGUF file, by the tables of a
// family. Operations (operations.h) fetch from it what they need and add what they made.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>

#include "base/status.h"
#include "engine/weights/hf/family.h"
#include "engine/weights/hf/source.h"
#include "engine/weights/hf/tensor.h"

namespace conclave::engine {

class TensorMapper final {
 public:
  TensorMapper(const HfFamily& family, const HfModel& model, HfSource* source)
      : family_(family), model_(model), source_(*source) {}

  // Every rule of the family, then the check that nothing is left over. Errors name the file and
  // the tensor: NOT_FOUND, INVALID_ARGUMENT, UNIMPLEMENTED.
  absl::Status MapAll();

  // --- for operations ---------------------------------------------------------------------------

  const HfModel& model() const { return model_; }
  // The tensor of this whole name; empty when there is none.
  TensorView View(const std::string& name);
  // The same as it stands, not found when there is none. INVALID_ARGUMENT for a type that has no
  // arithmetic here.
  absl::StatusOr<HfTensor> Stored(const std::string& name);
  // The weight of a linear layer or norm, however it is stored.
  absl::StatusOr<HfTensor> Weight(const std::string& module);
  // NOT_FOUND where there is none.
  absl::StatusOr<HfTensor> RequiredWeight(const std::string& module);
  absl::Status Add(std::string name, HfTensor tensor);
  // `status` with the file and the name before it.
  absl::Status Wrong(const std::string& name, const absl::Status& status) const;
  absl::Status Wrong(const std::string& name, std::string_view why) const;
  absl::Status Missing(const std::string& name) const;

 private:
  absl::Status FindPrefix();
  absl::Status MapHead();
  absl::Status MapRopeFactors();
  absl::Status MapRules(std::span<const TensorRule> rules, const std::string& from,
                        const std::string& to, int64_t layer);
  bool Has(const std::string& name) const;
  bool IsSkipped(std::string_view name) const;
  absl::Status CheckLeftovers() const;
  absl::StatusOr<HfTensor> Quantised(const std::string& module);

  const HfFamily& family_;
  const HfModel& model_;
  HfSource& source_;
  std::string prefix_;
  std::set<std::string> taken_;
};

}  // namespace conclave::engine
