// The CUDA device: the operation table over the module's C door. Nothing here knows CUDA; it turns
// spans and views into what the door takes and keeps the host's half of a step.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/kernels/cpu/thread_pool.h"
#include "engine/kernels/cuda/cuda_row_reader.h"
#include "engine/kernels/cuda/module.h"
#include "engine/kernels/kernels.h"

namespace conclave::engine {

// One GPU's memory and stream; kept alive by every buffer of it.
class CudaMemory final : public Memory {
 public:
  // At most `bytes_max` are allocated, 0 = all there are. What operations need beside comes on top.
  CudaMemory(const ConclaveCudaApi& api, ConclaveCudaContext* context, int64_t bytes_max)
      : api_(api), context_(context), bytes_max_(bytes_max) {}
  ~CudaMemory() override { api_.close(context_); }

  absl::StatusOr<Buffer> Allocate(int64_t bytes) override;
  absl::Status Upload(const void* host, int64_t bytes, void* target) override;
  std::optional<int64_t> available_bytes() const override;
  // Of which all that is to be had lies in.
  int64_t total_bytes() const;

  absl::Status status() const;
  const ConclaveCudaApi& api() const { return api_; }
  ConclaveCudaContext* context() const { return context_; }

 protected:
  void Free(std::byte* data, int64_t bytes) override;

 private:
  const ConclaveCudaApi& api_;
  ConclaveCudaContext* const context_;
  const int64_t bytes_max_;
  int64_t used_bytes_ = 0;
};

class CudaKernels : public Kernels {
 public:
  // `device_name` as the driver has it.
  CudaKernels(std::shared_ptr<CudaMemory> memory, std::string device_name, int num_threads);

  std::string_view name() const override { return name_; }
  int num_threads() const override { return pool_.num_threads(); }
  ThreadPool& pool() override { return pool_; }
  Memory& memory() override { return *memory_; }
  absl::Status status() const override;

  absl::StatusOr<PackedMatrix> Pack(const TensorView& weight) override;
  absl::StatusOr<RowTable> PackRows(const TensorView& table) override;
  absl::Status Reserve(const StepLimits& limits) override;
  absl::Status CheckAttention(const KvLayout& layout, int32_t num_heads) const override;
  bool Has(Feature) const override { return true; }

  void Matmul(std::span<const MatmulOutput> outputs, const float* x, int64_t x_stride,
              int64_t rows) override;
  // Rows of x and of y have no gaps between them.
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
  void Scale(float factor, int64_t n, float* x) override;
  void AddGated(const float* x, const float* gate, int64_t rows, int64_t n, float* y) override;
  void Add(const float* x, int64_t n, float* y) override;
  void Activate(Activation activation, const float* x, int64_t n, float* y) override;
  void ActivateMul(Activation activation, const float* gate, const float* up, int64_t n,
                   float* y) override;
  void RopeAngles(const RopeTable& table, std::span<const int32_t> positions, float magnitude,
                  float* cos_sin) override;
  void Rope(RopeStyle style, float* x, int64_t stride, int64_t rows, int32_t num_heads,
            int32_t head_dim, int32_t rope_dim, const float* cos_sin) override;
  void BeginStep(std::span<const AttentionSpan> spans) override;
  void StoreKv(const KvLayout& layout, void* kv, const float* k, int64_t k_stride, const float* v,
               int64_t v_stride) override;
  void Attention(const AttentionArgs& args) override;
  void ExpandedAttention(const ExpandedAttentionArgs& args, int32_t span) override;
  void CopyRows(const float* x, int64_t x_stride, int64_t rows, int64_t n, float* y,
                int64_t y_stride) override;
  void EmbedRows(const RowTable& table, std::span<const int32_t> ids, float* out,
                 int64_t out_stride) override;
  void GatherRows(const float* x, int64_t x_stride, std::span<const int32_t> rows, int64_t n,
                  float* y, int64_t y_stride) override;
  void Route(const RouterArgs& router, const float* logits, int64_t stride, int64_t rows,
             int32_t* ids, float* weights) override;
  absl::StatusOr<float*> HostView(float* x, int64_t n) override;
  RowReader* row_reader() override { return row_reader_.has_value() ? &*row_reader_ : nullptr; }

  // What only encoders ask for. The first call makes the device fail with UNIMPLEMENTED.
  void Softmax(float*, int64_t, int64_t, int64_t) override;
  void DenseAttention(const DenseAttentionArgs&) override;

 protected:
  const std::shared_ptr<CudaMemory> memory_;
  const ConclaveCudaApi& api_;
  ConclaveCudaContext* const context_;

 private:
  const std::string name_;
  ThreadPool pool_;
  std::optional<CudaRowReader> row_reader_;
  std::string unimplemented_;  // the first operation asked for that is not there

  // Lists of the call that runs; members so that steps do not allocate them anew.
  std::vector<ConclaveCudaOutput> outputs_;
  std::vector<ConclaveCudaSpan> spans_;
  std::vector<int32_t> blocks_;
  std::vector<int32_t> slots_;
};

// The first GPU, opened. FAILED_PRECONDITION without driver or GPU, NOT_FOUND without module.
struct OpenedCuda {
  std::shared_ptr<CudaMemory> memory;
  std::string device_name;
};
absl::StatusOr<OpenedCuda> OpenCuda(const KernelOptions& options);
absl::StatusOr<std::unique_ptr<Kernels>> CreateCudaKernels(const KernelOptions& options);

}  // namespace conclave::engine
