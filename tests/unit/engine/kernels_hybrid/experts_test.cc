// One layer's experts shared between the emulated device and the processors, against the processors
// alone.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "conformance/random.h"
#include "engine/kernels/cuda/panels.h"
#include "engine/kernels/hybrid/hybrid_kernels.h"
#include "engine/quant/format.h"
#include "gpu/rig.h"

namespace conclave::engine {
namespace {

constexpr int32_t kExperts = 6;
constexpr int32_t kTopK = 3;
constexpr int64_t kHidden = 256;
constexpr int64_t kFfn = 256;

std::unique_ptr<Kernels> Open(int64_t stream_rows) {
  setenv("CONCLAVE_CUDA_MODULE", CONCLAVE_EMULATED_CUDA_MODULE, 1);
  absl::StatusOr<std::unique_ptr<Kernels>> kernels = CreateKernels({.device = "cuda",
                                                                    .num_threads = 2,
                                                                    .isa = {},
                                                                    .device_experts = {{1, 4}},
                                                                    .stream_rows = stream_rows});
  REQUIRE(kernels.ok());
  return *std::move(kernels);
}

// Some of a stack, in this order.
PackedMatrix PackSome(Kernels& kernels, const Weight& stack, const std::vector<int32_t>& experts) {
  const int64_t out = stack.view.shape[1];
  const int64_t bytes = out * stack.view.row_bytes();
  std::vector<std::byte> joined;
  for (const int32_t e : experts) {
    const std::byte* const from = stack.view.row(e * out);
    joined.insert(joined.end(), from, from + bytes);
  }
  const TensorView view{
      .dtype = stack.view.dtype,
      .shape = Shape({static_cast<int64_t>(experts.size()), out, stack.view.cols()}),
      .data = joined.data()};
  absl::StatusOr<PackedMatrix> packed = kernels.Pack(view);
  REQUIRE(packed.ok());
  return *std::move(packed);
}

// One layer, packed by both.
struct Layer {
  Weight gate, up, down;

  explicit Layer(const QuantFormat& format)
      : gate(format, {kExperts, kFfn, kHidden}, 1, 0.1f),
        up(format, {kExperts, kFfn, kHidden}, 2, 0.1f),
        down(format, {kExperts, kHidden, kFfn}, 3, 0.1f) {}

  std::vector<float> OnProcessors(const std::vector<float>& x, const std::vector<int32_t>& ids,
                                  const std::vector<float>& weights) const {
    const auto cpu = *CreateCpuKernels({.num_threads = 2});
    const PackedMatrix g = *cpu->Pack(gate.view), u = *cpu->Pack(up.view),
                       d = *cpu->Pack(down.view);
    std::vector<float> y(x.size());
    cpu->Moe({.gate = &g, .up = &u, .down = &d},
             {.ids = ids.data(), .weights = weights.data(), .top_k = kTopK}, x.data(), kHidden,
             static_cast<int64_t>(x.size()) / kHidden, y.data(), kHidden);
    return y;
  }

  std::vector<float> Shared(Kernels& kernels, const std::vector<float>& x,
                            const std::vector<int32_t>& ids,
                            const std::vector<float>& weights) const {
    const std::vector<int32_t> here = {1, 4}, there = {0, 2, 3, 5};
    const PackedMatrix g = PackSome(kernels, gate, here), u = PackSome(kernels, up, here),
                       d = PackSome(kernels, down, here);
    Kernels& cpu = *kernels.processors();
    const PackedMatrix their_g = PackSome(cpu, gate, there), their_u = PackSome(cpu, up, there),
                       their_d = PackSome(cpu, down, there);
    const std::vector<int32_t> places = {-1, 0, -2, -3, 1, -4};
    OnDevice<int32_t> device_places(kernels, places), device_ids(kernels, ids);
    OnDevice<float> device_x(kernels, x), device_weights(kernels, weights);
    OnDevice<float> y(kernels, static_cast<int64_t>(x.size()));
    const ExpertSplit split = {.places = device_places.data(),
                               .processors = {.gate = &their_g, .up = &their_u, .down = &their_d}};
    kernels.Moe({.gate = &g, .up = &u, .down = &d, .split = &split},
                {.ids = device_ids.data(), .weights = device_weights.data(), .top_k = kTopK},
                device_x.data(), kHidden, static_cast<int64_t>(x.size()) / kHidden, y.data(),
                kHidden);
    return y.Read();
  }
};

void CheckNear(const std::vector<float>& found, const std::vector<float>& expected, double bound) {
  REQUIRE(found.size() == expected.size());
  double scale = 0, apart = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    REQUIRE(std::isfinite(found[i]));
    scale = std::max(scale, std::fabs(double{expected[i]}));
    apart = std::max(apart, std::fabs(double{found[i]} - double{expected[i]}));
  }
  CHECK(apart <= bound * scale);
}

}  // namespace

TEST_CASE("shared experts, handed over or streamed, are the processors' in every format") {
  const auto handing = Open(-1);
  const auto streaming = Open(1);
  for (const QuantFormat* format : AllFormats()) {
    if (!HasCudaKernels(format->dtype)) continue;
    CAPTURE(format->name());
    const Layer layer(*format);
    for (const int64_t rows : {int64_t{1}, int64_t{19}}) {
      CAPTURE(rows);
      const std::vector<float> x = Random(7).Floats(rows * kHidden);
      const std::vector<float> weights = Random(8).Floats(rows * kTopK);
      std::vector<int32_t> ids;
      for (int64_t r = 0; r < rows; ++r) {
        for (int32_t j = 0; j < kTopK; ++j) {
          ids.push_back(static_cast<int32_t>((r * 5 + j * (1 + r % 2)) % kExperts));
        }
      }
      const std::vector<float> expected = layer.OnProcessors(x, ids, weights);
      const double bound = format->block_elements() == 1 ? 1e-5 : 5e-3;
      CheckNear(layer.Shared(*handing, x, ids, weights), expected, bound);
      CheckNear(layer.Shared(*streaming, x, ids, weights), expected, bound);
    }
  }
}

TEST_CASE("whether experts are streamed is measured, and few rows never are") {
  const auto measuring = Open(0);
  const Layer layer(*FindFormat(DType::kQ4_K));
  for (const int64_t rows : {int64_t{1}, int64_t{70}}) {
    const std::vector<float> x = Random(7).Floats(rows * kHidden);
    const std::vector<float> weights = Random(8).Floats(rows * kTopK);
    std::vector<int32_t> ids;
    for (int64_t r = 0; r < rows; ++r) ids.insert(ids.end(), {0, 1, 2});
    CheckNear(layer.Shared(*measuring, x, ids, weights), layer.OnProcessors(x, ids, weights), 5e-3);
  }
}

}  // namespace conclave::engine
