// The operation table: everything a forward pass asks of a device. A model is written once over
// this interface; a device is a folder here and a row in all.cc.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<Kernels> kernels, CreateKernels({.num_threads = 2}));
//   ASSIGN_OR_RETURN(PackedMatrix w, kernels->Pack(view));      // at load
//   kernels->Matmul({{.weight = &w, .y = y, .y_stride = n}}, x, x_stride, rows);
//
// What holds for every operation:
//  - Results are bitwise the same for any number of threads and for a row alone or in any batch:
//    each output has one order of summation that depends on shapes and position only. On CPUs they
//    are bitwise the same for every instruction set too.
//  - Rows of x and y are `stride` floats apart; y may alias x only where said.
//  - Shapes are the caller's promise (the binder checked the file); a broken one is our mistake.
//  - Pointers are into memory(), the device's own; what the host hands over (ids, spans, positions,
//    row numbers) comes as spans and is read before the call returns. Operations may run later, in
//    the order they were asked for: HostView waits for them.
//  - A device that fails (its driver says so) does nothing from then on; HostView and status()
//  tell.
//  - Weights in F32, F16, BF16 multiply fp32 activations; quantised weights multiply activations
//    rounded to int8 in groups of 32 (quant/int8_rows.h).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/kernels/kv_layout.h"
#include "engine/kernels/packed_matrix.h"
#include "engine/kernels/types.h"
#include "engine/tensor/memory.h"
#include "engine/tensor/tensor_view.h"

namespace conclave::engine {

class ThreadPool;

// y[rows][out] = x · weightᵀ + bias
struct MatmulOutput {
  const PackedMatrix* weight = nullptr;
  const float* bias = nullptr;  // [out], or none
  float* y = nullptr;
  int64_t y_stride = 0;
};

struct ExpertSplit;

// down(act(gate(x)) · up(x)), and without a gate down(act(up(x))); stacks of matrices for a mixture
// of experts, all [experts][…]. Biases are added to each product, where there are some.
struct FfnWeights {
  const PackedMatrix* gate = nullptr;  // [ffn][hidden], or none
  const PackedMatrix* up = nullptr;    // [ffn][hidden]
  const PackedMatrix* down = nullptr;  // [hidden][ffn]
  Activation activation = Activation::kSilu;
  const float* gate_bias = nullptr;  // [experts][ffn]
  const float* up_bias = nullptr;    // [experts][ffn]
  const float* down_bias = nullptr;  // [experts][hidden]
  // The stacks are some of the layer's experts, by ascending id; Moe alone takes it.
  const ExpertSplit* split = nullptr;
};

// A layer whose experts are not all the device's: the machine's processors compute the others.
struct ExpertSplit {
  int32_t layer = 0;
  // [experts], device: a number in the device's stacks, or −1 − the number in the processors'.
  const int32_t* places = nullptr;
  FfnWeights processors;  // packed by Kernels::processors(); biases in its memory
};

// The experts of each layer that a device has, ascending: [layer][…].
using DeviceExperts = std::vector<std::vector<int32_t>>;

// How rows choose their experts. With groups (DeepSeek-V2 and -V3), only experts of the best
// groups may be chosen, a group being as good as the sum of its `group_best` best experts.
struct RouterArgs {
  int32_t num_experts = 0;
  int32_t top_k = 0;
  RouterScore score = RouterScore::kSoftmax;
  const float* selection_bias = nullptr;  // [num_experts]: added to scores for choosing only
  int32_t num_groups = 1;                 // of num_experts/num_groups neighbours each
  int32_t num_groups_used = 1;
  int32_t group_best = 1;
  bool renormalize = false;  // divide the chosen weights by their sum
  float scale = 1.0f;        // of the weights, last
};

// Which experts each row goes to: top_k ids and weights per row, row after row. The ids of a row
// differ. Order within a row does not matter: experts are added by ascending id, or order.
struct ExpertRouting {
  const int32_t* ids = nullptr;    // [rows][top_k], each < number of experts; < 0 is left out
  const float* weights = nullptr;  // [rows][top_k]
  int32_t top_k = 0;
  // [rows][top_k], where ids number matrices that lie in any order: experts are added by these.
  const int32_t* order = nullptr;
};

struct AttentionArgs {
  KvLayout layout;
  const void* kv = nullptr;  // this layer's memory, KvLayout::block_bytes() per block
  int32_t num_heads = 0;     // a multiple of num_kv_heads
  float scale = 0;           // usually 1/sqrt(head_dim)
  const float* q = nullptr;  // [row][head][head_dim]
  int64_t q_stride = 0;
  float* out = nullptr;  // [row][head][value_dim]
  int64_t out_stride = 0;
  int32_t max_span_rows = INT32_MAX;    // spans of more rows are left out
  int32_t window = 0;                   // a row sees that many tokens, itself the last; 0 = all
  const float* sinks = nullptr;         // [head]: a logit that joins the softmax without a value
  const float* alibi_slopes = nullptr;  // [head]: a score loses slope · distance
};

// Latent attention where keys and values of every head are made from the latents first, for spans
// of many rows: fewer operations than Attention over the latents, and other bits.
struct ExpandedAttentionArgs {
  KvLayout layout;  // of the latents: values_in_keys
  const void* kv = nullptr;
  const PackedMatrix* keys = nullptr;    // [head][head_dim - rope][latent]
  const PackedMatrix* values = nullptr;  // [head][value_dim][latent]
  float scale = 0;
  const float* q = nullptr;  // [row][head][head_dim], what rotates last
  int64_t q_stride = 0;
  float* out = nullptr;  // [row][head][value_dim]
  int64_t out_stride = 0;
};

// Sequences whose tokens all see each other, nothing kept: encoders. Rows of sequence i are
// [offsets[i], offsets[i + 1]).
struct DenseAttentionArgs {
  std::span<const int32_t> offsets;
  int32_t num_heads = 0;
  int32_t head_dim = 0;
  float scale = 0;
  const float* q = nullptr;  // [row][head][head_dim], likewise k and v
  const float* k = nullptr;
  const float* v = nullptr;
  int64_t stride = 0;  // of q, k and v
  float* out = nullptr;
  int64_t out_stride = 0;
};

// A table whose rows are looked up by number. `view` says what the rows are and where the device
// reads them; `memory` holds them where that is not the model file itself.
struct RowTable {
  TensorView view;
  Buffer memory;
};

class RopeTable;
class ExpertMover;  // expert_mover.h
class RowReader;    // row_reader.h

// The most that one step asks for.
struct StepLimits {
  int64_t rows = 0;
  int64_t sequences = 0;
  int64_t context = 0;      // tokens of one sequence
  int64_t read_floats = 0;  // of one HostView
  int64_t read_rows = 0;    // that these are, and of one RowReader::Read
  int64_t widest = 0;       // floats of a row that a matrix multiplies
  int64_t hidden = 0;
  int64_t middle = 0;  // floats inside a network, of all rows and the experts they chose
  int64_t slots = 0;   // rows × the experts each chooses
  int64_t experts = 0;
  int32_t num_heads = 0;
  KvLayout layout;
  // Elements of a head's key and value where latents are expanded; 0 where they are not.
  int32_t expanded_key = 0;
  int32_t expanded_value = 0;
};

// base::ReasonOf a status that says that a device has failed.
inline constexpr std::string_view kDeviceFailed = "device_failed";

// What not every device has. A model asks for what it needs when it is opened.
enum class Feature {
  kFfnBias,          // biases in feed-forward networks
  kPlainFfn,         // those without a gate
  kSwigluOai,        // Activation::kSwigluOai
  kGeneralRouter,    // Route beyond softmax over all experts, renormalised or not
  kSlidingWindow,    // AttentionArgs::window
  kAttentionSinks,   // AttentionArgs::sinks
  kAlibi,            // AttentionArgs::alibi_slopes
  kLatentAttention,  // KvLayout::values_in_keys, MatmulHeads, CopyRows
  kExpandedAttention,
  kGatedAdd,  // AddGated
  kScale,
  kLayerNorm,
};

// Owned by one caller at a time (the step loop, an encoder's thread): it keeps scratch between
// calls. Everything returned by Pack may be shared by several.
class Kernels {
 public:
  virtual ~Kernels() = default;

  virtual std::string_view name() const = 0;  // "cpu/avx512"
  virtual int num_threads() const = 0;

  // Where activations, keys and values must lie for the operations below.
  virtual Memory& memory() = 0;
  // OK, or UNAVAILABLE (kDeviceFailed) with the driver's word once the device has failed; it stays
  // failed.
  virtual absl::Status status() const = 0;

  // --- at load ---
  // [out][in] or [experts][out][in]. UNIMPLEMENTED for a type without arithmetic;
  // INVALID_ARGUMENT when `in` is no multiple of the block; RESOURCE_EXHAUSTED without memory.
  virtual absl::StatusOr<PackedMatrix> Pack(const TensorView& weight) = 0;

  // Token embeddings. RESOURCE_EXHAUSTED without memory, UNIMPLEMENTED as Pack.
  virtual absl::StatusOr<RowTable> PackRows(const TensorView& table) = 0;
  // A vector that operations read: norm weights, biases.
  absl::StatusOr<Buffer> PackVector(std::span<const float> values);
  // UNIMPLEMENTED when StoreKv and Attention cannot do this shape.
  virtual absl::Status CheckAttention(const KvLayout& layout, int32_t num_heads) const = 0;
  virtual bool Has(Feature feature) const = 0;
  // A device that leaves experts to the machine's processors: what packs those. None: it leaves
  // none.
  virtual Kernels* processors() { return nullptr; }
  // Those of a layer that Pack is for, ascending; nullptr: all.
  virtual const std::vector<int32_t>* DeviceExpertsOf(int32_t /*layer*/) const { return nullptr; }
  // What has experts change between the two while a model serves; none where there are no two.
  virtual ExpertMover* mover() { return nullptr; }
  // Takes what steps within the limits need beside their activations, so that none of them has to.
  // RESOURCE_EXHAUSTED without memory. Steps may be larger; they may then fail for want of it.
  virtual absl::Status Reserve(const StepLimits& limits) = 0;
  // OK, or UNIMPLEMENTED naming the feature and this device.
  absl::Status Require(Feature feature) const;

  // --- linear ---
  // Several matrices over the same x (q, k, v; a router beside them): x is quantised once.
  virtual void Matmul(std::span<const MatmulOutput> outputs, const float* x, int64_t x_stride,
                      int64_t rows) = 0;
  void Matmul(std::initializer_list<MatmulOutput> outputs, const float* x, int64_t x_stride,
              int64_t rows) {
    Matmul(std::span<const MatmulOutput>(outputs.begin(), outputs.size()), x, x_stride, rows);
  }
  // A stack of one matrix per head: y[row][head] = W[head] · x[row][head]. Heads of a row are
  // `x_head` and `y_head` floats apart, rows `x_stride` and `y_stride` (devices may want
  // that to be all heads of a row and no more); y does not overlap x.
  virtual void MatmulHeads(const PackedMatrix& weight, const float* x, int64_t x_stride,
                           int64_t x_head, int64_t rows, float* y, int64_t y_stride,
                           int64_t y_head) = 0;
  // y = ffn(x); y may alias x.
  virtual void Ffn(const FfnWeights& weights, const float* x, int64_t x_stride, int64_t rows,
                   float* y, int64_t y_stride) = 0;
  // Says that Moe of these comes next but for operations that write to neither x nor the routing: a
  // device that leaves experts to the processors hands them over now, and works on meanwhile.
  virtual void PrepareMoe(const FfnWeights& /*weights*/, const ExpertRouting& /*routing*/,
                          const float* /*x*/, int64_t /*x_stride*/, int64_t /*rows*/) {}
  // y = Σ over the row's experts of weight · ffn_expert(x); y may alias x. Where experts are split,
  // the device's sum and the processors' are added last.
  virtual void Moe(const FfnWeights& weights, const ExpertRouting& routing, const float* x,
                   int64_t x_stride, int64_t rows, float* y, int64_t y_stride) = 0;

  // --- element-wise and rows; y may alias x ---
  // y = x / sqrt(mean(x²) + eps) · weight, for `rows` rows of n. Heads of a row are rows too.
  virtual void RmsNorm(const float* x, int64_t x_stride, int64_t rows, int64_t n,
                       const float* weight, float eps, float* y, int64_t y_stride) = 0;
  // y = (x − mean) / sqrt(var + eps) · weight + bias
  virtual void LayerNorm(const float* x, int64_t x_stride, int64_t rows, int64_t n,
                         const float* weight, const float* bias, float eps, float* y,
                         int64_t y_stride) = 0;
  // y += x
  virtual void Add(const float* x, int64_t n, float* y) = 0;
  // x = factor · x
  virtual void Scale(float factor, int64_t n, float* x) = 0;
  // y[r] += sigmoid(gate[r]) · x[r] for rows of n without gaps.
  virtual void AddGated(const float* x, const float* gate, int64_t rows, int64_t n, float* y) = 0;
  // y = act(x)
  virtual void Activate(Activation activation, const float* x, int64_t n, float* y) = 0;
  // y = act(gate) · up
  virtual void ActivateMul(Activation activation, const float* gate, const float* up, int64_t n,
                           float* y) = 0;
  // Each row: exp(x − max) / Σ.
  virtual void Softmax(float* x, int64_t stride, int64_t rows, int64_t n) = 0;

  // --- positions ---
  // The rows' cos and sin (RopeTable::Fill), [rows][rope_dim/2][cos, sin].
  virtual void RopeAngles(const RopeTable& table, std::span<const int32_t> positions,
                          float magnitude, float* cos_sin) = 0;
  // Rotates the first rope_dim elements of every head of every row. `cos_sin` is what
  // RopeAngles wrote for these rows, once per step.
  virtual void Rope(RopeStyle style, float* x, int64_t stride, int64_t rows, int32_t num_heads,
                    int32_t head_dim, int32_t rope_dim, const float* cos_sin) = 0;

  // --- attention ---
  // The spans that StoreKv and Attention work on until the next call; they and the block lists they
  // point to live until then.
  virtual void BeginStep(std::span<const AttentionSpan> spans) = 0;
  // Writes the rows' new keys [row][kv_head][head_dim] and values [row][kv_head][value_dim] into
  // the blocks of their spans. fp16 storage saturates at ±65504.
  virtual void StoreKv(const KvLayout& layout, void* kv, const float* k, int64_t k_stride,
                       const float* v, int64_t v_stride) = 0;
  // Causal: the row at position p sees positions 0..p, all of which StoreKv has written. Prefill
  // in chunks of any size and decode give the same bits.
  virtual void Attention(const AttentionArgs& args) = 0;
  // One span of the step, numbered as BeginStep had them.
  virtual void ExpandedAttention(const ExpandedAttentionArgs& args, int32_t span) = 0;
  virtual void DenseAttention(const DenseAttentionArgs& args) = 0;

  // --- lookups ---
  // out[i] = row ids[i] of the table, dequantised. Ids are within the table.
  virtual void EmbedRows(const RowTable& table, std::span<const int32_t> ids, float* out,
                         int64_t out_stride) = 0;
  // y[i] = x[rows[i]], rows of n; y and x do not overlap.
  virtual void GatherRows(const float* x, int64_t x_stride, std::span<const int32_t> rows,
                          int64_t n, float* y, int64_t y_stride) = 0;
  // y[r] = x[r], rows of n; y and x do not overlap.
  virtual void CopyRows(const float* x, int64_t x_stride, int64_t rows, int64_t n, float* y,
                        int64_t y_stride) = 0;
  // The top_k best experts of each row (ties: the lower id first), best first, and their weights.
  virtual void Route(const RouterArgs& router, const float* logits, int64_t stride, int64_t rows,
                     int32_t* ids, float* weights) = 0;

  // --- the way back ---
  // Waits for every operation so far; gives x[0..n) where the host can read and change it: x itself
  // on a CPU, a copy that lives until the next call on a device. n may be 0. UNAVAILABLE when the
  // device has failed: then what the operations since the last call wrote is lost.
  virtual absl::StatusOr<float*> HostView(float* x, int64_t n) = 0;
  // What reads rows in part; none where HostView copies nothing.
  virtual RowReader* row_reader() { return nullptr; }

  // The threads, for a caller's own loops over rows.
  virtual ThreadPool& pool() = 0;
};

// Angles of rotary embeddings. inverse_frequency[i] = base^(−2i/rope_dim) · scale / factors[i].
class RopeTable final {
 public:
  // `factors` is empty or has rope_dim/2 entries (GGUF's rope_freqs.weight).
  RopeTable(int32_t rope_dim, double base, double frequency_scale = 1.0,
            std::span<const float> factors = {});

  int32_t rope_dim() const { return rope_dim_; }
  std::span<const float> inverse_frequency() const { return inverse_frequency_; }
  // Writes cos and sin for each position, [rows][rope_dim/2][2], times `magnitude` (YaRN's).
  void Fill(std::span<const int32_t> positions, float* cos_sin, float magnitude = 1.0f) const;

 private:
  int32_t rope_dim_;
  std::vector<float> inverse_frequency_;
};

struct KernelOptions {
  // "cpu", "cuda" or "auto" (docs/operations.md); empty takes CONCLAVE_DEVICE from the environment,
  // and without it "cpu".
  std::string device;
  int num_threads = 0;  // 0 = UsableCores()
  // "scalar", "avx2", "avx512"; empty takes CONCLAVE_ISA from the environment, and without it the
  // best this machine supports.
  std::string isa;
  // Of a device's memory, for what is allocated there; 0 = all that is free.
  int64_t device_bytes_max = 0;
  // Empty: all. Otherwise the processors have the rest.
  DeviceExperts device_experts;
  // A device's products of many rows may have other bits than those of few, where that is faster.
  bool fast = false;
  // For so many rows and more the processors' experts are computed on the device, their weights
  // sent there each time: other bits than for few rows. -1 = never, 0 = where measuring says it is
  // faster.
  int64_t stream_rows = -1;
};

// Makes the kernels of a device. INVALID_ARGUMENT for an unknown name, naming the known ones;
// FAILED_PRECONDITION when the machine lacks the instruction set, the GPU or its driver; NOT_FOUND
// when this build has no CUDA module.
absl::StatusOr<std::unique_ptr<Kernels>> CreateKernels(const KernelOptions& options);
// Of this machine's processors, whatever the environment says of devices.
absl::StatusOr<std::unique_ptr<Kernels>> CreateCpuKernels(const KernelOptions& options);

// Names of the instruction sets this build has, worst first, and of those this machine can run.
std::vector<std::string> BuiltIsas();
std::vector<std::string> SupportedIsas();

}  // namespace conclave::engine
