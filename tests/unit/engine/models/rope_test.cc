#include "engine/models/blocks/rope.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <memory>
#include <vector>

#include "engine/weights/gguf.h"
#include "engine/weights/gguf_writer.h"

namespace conclave::engine {
namespace {

// cos and sin of one position, from a file that holds rope_freqs or nothing.
absl::StatusOr<std::vector<float>> Angles(const RopeParams& params, int32_t position,
                                          const std::vector<float>& freqs = {}) {
  GgufWriter writer;
  writer.SetString("general.architecture", "llama");
  if (!freqs.empty()) {
    writer.AddTensor("rope_freqs.weight", DType::kF32, Shape({static_cast<int64_t>(freqs.size())}),
                     freqs);
  }
  const std::vector<std::byte> bytes = writer.Serialize();
  const auto source = *OpenGgufBytes(bytes, "rope.gguf");
  Binder binder(*source);
  ASSIGN_OR_RETURN(const Rope rope, Rope::Bind(binder, params, RopeStyle::kNeox));
  ASSIGN_OR_RETURN(const std::unique_ptr<Kernels> kernels, CreateCpuKernels({.num_threads = 1}));
  std::vector<float> angles(static_cast<size_t>(rope.row_floats()));
  const int32_t positions[] = {position};
  rope.Fill(*kernels, positions, angles.data());
  return angles;
}

}  // namespace

TEST_CASE("plain rotary angles follow the base") {
  const std::vector<float> angles = *Angles({.dim = 8, .base = 10000}, 3);
  REQUIRE(angles.size() == 8);
  for (size_t i = 0; i < 4; ++i) {
    const double theta = 3 * std::pow(10000.0, -2.0 * static_cast<double>(i) / 8);
    CHECK(angles[2 * i] == Approx(std::cos(theta)).margin(1e-6));
    CHECK(angles[2 * i + 1] == Approx(std::sin(theta)).margin(1e-6));
  }
}

TEST_CASE("linear scaling stretches positions, rope_freqs divides frequencies") {
  const std::vector<float> stretched =
      *Angles({.dim = 4, .base = 100, .scaling = RopeScaling::kLinear, .factor = 2}, 6);
  CHECK(stretched == *Angles({.dim = 4, .base = 100}, 3));
  const std::vector<float> divided = *Angles({.dim = 4, .base = 100}, 8, {1, 4});
  CHECK(divided[0] == Approx(std::cos(8.0)).margin(1e-6));
  CHECK(divided[2] == Approx(std::cos(8.0 / 10 / 4)).margin(1e-6));
}

TEST_CASE("a factor of zero in the file is refused") {
  CHECK(Angles({.dim = 4, .base = 100}, 1, {1, 0}).status().code() ==
        absl::StatusCode::kInvalidArgument);
}

TEST_CASE("YaRN keeps fast pairs, slows the last ones by the factor, and ramps between") {
  const RopeParams params{.dim = 64,
                          .base = 10000,
                          .scaling = RopeScaling::kYarn,
                          .factor = 4,
                          .original_context = 2048};
  const std::vector<float> divisors = YarnDivisors(params);
  REQUIRE(divisors.size() == 32);
  CHECK(divisors.front() == 1);
  CHECK(divisors.back() == 4);
  for (size_t i = 1; i < divisors.size(); ++i) CHECK(divisors[i] >= divisors[i - 1]);
  const double magnitude = 1 + 0.1 * std::log(4.0);
  const std::vector<float> at_zero = *Angles(params, 0);
  CHECK(at_zero[0] == Approx(magnitude));
  CHECK(at_zero[1] == 0);
}

}  // namespace conclave::engine
