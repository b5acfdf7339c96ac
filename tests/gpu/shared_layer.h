// One layer of experts, of which a device has some and the processors the others, held against the
// processors alone.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <vector>

#include "conformance/random.h"
#include "engine/kernels/expert_mover.h"
#include "engine/kernels/kernels.h"
#include "engine/quant/format.h"
#include "gpu/rig.h"

namespace conclave::engine {

class SharedLayer final {
 public:
  SharedLayer(const QuantFormat& format, int32_t experts, int32_t top_k, int64_t hidden,
              int64_t ffn)
      : experts_(experts),
        top_k_(top_k),
        hidden_(hidden),
        gate_(format, {experts, ffn, hidden}, 1, 0.1f),
        up_(format, {experts, ffn, hidden}, 2, 0.1f),
        down_(format, {experts, hidden, ffn}, 3, 0.1f) {}

  // What rows are multiplied with what: the same for every run of so many rows.
  struct Rows {
    int64_t count;
    std::vector<float> x, weights;
    std::vector<int32_t> ids;
  };
  Rows MakeRows(int64_t count) const {
    Rows rows = {count, Random(7).Floats(count * hidden_), Random(8).Floats(count * top_k_), {}};
    const int32_t step = experts_ / top_k_;
    for (int64_t r = 0; r < count; ++r) {
      for (int32_t j = 0; j < top_k_; ++j) {
        rows.ids.push_back(static_cast<int32_t>((r * 5 + j * step) % experts_));
      }
    }
    return rows;
  }

  std::vector<float> OnProcessors(Kernels& cpu, const Rows& rows) const {
    const auto gate = cpu.Pack(gate_.view), up = cpu.Pack(up_.view), down = cpu.Pack(down_.view);
    if (!gate.ok() || !up.ok() || !down.ok()) return {};
    std::vector<float> y(rows.x.size());
    cpu.Moe({.gate = &*gate, .up = &*up, .down = &*down},
            {.ids = rows.ids.data(), .weights = rows.weights.data(), .top_k = top_k_},
            rows.x.data(), hidden_, rows.count, y.data(), hidden_);
    return y;
  }

  // In the memories of the two: the device's experts are those that `kernels` says layer 0 has.
  struct Packed {
    std::vector<int32_t> here, there, places;
    std::array<PackedMatrix, 3> device, processors;  // gate, up, down
    Buffer device_places;

    SharedExperts shared() {
      SharedExperts experts{.device = here, .processors = there, .parts = {}};
      experts.places = device_places.as<int32_t>();
      for (size_t i = 0; i < 3; ++i) {
        experts.parts[i] = {.kind = device[i].kind(),
                            .out = device[i].out(),
                            .in = device[i].in(),
                            .device = device[i].data(),
                            .processors = processors[i].data()};
      }
      return experts;
    }
  };
  absl::StatusOr<Packed> Pack(Kernels& kernels) const {
    Packed packed{.here = *kernels.DeviceExpertsOf(0)};
    std::vector<int32_t>&here = packed.here, &there = packed.there, &places = packed.places;
    for (int32_t e = 0; e < experts_; ++e) {
      const auto found = std::lower_bound(here.begin(), here.end(), e);
      if (found != here.end() && *found == e) {
        places.push_back(static_cast<int32_t>(found - here.begin()));
      } else {
        there.push_back(e);
        places.push_back(-static_cast<int32_t>(there.size()));
      }
    }
    const Weight* const stacks[] = {&gate_, &up_, &down_};
    for (size_t i = 0; i < 3; ++i) {
      ASSIGN_OR_RETURN(packed.device[i], PackSome(kernels, *stacks[i], here));
      ASSIGN_OR_RETURN(packed.processors[i], PackSome(*kernels.processors(), *stacks[i], there));
    }
    const auto bytes = static_cast<int64_t>(places.size() * sizeof(int32_t));
    ASSIGN_OR_RETURN(packed.device_places, kernels.memory().Allocate(bytes));
    RETURN_IF_ERROR(kernels.memory().Upload(places.data(), bytes, packed.device_places.data()));
    return packed;
  }

  // Empty when something failed.
  std::vector<float> Shared(Kernels& kernels, const Rows& rows) const {
    const absl::StatusOr<Packed> packed = Pack(kernels);
    if (!packed.ok()) return {};
    return Shared(kernels, *packed, rows);
  }
  std::vector<float> Shared(Kernels& kernels, const Packed& packed, const Rows& rows) const {
    OnDevice<int32_t> ids(kernels, rows.ids);
    OnDevice<float> x(kernels, rows.x), weights(kernels, rows.weights);
    OnDevice<float> y(kernels, static_cast<int64_t>(rows.x.size()));
    const auto& [their_gate, their_up, their_down] = packed.processors;
    const ExpertSplit split = {
        .places = packed.device_places.as<int32_t>(),
        .processors = {.gate = &their_gate, .up = &their_up, .down = &their_down}};
    const auto& [gate, up, down] = packed.device;
    kernels.Moe({.gate = &gate, .up = &up, .down = &down, .split = &split},
                {.ids = ids.data(), .weights = weights.data(), .top_k = top_k_}, x.data(), hidden_,
                rows.count, y.data(), hidden_);
    return y.Read();
  }

 private:
  // Some of a stack, in this order.
  static absl::StatusOr<PackedMatrix> PackSome(Kernels& kernels, const Weight& stack,
                                               const std::vector<int32_t>& experts) {
    const int64_t out = stack.view.shape[1];
    const int64_t bytes = out * stack.view.row_bytes();
    std::vector<std::byte> joined;
    for (const int32_t e : experts) {
      const std::byte* const from = stack.view.row(e * out);
      joined.insert(joined.end(), from, from + bytes);
    }
    return kernels.Pack(
        {.dtype = stack.view.dtype,
         .shape = Shape({static_cast<int64_t>(experts.size()), out, stack.view.cols()}),
         .data = joined.data()});
  }

  const int32_t experts_, top_k_;
  const int64_t hidden_;
  const Weight gate_, up_, down_;
};

}  // namespace conclave::engine
