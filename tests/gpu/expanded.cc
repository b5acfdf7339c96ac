#include <numeric>

#include "conformance/random.h"
#include "engine/quant/format.h"
#include "gpu/rig.h"

namespace conclave::engine {
namespace {

struct Shape_ {
  int32_t heads, nope, rope, value, latent;
  int32_t position, rows;
};

// The last rows of a sequence, whose tokens before them are there.
std::vector<float> Run(Kernels& kernels, const Shape_& s, KvType type, DType weights) {
  const KvLayout layout = {.num_kv_heads = 1,
                           .head_dim = s.latent + s.rope,
                           .value_dim = s.latent,
                           .type = type,
                           .values_in_keys = true};
  const Weight keys(*FindFormat(weights), {s.heads, s.nope, s.latent}, 41, 0.2f);
  const Weight values(*FindFormat(weights), {s.heads, s.value, s.latent}, 42, 0.2f);
  const auto packed_keys = kernels.Pack(keys.view);
  const auto packed_values = kernels.Pack(values.view);
  if (!packed_keys.ok() || !packed_values.ok()) return {};
  const int32_t tokens = s.position + s.rows;
  std::vector<int32_t> blocks(static_cast<size_t>(tokens + 15) / 16);
  std::iota(blocks.rbegin(), blocks.rend(), 0);  // backwards
  OnDevice<float> kv(kernels, layout.block_bytes() * static_cast<int64_t>(blocks.size()) / 4);
  OnDevice<float> latents(
      kernels, std::span<const float>(Random(43).Floats(int64_t{tokens} * layout.head_dim)));
  const std::vector<AttentionSpan> all = {{blocks.data(), 0, 0, tokens}};
  kernels.BeginStep(all);
  kernels.StoreKv(layout, kv.data(), latents.data(), layout.head_dim, nullptr, 0);
  const int64_t q_stride = int64_t{s.heads} * (s.nope + s.rope);
  const int64_t out_stride = int64_t{s.heads} * s.value;
  OnDevice<float> q(kernels, std::span<const float>(Random(44).Floats(s.rows * q_stride)));
  OnDevice<float> out(kernels, s.rows * out_stride);
  const std::vector<AttentionSpan> last = {{blocks.data(), s.position, 0, s.rows}};
  kernels.BeginStep(last);
  kernels.ExpandedAttention({.layout = layout,
                             .kv = kv.data(),
                             .keys = &*packed_keys,
                             .values = &*packed_values,
                             .scale = 0.1f,
                             .q = q.data(),
                             .q_stride = q_stride,
                             .out = out.data(),
                             .out_stride = out_stride},
                            0);
  return out.Read();
}

}  // namespace

void CheckExpanded(Kernels& device, Kernels& cpu, bool quick, Report& report) {
  std::vector<Shape_> shapes = {{3, 24, 16, 20, 64, 37, 41}};
  if (!quick)
    shapes.insert(shapes.end(),
                  {{16, 128, 64, 128, 512, 300, 700}, {128, 128, 64, 128, 512, 0, 600}});
  for (const Shape_& s : shapes) {
    for (const KvType type : {KvType::kF32, KvType::kF16}) {
      for (const DType weights : {DType::kF32, DType::kF16, DType::kQ8_0}) {
        // Keys and values in fp16 round what was summed in another order, and latents become int8.
        const bool rounds = type == KvType::kF16 || weights == DType::kQ8_0;
        report.Compare(
            "expanded",
            std::to_string(s.heads) + " heads over latents of " + std::to_string(s.latent) + ", " +
                std::string(NameOf(weights)) + (type == KvType::kF16 ? ", f16" : ", f32"),
            Run(device, s, type, weights), Run(cpu, s, type, weights), rounds ? 2e-3 : 2e-5);
      }
    }
  }
}

}  // namespace conclave::engine
