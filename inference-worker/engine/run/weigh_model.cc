#include "engine/run/weigh_model.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/check.h"
#include "engine/kernels/kernels.h"
#include "engine/models/architecture.h"
#include "engine/quant/format.h"
#include "engine/schedule/scheduler.h"
#include "engine/weights/forwarding_source.h"

namespace conclave::engine {
namespace {

// A model's vectors are read as they are: some decide what a valid file is.
constexpr int64_t kVectorBytesMax = int64_t{1} << 20;

// Bytes that are counted and not there.
class WeighingMemory final : public Memory {
 public:
  absl::StatusOr<Buffer> Allocate(int64_t bytes) override {
    bytes_ += bytes;
    return Buffer(&nothing_, bytes, shared_from_this());
  }
  absl::Status Upload(const void*, int64_t, void*) override { return absl::OkStatus(); }
  std::optional<int64_t> available_bytes() const override { return std::nullopt; }
  int64_t bytes() const { return bytes_; }

 private:
  void Free(std::byte*, int64_t) override {}
  std::byte nothing_{};
  int64_t bytes_ = 0;
};

// Kernels that pack nothing and compute nothing.
class WeighingKernels final : public Kernels {
 public:
  int64_t weight_bytes() const { return memory_->bytes(); }
  int64_t mapped_bytes() const { return mapped_bytes_; }

  std::string_view name() const override { return "none"; }
  int num_threads() const override { return 1; }
  Memory& memory() override { return *memory_; }
  absl::Status status() const override { return absl::OkStatus(); }
  bool Has(Feature) const override { return true; }
  absl::Status Reserve(const StepLimits&) override { return absl::OkStatus(); }
  absl::Status CheckAttention(const KvLayout&, int32_t) const override { return absl::OkStatus(); }

  // As CpuKernels::Pack lays it out.
  absl::StatusOr<PackedMatrix> Pack(const TensorView& weight) override {
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
    const int64_t panels = (out + kPanelRows - 1) / kPanelRows;
    ASSIGN_OR_RETURN(Buffer data,
                     memory_->Allocate(matrices * panels * PanelBytes(format->panel, in)));
    return PackedMatrix(weight.dtype, format->panel, matrices, out, in, std::move(data));
  }
  absl::StatusOr<RowTable> PackRows(const TensorView& table) override {
    mapped_bytes_ += table.bytes();
    return RowTable{.view = table, .memory = {}};
  }

  void Matmul(std::span<const MatmulOutput>, const float*, int64_t, int64_t) override { Never(); }
  void MatmulHeads(const PackedMatrix&, const float*, int64_t, int64_t, int64_t, float*, int64_t,
                   int64_t) override {
    Never();
  }
  void Ffn(const FfnWeights&, const float*, int64_t, int64_t, float*, int64_t) override { Never(); }
  void Moe(const FfnWeights&, const ExpertRouting&, const float*, int64_t, int64_t, float*,
           int64_t) override {
    Never();
  }
  void RmsNorm(const float*, int64_t, int64_t, int64_t, const float*, float, float*,
               int64_t) override {
    Never();
  }
  void LayerNorm(const float*, int64_t, int64_t, int64_t, const float*, const float*, float, float*,
                 int64_t) override {
    Never();
  }
  void Add(const float*, int64_t, float*) override { Never(); }
  void Scale(float, int64_t, float*) override { Never(); }
  void AddGated(const float*, const float*, int64_t, int64_t, float*) override { Never(); }
  void Activate(Activation, const float*, int64_t, float*) override { Never(); }
  void ActivateMul(Activation, const float*, const float*, int64_t, float*) override { Never(); }
  void Softmax(float*, int64_t, int64_t, int64_t) override { Never(); }
  void RopeAngles(const RopeTable&, std::span<const int32_t>, float, float*) override { Never(); }
  void Rope(RopeStyle, float*, int64_t, int64_t, int32_t, int32_t, int32_t, const float*) override {
    Never();
  }
  void BeginStep(std::span<const AttentionSpan>) override { Never(); }
  void StoreKv(const KvLayout&, void*, const float*, int64_t, const float*, int64_t) override {
    Never();
  }
  void Attention(const AttentionArgs&) override { Never(); }
  void ExpandedAttention(const ExpandedAttentionArgs&, int32_t) override { Never(); }
  void DenseAttention(const DenseAttentionArgs&) override { Never(); }
  void EmbedRows(const RowTable&, std::span<const int32_t>, float*, int64_t) override { Never(); }
  void GatherRows(const float*, int64_t, std::span<const int32_t>, int64_t, float*,
                  int64_t) override {
    Never();
  }
  void CopyRows(const float*, int64_t, int64_t, int64_t, float*, int64_t) override { Never(); }
  void Route(const RouterArgs&, const float*, int64_t, int64_t, int32_t*, float*) override {
    Never();
  }
  absl::StatusOr<float*> HostView(float*, int64_t) override { Never(); }
  ThreadPool& pool() override { Never(); }

 private:
  [[noreturn]] static void Never() {
    CHECK(false);
    std::abort();
  }

  const std::shared_ptr<WeighingMemory> memory_ = std::make_shared<WeighingMemory>();
  int64_t mapped_bytes_ = 0;
};

// Its matrices are zeros that no file holds and no memory takes: pages nobody wrote are all one.
class HeaderSource final : public ForwardingSource {
 public:
  static absl::StatusOr<std::unique_ptr<HeaderSource>> Open(
      std::shared_ptr<const ModelSource> source) {
    int64_t largest = 1;
    for (const TensorEntry& tensor : source->tensors()) {
      largest = std::max(largest, tensor.view.bytes());
    }
    void* zeros = mmap(nullptr, static_cast<size_t>(largest), PROT_READ,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (zeros == MAP_FAILED) return base::ResourceExhausted("no addresses for a plan");
    return std::unique_ptr<HeaderSource>(
        new HeaderSource(std::move(source), static_cast<const std::byte*>(zeros), largest));
  }
  ~HeaderSource() override {
    munmap(const_cast<std::byte*>(zeros_), static_cast<size_t>(zeros_bytes_));
  }

  std::span<const TensorEntry> tensors() const override { return tensors_; }
  const TensorEntry* FindTensor(std::string_view name) const override {
    const TensorEntry* found = to().FindTensor(name);
    return found == nullptr ? nullptr
                            : &tensors_[static_cast<size_t>(found - to().tensors().data())];
  }
  void Prepare(const TensorEntry& entry) const override {
    if (!IsVector(entry.view)) return;
    to().Prepare(*to().FindTensor(entry.name));
  }
  void DoneWith(const TensorView&) const override {}

 private:
  HeaderSource(std::shared_ptr<const ModelSource> source, const std::byte* zeros, int64_t bytes)
      : ForwardingSource(std::move(source)), zeros_(zeros), zeros_bytes_(bytes) {
    tensors_.assign(to().tensors().begin(), to().tensors().end());
    for (TensorEntry& tensor : tensors_) {
      if (!IsVector(tensor.view)) tensor.view.data = zeros_;
    }
  }
  static bool IsVector(const TensorView& view) {
    return view.shape.rank() <= 1 && view.bytes() <= kVectorBytesMax;
  }

  const std::byte* const zeros_;
  const int64_t zeros_bytes_;
  std::vector<TensorEntry> tensors_;
};

std::string DeviceOf(const EngineOptions& options) {
  const char* from_environment = std::getenv("CONCLAVE_DEVICE");
  std::string device = options.device;
  if (device.empty() && from_environment != nullptr) device = from_environment;
  return device == "cuda" ? device : "cpu";
}

// How many rows of a prompt a step may score: their logits take this much memory at most, but for
// huge vocabularies, which would otherwise be scored a token at a time.
int32_t ScoreRowsMax(int32_t vocab_size, int32_t step_token_budget) {
  constexpr int64_t kLogitBytes = 64 << 20;
  constexpr int64_t kRowsMin = 16;
  const int64_t rows = kLogitBytes / (int64_t{vocab_size} * static_cast<int64_t>(sizeof(float)));
  return static_cast<int32_t>(
      std::clamp<int64_t>(rows, kRowsMin, std::max<int64_t>(step_token_budget, kRowsMin)));
}

}  // namespace

StepSize StepSizeOf(const HParams& hparams, const EngineOptions& options) {
  StepSize size;
  size.rows =
      std::max(options.step_token_budget, options.max_sequences + Scheduler::kMinPrefillRows);
  size.score_rows = ScoreRowsMax(hparams.vocab_size, options.step_token_budget);
  size.logit_rows = options.max_sequences + size.score_rows;
  return size;
}

absl::StatusOr<WeighedModel> WeighModel(std::shared_ptr<const ModelSource> source,
                                        const EngineOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  MemoryNeeds needs{.device = DeviceOf(options)};
  for (const TensorEntry& tensor : source->tensors()) needs.file_bytes += tensor.view.bytes();
  ASSIGN_OR_RETURN(const std::unique_ptr<HeaderSource> header,
                   HeaderSource::Open(std::move(source)));
  WeighingKernels kernels;
  ASSIGN_OR_RETURN(
      const std::unique_ptr<Model> model,
      OpenModel(*header, kernels, options.numerics == "fast" ? Numerics::kFast : Numerics::kExact));
  const HParams& hparams = model->hparams();
  needs.architecture = hparams.architecture;
  needs.weight_bytes = kernels.weight_bytes();
  needs.mapped_bytes = kernels.mapped_bytes();
  if (needs.device != "cpu") {
    needs.weight_bytes = needs.file_bytes;
    needs.mapped_bytes = 0;
  }
  const StepSize step = StepSizeOf(hparams, options);
  needs.scratch_bytes = model->ScratchBytes(step.rows) + int64_t{step.logit_rows} *
                                                             hparams.vocab_size *
                                                             static_cast<int64_t>(sizeof(float));
  needs.model_context = hparams.context_length;
  needs.block_bytes_f16 =
      KvStore::BytesPerBlock(model->kv_layout(KvType::kF16), hparams.num_layers);
  needs.block_bytes_f32 =
      KvStore::BytesPerBlock(model->kv_layout(KvType::kF32), hparams.num_layers);
  needs.block_tokens = KvLayout::kBlockTokens;
  return WeighedModel{.hparams = hparams, .needs = std::move(needs)};
}

}  // namespace conclave::engine
