// Feed-forward networks, dense and mixtures, against double arithmetic and between all ways to run
// them.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>

#include "conformance/kernel_runs.h"
#include "conformance/random.h"
#include "engine/kernels/kernels.h"
#include "engine/quant/format.h"

namespace conclave::engine {

namespace {

struct FfnCase {
  Weight gate, up, down;
  FfnCase(DType gate_type, DType down_type, int64_t experts, int64_t hidden, int64_t ffn)
      : gate(*FindFormat(gate_type), {experts, ffn, hidden}, 21),
        up(*FindFormat(gate_type), {experts, ffn, hidden}, 22),
        down(*FindFormat(down_type), {experts, hidden, ffn}, 23, 0.2f) {}
};

std::vector<float> RunMoe(Kernels& kernels, const FfnCase& c, const std::vector<float>& x,
                          const std::vector<int32_t>& ids, const std::vector<float>& weights,
                          int64_t rows) {
  auto gate = kernels.Pack(c.gate.view);
  auto up = kernels.Pack(c.up.view);
  auto down = kernels.Pack(c.down.view);
  REQUIRE((gate.ok() && up.ok() && down.ok()));
  const int64_t hidden = gate->in();
  std::vector<float> y(static_cast<size_t>(rows * hidden), NAN);
  const ExpertRouting routing = {
      .ids = ids.data(),
      .weights = weights.data(),
      .top_k = static_cast<int32_t>(static_cast<int64_t>(ids.size()) / rows)};
  kernels.Moe({.gate = &*gate, .up = &*up, .down = &*down}, routing, x.data(), hidden, rows,
              y.data(), hidden);
  return y;
}

std::vector<double> PlainMoe(const FfnCase& c, const std::vector<float>& x,
                             const std::vector<int32_t>& ids, const std::vector<float>& weights,
                             int64_t rows) {
  const int64_t hidden = c.gate.view.cols();
  const int64_t ffn = c.down.view.cols();
  const int64_t top_k = static_cast<int64_t>(ids.size()) / rows;
  std::vector<double> y(static_cast<size_t>(rows * hidden));
  for (int64_t r = 0; r < rows; ++r) {
    const std::vector<float> row(x.begin() + r * hidden, x.begin() + (r + 1) * hidden);
    for (int64_t j = 0; j < top_k; ++j) {
      const int32_t expert = ids[static_cast<size_t>(r * top_k + j)];
      const std::vector<double> g = PlainMatmul(c.gate, row, 1, expert);
      const std::vector<double> u = PlainMatmul(c.up, row, 1, expert);
      std::vector<float> h(static_cast<size_t>(ffn));
      for (size_t i = 0; i < h.size(); ++i) {
        h[i] = static_cast<float>(g[i] / (1 + std::exp(-g[i])) * u[i]);
      }
      const std::vector<double> d = PlainMatmul(c.down, h, 1, expert);
      for (int64_t i = 0; i < hidden; ++i) {
        y[static_cast<size_t>(r * hidden + i)] +=
            double{weights[static_cast<size_t>(r * top_k + j)]} * d[static_cast<size_t>(i)];
      }
    }
  }
  return y;
}

}  // namespace

TEST_CASE("a mixture of experts agrees with its definition and between all ways to run it") {
  struct Types {
    DType gate, down;
  };
  const int64_t hidden = 256;
  const int64_t ffn = 256;
  const int32_t experts = 5;
  const int32_t top_k = 2;
  const int64_t rows = 23;
  Random random(31);
  const std::vector<float> x = random.Floats(rows * hidden, 0.1f);
  std::vector<int32_t> ids;
  std::vector<float> weights;
  for (int64_t r = 0; r < rows; ++r) {
    const int32_t first = static_cast<int32_t>(random.Next() % 4);  // expert 4: rarely or never
    ids.push_back(first);
    ids.push_back((first + 1) % experts);
    weights.push_back(0.7f);
    weights.push_back(0.3f);
  }
  for (const Types types :
       {Types{DType::kF32, DType::kF32}, Types{DType::kQ8_0, DType::kQ8_0},
        Types{DType::kQ4_K, DType::kQ6_K}, Types{DType::kQ4_0, DType::kF16},
        Types{DType::kBF16, DType::kQ4_0}, Types{DType::kQ4_1, DType::kQ5_0},
        Types{DType::kQ5_1, DType::kIQ4_NL}, Types{DType::kQ2_K, DType::kQ3_K},
        Types{DType::kQ5_K, DType::kIQ4_XS}, Types{DType::kMXFP4, DType::kMXFP4}}) {
    const FfnCase c(types.gate, types.down, experts, hidden, ffn);
    const std::vector<double> expected = PlainMoe(c, x, ids, weights, rows);
    const bool exact =
        !TakesInt8(FindFormat(types.gate)->panel) && !TakesInt8(FindFormat(types.down)->panel);
    std::vector<float> reference;
    for (const std::string& isa : SupportedIsas()) {
      for (const int threads : {1, 2, 4}) {
        if (isa == "scalar" && threads != 1) continue;
        const auto kernels = Make(isa, threads);
        const std::vector<float> y = RunMoe(*kernels, c, x, ids, weights, rows);
        CAPTURE(isa, threads, NameOf(types.gate), NameOf(types.down));
        // Two roundings to int8 in a row, and a product of two rounded factors between them.
        CHECK(Error(y, expected) < (exact ? 1e-5 : 4e-2));
        if (reference.empty()) reference = y;
        CHECK(SameBits(y, reference));
      }
    }
    const auto kernels = Make("", 2);
    for (const int64_t r : {0, 11, 22}) {
      const std::vector<float> alone =
          RunMoe(*kernels, c, {x.begin() + r * hidden, x.begin() + (r + 1) * hidden},
                 {ids.begin() + r * top_k, ids.begin() + (r + 1) * top_k},
                 {weights.begin() + r * top_k, weights.begin() + (r + 1) * top_k}, 1);
      CHECK(std::memcmp(alone.data(), &reference[static_cast<size_t>(r * hidden)],
                        static_cast<size_t>(hidden) * 4) == 0);
    }
  }
}

TEST_CASE("a dense network is one expert with weight one, also in place and of odd width") {
  const int64_t hidden = 96;
  const int64_t ffn = 160;  // not a multiple of a block of 64
  const FfnCase stacked(DType::kQ8_0, DType::kQ8_0, 1, hidden, ffn);
  const int64_t rows = 70;  // more than one visit of a block
  std::vector<float> x = Random(8).Floats(rows * hidden, 0.3f);
  const std::vector<int32_t> ids(static_cast<size_t>(rows), 0);
  const std::vector<float> ones(static_cast<size_t>(rows), 1.0f);
  for (const std::string& isa : SupportedIsas()) {
    const auto kernels = Make(isa, 2);
    const std::vector<float> expected = RunMoe(*kernels, stacked, x, ids, ones, rows);
    auto gate = kernels->Pack(stacked.gate.view.Slice(0));
    auto up = kernels->Pack(stacked.up.view.Slice(0));
    auto down = kernels->Pack(stacked.down.view.Slice(0));
    REQUIRE((gate.ok() && up.ok() && down.ok()));
    std::vector<float> y = x;
    kernels->Ffn({.gate = &*gate, .up = &*up, .down = &*down}, y.data(), hidden, rows, y.data(),
                 hidden);
    CHECK(SameBits(y, expected));
    CHECK(Error(y, PlainMoe(stacked, x, ids, ones, rows)) < 4e-2);
  }
}

namespace {

// down(act(gate, up)) of one expert with biases, in double from rounded weights; no gate when
// empty.
std::vector<double> PlainExpert(const Weight* gate, const Weight& up, const Weight& down,
                                const std::vector<float>& biases, const std::vector<float>& x,
                                int64_t expert) {
  const int64_t ffn = down.view.cols();
  const int64_t hidden = up.view.cols();
  const float* const gate_bias = biases.data() + expert * (2 * ffn + hidden);
  const float* const up_bias = gate_bias + ffn;
  const float* const down_bias = up_bias + ffn;
  std::vector<double> u = PlainMatmul(up, x, 1, expert);
  std::vector<double> g(u.size());
  if (gate != nullptr) g = PlainMatmul(*gate, x, 1, expert);
  std::vector<float> inner(u.size());
  for (size_t i = 0; i < u.size(); ++i) {
    u[i] += double{up_bias[i]};
    if (gate == nullptr) {
      inner[i] = static_cast<float>(
          0.5 * u[i] *
          (1 + std::tanh(std::sqrt(2 / M_PI) * (u[i] + 0.044715 * std::pow(u[i], 3)))));
      continue;
    }
    const double a = std::min(g[i] + double{gate_bias[i]}, 7.0);
    const double b = std::clamp(u[i], -7.0, 7.0);
    inner[i] = static_cast<float>(a / (1 + std::exp(-1.702 * a)) * (b + 1));
  }
  std::vector<double> y = PlainMatmul(down, inner, 1, expert);
  for (size_t i = 0; i < y.size(); ++i) y[i] += double{down_bias[i]};
  return y;
}

struct PackedBiases {
  std::vector<float> gate, up, down;  // [experts][…]
  PackedBiases(const std::vector<float>& biases, int64_t experts, int64_t ffn, int64_t hidden) {
    for (int64_t e = 0; e < experts; ++e) {
      const auto at = biases.begin() + e * (2 * ffn + hidden);
      gate.insert(gate.end(), at, at + ffn);
      up.insert(up.end(), at + ffn, at + 2 * ffn);
      down.insert(down.end(), at + 2 * ffn, at + 2 * ffn + hidden);
    }
  }
};

}  // namespace

TEST_CASE("experts with biases and the clamped unit agree with their definition") {
  const int64_t experts = 3, hidden = 96, ffn = 160, rows = 9;
  for (const DType type : {DType::kF32, DType::kMXFP4}) {
    const QuantFormat& format = *FindFormat(type);
    // Wide enough for some products to leave the clamp.
    const Weight gate(format, {experts, ffn, hidden}, 61), up(format, {experts, ffn, hidden}, 62);
    const Weight down(format, {experts, hidden, ffn}, 63, 0.2f);
    const std::vector<float> biases = Random(64).Floats(experts * (2 * ffn + hidden), 2.0f);
    const PackedBiases b(biases, experts, ffn, hidden);
    const std::vector<float> x = Random(65).Floats(rows * hidden);
    std::vector<int32_t> ids;
    std::vector<float> weights;
    std::vector<double> expected;
    for (int64_t r = 0; r < rows; ++r) {
      std::vector<double> sum(static_cast<size_t>(hidden));
      for (const int64_t e : {r % 3, (r + 1) % 3}) {
        ids.push_back(static_cast<int32_t>(e));
        weights.push_back(e == r % 3 ? 0.75f : 0.25f);
        const std::vector<double> y = PlainExpert(
            &gate, up, down, biases, {x.begin() + r * hidden, x.begin() + (r + 1) * hidden}, e);
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += double{weights.back()} * y[i];
      }
      expected.insert(expected.end(), sum.begin(), sum.end());
    }
    const std::vector<float> y = OnAll([&](Kernels& kernels) {
      auto g = kernels.Pack(gate.view), u = kernels.Pack(up.view), d = kernels.Pack(down.view);
      REQUIRE((g.ok() && u.ok() && d.ok()));
      std::vector<float> out(static_cast<size_t>(rows * hidden), NAN);
      kernels.Moe({.gate = &*g,
                   .up = &*u,
                   .down = &*d,
                   .activation = Activation::kSwigluOai,
                   .gate_bias = b.gate.data(),
                   .up_bias = b.up.data(),
                   .down_bias = b.down.data()},
                  {.ids = ids.data(), .weights = weights.data(), .top_k = 2}, x.data(), hidden,
                  rows, out.data(), hidden);
      return out;
    });
    CHECK(Error(y, expected) < (type == DType::kF32 ? 1e-5 : 4e-2));
  }
}

TEST_CASE("a network without a gate agrees with its definition") {
  const int64_t hidden = 96, ffn = 200, rows = 70;
  const Weight up(*FindFormat(DType::kF32), {1, ffn, hidden}, 71, 0.3f);
  const Weight down(*FindFormat(DType::kF32), {1, hidden, ffn}, 72, 0.3f);
  const std::vector<float> biases = Random(73).Floats(2 * ffn + hidden);
  const PackedBiases b(biases, 1, ffn, hidden);
  const std::vector<float> x = Random(74).Floats(rows * hidden);
  std::vector<double> expected;
  for (int64_t r = 0; r < rows; ++r) {
    const std::vector<double> y = PlainExpert(
        nullptr, up, down, biases, {x.begin() + r * hidden, x.begin() + (r + 1) * hidden}, 0);
    expected.insert(expected.end(), y.begin(), y.end());
  }
  const std::vector<float> y = OnAll([&](Kernels& kernels) {
    auto u = kernels.Pack(up.view.Slice(0)), d = kernels.Pack(down.view.Slice(0));
    REQUIRE((u.ok() && d.ok()));
    std::vector<float> out = x;  // in place
    kernels.Ffn({.up = &*u,
                 .down = &*d,
                 .activation = Activation::kGeluTanh,
                 .up_bias = b.up.data(),
                 .down_bias = b.down.data()},
                out.data(), hidden, rows, out.data(), hidden);
    return out;
  });
  CHECK(Error(y, expected) < 1e-5);
}

}  // namespace conclave::engine
