// Packing weights and multiplying by them. Tasks are runs of panels, claimed by whichever thread is
// free; each task reads its panels once and all activation rows from cache.
#include <string>
#include <utility>

#include "base/check.h"
#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/kernels/cpu/panel_run.h"
#include "engine/quant/format.h"

namespace conclave::engine {
namespace {

// Panels of one task: enough work to pay for claiming it, few enough to share among threads.
constexpr int64_t kTaskPanels = 4;
// Activation rows are visited in pieces that stay in the second-level cache beside the panels.
constexpr int64_t kRowBlockBytes = 256 * 1024;

}  // namespace

absl::StatusOr<PackedMatrix> CpuKernels::Pack(const TensorView& weight) {
  const QuantFormat* format = FindFormat(weight.dtype);
  if (format == nullptr) {
    return base::Unimplemented("no arithmetic for " + std::string(NameOf(weight.dtype)));
  }
  const int rank = weight.shape.rank();
  if (rank != 2 && rank != 3) {
    return base::InvalidArgument("a matrix has 2 or 3 extents, found " + weight.shape.ToString());
  }
  const int64_t matrices = rank == 3 ? weight.shape[0] : 1;
  const int64_t out = weight.shape[rank - 2];
  const int64_t in = weight.cols();
  if (in % format->block_elements() != 0) {
    return base::InvalidArgument("rows of " + std::to_string(in) + " are not a multiple of the " +
                                 std::string(format->name()) + " block");
  }
  const int64_t panels = (out + kPanelRows - 1) / kPanelRows;
  const int64_t panel_bytes = PanelBytes(format->panel, in);
  ASSIGN_OR_RETURN(Buffer data, Buffer::Allocate(matrices * panels * panel_bytes));
  std::byte* target = data.data();
  pool_.ParallelFor(matrices * panels, [&](int64_t task, int) {
    const int64_t first_row = task / panels * out + task % panels * kPanelRows;
    const int64_t rows = std::min<int64_t>(kPanelRows, out - task % panels * kPanelRows);
    format->pack_panel(weight.row(first_row), weight.row_bytes(), static_cast<int>(rows), in,
                       target + task * panel_bytes);
  });
  return PackedMatrix(weight.dtype, format->panel, matrices, out, in, std::move(data));
}

PanelRun RunOver(const PackedMatrix& weight, int64_t matrix, int64_t first_panel, int64_t count) {
  PanelRun run;
  run.kind = weight.kind();
  run.panels = weight.panel(matrix, first_panel);
  run.panel_bytes = weight.panel_bytes();
  run.quant_bytes = PanelQuantBytes(weight.kind(), weight.in());
  run.count = count;
  run.cols = weight.in();
  run.valid = std::min(count * kPanelRows, weight.out() - first_panel * kPanelRows);
  return run;
}

int64_t RowsPerBlock(const PackedMatrix& weight) {
  const int64_t row_bytes = TakesInt8(weight.kind()) ? weight.in() : weight.in() * 4;
  return std::max<int64_t>(8, kRowBlockBytes / row_bytes / 8 * 8);
}

void CpuKernels::Matmul(std::span<const MatmulOutput> outputs, const float* x, int64_t x_stride,
                        int64_t rows) {
  if (rows <= 0 || outputs.empty()) return;
  const int64_t cols = outputs[0].weight->in();
  bool any_int8 = false;
  int64_t num_tasks = 0;
  for (const MatmulOutput& output : outputs) {
    CHECK(output.weight->in() == cols && output.weight->num_matrices() == 1);
    any_int8 = any_int8 || TakesInt8(output.weight->kind());
    num_tasks += (output.weight->panels() + kTaskPanels - 1) / kTaskPanels;
  }
  const Int8Rows int8 = any_int8 ? Quantize(int8_scratch_, x, x_stride, rows, cols) : Int8Rows();
  pool_.ParallelFor(num_tasks, [&](int64_t task, int) {
    const MatmulOutput* output = outputs.data();
    for (;; ++output) {
      const int64_t tasks = (output->weight->panels() + kTaskPanels - 1) / kTaskPanels;
      if (task < tasks) break;
      task -= tasks;
    }
    const PackedMatrix& weight = *output->weight;
    const int64_t first_panel = task * kTaskPanels;
    const int64_t count = std::min(kTaskPanels, weight.panels() - first_panel);
    PanelRun run = RunOver(weight, 0, first_panel, count);
    if (output->bias != nullptr) run.bias = output->bias + first_panel * kPanelRows;
    const int64_t block = RowsPerBlock(weight);
    for (int64_t row = 0; row < rows; row += block) {
      run.m = std::min(block, rows - row);
      run.int8 = RowsFrom(int8, row);
      run.x = x + row * x_stride;
      run.x_stride = x_stride;
      run.y = output->y + row * output->y_stride + first_panel * kPanelRows;
      run.y_stride = output->y_stride;
      isa_.multiply(run);
    }
  });
}

void CpuKernels::MatmulHeads(const PackedMatrix& weight, const float* x, int64_t x_stride,
                             int64_t x_head, int64_t rows, float* y, int64_t y_stride,
                             int64_t y_head) {
  MultiplyHeads(weight, 0, weight.num_matrices(), x, x_stride, x_head, rows, y, y_stride, y_head);
}

void CpuKernels::MultiplyHeads(const PackedMatrix& weight, int64_t first_head, int64_t heads,
                               const float* x, int64_t x_stride, int64_t x_head, int64_t rows,
                               float* y, int64_t y_stride, int64_t y_head) {
  if (rows <= 0) return;
  const int64_t cols = weight.in();
  Int8Rows int8;                                   // those of a head are neighbours
  const int64_t inputs = x_head == 0 ? 1 : heads;  // heads may share theirs
  if (TakesInt8(weight.kind())) {
    CHECK(cols % kGroup == 0);
    int8 = Int8Rows::In(Scratch(int8_scratch_, Int8Rows::Bytes(inputs * rows, cols)), inputs * rows,
                        cols);
    ForRows(inputs * rows, cols / 8, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        isa_.quantize_int8(x + i % rows * x_stride + i / rows * x_head, cols, int8.q + i * cols,
                           int8.scales + i * int8.groups(),
                           int8.negative_sums + i * int8.groups() * 2);
      }
    });
  }
  const int64_t tasks = (weight.panels() + kTaskPanels - 1) / kTaskPanels;
  pool_.ParallelFor(heads * tasks, [&](int64_t task, int) {
    const int64_t head = task / tasks;
    const int64_t first_panel = task % tasks * kTaskPanels;
    PanelRun run = RunOver(weight, first_head + head, first_panel,
                           std::min(kTaskPanels, weight.panels() - first_panel));
    const int64_t block = RowsPerBlock(weight);
    for (int64_t row = 0; row < rows; row += block) {
      run.m = std::min(block, rows - row);
      run.int8 = RowsFrom(int8, (x_head == 0 ? 0 : head) * rows + row);
      run.x = x + row * x_stride + head * x_head;
      run.x_stride = x_stride;
      run.y = y + row * y_stride + head * y_head + first_panel * kPanelRows;
      run.y_stride = y_stride;
      isa_.multiply(run);
    }
  });
}

}  // namespace conclave::engine
