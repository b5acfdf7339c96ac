// Element-wise and row operations of the CPU device. The larger ones have files of their own:
// gemm.cc, ffn.cc, attention.cc.
#include "engine/kernels/cpu/cpu_kernels.h"

#include <cstring>
#include <utility>

#include "base/check.h"
#include "engine/quant/format.h"

namespace conclave::engine {

CpuKernels::CpuKernels(const IsaTable& isa, int num_threads)
    : isa_(isa), name_(std::string("cpu/") + isa.name), pool_(num_threads) {}

// Pages that no step touches take no memory.
absl::Status CpuKernels::Reserve(const StepLimits& limits) {
  const auto reserve = [](Buffer& buffer, int64_t bytes) -> absl::Status {
    if (bytes <= buffer.size()) return absl::OkStatus();
    ASSIGN_OR_RETURN(buffer, Buffer::Allocate(bytes));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(reserve(int8_scratch_, Int8Rows::Bytes(limits.rows, limits.widest)));
  return reserve(ffn_scratch_, limits.middle * static_cast<int64_t>(sizeof(float)));
}

std::byte* CpuKernels::Scratch(Buffer& buffer, int64_t bytes) {
  if (bytes > buffer.size()) {
    // Half as much again, so that a slowly growing batch does not allocate at every step.
    absl::StatusOr<Buffer> grown = Buffer::Allocate(bytes + bytes / 2);
    CHECK(grown.ok());
    buffer = *std::move(grown);
  }
  return buffer.data();
}

Int8Rows CpuKernels::Quantize(Buffer& buffer, const float* x, int64_t x_stride, int64_t rows,
                              int64_t cols) {
  CHECK(cols % kGroup == 0);
  const Int8Rows out = Int8Rows::In(Scratch(buffer, Int8Rows::Bytes(rows, cols)), rows, cols);
  ForRows(rows, cols / 8, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      isa_.quantize_int8(x + r * x_stride, cols, out.q + r * cols, out.scales + r * out.groups(),
                         out.negative_sums + r * out.groups() * 2);
    }
  });
  return out;
}

void CpuKernels::RmsNorm(const float* x, int64_t x_stride, int64_t rows, int64_t n,
                         const float* weight, float eps, float* y, int64_t y_stride) {
  ForRows(rows, n / 8, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      isa_.rms_norm(x + r * x_stride, n, weight, eps, y + r * y_stride);
    }
  });
}

void CpuKernels::LayerNorm(const float* x, int64_t x_stride, int64_t rows, int64_t n,
                           const float* weight, const float* bias, float eps, float* y,
                           int64_t y_stride) {
  ForRows(rows, n / 4, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      isa_.layer_norm(x + r * x_stride, n, weight, bias, eps, y + r * y_stride);
    }
  });
}

// Flat vectors are cut at multiples of 16 lanes; no element depends on another.
constexpr int64_t kFlatPiece = 4096;

void CpuKernels::Add(const float* x, int64_t n, float* y) {
  ForRows((n + kFlatPiece - 1) / kFlatPiece, kFlatPiece / 8, [&](int64_t first, int64_t last) {
    const int64_t begin = first * kFlatPiece;
    isa_.add(x + begin, std::min(n, last * kFlatPiece) - begin, y + begin);
  });
}

void CpuKernels::Scale(float factor, int64_t n, float* x) {
  ForRows((n + kFlatPiece - 1) / kFlatPiece, kFlatPiece / 8, [&](int64_t first, int64_t last) {
    const int64_t begin = first * kFlatPiece;
    isa_.scale(factor, std::min(n, last * kFlatPiece) - begin, x + begin);
  });
}

void CpuKernels::AddGated(const float* x, const float* gate, int64_t rows, int64_t n, float* y) {
  ForRows(rows, n / 8, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      float factor = gate[r];
      isa_.sigmoid(&factor, 1);
      isa_.add_scaled(x + r * n, factor, n, y + r * n);
    }
  });
}

void CpuKernels::Activate(Activation activation, const float* x, int64_t n, float* y) {
  ForRows((n + kFlatPiece - 1) / kFlatPiece, kFlatPiece, [&](int64_t first, int64_t last) {
    const int64_t begin = first * kFlatPiece;
    isa_.activate(activation, x + begin, std::min(n, last * kFlatPiece) - begin, y + begin);
  });
}

void CpuKernels::ActivateMul(Activation activation, const float* gate, const float* up, int64_t n,
                             float* y) {
  ForRows((n + kFlatPiece - 1) / kFlatPiece, kFlatPiece, [&](int64_t first, int64_t last) {
    const int64_t begin = first * kFlatPiece;
    isa_.activate_mul(activation, gate + begin, up + begin, std::min(n, last * kFlatPiece) - begin,
                      y + begin);
  });
}

void CpuKernels::Softmax(float* x, int64_t stride, int64_t rows, int64_t n) {
  ForRows(rows, n, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) isa_.softmax(x + r * stride, n);
  });
}

void CpuKernels::Rope(RopeStyle style, float* x, int64_t stride, int64_t rows, int32_t num_heads,
                      int32_t head_dim, int32_t rope_dim, const float* cos_sin) {
  CHECK(rope_dim % 2 == 0 && rope_dim <= head_dim);
  ForRows(rows, int64_t{num_heads} * rope_dim, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      for (int32_t h = 0; h < num_heads; ++h) {
        isa_.rope(style, x + r * stride + int64_t{h} * head_dim, rope_dim, cos_sin + r * rope_dim);
      }
    }
  });
}

absl::StatusOr<RowTable> CpuKernels::PackRows(const TensorView& table) {
  if (FindFormat(table.dtype) == nullptr) {
    return base::Unimplemented("no arithmetic for " + std::string(NameOf(table.dtype)));
  }
  return RowTable{.view = table, .memory = {}};
}

void CpuKernels::EmbedRows(const RowTable& rows, std::span<const int32_t> ids, float* out,
                           int64_t out_stride) {
  const TensorView& table = rows.view;
  const QuantFormat* format = FindFormat(table.dtype);
  CHECK(format != nullptr);
  const int64_t cols = table.cols();
  ForRows(static_cast<int64_t>(ids.size()), cols, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int32_t id = ids[static_cast<size_t>(i)];
      CHECK(id >= 0 && id < table.rows());
      format->dequantize_row(table.row(id), out + i * out_stride, cols);
    }
  });
}

void CpuKernels::RopeAngles(const RopeTable& table, std::span<const int32_t> positions,
                            float magnitude, float* cos_sin) {
  table.Fill(positions, cos_sin, magnitude);
}

void CpuKernels::GatherRows(const float* x, int64_t x_stride, std::span<const int32_t> rows,
                            int64_t n, float* y, int64_t y_stride) {
  for (size_t i = 0; i < rows.size(); ++i) {
    std::memcpy(y + static_cast<int64_t>(i) * y_stride, x + rows[i] * x_stride,
                static_cast<size_t>(n) * sizeof(float));
  }
}

void CpuKernels::CopyRows(const float* x, int64_t x_stride, int64_t rows, int64_t n, float* y,
                          int64_t y_stride) {
  ForRows(rows, n / 8, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      std::memcpy(y + r * y_stride, x + r * x_stride, static_cast<size_t>(n) * sizeof(float));
    }
  });
}

}  // namespace conclave::engine
