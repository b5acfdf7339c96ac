// Feed-forward networks, dense and mixture of experts, as two loops over blocks of 64 outputs.
//
//   1. (expert, block of the hidden layer): gate and up for the rows of that expert, activation,
//      product; for a quantised `down` the 64 results are rounded to int8 on the spot, which works
//      because a group is 32 wide.
//   2. (block of the output): each expert's `down` in ascending order, added to the rows with their
//      routing weights. One task owns its columns of y: no atomics and one order of addition.
//
// A dense network is one expert that every row goes to with weight 1.
#include <algorithm>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/kernels/cpu/panel_run.h"

namespace conclave::engine {
namespace {

constexpr int64_t kBlockPanels = 4;
constexpr int64_t kBlock = kBlockPanels * kPanelRows;  // 64 outputs
constexpr int64_t kRows = 64;                          // activation rows per visit of a block

int64_t Blocks(int64_t n) { return (n + kBlock - 1) / kBlock; }

}  // namespace

// One call of Ffn or Moe. A slot is one (row, expert) pair; slots of an expert are neighbours.
class FfnRun final {
 public:
  FfnRun(CpuKernels& kernels, const FfnWeights& weights, const ExpertRouting* routing,
         const float* x, int64_t x_stride, int64_t rows, float* y, int64_t y_stride)
      : kernels_(kernels),
        w_(weights),
        x_(x),
        x_stride_(x_stride),
        rows_(rows),
        y_(y),
        y_stride_(y_stride),
        hidden_(weights.up->in()),
        ffn_(weights.up->out()),
        row_of_slot_(kernels.row_of_slot_),
        weight_of_slot_(kernels.weight_of_slot_),
        active_(kernels.experts_) {
    CHECK(w_.gate == nullptr || (w_.gate->in() == hidden_ && w_.gate->out() == ffn_));
    CHECK(w_.down->in() == ffn_ && w_.down->out() == hidden_);
    SortSlots(routing);
  }

  void Run() {
    if ((w_.gate != nullptr && TakesInt8(w_.gate->kind())) || TakesInt8(w_.up->kind())) {
      input_int8_ = kernels_.Quantize(kernels_.int8_scratch_, x_, x_stride_, rows_, hidden_);
    }
    const int64_t slots = static_cast<int64_t>(row_of_slot_.size());
    if (TakesInt8(w_.down->kind())) {
      CHECK(ffn_ % kGroup == 0);
      middle_int8_ = Int8Rows::In(
          kernels_.Scratch(kernels_.ffn_scratch_, Int8Rows::Bytes(slots, ffn_)), slots, ffn_);
    } else {
      middle_ = reinterpret_cast<float*>(kernels_.Scratch(kernels_.ffn_scratch_, slots * ffn_ * 4));
    }
    const int64_t middle_blocks = Blocks(ffn_);
    kernels_.pool_.ParallelFor(
        static_cast<int64_t>(active_.size()) * middle_blocks, [&](int64_t task, int) {
          MiddleBlock(active_[static_cast<size_t>(task / middle_blocks)], task % middle_blocks);
        });
    kernels_.pool_.ParallelFor(Blocks(hidden_), [&](int64_t task, int) { OutputBlock(task); });
  }

 private:
  // Counting sort by expert; rows keep their order within one.
  void SortSlots(const ExpertRouting* routing) {
    active_.clear();
    weight_of_slot_.clear();
    if (routing == nullptr) {
      row_of_slot_.resize(static_cast<size_t>(rows_));
      for (int64_t r = 0; r < rows_; ++r)
        row_of_slot_[static_cast<size_t>(r)] = static_cast<int32_t>(r);
      active_.push_back({0, 0, rows_});
      return;
    }
    const int64_t experts = w_.up->num_matrices();
    CHECK(w_.gate == nullptr || w_.gate->num_matrices() == experts);
    CHECK(w_.down->num_matrices() == experts);
    const int64_t slots = rows_ * routing->top_k;
    std::vector<int64_t>& start = kernels_.slot_starts_;
    start.assign(static_cast<size_t>(experts) + 1, 0);
    for (int64_t i = 0; i < slots; ++i) {
      CHECK(routing->ids[i] < experts);
      if (routing->ids[i] < 0) continue;
      ++start[static_cast<size_t>(routing->ids[i]) + 1];
    }
    for (int64_t e = 0; e < experts; ++e) {
      const int64_t count = start[static_cast<size_t>(e) + 1];
      start[static_cast<size_t>(e) + 1] += start[static_cast<size_t>(e)];
      if (count > 0) active_.push_back({e, start[static_cast<size_t>(e)], count});
    }
    row_of_slot_.resize(static_cast<size_t>(start.back()));
    weight_of_slot_.resize(static_cast<size_t>(start.back()));
    for (int64_t i = 0; i < slots; ++i) {
      if (routing->ids[i] < 0) continue;
      const size_t slot = static_cast<size_t>(start[static_cast<size_t>(routing->ids[i])]++);
      row_of_slot_[slot] = static_cast<int32_t>(i / routing->top_k);
      weight_of_slot_[slot] = routing->weights[i];
    }
    if (routing->order != nullptr) OrderExperts(*routing, slots);
  }

  // In which OutputBlock adds them.
  void OrderExperts(const ExpertRouting& routing, int64_t slots) {
    std::vector<int64_t>& order = kernels_.slot_starts_;  // done with
    for (int64_t i = 0; i < slots; ++i) {
      if (routing.ids[i] >= 0) order[static_cast<size_t>(routing.ids[i])] = routing.order[i];
    }
    std::sort(active_.begin(), active_.end(), [&](const ExpertSlots& a, const ExpertSlots& b) {
      return order[static_cast<size_t>(a.matrix)] < order[static_cast<size_t>(b.matrix)];
    });
  }

  // gate or up of up to kRows slots, 64 outputs each, into out[slot][64].
  void Project(const PackedMatrix& weight, const float* bias, const ExpertSlots& expert,
               int64_t block, int64_t first_slot, int64_t slots, float* out) const {
    const int64_t first_panel = block * kBlockPanels;
    PanelRun run = RunOver(weight, expert.matrix, first_panel,
                           std::min(kBlockPanels, weight.panels() - first_panel));
    run.m = slots;
    run.rows = row_of_slot_.data() + first_slot;
    run.int8 = input_int8_;
    run.x = x_;
    run.x_stride = x_stride_;
    run.y = out;
    run.y_stride = kBlock;
    if (bias != nullptr) run.bias = bias + expert.matrix * ffn_ + block * kBlock;
    kernels_.isa_.multiply(run);
  }

  void MiddleBlock(const ExpertSlots& expert, int64_t block) const {
    alignas(64) float gate[kRows * kBlock];
    alignas(64) float up[kRows * kBlock];
    const int64_t first_column = block * kBlock;
    const int64_t width = std::min(kBlock, ffn_ - first_column);
    for (int64_t done = 0; done < expert.slots; done += kRows) {
      const int64_t slots = std::min(kRows, expert.slots - done);
      const int64_t first_slot = expert.first_slot + done;
      Project(*w_.up, w_.up_bias, expert, block, first_slot, slots, up);
      if (w_.gate != nullptr) {
        Project(*w_.gate, w_.gate_bias, expert, block, first_slot, slots, gate);
      }
      for (int64_t i = 0; i < slots; ++i) {
        float* row = up + i * kBlock;
        if (w_.gate != nullptr) {
          kernels_.isa_.activate_mul(w_.activation, gate + i * kBlock, row, width, row);
        } else {
          kernels_.isa_.activate(w_.activation, row, width, row);
        }
        StoreMiddle(first_slot + i, first_column, width, row);
      }
    }
  }

  void StoreMiddle(int64_t slot, int64_t first_column, int64_t width, const float* values) const {
    if (middle_ != nullptr) {
      std::memcpy(middle_ + slot * ffn_ + first_column, values, static_cast<size_t>(width) * 4);
      return;
    }
    kernels_.isa_.quantize_int8(values, width, middle_int8_.q + slot * ffn_ + first_column,
                                middle_int8_.scales + (slot * ffn_ + first_column) / 32,
                                middle_int8_.negative_sums + (slot * ffn_ + first_column) / 16);
  }

  void OutputBlock(int64_t block) const {
    alignas(64) float part[kRows * kBlock];
    const int64_t first_column = block * kBlock;
    const int64_t width = std::min(kBlock, hidden_ - first_column);
    const int64_t first_panel = block * kBlockPanels;
    float* y = y_ + first_column;
    for (int64_t r = 0; r < rows_; ++r) {
      std::memset(y + r * y_stride_, 0, static_cast<size_t>(width) * 4);
    }
    for (const ExpertSlots& expert : active_) {
      PanelRun run = RunOver(*w_.down, expert.matrix, first_panel,
                             std::min(kBlockPanels, w_.down->panels() - first_panel));
      run.y = part;
      run.y_stride = kBlock;
      run.x_stride = ffn_;
      if (w_.down_bias != nullptr) run.bias = w_.down_bias + expert.matrix * hidden_ + first_column;
      for (int64_t done = 0; done < expert.slots; done += kRows) {
        const int64_t first_slot = expert.first_slot + done;
        run.m = std::min(kRows, expert.slots - done);
        run.int8 = RowsFrom(middle_int8_, first_slot);
        run.x = middle_ == nullptr ? nullptr : middle_ + first_slot * ffn_;
        kernels_.isa_.multiply(run);
        for (int64_t i = 0; i < run.m; ++i) {
          const size_t slot = static_cast<size_t>(first_slot + i);
          const float weight = weight_of_slot_.empty() ? 1.0f : weight_of_slot_[slot];
          kernels_.isa_.add_scaled(part + i * kBlock, weight, width,
                                   y + row_of_slot_[slot] * y_stride_);
        }
      }
    }
  }

  CpuKernels& kernels_;
  const FfnWeights& w_;
  const float* x_;
  int64_t x_stride_;
  int64_t rows_;
  float* y_;
  int64_t y_stride_;
  int64_t hidden_;
  int64_t ffn_;

  // The kernels' lists, filled for this call.
  std::vector<int32_t>& row_of_slot_;
  std::vector<float>& weight_of_slot_;
  std::vector<ExpertSlots>& active_;
  Int8Rows input_int8_;
  Int8Rows middle_int8_;
  float* middle_ = nullptr;  // [slot][ffn] when `down` takes fp32
};

void CpuKernels::Ffn(const FfnWeights& weights, const float* x, int64_t x_stride, int64_t rows,
                     float* y, int64_t y_stride) {
  if (rows <= 0) return;
  FfnRun(*this, weights, nullptr, x, x_stride, rows, y, y_stride).Run();
}

void CpuKernels::Moe(const FfnWeights& weights, const ExpertRouting& routing, const float* x,
                     int64_t x_stride, int64_t rows, float* y, int64_t y_stride) {
  if (rows <= 0) return;
  FfnRun(*this, weights, &routing, x, x_stride, rows, y, y_stride).Run();
}

}  // namespace conclave::engine
