// Every operation on every instruction set this machine runs: close to plain double arithmetic, and
// equal to the bit between instruction sets, thread counts and batch sizes.
#include "engine/kernels/kernels.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>

#include "conformance/kernel_runs.h"
#include "conformance/random.h"
#include "engine/quant/format.h"

namespace conclave::engine {
TEST_CASE("matmul agrees with double arithmetic for every format, instruction set and shape") {
  for (const QuantFormat* format : AllFormats()) {
    for (const int64_t out : {1, 16, 37, 130}) {
      const int64_t in = std::max<int64_t>(format->block_elements(), 32) * (out == 37 ? 3 : 1);
      const Weight weight(*format, {out, in}, 7 + static_cast<uint64_t>(out));
      for (const int64_t m : {1, 2, 3, 5, 8, 17}) {
        const std::vector<float> x = Random(99).Floats(m * in);
        const std::vector<double> expected = PlainMatmul(weight, x, m);
        std::vector<float> reference;
        for (const std::string& isa : SupportedIsas()) {
          CAPTURE(format->name(), out, in, m, isa);
          const std::vector<float> y = RunMatmul(*Make(isa, 2), weight, x, m);
          CHECK(Error(y, expected) < MatmulBound(*format));
          if (reference.empty()) reference = y;
          CHECK(SameBits(y, reference));
        }
      }
    }
  }
}

TEST_CASE("odd widths work where the format has no blocks") {
  for (const QuantFormat* format : AllFormats()) {
    if (format->block_elements() != 1) continue;
    const Weight weight(*format, {19, 21}, 3);
    const std::vector<float> x = Random(4).Floats(3 * 21);
    for (const std::string& isa : SupportedIsas()) {
      CHECK(Error(RunMatmul(*Make(isa, 1), weight, x, 3), PlainMatmul(weight, x, 3)) < 1e-5);
    }
  }
}

TEST_CASE("extreme weights stay exact on every instruction set") {
  // Bytes of all values, -128 among them, and activations at the ends of their range.
  const QuantFormat* format = FindFormat(DType::kQ8_0);
  std::vector<std::byte> bytes(16 * 34);
  std::vector<float> values(16 * 32);
  for (size_t row = 0; row < 16; ++row) {
    bytes[row * 34] = std::byte{0x00};
    bytes[row * 34 + 1] = std::byte{0x3c};  // d = 1
    for (size_t i = 0; i < 32; ++i) {
      const int q = row == 0 ? -128 : row == 1 ? 127 : static_cast<int>(row * 32 + i) % 256 - 128;
      bytes[row * 34 + 2 + i] = static_cast<std::byte>(q);
      values[row * 32 + i] = static_cast<float>(q);
    }
  }
  TensorView view;
  view.dtype = format->dtype;
  view.shape = {16, 32};
  view.data = bytes.data();
  for (const float sign : {1.0f, -1.0f}) {
    const std::vector<float> x(32, sign * 127.0f);
    for (const std::string& isa : SupportedIsas()) {
      const auto kernels = Make(isa, 1);
      auto packed = kernels->Pack(view);
      REQUIRE(packed.ok());
      std::vector<float> y(16);
      kernels->Matmul({{.weight = &*packed, .y = y.data(), .y_stride = 16}}, x.data(), 32, 1);
      for (size_t row = 0; row < 16; ++row) {
        float expected = 0;
        for (size_t i = 0; i < 32; ++i) expected += values[row * 32 + i] * x[i];
        CAPTURE(isa, row, sign);
        CHECK(y[row] == expected);
      }
    }
  }
}

TEST_CASE("weights and activations at their extremes overflow no instruction set") {
  for (const QuantFormat* format : AllFormats()) {
    const int64_t in = std::max<int64_t>(format->block_elements(), 32) * 2;
    Weight weight(*format, {32, in}, 1);
    // Rows of the largest level, of the smallest, of both in turn, and of one among zeros.
    for (int64_t row = 0; row < 32; ++row) {
      float* values = weight.values.data() + row * in;
      for (int64_t k = 0; k < in; ++k) {
        const float sign = row % 4 == 1 || (row % 4 == 2 && k % 2 == 1) ? -1.0f : 1.0f;
        values[k] = row % 4 == 3 && k % 32 != row ? 0 : sign * (row < 16 ? 1.0f : -3.0f);
      }
      std::byte* bytes = weight.bytes.data() + row * weight.view.row_bytes();
      format->quantize_row(values, bytes, in);
      format->dequantize_row(bytes, values, in);
    }
    for (const bool alternating : {false, true}) {
      std::vector<float> x(static_cast<size_t>(in), 1.0f);
      for (size_t k = 1; alternating && k < x.size(); k += 2) x[k] = -1.0f;
      const std::vector<double> expected = PlainMatmul(weight, x, 1);
      for (const std::string& isa : SupportedIsas()) {
        CAPTURE(format->name(), isa, alternating);
        // Activations of one magnitude are exact in int8: what is left is fp32 rounding.
        CHECK(Error(RunMatmul(*Make(isa, 1), weight, x, 1), expected) < 1e-5);
      }
    }
  }
}

TEST_CASE("several outputs share one input, with bias and strides") {
  const Weight a(*FindFormat(DType::kQ8_0), {48, 64}, 1);
  const Weight b(*FindFormat(DType::kF32), {20, 64}, 2);
  const std::vector<float> bias = Random(5).Floats(20);
  const int64_t m = 6;
  const int64_t stride = 70;
  const std::vector<float> x = Random(6).Floats(m * stride);
  std::vector<float> dense(static_cast<size_t>(m * 64));
  for (int64_t i = 0; i < m; ++i)
    std::memcpy(&dense[static_cast<size_t>(i * 64)], &x[static_cast<size_t>(i * stride)], 256);
  const auto kernels = Make("", 2);
  auto packed_a = kernels->Pack(a.view);
  auto packed_b = kernels->Pack(b.view);
  REQUIRE((packed_a.ok() && packed_b.ok()));
  std::vector<float> ya(static_cast<size_t>(m * 100), -1.0f);
  std::vector<float> yb(static_cast<size_t>(m * 20));
  kernels->Matmul({{.weight = &*packed_a, .y = ya.data(), .y_stride = 100},
                   {.weight = &*packed_b, .bias = bias.data(), .y = yb.data(), .y_stride = 20}},
                  x.data(), stride, m);
  const std::vector<float> alone = RunMatmul(*kernels, a, dense, m);
  const std::vector<float> biased = RunMatmul(*kernels, b, dense, m, bias.data());
  CHECK(SameBits(yb, biased));
  for (int64_t i = 0; i < m; ++i) {
    CHECK(std::memcmp(&ya[static_cast<size_t>(i * 100)], &alone[static_cast<size_t>(i * 48)],
                      48 * 4) == 0);
    CHECK(ya[static_cast<size_t>(i * 100 + 48)] == -1.0f);  // nothing beyond the row
  }
}

TEST_CASE("a row's product does not depend on its batch nor on the number of threads") {
  for (const QuantFormat* format : AllFormats()) {
    const Weight weight(*format, {100, 512}, 11);
    const int64_t m = 41;
    const std::vector<float> x = Random(12).Floats(m * 512);
    for (const std::string& isa : SupportedIsas()) {
      if (isa == "scalar" && format->panel != PanelKind::kU8) continue;  // same code, slow
      const std::vector<float> batch = RunMatmul(*Make(isa, 1), weight, x, m);
      for (const int threads : {2, 4}) {
        CAPTURE(format->name(), isa, threads);
        CHECK(SameBits(RunMatmul(*Make(isa, threads), weight, x, m), batch));
      }
      const auto kernels = Make(isa, 2);
      for (const int64_t row : {0, 17, 40}) {
        const std::vector<float> one(x.begin() + row * 512, x.begin() + (row + 1) * 512);
        const std::vector<float> alone = RunMatmul(*kernels, weight, one, 1);
        CAPTURE(format->name(), isa, row);
        CHECK(std::memcmp(alone.data(), &batch[static_cast<size_t>(row * 100)], 400) == 0);
      }
    }
  }
}

TEST_CASE("pack refuses what it cannot multiply") {
  const auto kernels = Make("", 1);
  std::vector<std::byte> bytes(4096);
  TensorView view;
  view.data = bytes.data();
  view.dtype = DType::kIQ1_S;
  view.shape = {1, 256};
  CHECK(kernels->Pack(view).status().code() == absl::StatusCode::kUnimplemented);
  view.dtype = DType::kQ8_0;
  view.shape = {2, 33};
  CHECK(kernels->Pack(view).status().code() == absl::StatusCode::kInvalidArgument);
  view.shape = {32};
  CHECK(kernels->Pack(view).status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("kernels are made by name and refuse unknown ones") {
  CHECK(CreateKernels({.isa = "mmx"}).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(CreateKernels({.num_threads = -1}).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(Make("scalar", 1)->name() == "cpu/scalar");
  CHECK(BuiltIsas().front() == "scalar");
  REQUIRE(unsetenv("CONCLAVE_ISA") == 0);
  CHECK(Make("", 1)->name() == "cpu/" + SupportedIsas().back());
  // The environment decides where the caller does not.
  REQUIRE(setenv("CONCLAVE_ISA", "scalar", 1) == 0);
  CHECK(Make("", 1)->name() == "cpu/scalar");
  REQUIRE(setenv("CONCLAVE_ISA", "mmx", 1) == 0);
  CHECK(CreateKernels({}).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(Make(SupportedIsas().back(), 1)->name() == "cpu/" + SupportedIsas().back());
  REQUIRE(unsetenv("CONCLAVE_ISA") == 0);
}

// --- rows ---------------------------------------------------------------------------------------

TEST_CASE("norms agree with their definition") {
  for (const int64_t n : {1, 7, 16, 100, 384}) {
    const int64_t rows = 9;
    const std::vector<float> x = Random(41).Floats(rows * n, 3.0f);
    const std::vector<float> weight = Random(42).Floats(n);
    const std::vector<float> bias = Random(43).Floats(n);
    const float eps = 1e-5f;
    const std::vector<float> rms = OnAll([&](Kernels& kernels) {
      std::vector<float> y(x.size());
      kernels.RmsNorm(x.data(), n, rows, n, weight.data(), eps, y.data(), n);
      return y;
    });
    const std::vector<float> layer = OnAll([&](Kernels& kernels) {
      std::vector<float> y = x;  // in place
      kernels.LayerNorm(y.data(), n, rows, n, weight.data(), bias.data(), eps, y.data(), n);
      return y;
    });
    std::vector<double> expected_rms, expected_layer;
    for (int64_t r = 0; r < rows; ++r) {
      double squares = 0, mean = 0, variance = 0;
      const float* row = &x[static_cast<size_t>(r * n)];
      for (int64_t i = 0; i < n; ++i) squares += double{row[i]} * double{row[i]};
      for (int64_t i = 0; i < n; ++i) mean += double{row[i]} / static_cast<double>(n);
      for (int64_t i = 0; i < n; ++i)
        variance += (row[i] - mean) * (row[i] - mean) / static_cast<double>(n);
      for (int64_t i = 0; i < n; ++i) {
        const size_t at = static_cast<size_t>(i);
        expected_rms.push_back(row[i] / std::sqrt(squares / static_cast<double>(n) + double{eps}) *
                               double{weight[at]});
        expected_layer.push_back((row[i] - mean) / std::sqrt(variance + double{eps}) *
                                     double{weight[at]} +
                                 double{bias[at]});
      }
    }
    CAPTURE(n);
    CHECK(Error(rms, expected_rms) < 1e-6);
    CHECK(Error(layer, expected_layer) < (n == 1 ? 1e-3 : 3e-6));
  }
}

TEST_CASE("activations agree with the C library") {
  std::vector<float> x = Random(51).Floats(5000, 12.0f);
  for (const float special : {0.0f, -0.0f, 100.0f, -100.0f, 1e-20f, 30.0f, -30.0f})
    x.push_back(special);
  const std::vector<float> up = Random(52).Floats(static_cast<int64_t>(x.size()));
  const auto exact = [](Activation activation, double v) {
    switch (activation) {
      case Activation::kSilu:
        return v / (1 + std::exp(-v));
      case Activation::kGeluErf:
        return v * 0.5 * std::erfc(-v / std::sqrt(2.0));
      case Activation::kGeluTanh:
      case Activation::kSwigluOai:
        break;
    }
    return 0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
  };
  for (const Activation activation :
       {Activation::kSilu, Activation::kGeluErf, Activation::kGeluTanh}) {
    const std::vector<float> y = OnAll([&](Kernels& kernels) {
      std::vector<float> out(x.size());
      kernels.Activate(activation, x.data(), static_cast<int64_t>(x.size()), out.data());
      return out;
    });
    const std::vector<float> product = OnAll([&](Kernels& kernels) {
      std::vector<float> out(x.size());
      kernels.ActivateMul(activation, x.data(), up.data(), static_cast<int64_t>(x.size()),
                          out.data());
      return out;
    });
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = exact(activation, double{x[i]});
      CAPTURE(x[i], static_cast<int>(activation));
      CHECK(std::abs(y[i] - expected) < 3e-7 * std::max(1.0, std::abs(double{x[i]})));
      CHECK(product[i] == y[i] * up[i]);
    }
  }
}

TEST_CASE("softmax sums to one, survives large logits and keeps minus infinity at zero") {
  for (const int64_t n : {1, 15, 16, 33, 128}) {
    std::vector<float> x = Random(61).Floats(4 * n, 50.0f);
    x[0] += 1000.0f;
    if (n > 1) x[static_cast<size_t>(n - 1)] = -INFINITY;
    const std::vector<float> y = OnAll([&](Kernels& kernels) {
      std::vector<float> out = x;
      kernels.Softmax(out.data(), n, 4, n);
      return out;
    });
    std::vector<double> expected;
    for (int64_t r = 0; r < 4; ++r) {
      const float* row = &x[static_cast<size_t>(r * n)];
      const double max = double{*std::max_element(row, row + n)};
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) sum += std::exp(row[i] - max);
      for (int64_t i = 0; i < n; ++i) expected.push_back(std::exp(row[i] - max) / sum);
    }
    CHECK(Error(y, expected) < 1e-6);
    if (n > 1) CHECK(y[static_cast<size_t>(n - 1)] == 0.0f);
  }
}

TEST_CASE("adding adds") {
  const std::vector<float> x = Random(71).Floats(10'001);
  const std::vector<float> start = Random(72).Floats(10'001);
  const std::vector<float> y = OnAll([&](Kernels& kernels) {
    std::vector<float> out = start;
    kernels.Add(x.data(), static_cast<int64_t>(x.size()), out.data());
    return out;
  });
  for (size_t i = 0; i < x.size(); ++i) REQUIRE(y[i] == start[i] + x[i]);
}

TEST_CASE("scaling, gated adding and copying do what they say") {
  const int64_t rows = 7, n = 53;
  const std::vector<float> x = Random(84).Floats(rows * n), start = Random(85).Floats(rows * n);
  const std::vector<float> gate = Random(86).Floats(rows, 6.0f);
  const std::vector<float> scaled = OnAll([&](Kernels& kernels) {
    std::vector<float> out = x;
    kernels.Scale(0.37f, rows * n, out.data());
    return out;
  });
  const std::vector<float> added = OnAll([&](Kernels& kernels) {
    std::vector<float> out = start;
    kernels.AddGated(x.data(), gate.data(), rows, n, out.data());
    return out;
  });
  const std::vector<float> copied = OnAll([&](Kernels& kernels) {
    std::vector<float> out(x.size());
    kernels.CopyRows(x.data() + 3, n, rows, 20, out.data() + 1, n);
    return out;
  });
  for (int64_t i = 0; i < rows * n; ++i) {
    const auto at = static_cast<size_t>(i);
    CHECK(scaled[at] == 0.37f * x[at]);
    const double share = 1 / (1 + std::exp(-double{gate[static_cast<size_t>(i / n)]}));
    CHECK(added[at] == Approx(double{start[at]} + share * double{x[at]}).margin(1e-6));
    const int64_t column = i % n;
    CHECK(copied[at] == (column >= 1 && column < 21 ? x[at + 2] : 0.0f));
  }
}

TEST_CASE("a matrix per head multiplies that head's part of the rows") {
  const int64_t heads = 3, out = 37, rows = 11;
  for (const DType type : {DType::kF32, DType::kBF16, DType::kQ8_0, DType::kQ4_K}) {
    const int64_t in = type == DType::kQ4_K ? 256 : 64;
    const Weight weight(*FindFormat(type), {heads, out, in}, 87);
    const int64_t x_head = in + 5, x_stride = heads * x_head;
    const int64_t y_head = out + 3, y_stride = heads * y_head;
    const std::vector<float> x = Random(88).Floats(rows * x_stride);
    const auto run = [&](Kernels& kernels, int64_t first, int64_t count) {
      auto packed = kernels.Pack(weight.view);
      REQUIRE(packed.ok());
      std::vector<float> y(static_cast<size_t>(count * y_stride), -7.0f);
      kernels.MatmulHeads(*packed, x.data() + first * x_stride, x_stride, x_head, count, y.data(),
                          y_stride, y_head);
      return y;
    };
    const std::vector<float> y = OnAll([&](Kernels& kernels) { return run(kernels, 0, rows); });
    const std::vector<float> alone = run(*Make("", 2), 5, 1);
    CHECK(SameBits(alone, {y.begin() + 5 * y_stride, y.begin() + 6 * y_stride}));
    for (int64_t h = 0; h < heads; ++h) {
      std::vector<float> part, found;
      for (int64_t r = 0; r < rows; ++r) {
        const auto x_at = x.begin() + r * x_stride + h * x_head;
        const auto y_at = y.begin() + r * y_stride + h * y_head;
        part.insert(part.end(), x_at, x_at + in);
        found.insert(found.end(), y_at, y_at + out);
        CHECK(*(y_at + out) == -7.0f);
      }
      CHECK(Error(found, PlainMatmul(weight, part, rows, h)) < MatmulBound(*FindFormat(type)));
    }
  }
}

TEST_CASE("rotation turns pairs by the table's angle and leaves the rest") {
  const int32_t head_dim = 12;
  const int32_t rope_dim = 8;
  const RopeTable table(rope_dim, 10000.0);
  const std::vector<int32_t> positions = {0, 5, 1000};
  std::vector<float> cos_sin(positions.size() * 8);
  table.Fill(positions, cos_sin.data());
  const std::vector<float> x = Random(91).Floats(3 * 2 * head_dim);
  for (const RopeStyle style : {RopeStyle::kNorm, RopeStyle::kNeox}) {
    const std::vector<float> y = OnAll([&](Kernels& kernels) {
      std::vector<float> out = x;
      kernels.Rope(style, out.data(), 2 * head_dim, 3, 2, head_dim, rope_dim, cos_sin.data());
      return out;
    });
    std::vector<double> expected(x.begin(), x.end());
    for (size_t r = 0; r < 3; ++r) {
      for (size_t h = 0; h < 2; ++h) {
        for (size_t i = 0; i < 4; ++i) {
          const double angle =
              positions[r] * std::pow(10000.0, -2.0 * static_cast<double>(i) / rope_dim);
          const size_t base = (r * 2 + h) * 12;
          const size_t a = base + (style == RopeStyle::kNorm ? 2 * i : i);
          const size_t b = base + (style == RopeStyle::kNorm ? 2 * i + 1 : i + 4);
          expected[a] = double{x[a]} * std::cos(angle) - double{x[b]} * std::sin(angle);
          expected[b] = double{x[b]} * std::cos(angle) + double{x[a]} * std::sin(angle);
        }
      }
    }
    CHECK(Error(y, expected) < 1e-4);  // angles of position 1000 are rounded to fp32
    for (size_t i = 0; i < 12; ++i) {
      if (i >= 8) CHECK(y[i] == x[i]);
    }
  }
  const std::vector<float> factors = {2.0f, 2.0f, 2.0f, 2.0f};
  std::vector<float> slowed(8);
  RopeTable(rope_dim, 10000.0, 1.0, factors).Fill(std::vector<int32_t>{10}, slowed.data());
  table.Fill(std::vector<int32_t>{5}, cos_sin.data());
  for (size_t i = 0; i < 8; ++i) CHECK(slowed[i] == Approx(cos_sin[i]).margin(1e-6));
}

TEST_CASE("embedding rows are the table's rows") {
  for (const QuantFormat* format : AllFormats()) {
    const Weight table(*format, {10, 256}, 101);
    const std::vector<int32_t> ids = {9, 0, 3, 3};
    const auto kernels = Make("", 2);
    std::vector<float> out(4 * 260, -1.0f);
    const auto rows = kernels->PackRows(table.view);
    REQUIRE(rows.ok());
    kernels->EmbedRows(*rows, ids, out.data(), 260);
    for (size_t i = 0; i < ids.size(); ++i) {
      CHECK(std::memcmp(&out[i * 260], &table.values[static_cast<size_t>(ids[i]) * 256], 1024) ==
            0);
      CHECK(out[i * 260 + 256] == -1.0f);
    }
  }
}

}  // namespace conclave::engine
