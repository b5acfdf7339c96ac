// The CPU device: cuts operations into tasks for the threads and calls one instruction set's
// pieces (isa/isa.h) for each.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "engine/kernels/cpu/isa/isa.h"
#include "engine/kernels/cpu/thread_pool.h"
#include "engine/kernels/kernels.h"

namespace conclave::engine {

// One expert's rows in a call of Moe: a run of slots (ffn.cc).
struct ExpertSlots {
  int64_t matrix = 0;
  int64_t first_slot = 0;
  int64_t slots = 0;
};

// One task of attention (attention.cc): query rows of one span that share a kv head.
struct AttentionTask {
  int32_t span = 0;
  int32_t kv_head = 0;
  int32_t first = 0;  // row of tokens × heads of the group
  int32_t rows = 0;
};

class CpuKernels final : public Kernels {
 public:
  CpuKernels(const IsaTable& isa, int num_threads);

  std::string_view name() const override { return name_; }
  int num_threads() const override { return pool_.num_threads(); }
  ThreadPool& pool() override { return pool_; }

  Memory& memory() override { return HostMemory(); }
  absl::Status status() const override { return absl::OkStatus(); }

  absl::StatusOr<PackedMatrix> Pack(const TensorView& weight) override;
  absl::StatusOr<RowTable> PackRows(const TensorView& table) override;
  absl::Status CheckAttention(const KvLayout& layout, int32_t num_heads) const override;
  absl::Status Reserve(const StepLimits& limits) override;
  bool Has(Feature) const override { return true; }

  void Matmul(std::span<const MatmulOutput> outputs, const float* x, int64_t x_stride,
              int64_t rows) override;
  void MatmulHeads(const PackedMatrix& weight, const float* x, int64_t x_stride, int64_t x_head,
                   int64_t rows, float* y, int64_t y_stride, int64_t y_head) override;
  void Ffn(const FfnWeights& weights, const float* x, int64_t x_stride, int64_t rows, float* y,
           int64_t y_stride) override;
  void Moe(const FfnWeights& weights, const ExpertRouting& routing, const float* x,
           int64_t x_stride, int64_t rows, float* y, int64_t y_stride) override;

  void RmsNorm(const float* x, int64_t x_stride, int64_t rows, int64_t n, const float* weight,
               float eps, float* y, int64_t y_stride) override;
  void LayerNorm(const float* x, int64_t x_stride, int64_t rows, int64_t n, const float* weight,
                 const float* bias, float eps, float* y, int64_t y_stride) override;
  void Add(const float* x, int64_t n, float* y) override;
  void Scale(float factor, int64_t n, float* x) override;
  void AddGated(const float* x, const float* gate, int64_t rows, int64_t n, float* y) override;
  void Activate(Activation activation, const float* x, int64_t n, float* y) override;
  void ActivateMul(Activation activation, const float* gate, const float* up, int64_t n,
                   float* y) override;
  void Softmax(float* x, int64_t stride, int64_t rows, int64_t n) override;
  void RopeAngles(const RopeTable& table, std::span<const int32_t> positions, float magnitude,
                  float* cos_sin) override;
  void Rope(RopeStyle style, float* x, int64_t stride, int64_t rows, int32_t num_heads,
            int32_t head_dim, int32_t rope_dim, const float* cos_sin) override;
  void BeginStep(std::span<const AttentionSpan> spans) override { spans_ = spans; }
  void StoreKv(const KvLayout& layout, void* kv, const float* k, int64_t k_stride, const float* v,
               int64_t v_stride) override;
  void Attention(const AttentionArgs& args) override;
  void ExpandedAttention(const ExpandedAttentionArgs& args, int32_t span) override;
  void DenseAttention(const DenseAttentionArgs& args) override;
  void EmbedRows(const RowTable& table, std::span<const int32_t> ids, float* out,
                 int64_t out_stride) override;
  void GatherRows(const float* x, int64_t x_stride, std::span<const int32_t> rows, int64_t n,
                  float* y, int64_t y_stride) override;
  void CopyRows(const float* x, int64_t x_stride, int64_t rows, int64_t n, float* y,
                int64_t y_stride) override;
  void Route(const RouterArgs& router, const float* logits, int64_t stride, int64_t rows,
             int32_t* ids, float* weights) override;

  absl::StatusOr<float*> HostView(float* x, int64_t) override { return x; }

  // Calls fn(first, last) over [0, rows), in one piece when rows · cost is small. `cost` is about
  // the nanoseconds of one row.
  template <typename Fn>
  void ForRows(int64_t rows, int64_t cost, Fn&& fn) {
    constexpr int64_t kWorthATask = 4000;
    const int64_t per_task = std::max<int64_t>(1, kWorthATask / std::max<int64_t>(cost, 1));
    if (rows <= per_task) {
      fn(int64_t{0}, rows);
      return;
    }
    pool_.ParallelFor((rows + per_task - 1) / per_task, [&](int64_t task, int) {
      fn(task * per_task, std::min(rows, (task + 1) * per_task));
    });
  }

 private:
  // Grown on demand, kept between calls. No memory is the end of the process, as it is for any
  // container: the sizes are those of one step, bounded by the step's token budget.
  std::byte* Scratch(Buffer& buffer, int64_t bytes);
  // Rounds all rows to int8 into int8_scratch_.
  Int8Rows Quantize(Buffer& buffer, const float* x, int64_t x_stride, int64_t rows, int64_t cols);
  void StoreSpans(const KvLayout& layout, std::byte* kv, std::span<const AttentionSpan> spans,
                  const float* k, int64_t k_stride, const float* v, int64_t v_stride);
  void AttendSpans(const AttentionArgs& args, std::span<const AttentionSpan> spans, bool causal);
  // The first `tokens` keys of a span's blocks as rows without gaps.
  void UnpackKeys(const KvLayout& layout, const std::byte* kv, const int32_t* blocks,
                  int32_t tokens, float* out);
  // MatmulHeads for some heads; x and y begin with those of the first.
  void MultiplyHeads(const PackedMatrix& weight, int64_t first_head, int64_t heads, const float* x,
                     int64_t x_stride, int64_t x_head, int64_t rows, float* y, int64_t y_stride,
                     int64_t y_head);

  friend class FfnRun;

  const IsaTable& isa_;
  std::string name_;
  ThreadPool pool_;
  std::span<const AttentionSpan> spans_;  // of the step that runs
  Buffer int8_scratch_;
  Buffer ffn_scratch_;
  Buffer dense_kv_scratch_;
  Buffer latent_scratch_;
  // Lists of the call that runs; members so that steps do not allocate them anew.
  std::vector<int64_t> slot_starts_;
  std::vector<int32_t> row_of_slot_;
  std::vector<float> weight_of_slot_;  // empty for a dense network
  std::vector<ExpertSlots> experts_;   // those with rows, ascending
  std::vector<AttentionTask> attention_tasks_;
};

// The instruction set of that name; "": CONCLAVE_ISA's, or the best that this machine runs. Errors as
// of CreateCpuKernels.
absl::StatusOr<const IsaTable*> ChooseIsa(std::string wanted);

}  // namespace conclave::engine
