// Attention over paged keys and values: against its definition in double arithmetic, and equal to
// the bit however the work is cut.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <functional>

#include "conformance/random.h"
#include "engine/kernels/kernels.h"
#include "engine/quant/half.h"

namespace conclave::engine {
namespace {

struct Shape_ {
  int32_t heads, kv_heads, head_dim, value_dim;
  bool values_in_keys = false;
  int32_t window = 0;
  std::vector<float> sinks = {};   // [heads]
  std::vector<float> slopes = {};  // [heads]

  KvLayout Layout(KvType type) const {
    return {.num_kv_heads = kv_heads,
            .head_dim = head_dim,
            .value_dim = value_dim,
            .type = type,
            .values_in_keys = values_in_keys};
  }
};

struct Sequence {
  int32_t tokens;
  std::vector<float> q, k, v;

  Sequence(const Shape_& s, int32_t tokens_, uint64_t seed) : tokens(tokens_) {
    Random random(seed);
    q = random.Floats(int64_t{tokens} * s.heads * s.head_dim);
    k = random.Floats(int64_t{tokens} * s.kv_heads * s.head_dim, 2.0f);
    v = random.Floats(int64_t{tokens} * s.kv_heads * s.value_dim);
  }
};

float AsStored(float x, KvType type) {
  return type == KvType::kF16 ? HalfToFloat(FloatToHalf(x)) : x;
}

std::vector<double> Plain(const Shape_& s, const Sequence& seq, KvType type, bool causal) {
  std::vector<double> out;
  const double scale = 1 / std::sqrt(static_cast<double>(s.head_dim));
  for (int32_t t = 0; t < seq.tokens; ++t) {
    for (int32_t h = 0; h < s.heads; ++h) {
      const int32_t kv = h / (s.heads / s.kv_heads);
      const int32_t visible = causal ? t + 1 : seq.tokens;
      const int32_t first = s.window > 0 ? std::max(0, visible - s.window) : 0;
      std::vector<double> p(static_cast<size_t>(first), -INFINITY);
      double max = s.sinks.empty() ? -1e300 : s.sinks[static_cast<size_t>(h)];
      for (int32_t u = first; u < visible; ++u) {
        double dot = 0;
        for (int32_t d = 0; d < s.head_dim; ++d) {
          dot += double{seq.q[static_cast<size_t>((t * s.heads + h) * s.head_dim + d)]} *
                 double{AsStored(seq.k[static_cast<size_t>((u * s.kv_heads + kv) * s.head_dim + d)],
                                 type)};
        }
        const double slope = s.slopes.empty() ? 0 : s.slopes[static_cast<size_t>(h)];
        p.push_back(dot * scale - slope * (t - u));
        max = std::max(max, p.back());
      }
      double sum = s.sinks.empty() ? 0 : std::exp(s.sinks[static_cast<size_t>(h)] - max);
      for (double& w : p) sum += w = std::exp(w - max);
      for (int32_t d = 0; d < s.value_dim; ++d) {
        double value = 0;
        for (int32_t u = 0; u < visible; ++u) {
          const float v = s.values_in_keys
                              ? seq.k[static_cast<size_t>((u * s.kv_heads + kv) * s.head_dim + d)]
                              : seq.v[static_cast<size_t>((u * s.kv_heads + kv) * s.value_dim + d)];
          value += p[static_cast<size_t>(u)] / sum * double{AsStored(v, type)};
        }
        out.push_back(value);
      }
    }
  }
  return out;
}

// Computes the sequences in chunks of `chunk` tokens, all sequences of a step in one batch. Blocks
// are scattered and start out as NaN, as memory others used might.
std::vector<std::vector<float>> Run(Kernels& kernels, const Shape_& s, KvType type,
                                    const std::vector<Sequence>& sequences, int32_t chunk) {
  const KvLayout layout = s.Layout(type);
  std::vector<std::vector<int32_t>> blocks(sequences.size());
  int32_t next = 0;
  int32_t longest = 0;
  for (const Sequence& seq : sequences) longest = std::max(longest, seq.tokens);
  for (int32_t b = 0; b * 16 < longest; ++b) {
    for (size_t i = 0; i < sequences.size(); ++i) {
      if (b * 16 < sequences[i].tokens) blocks[i].push_back(next++);
    }
  }
  std::vector<std::byte> kv(static_cast<size_t>(layout.block_bytes() * next), std::byte{0xff});
  std::vector<std::vector<float>> out(sequences.size());
  const int64_t q_width = int64_t{s.heads} * s.head_dim;
  const int64_t out_width = int64_t{s.heads} * s.value_dim;
  const int64_t k_width = int64_t{s.kv_heads} * s.head_dim;
  const int64_t v_width = int64_t{s.kv_heads} * s.value_dim;
  for (int32_t done = 0; done < longest; done += chunk) {
    std::vector<AttentionSpan> spans;
    std::vector<size_t> owner;
    std::vector<float> q, k, v;
    int32_t rows = 0;
    for (size_t i = 0; i < sequences.size(); ++i) {
      const Sequence& seq = sequences[i];
      const int32_t count = std::min(chunk, seq.tokens - done);
      if (count <= 0) continue;
      spans.push_back({blocks[i].data(), done, rows, count});
      owner.push_back(i);
      rows += count;
      q.insert(q.end(), seq.q.begin() + done * q_width, seq.q.begin() + (done + count) * q_width);
      k.insert(k.end(), seq.k.begin() + done * k_width, seq.k.begin() + (done + count) * k_width);
      v.insert(v.end(), seq.v.begin() + done * v_width, seq.v.begin() + (done + count) * v_width);
    }
    kernels.BeginStep(spans);
    if (s.values_in_keys) {
      kernels.StoreKv(layout, kv.data(), k.data(), k_width, nullptr, 0);
    } else {
      kernels.StoreKv(layout, kv.data(), k.data(), k_width, v.data(), v_width);
    }
    std::vector<float> y(static_cast<size_t>(rows * out_width), NAN);
    AttentionArgs args;
    args.layout = layout;
    args.kv = kv.data();
    args.num_heads = s.heads;
    args.scale = 1 / std::sqrt(static_cast<float>(s.head_dim));
    args.q = q.data();
    args.q_stride = q_width;
    args.out = y.data();
    args.out_stride = out_width;
    args.window = s.window;
    if (!s.sinks.empty()) args.sinks = s.sinks.data();
    if (!s.slopes.empty()) args.alibi_slopes = s.slopes.data();
    kernels.Attention(args);
    for (size_t j = 0; j < spans.size(); ++j) {
      const auto begin = y.begin() + spans[j].first_row * out_width;
      out[owner[j]].insert(out[owner[j]].end(), begin, begin + spans[j].rows * out_width);
    }
  }
  return out;
}

double Error(const std::vector<float>& found, const std::vector<double>& expected) {
  double error = found.size() == expected.size() ? 0 : 1e30;
  for (size_t i = 0; i < expected.size() && i < found.size(); ++i) {
    const double difference = std::abs(found[i] - expected[i]);
    error = std::isnan(difference) ? 1e30 : std::max(error, difference);
  }
  return error;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

std::unique_ptr<Kernels> Make(const std::string& isa, int threads) {
  auto kernels = CreateKernels({.num_threads = threads, .isa = isa});
  REQUIRE(kernels.ok());
  return *std::move(kernels);
}

const std::vector<Shape_> kShapes = {
    {4, 4, 16, 16},
    {8, 2, 64, 64},
    {6, 1, 20, 12},
    {3, 3, 7, 5},
    // Windows shorter than a block, about a strip of 64 and of any length; sinks small and large.
    {.heads = 4, .kv_heads = 2, .head_dim = 16, .value_dim = 16, .window = 5},
    {.heads = 4, .kv_heads = 2, .head_dim = 16, .value_dim = 16, .window = 64},
    {.heads = 4,
     .kv_heads = 1,
     .head_dim = 8,
     .value_dim = 24,
     .window = 77,
     .sinks = {0.5f, -3.0f, 9.0f, 0.0f}},
    {.heads = 2, .kv_heads = 2, .head_dim = 16, .value_dim = 16, .sinks = {1.0f, 40.0f}},
    {.heads = 3, .kv_heads = 3, .head_dim = 16, .value_dim = 16, .slopes = {0.5f, 0.1f, 0.004f}},
    // A latent and a rotated key; as many heads as a tile has rows, and more.
    {.heads = 8, .kv_heads = 1, .head_dim = 40, .value_dim = 32, .values_in_keys = true},
    {.heads = 11, .kv_heads = 1, .head_dim = 72, .value_dim = 64, .values_in_keys = true},
};

}  // namespace

TEST_CASE("attention agrees with its definition") {
  for (const Shape_& shape : kShapes) {
    for (const KvType type : {KvType::kF16, KvType::kF32}) {
      const std::vector<Sequence> sequences = {{shape, 150, 1}, {shape, 1, 2}, {shape, 17, 3}};
      for (const std::string& isa : SupportedIsas()) {
        const auto out = Run(*Make(isa, 2), shape, type, sequences, 64);
        for (size_t i = 0; i < sequences.size(); ++i) {
          CAPTURE(isa, shape.head_dim, shape.window, i);
          // Values are within 1; fp32 sums of 150 products and exps good to 2e-7.
          CHECK(Error(out[i], Plain(shape, sequences[i], type, true)) < 5e-6);
        }
      }
    }
  }
}

TEST_CASE("attention gives the same bits in any chunks, batches, threads and instruction sets") {
  const Shape_ shapes[] = {
      {8, 2, 32, 32},
      {.heads = 8,
       .kv_heads = 2,
       .head_dim = 32,
       .value_dim = 32,
       .window = 20,
       .sinks = {0, 1, 2, 3, -1, -2, -3, -4}},
      {.heads = 4, .kv_heads = 4, .head_dim = 16, .value_dim = 16, .slopes = {1, 0.5f, 0.2f, 0.1f}},
      {.heads = 10, .kv_heads = 1, .head_dim = 48, .value_dim = 32, .values_in_keys = true}};
  const KvType types[] = {KvType::kF16, KvType::kF32};
  for (int at = 0; at < 8; ++at) {
    const Shape_& shape = shapes[at / 2];
    const KvType type = types[at % 2];
    std::vector<Sequence> sequences;
    for (int32_t i = 0; i < 5; ++i) sequences.emplace_back(shape, 1 + i * 37, 10 + i);
    const auto reference = Run(*Make("", 1), shape, type, sequences, 1000);
    for (const std::string& isa : SupportedIsas()) {
      for (const int32_t chunk : {1, 7, 64}) {
        const auto out = Run(*Make(isa, 3), shape, type, sequences, chunk);
        for (size_t i = 0; i < sequences.size(); ++i) {
          CAPTURE(at, isa, chunk, i);
          CHECK(SameBits(out[i], reference[i]));
        }
      }
    }
    for (size_t i = 0; i < sequences.size(); ++i) {
      const auto alone = Run(*Make("", 2), shape, type, {sequences[i]}, 16);
      CHECK(SameBits(alone[0], reference[i]));
    }
  }
}

TEST_CASE("dense attention lets all tokens of a sequence see each other and no others") {
  const Shape_ shape = {3, 3, 32, 32};
  const std::vector<Sequence> sequences = {{shape, 5, 1}, {shape, 130, 2}, {shape, 16, 3}};
  std::vector<int32_t> offsets = {0};
  std::vector<float> q, k, v;
  for (const Sequence& seq : sequences) {
    offsets.push_back(offsets.back() + seq.tokens);
    q.insert(q.end(), seq.q.begin(), seq.q.end());
    k.insert(k.end(), seq.k.begin(), seq.k.end());
    v.insert(v.end(), seq.v.begin(), seq.v.end());
  }
  std::vector<float> reference;
  for (const std::string& isa : SupportedIsas()) {
    std::vector<float> out(q.size(), NAN);
    DenseAttentionArgs args;
    args.offsets = offsets;
    args.num_heads = 3;
    args.head_dim = 32;
    args.scale = 1 / std::sqrt(32.0f);
    args.q = q.data();
    args.k = k.data();
    args.v = v.data();
    args.stride = 96;
    args.out = out.data();
    args.out_stride = 96;
    Make(isa, 2)->DenseAttention(args);
    if (reference.empty()) reference = out;
    CHECK(SameBits(out, reference));
  }
  for (size_t i = 0; i < sequences.size(); ++i) {
    const std::vector<float> part(reference.begin() + offsets[i] * 96,
                                  reference.begin() + offsets[i + 1] * 96);
    CHECK(Error(part, Plain(shape, sequences[i], KvType::kF32, false)) < 5e-6);
  }
}

TEST_CASE("fp16 keys and values saturate instead of becoming infinite") {
  const Shape_ shape = {1, 1, 16, 16};
  Sequence seq(shape, 2, 1);
  for (float& value : seq.v) value = 1e6f;
  for (const std::string& isa : SupportedIsas()) {
    const auto out = Run(*Make(isa, 1), shape, KvType::kF16, {seq}, 2);
    for (const float value : out[0]) CHECK(value == Approx(65504.0f));
  }
}

}  // namespace conclave::engine
