#include "engine/kernels/cuda/panels.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "engine/quant/format.h"
#include "engine/quant/half.h"

namespace conclave::engine {
namespace {

enum class Way { kToDevice, kBack };

// Words [from][r] of a CPU panel go to [r][from].
void TransposeWords(Way way, const std::byte* from, int words, uint32_t flip, std::byte* to) {
  for (int r = 0; r < kPanelRows; ++r) {
    for (int j = 0; j < words; ++j) {
      const int cpu = (j * kPanelRows + r) * 4;
      const int device = (r * words + j) * 4;
      const bool back = way == Way::kBack;
      Store(to + (back ? cpu : device), Load<uint32_t>(from + (back ? device : cpu)) ^ flip);
    }
  }
}

// The words that a group of a kind has for each row, plane after plane.
struct GroupWords {
  int planes[3];
  uint32_t flip = 0;
};
GroupWords WordsOf(PanelKind kind) {
  switch (kind) {
    case PanelKind::kU4:
    case PanelKind::kU4HalfMin:
    case PanelKind::kU4Min:
    case PanelKind::kNl4:
    case PanelKind::kNl4Super:
    case PanelKind::kFp4:
      return {{4, 0, 0}};
    case PanelKind::kU5:
    case PanelKind::kU5HalfMin:
    case PanelKind::kU5Min:
      return {{4, 1, 0}};
    case PanelKind::kU2Min:
      return {{2, 0, 0}};
    case PanelKind::kU3:
      return {{2, 1, 0}};
    case PanelKind::kU6:
      return {{4, 2, 0}};
    case PanelKind::kU8:
      return {{4, 4, 0}, 0x80808080u};
    default:
      CHECK(false);  // HasCudaKernels let a type pass whose panels nobody laid out
  }
}

// Of the same rows. The scales follow unchanged.
void ReorderQuants(Way way, PanelKind kind, int64_t in, const std::byte* from, std::byte* to) {
  const GroupWords words = WordsOf(kind);
  int64_t at = 0;
  for (int64_t g = 0; g < in / kGroup; ++g) {
    for (const int plane : words.planes) {
      TransposeWords(way, from + at, plane, words.flip, to + at);
      at += int64_t{plane} * kPanelRows * 4;
    }
  }
  CHECK(at == PanelQuantBytes(kind, in));
  std::memcpy(to + at, from + at, static_cast<size_t>(PanelScaleBytes(kind, in)));
}

// [k][r] to [k / n][r][n] with n elements in 16 bytes.
template <typename Element>
void ReorderElements(int64_t in, const std::byte* from, std::byte* to) {
  constexpr int64_t kSize = sizeof(Element);
  constexpr int64_t kEach = 16 / kSize;
  for (int64_t first = 0; first < in; first += kEach) {
    for (int64_t r = 0; r < kPanelRows; ++r) {
      for (int64_t i = 0; i < kEach; ++i) {
        const int64_t k = first + i;
        Store(to + (first * kPanelRows + r * kEach + i) * kSize,
              k < in ? Load<Element>(from + (k * kPanelRows + r) * kSize) : Element{});
      }
    }
  }
}

template <typename Element>
void RestoreElements(int64_t in, const std::byte* from, std::byte* to) {
  constexpr int64_t kSize = sizeof(Element);
  constexpr int64_t kEach = 16 / kSize;
  for (int64_t k = 0; k < in; ++k) {
    for (int64_t r = 0; r < kPanelRows; ++r) {
      const int64_t at = k / kEach * kEach * kPanelRows + r * kEach + k % kEach;
      Store(to + (k * kPanelRows + r) * kSize, Load<Element>(from + at * kSize));
    }
  }
}

// 16 bytes of each row in turn; `to` is zeroed.
void InterleaveRows(const std::byte* rows, int64_t row_bytes, int64_t count, std::byte* to) {
  for (int64_t r = 0; r < count; ++r) {
    const std::byte* row = rows + r * row_bytes;
    for (int64_t at = 0; at < row_bytes; at += 16) {
      std::memcpy(to + at * kPanelRows + r * 16, row + at,
                  static_cast<size_t>(std::min<int64_t>(16, row_bytes - at)));
    }
  }
}

}  // namespace

void ReorderPanel(PanelKind kind, int64_t in, const std::byte* cpu_panel, std::byte* to) {
  switch (kind) {
    case PanelKind::kF32:
      return ReorderElements<uint32_t>(in, cpu_panel, to);
    case PanelKind::kF16:
    case PanelKind::kBF16:
      return ReorderElements<uint16_t>(in, cpu_panel, to);
    default:
      return ReorderQuants(Way::kToDevice, kind, in, cpu_panel, to);
  }
}

void RestorePanel(PanelKind kind, int64_t in, const std::byte* device_panel, std::byte* to) {
  switch (kind) {
    case PanelKind::kF32:
      return RestoreElements<uint32_t>(in, device_panel, to);
    case PanelKind::kF16:
    case PanelKind::kBF16:
      return RestoreElements<uint16_t>(in, device_panel, to);
    default:
      return ReorderQuants(Way::kBack, kind, in, device_panel, to);
  }
}

bool HasCudaKernels(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ5_0:
    case DType::kQ5_1:
    case DType::kQ8_0:
    case DType::kQ2_K:
    case DType::kQ3_K:
    case DType::kQ4_K:
    case DType::kQ5_K:
    case DType::kQ6_K:
    case DType::kIQ4_NL:
    case DType::kIQ4_XS:
    case DType::kMXFP4:
      return true;
    default:
      return false;
  }
}

absl::StatusOr<CudaPanels> PackCudaPanels(const TensorView& weight, ThreadPool& pool) {
  const QuantFormat* format = FindFormat(weight.dtype);
  if (format == nullptr || !HasCudaKernels(weight.dtype)) {
    return base::Unimplemented("no CUDA kernels for " + std::string(NameOf(weight.dtype)));
  }
  const int rank = weight.shape.rank();
  if (rank != 2 && rank != 3) {
    return base::InvalidArgument("a matrix has 2 or 3 extents, found " + weight.shape.ToString());
  }
  CudaPanels result;
  result.kind = format->panel;
  result.matrices = rank == 3 ? weight.shape[0] : 1;
  result.out = weight.shape[rank - 2];
  result.in = weight.cols();
  if (result.in % format->block_elements() != 0) {
    return base::InvalidArgument("rows of " + std::to_string(result.in) +
                                 " are not a multiple of the " + std::string(format->name()) +
                                 " block");
  }
  const int64_t out = result.out;
  const int64_t in = result.in;
  const int64_t panels = (out + kPanelRows - 1) / kPanelRows;
  const int64_t panel_bytes = CudaPanelBytes(format->panel, in);
  ASSIGN_OR_RETURN(result.data, Buffer::Allocate(result.matrices * panels * panel_bytes));
  std::vector<std::vector<std::byte>> scratch(static_cast<size_t>(pool.num_threads()));
  std::byte* const target = result.data.data();
  pool.ParallelFor(result.matrices * panels, [&](int64_t task, int worker) {
    const int64_t in_matrix = task % panels * kPanelRows;
    const int64_t rows = std::min<int64_t>(kPanelRows, out - in_matrix);
    const std::byte* source = weight.row(task / panels * out + in_matrix);
    if (!TakesInt8(format->panel)) {
      InterleaveRows(source, weight.row_bytes(), rows, target + task * panel_bytes);
      return;
    }
    std::vector<std::byte>& cpu_panel = scratch[static_cast<size_t>(worker)];
    cpu_panel.resize(static_cast<size_t>(PanelBytes(format->panel, in)));
    format->pack_panel(source, weight.row_bytes(), static_cast<int>(rows), in, cpu_panel.data());
    ReorderQuants(Way::kToDevice, format->panel, in, cpu_panel.data(), target + task * panel_bytes);
  });
  return result;
}

}  // namespace conclave::engine
