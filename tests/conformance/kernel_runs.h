// Running an operation on every instruction set and thread count, and what it should give.
#pragma once

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "conformance/random.h"
#include "engine/kernels/kernels.h"
#include "engine/quant/format.h"

namespace conclave::engine {

inline std::unique_ptr<Kernels> Make(const std::string& isa, int threads) {
  auto kernels = CreateKernels({.num_threads = threads, .isa = isa});
  REQUIRE(kernels.ok());
  return *std::move(kernels);
}

inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

// Largest difference, relative to the largest expected magnitude.
inline double Error(const std::vector<float>& found, const std::vector<double>& expected) {
  double scale = 1e-30;
  double error = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    scale = std::max(scale, std::abs(expected[i]));
    const double difference = std::abs(found[i] - expected[i]);
    error = std::isnan(difference) ? 1e30 : std::max(error, difference);
  }
  return error / scale;
}

inline std::vector<double> PlainMatmul(const Weight& weight, const std::vector<float>& x, int64_t m,
                                       int64_t matrix = 0) {
  const int rank = weight.view.shape.rank();
  const int64_t out = weight.view.shape[rank - 2];
  const int64_t in = weight.view.cols();
  std::vector<double> y(static_cast<size_t>(m * out));
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t o = 0; o < out; ++o) {
      double sum = 0;
      for (int64_t k = 0; k < in; ++k) {
        sum += double{weight.values[static_cast<size_t>((matrix * out + o) * in + k)]} *
               double{x[static_cast<size_t>(i * in + k)]};
      }
      y[static_cast<size_t>(i * out + o)] = sum;
    }
  }
  return y;
}

// Rounding activations to int8 moves each by at most max|x|/254 per group; over a sum of products
// of random signs that is about 0.4 % of the largest result, and 2 % is never reached.
inline double MatmulBound(const QuantFormat& format) {
  return TakesInt8(format.panel) ? 2e-2 : 1e-5;
}

inline std::vector<float> RunMatmul(Kernels& kernels, const Weight& weight,
                                    const std::vector<float>& x, int64_t m,
                                    const float* bias = nullptr) {
  auto packed = kernels.Pack(weight.view);
  REQUIRE(packed.ok());
  std::vector<float> y(static_cast<size_t>(m * packed->out()), NAN);
  kernels.Matmul({{.weight = &*packed, .bias = bias, .y = y.data(), .y_stride = packed->out()}},
                 x.data(), packed->in(), m);
  return y;
}

// Runs an operation on every instruction set and thread count; all must give the same bits.
inline std::vector<float> OnAll(const std::function<std::vector<float>(Kernels&)>& run) {
  std::vector<float> reference;
  for (const std::string& isa : SupportedIsas()) {
    for (const int threads : {1, 3}) {
      const auto kernels = Make(isa, threads);
      const std::vector<float> y = run(*kernels);
      CAPTURE(isa, threads);
      if (reference.empty()) reference = y;
      CHECK(SameBits(y, reference));
    }
  }
  return reference;
}

}  // namespace conclave::engine
