// What `--numerics fast` computes by other kernels: products of many rows. They round activations
// and weights to fp16, so the measure is the exact product of the weights that the file stands for.
#include <cmath>
#include <string>
#include <vector>

#include "conformance/random.h"
#include "engine/quant/format.h"
#include "gpu/rig.h"

namespace conclave::engine {
namespace {

// Eleven bits twice, against sums whose terms are of either sign.
constexpr double kBound = 2e-3;
constexpr int64_t kRows = 140;

TensorView Exact(const Weight& weight) {
  TensorView view = weight.view;
  view.dtype = DType::kF32;
  view.data = reinterpret_cast<const std::byte*>(weight.values.data());
  return view;
}

// Rows of very different sizes, one of them zeros.
float SizeOf(int64_t row) {
  return row == 3 ? 0.0f : std::ldexp(1.0f, static_cast<int>(row % 41) - 20);
}
std::vector<float> Sized(int64_t rows, int64_t cols) {
  std::vector<float> x = Random(99).Floats(rows * cols);
  for (int64_t i = 0; i < rows * cols; ++i) x[static_cast<size_t>(i)] *= SizeOf(i / cols);
  return x;
}
// Rows by the size of what went in.
std::vector<float> Unsized(std::vector<float> y, int64_t cols) {
  for (size_t i = 0; i < y.size(); ++i) {
    const float size = SizeOf(static_cast<int64_t>(i) / cols);
    if (size > 0) y[i] /= size;
  }
  return y;
}

std::vector<float> Multiply(Kernels& kernels, const TensorView& weight, const std::vector<float>& x,
                            int64_t rows) {
  const absl::StatusOr<PackedMatrix> packed = kernels.Pack(weight);
  if (!packed.ok()) return {};
  OnDevice<float> device_x(kernels, std::span<const float>(x).first(rows * packed->in()));
  OnDevice<float> y(kernels, rows * packed->out());
  kernels.Matmul({{.weight = &*packed, .y = y.data(), .y_stride = packed->out()}}, device_x.data(),
                 packed->in(), rows);
  return Unsized(y.Read(), packed->out());
}

void CheckProducts(Kernels& fast, Kernels& cpu, bool quick, Report& report) {
  struct Size {
    int64_t out, in;
  };
  for (const QuantFormat* format : AllFormats()) {
    if (!TakesInt8(format->panel)) continue;
    if (!fast.Pack(Weight(*format, {16, 256}, 1).view).ok()) continue;
    std::vector<Size> sizes = {{37, 768}};
    if (format->block_elements() == 32) sizes.push_back({50, 96});
    if (!quick) sizes.insert(sizes.end(), {{1024, 2048}, {17'000, 512}});
    for (const Size& s : sizes) {
      const Weight weight(*format, {s.out, s.in}, 7, 0.05f);
      const std::vector<float> x = Sized(kRows, s.in);
      const std::string what = std::string(format->name()) + " " + std::to_string(s.out) + "×" +
                               std::to_string(s.in) + ", rows ";
      const std::vector<float> whole = Multiply(fast, weight.view, x, kRows);
      report.Compare("fast matmul", what + std::to_string(kRows), whole,
                     Multiply(cpu, Exact(weight), x, kRows), kBound);
      // In one tile of 64, of 128, and in two.
      for (const int64_t rows : {40, 65, 129}) {
        report.Same("fast rows", what + std::to_string(rows),
                    Multiply(fast, weight.view, x, rows) ==
                        std::vector<float>(whole.begin(), whole.begin() + rows * s.out));
      }
    }
  }
}

std::vector<float> Mix(Kernels& kernels, const TensorView& gate, const TensorView& up,
                       const TensorView& down, int64_t rows, int32_t top_k, bool dense) {
  const auto part = [&](const TensorView& view) {
    return kernels.Pack(dense ? view.Slice(0) : view);
  };
  const auto packed_gate = part(gate);
  const auto packed_up = part(up);
  const auto packed_down = part(down);
  if (!packed_gate.ok() || !packed_up.ok() || !packed_down.ok()) return {};
  const int64_t hidden = packed_up->in();
  const auto experts = static_cast<int32_t>(packed_up->num_matrices());
  std::vector<int32_t> ids;
  std::vector<float> weights;
  for (int64_t i = 0; i < rows * top_k; ++i) {
    ids.push_back(static_cast<int32_t>(i / top_k * 3 + i % top_k) % experts);
    weights.push_back(0.5f / static_cast<float>(i % top_k + 1));
  }
  OnDevice<float> x(kernels, std::span<const float>(Random(31).Floats(rows * hidden)));
  OnDevice<int32_t> device_ids(kernels, std::span<const int32_t>(ids));
  OnDevice<float> device_weights(kernels, std::span<const float>(weights));
  OnDevice<float> y(kernels, rows * hidden);
  const FfnWeights w = {.gate = &*packed_gate, .up = &*packed_up, .down = &*packed_down};
  if (dense) {
    kernels.Ffn(w, x.data(), hidden, rows, y.data(), hidden);
  } else {
    kernels.Moe(w, {.ids = device_ids.data(), .weights = device_weights.data(), .top_k = top_k},
                x.data(), hidden, rows, y.data(), hidden);
  }
  return y.Read();
}

void CheckNetworks(Kernels& fast, Kernels& cpu, bool quick, Report& report) {
  struct Case {
    DType gate, down;
    int64_t experts, hidden, ffn;
    int32_t top_k;
  };
  std::vector<Case> cases = {{DType::kQ4_K, DType::kQ6_K, 2, 256, 256, 2},
                             {DType::kQ8_0, DType::kF16, 2, 96, 64, 1},
                             {DType::kMXFP4, DType::kQ4_0, 3, 64, 96, 2}};
  if (!quick) cases.push_back({DType::kQ4_K, DType::kQ4_K, 8, 2048, 768, 4});
  for (const Case& c : cases) {
    const Weight gate(*FindFormat(c.gate), {c.experts, c.ffn, c.hidden}, 21, 0.1f);
    const Weight up(*FindFormat(c.gate), {c.experts, c.ffn, c.hidden}, 22, 0.1f);
    const Weight down(*FindFormat(c.down), {c.experts, c.hidden, c.ffn}, 23, 0.1f);
    const int64_t rows = quick ? 230 : 512;
    for (const bool dense : {true, false}) {
      report.Compare(dense ? "fast ffn" : "fast moe",
                     std::string(NameOf(c.gate)) + "/" + std::string(NameOf(c.down)) + ", rows " +
                         std::to_string(rows),
                     Mix(fast, gate.view, up.view, down.view, rows, c.top_k, dense),
                     Mix(cpu, Exact(gate), Exact(up), Exact(down), rows, c.top_k, dense), kBound);
    }
  }
}

}  // namespace

void CheckFast(Kernels& fast, Kernels& cpu, bool quick, Report& report) {
  CheckProducts(fast, cpu, quick, report);
  CheckNetworks(fast, cpu, quick, report);
}

}  // namespace conclave::engine
