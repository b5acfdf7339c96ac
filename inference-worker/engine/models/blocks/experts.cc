#include "engine/models/blocks/experts.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/strings.h"

namespace conclave::engine {
namespace {

// Who has which experts of a layer, ascending ids.
struct Sharing {
  std::vector<int32_t> device;
  std::vector<int32_t> processors;
};

Sharing SharingOf(const Kernels& kernels, int32_t layer, int32_t experts) {
  Sharing sharing;
  const std::vector<int32_t>* const device = kernels.DeviceExpertsOf(layer);
  if (device == nullptr) {
    sharing.device.resize(static_cast<size_t>(experts));
    std::iota(sharing.device.begin(), sharing.device.end(), 0);
    return sharing;
  }
  sharing.device = *device;
  for (int32_t e = 0; e < experts; ++e) {
    if (!std::binary_search(device->begin(), device->end(), e)) sharing.processors.push_back(e);
  }
  CHECK(static_cast<int32_t>(sharing.device.size() + sharing.processors.size()) == experts);
  return sharing;
}

// One part ("gate", "up", "down") of a layer's experts, [experts][out][in], as the file has it.
class ExpertStack final {
 public:
  static absl::StatusOr<ExpertStack> Find(Binder& binder, const std::string& prefix,
                                          const std::string& part, int64_t experts, int64_t out,
                                          int64_t in) {
    const auto has = [&](const std::string& name) {
      return binder.source().FindTensor(name) != nullptr;
    };
    ExpertStack stack(out, in);
    stack.name_ = absl::StrCat(prefix, "ffn_", part, "_exps.weight");
    const auto apart = [&](int64_t e) {
      return absl::StrCat(prefix, "ffn_", part, ".", e, ".weight");
    };
    const std::string both = prefix + "ffn_gate_up_exps.weight";
    if (!has(stack.name_) && part != "down" && has(both)) {
      stack.name_ = both;
      ASSIGN_OR_RETURN(const TensorView view, binder.Get(both, Shape({experts, 2 * out, in})));
      stack.dtype_ = view.dtype;
      for (int64_t e = 0; e < experts; ++e) {
        stack.matrices_.push_back(view.row(e * 2 * out + (part == "gate" ? 0 : out)));
      }
    } else if (!has(stack.name_) && has(apart(0))) {
      stack.name_ = apart(0);
      for (int64_t e = 0; e < experts; ++e) {
        ASSIGN_OR_RETURN(const TensorView view, binder.Get(apart(e), Shape({out, in})));
        if (e > 0 && view.dtype != stack.dtype_) {
          return base::InvalidArgument(absl::StrCat(base::Abs(binder.source().path()), ": ",
                                                    apart(e), ": not of the type of expert 0"));
        }
        stack.dtype_ = view.dtype;
        stack.matrices_.push_back(view.data);
        stack.done_.push_back(view);
      }
    } else {
      ASSIGN_OR_RETURN(const TensorView view, binder.Get(stack.name_, Shape({experts, out, in})));
      stack.dtype_ = view.dtype;
      for (int64_t e = 0; e < experts; ++e) stack.matrices_.push_back(view.row(e * out));
      stack.done_.push_back(view);
    }
    return stack;
  }

  // Some of the experts, in this order. None of them gives an empty matrix.
  absl::StatusOr<PackedMatrix> Pack(Binder& binder, Kernels& kernels,
                                    const std::vector<int32_t>& experts) const {
    if (experts.empty()) return PackedMatrix();
    TensorView part{.dtype = dtype_,
                    .shape = Shape({static_cast<int64_t>(experts.size()), out_, in_})};
    const int64_t matrix_bytes = part.row_bytes() * out_;
    part.data = matrices_[static_cast<size_t>(experts[0])];
    Buffer joined;
    if (!LieTogether(experts, matrix_bytes)) {
      // Copied into one stack for as long as it is packed.
      ASSIGN_OR_RETURN(joined, Buffer::Allocate(part.bytes()));
      for (size_t i = 0; i < experts.size(); ++i) {
        std::memcpy(joined.data() + static_cast<int64_t>(i) * matrix_bytes,
                    matrices_[static_cast<size_t>(experts[i])], static_cast<size_t>(matrix_bytes));
      }
      part.data = joined.data();
    }
    return PackAs(binder, kernels, name_, part);
  }

  void DoneWith(const Binder& binder) const {
    for (const TensorView& view : done_) binder.source().DoneWith(view);
  }

 private:
  ExpertStack(int64_t out, int64_t in) : out_(out), in_(in) {}

  bool LieTogether(const std::vector<int32_t>& experts, int64_t matrix_bytes) const {
    for (size_t i = 1; i < experts.size(); ++i) {
      if (matrices_[static_cast<size_t>(experts[i])] !=
          matrices_[static_cast<size_t>(experts[i - 1])] + matrix_bytes) {
        return false;
      }
    }
    return true;
  }

  int64_t out_, in_;
  std::string name_;
  DType dtype_ = DType::kF32;
  std::vector<const std::byte*> matrices_;
  std::vector<TensorView> done_;  // read once; gate_up is read twice
};

// Rows of [experts][n], in this order.
std::vector<float> RowsOf(const std::vector<float>& values, const std::vector<int32_t>& experts,
                          int64_t n) {
  std::vector<float> rows;
  if (values.empty()) return rows;
  rows.reserve(experts.size() * static_cast<size_t>(n));
  for (const int32_t e : experts) {
    rows.insert(rows.end(), values.begin() + e * n, values.begin() + (e + 1) * n);
  }
  return rows;
}

}  // namespace

absl::StatusOr<Experts> Experts::Bind(Binder& binder, Kernels& kernels, const HParams& h,
                                      const DecoderTraits& traits, int32_t layer,
                                      const std::string& prefix) {
  const Sharing sharing = SharingOf(kernels, layer, h.num_experts);
  Kernels* const processors = kernels.processors();
  CHECK(processors != nullptr || sharing.processors.empty());
  Experts experts;
  experts.activation_ = traits.activation;
  experts.layer_ = layer;
  const auto bind = [&](const std::string& part, int64_t out, int64_t in,
                        PackedMatrix Part::*matrix, Buffer Part::*bias) -> absl::Status {
    ASSIGN_OR_RETURN(const ExpertStack stack,
                     ExpertStack::Find(binder, prefix, part, h.num_experts, out, in));
    ASSIGN_OR_RETURN(experts.device_.*matrix, stack.Pack(binder, kernels, sharing.device));
    const std::string bias_name = absl::StrCat(prefix, "ffn_", part, "_exps.bias");
    const Shape bias_shape({h.num_experts, out});
    std::vector<float> biases;
    if (traits.expert_bias != BiasRule::kNone) {
      ASSIGN_OR_RETURN(biases, binder.GetOptionalValues(bias_name, bias_shape));
      if (biases.empty() && traits.expert_bias == BiasRule::kRequired) {
        return binder.Get(bias_name, bias_shape).status();
      }
    }
    ASSIGN_OR_RETURN(experts.device_.*bias,
                     kernels.PackVector(RowsOf(biases, sharing.device, out)));
    if (!sharing.processors.empty()) {
      ASSIGN_OR_RETURN(experts.processors_.*matrix,
                       stack.Pack(binder, *processors, sharing.processors));
      ASSIGN_OR_RETURN(experts.processors_.*bias,
                       processors->PackVector(RowsOf(biases, sharing.processors, out)));
    }
    stack.DoneWith(binder);
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(bind("gate", h.expert_ffn, h.hidden, &Part::gate, &Part::gate_bias));
  RETURN_IF_ERROR(bind("up", h.expert_ffn, h.hidden, &Part::up, &Part::up_bias));
  RETURN_IF_ERROR(bind("down", h.hidden, h.expert_ffn, &Part::down, &Part::down_bias));
  if (sharing.processors.empty()) return experts;
  std::vector<int32_t> places(static_cast<size_t>(h.num_experts));
  for (size_t i = 0; i < sharing.device.size(); ++i) {
    places[static_cast<size_t>(sharing.device[i])] = static_cast<int32_t>(i);
  }
  for (size_t i = 0; i < sharing.processors.size(); ++i) {
    places[static_cast<size_t>(sharing.processors[i])] = -1 - static_cast<int32_t>(i);
  }
  const auto bytes = static_cast<int64_t>(places.size() * sizeof(int32_t));
  ASSIGN_OR_RETURN(experts.places_, kernels.memory().Allocate(bytes));
  RETURN_IF_ERROR(kernels.memory().Upload(places.data(), bytes, experts.places_.data()));
  if (ExpertMover* const mover = kernels.mover(); mover != nullptr) {
    mover->Share(experts.Shared(sharing.device, sharing.processors));
  }
  return experts;
}

SharedExperts Experts::Shared(const std::vector<int32_t>& device,
                              const std::vector<int32_t>& processors) {
  SharedExperts shared{.layer = layer_,
                       .device = device,
                       .processors = processors,
                       .parts = {},
                       .places = places_.as<int32_t>()};
  const auto part = [&](PackedMatrix Part::*matrix, Buffer Part::*bias) -> SharedExperts::Part {
    // The device may have none of them.
    const PackedMatrix& shape = processors_.*matrix;
    return {.kind = shape.kind(),
            .out = shape.out(),
            .in = shape.in(),
            .device = (device_.*matrix).data(),
            .processors = (processors_.*matrix).data(),
            .device_bias = (device_.*bias).as<float>(),
            .processors_bias = (processors_.*bias).as<float>()};
  };
  shared.parts = {part(&Part::gate, &Part::gate_bias), part(&Part::up, &Part::up_bias),
                  part(&Part::down, &Part::down_bias)};
  return shared;
}

FfnWeights Experts::Part::weights(Activation activation) const {
  return {.gate = &gate,
          .up = &up,
          .down = &down,
          .activation = activation,
          .gate_bias = gate_bias.as<float>(),
          .up_bias = up_bias.as<float>(),
          .down_bias = down_bias.as<float>()};
}

ExpertSplit Experts::split() const {
  return {.layer = layer_,
          .places = places_.as<int32_t>(),
          .processors = processors_.weights(activation_)};
}

FfnWeights Experts::weights(const ExpertSplit& split) const {
  FfnWeights weights = device_.weights(activation_);
  if (split.places != nullptr) weights.split = &split;
  return weights;
}

}  // namespace conclave::engine
