// One layer's experts shared between the emulated device and the processors, against the processors
// alone.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gpu/shared_layer.h"

namespace conclave::engine {
namespace {

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

void CheckNear(const std::vector<float>& found, const std::vector<float>& expected, double bound) {
  REQUIRE(found.size() == expected.size());
  double scale = 0, apart = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    scale = std::max(scale, std::fabs(double{expected[i]}));
    const double distance = std::fabs(double{found[i]} - double{expected[i]});
    apart = std::isnan(distance) ? INFINITY : std::max(apart, distance);
  }
  CHECK(apart <= bound * scale);
}

}  // namespace

TEST_CASE("shared experts, handed over or streamed, are the processors' in every format") {
  const auto handing = Open(-1);
  const auto streaming = Open(1);
  const auto cpu = *CreateCpuKernels({.num_threads = 2});
  for (const QuantFormat* format : AllFormats()) {
    const SharedLayer layer(*format, 6, 3, 256, 256);
    for (const int64_t count : {int64_t{1}, int64_t{19}}) {
      CAPTURE(format->name(), count);
      const SharedLayer::Rows rows = layer.MakeRows(count);
      const std::vector<float> expected = layer.OnProcessors(*cpu, rows);
      const double bound = format->block_elements() == 1 ? 1e-5 : 5e-3;
      CheckNear(layer.Shared(*handing, rows), expected, bound);
      CheckNear(layer.Shared(*streaming, rows), expected, bound);
    }
  }
}

TEST_CASE("whether experts are streamed is measured, and few rows never are") {
  const auto measuring = Open(0);
  const auto handing = Open(-1);
  const auto cpu = *CreateCpuKernels({.num_threads = 2});
  const SharedLayer layer(*FindFormat(DType::kQ4_K), 6, 3, 256, 256);
  const SharedLayer::Rows few = layer.MakeRows(64);
  CHECK(layer.Shared(*measuring, few) == layer.Shared(*handing, few));
  const SharedLayer::Rows many = layer.MakeRows(70);
  CheckNear(layer.Shared(*measuring, many), layer.OnProcessors(*cpu, many), 5e-3);
}

}  // namespace conclave::engine
