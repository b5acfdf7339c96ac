#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>

#include "conformance/random.h"
#include "engine/kernels/row_reader.h"
#include "engine/quant/format.h"
#include "gpu/rig.h"

namespace conclave::engine {
namespace {

using Clock = std::chrono::steady_clock;

// A weight larger than any cache, of bytes that make small positive halves: its values do not
// matter, its bytes are read.
struct Filler {
  std::vector<std::byte> bytes;
  TensorView view;

  Filler(DType dtype, const Shape& shape) {
    view.dtype = dtype;
    view.shape = shape;
    bytes.resize(static_cast<size_t>(view.bytes()));
    Random random(1);
    for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
      const uint64_t word = random.Next() & 0x2b2b2b2b2b2b2b2bULL;
      std::memcpy(bytes.data() + i, &word, 8);
    }
    view.data = bytes.data();
  }
};

// Microseconds of one call, many asked for before waiting.
double Time(Kernels& kernels, const std::function<void()>& call) {
  float unused = 0;
  const auto run = [&](int times) {
    for (int i = 0; i < times; ++i) call();
    (void)kernels.HostView(&unused, 0);
  };
  run(2);
  std::vector<double> each;
  for (int round = 0; round < 5; ++round) {
    constexpr int kCalls = 8;
    const auto start = Clock::now();
    run(kCalls);
    each.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count() /
                   kCalls);
  }
  std::nth_element(each.begin(), each.begin() + 2, each.end());
  return each[2];
}

void Line(const std::string& op, const std::string& what, double us, double bytes, double ops) {
  std::printf("%-10s %-40s %10.1f µs", op.c_str(), what.c_str(), us);
  if (bytes > 0) std::printf(" %8.0f GB/s", bytes / us * 1e-3);
  if (ops > 0) std::printf(" %8.1f Tops", ops / us * 1e-6);
  std::printf("\n");
  std::fflush(stdout);
}

void TimeMatmul(Kernels& kernels, const char* name, bool quantised_only,
                const std::vector<int64_t>& all_rows) {
  constexpr int64_t kOut = 16384;
  constexpr int64_t kIn = 4096;
  const std::vector<float> x = Random(3).Floats(2048 * kIn);
  OnDevice<float> device_x(kernels, std::span<const float>(x));
  OnDevice<float> y(kernels, 2048 * kOut);
  for (const QuantFormat* format : AllFormats()) {
    const Filler weight(format->dtype, {kOut, kIn});
    const auto packed = kernels.Pack(weight.view);
    if (!packed.ok()) continue;
    if (quantised_only && !TakesInt8(format->panel)) continue;
    for (const int64_t rows : all_rows) {
      const double us = Time(kernels, [&] {
        kernels.Matmul({{.weight = &*packed, .y = y.data(), .y_stride = kOut}}, device_x.data(),
                       kIn, rows);
      });
      Line(name, std::string(format->name()) + " 16384×4096, rows " + std::to_string(rows), us,
           static_cast<double>(packed->bytes()), 2.0 * static_cast<double>(kOut * kIn * rows));
    }
  }
}

void TimeMoe(Kernels& kernels, const char* name, const std::vector<int64_t>& all_rows) {
  constexpr int32_t kExperts = 128;
  constexpr int32_t kTopK = 8;
  constexpr int64_t kHidden = 2048;
  constexpr int64_t kFfn = 768;
  const Filler into(DType::kQ4_K, {kExperts, kFfn, kHidden});
  const Filler out_of(DType::kQ4_K, {kExperts, kHidden, kFfn});
  const auto gate = kernels.Pack(into.view);
  const auto up = kernels.Pack(into.view);
  const auto down = kernels.Pack(out_of.view);
  if (!gate.ok() || !up.ok() || !down.ok()) return;
  const std::vector<float> x = Random(3).Floats(2048 * kHidden);
  OnDevice<float> device_x(kernels, std::span<const float>(x));
  OnDevice<float> y(kernels, 2048 * kHidden);
  std::vector<int32_t> ids;
  Random random(4);
  for (int i = 0; i < 2048; ++i) {
    const auto first = static_cast<int32_t>(random.Next() % kExperts);
    for (int32_t j = 0; j < kTopK; ++j) ids.push_back((first + j * 13) % kExperts);
  }
  OnDevice<int32_t> device_ids(kernels, std::span<const int32_t>(ids));
  OnDevice<float> weights(kernels, std::span<const float>(Random(5).Floats(2048 * kTopK)));
  for (const int64_t rows : all_rows) {
    const double us = Time(kernels, [&] {
      kernels.Moe({.gate = &*gate, .up = &*up, .down = &*down},
                  {.ids = device_ids.data(), .weights = weights.data(), .top_k = kTopK},
                  device_x.data(), kHidden, rows, y.data(), kHidden);
    });
    const double active = static_cast<double>(std::min<int64_t>(kExperts, rows * kTopK)) / kExperts;
    Line(name, "Q4_K 128 of 768×2048, 8 each, rows " + std::to_string(rows), us,
         static_cast<double>(gate->bytes() * 3) * active,
         2.0 * 3 * static_cast<double>(kHidden * kFfn * kTopK * rows));
  }
}

void TimeRoute(Kernels& kernels) {
  constexpr int32_t kExperts = 128;
  constexpr int32_t kTopK = 8;
  OnDevice<float> logits(kernels, std::span<const float>(Random(6).Floats(kExperts)));
  OnDevice<int32_t> ids(kernels, kTopK);
  OnDevice<float> weights(kernels, kTopK);
  Line("route", "128 experts, 8 each, rows 1",
       Time(kernels,
            [&] {
              kernels.Route({.num_experts = kExperts, .top_k = kTopK, .renormalize = true},
                            logits.data(), kExperts, 1, ids.data(), weights.data());
            }),
       0, 0);
}

struct Heads {
  const char* what;
  int32_t heads, kv_heads, head_dim, value_dim;
  bool latent = false;  // values lie in keys
};
struct Span {
  int32_t position, rows;
  int32_t sequences = 1;  // which may lie in the same blocks here
};

void TimeHeads(Kernels& kernels, const Heads& h, std::span<const Span> cases) {
  const KvLayout layout = {.num_kv_heads = h.kv_heads,
                           .head_dim = h.head_dim,
                           .value_dim = h.value_dim,
                           .type = KvType::kF16,
                           .values_in_keys = h.latent};
  constexpr int32_t kBlocks = 1024;
  constexpr int64_t kRows = 2048;
  const std::vector<float> zeros(static_cast<size_t>(layout.block_bytes() * kBlocks / 4));
  OnDevice<float> kv(kernels, std::span<const float>(zeros));
  const std::vector<float> ones(static_cast<size_t>(kRows * h.heads * h.head_dim), 1.0f);
  OnDevice<float> q(kernels, std::span<const float>(ones));
  OnDevice<float> out(kernels, kRows * h.heads * h.value_dim);
  std::vector<int32_t> blocks(kBlocks);
  std::iota(blocks.begin(), blocks.end(), 0);
  for (const Span& c : cases) {
    std::vector<AttentionSpan> spans;
    for (int32_t i = 0; i < c.sequences; ++i) {
      spans.push_back({blocks.data(), c.position, i * c.rows, c.rows});
    }
    kernels.BeginStep(spans);
    const double us = Time(kernels, [&] {
      kernels.Attention({.layout = layout,
                         .kv = kv.data(),
                         .num_heads = h.heads,
                         .scale = 0.1f,
                         .q = q.data(),
                         .q_stride = int64_t{h.heads} * h.head_dim,
                         .out = out.data(),
                         .out_stride = int64_t{h.heads} * h.value_dim});
    });
    const double context = (c.position + 0.5 * c.rows) * c.sequences;
    const double token_bytes = static_cast<double>(layout.block_bytes()) / KvLayout::kBlockTokens;
    Line("attention",
         std::string(h.what) + ", " + std::to_string(c.rows) + " after " +
             std::to_string(c.position) +
             (c.sequences > 1 ? ", of " + std::to_string(c.sequences) : ""),
         us, c.rows == 1 ? context * token_bytes : 0,
         2.0 * h.heads * (h.head_dim + h.value_dim) * context * c.rows);
  }
}

// Latents of a prompt expanded, beside what Attention over them takes.
void TimeExpanded(Kernels& kernels, int32_t heads) {
  constexpr int32_t kNope = 128, kRope = 64, kValue = 128, kLatent = 512, kRows = 2048;
  const Filler weight(DType::kF16, {heads, kNope, kLatent});
  const auto keys = kernels.Pack(weight.view);
  const auto values = kernels.Pack(weight.view);
  if (!keys.ok() || !values.ok()) return;
  const KvLayout layout = {.num_kv_heads = 1,
                           .head_dim = kLatent + kRope,
                           .value_dim = kLatent,
                           .type = KvType::kF16,
                           .values_in_keys = true};
  std::vector<int32_t> blocks(kRows / 16);
  std::iota(blocks.begin(), blocks.end(), 0);
  const std::vector<float> zeros(static_cast<size_t>(layout.block_bytes() * kRows / 16 / 4));
  OnDevice<float> kv(kernels, std::span<const float>(zeros));
  const int64_t q_stride = int64_t{heads} * (kNope + kRope);
  const std::vector<float> ones(static_cast<size_t>(kRows * q_stride), 1.0f);
  OnDevice<float> q(kernels, std::span<const float>(ones));
  OnDevice<float> out(kernels, int64_t{kRows} * heads * kValue);
  const std::vector<AttentionSpan> spans = {{blocks.data(), 0, 0, kRows}};
  kernels.BeginStep(spans);
  const double us = Time(kernels, [&] {
    kernels.ExpandedAttention({.layout = layout,
                               .kv = kv.data(),
                               .keys = &*keys,
                               .values = &*values,
                               .scale = 0.1f,
                               .q = q.data(),
                               .q_stride = q_stride,
                               .out = out.data(),
                               .out_stride = int64_t{heads} * kValue},
                              0);
  });
  Line("expanded", std::to_string(heads) + " heads out of latents, 2048 after 0", us, 0,
       2.0 * heads * kRows * (kLatent * (kNope + kValue) + 0.5 * kRows * (kNope + kRope + kValue)));
}

void TimeAttention(Kernels& kernels) {
  const Span plain[] = {{100, 1}, {500, 1},    {2000, 1}, {16'000, 1},   {1000, 1, 16},
                        {0, 512}, {1536, 512}, {0, 2048}, {14'000, 2048}};
  TimeHeads(kernels, {"32/4 heads of 128", 32, 4, 128, 128}, plain);
  // DeepSeek-V2-Lite and -V3.
  const Span latent[] = {{2000, 1}, {16'000, 1}, {2000, 1, 16}, {0, 512}, {0, 2048}};
  TimeHeads(kernels, {"16 heads over latents", 16, 1, 576, 512, true}, latent);
  TimeHeads(kernels, {"128 heads over latents", 128, 1, 576, 512, true}, latent);
  for (const int32_t heads : {16, 128}) TimeExpanded(kernels, heads);
}

void TimeSmall(Kernels& kernels) {
  OnDevice<float> x(kernels, std::span<const float>(Random(8).Floats(4096)));
  OnDevice<float> weight(kernels, std::span<const float>(Random(9).Floats(4096)));
  Line("add", "2048, one launch",
       Time(kernels, [&] { kernels.Add(weight.data(), 2048, x.data()); }), 0, 0);
  Line(
      "rms_norm", "2048, one row",
      Time(kernels,
           [&] { kernels.RmsNorm(x.data(), 2048, 1, 2048, weight.data(), 1e-5f, x.data(), 2048); }),
      0, 0);
  Line("wait", "nothing to do", Time(kernels, [&] { (void)kernels.HostView(x.data(), 0); }), 0, 0);
}

// What comes over of rows of logits before tokens are chosen, the wait for it included.
void TimeLogitRows(Kernels& kernels) {
  RowReader* const reader = kernels.row_reader();
  if (reader == nullptr) return;
  constexpr int64_t kVocab = 151'936;
  constexpr int32_t kBlocks = static_cast<int32_t>(kVocab / kScanBlock);
  OnDevice<float> x(kernels, std::span<const float>(Random(10).Floats(256 * kVocab, 9.0f)));
  for (const int32_t rows : {1, 16, 64, 256}) {
    const auto line = [&](const char* what, double bytes, const std::function<void()>& call) {
      Line("logits", std::string(what) + ", rows " + std::to_string(rows), Time(kernels, call),
           bytes * rows, 0);
    };
    line("whole", kVocab * 4.0, [&] { (void)kernels.HostView(x.data(), rows * kVocab); });
    std::vector<RowRequest> requests(static_cast<size_t>(rows));
    const auto read = [&] {
      (void)reader->Read({.x = x.data(), .n = kVocab, .rows = requests, .blocks = {}});
    };
    // GB/s are those of the logits in the device's memory, read once.
    line("digest: best", kVocab * 4.0, read);
    for (RowRequest& request : requests) request = {.largest = true, .factors = {1.25f}};
    line("digest: largest and sums", kVocab * 4.0, read);
    for (RowRequest& request : requests) request = {.largest = true, .factors = {1.25f, 1.0f}};
    line("digest: largest and two sums", kVocab * 4.0, read);
    for (const int32_t blocks : {1, 40}) {
      std::vector<RowBlock> wanted;
      for (int32_t row = 0; row < rows; ++row) {
        for (int32_t i = 0; i < blocks; ++i) wanted.push_back({row, i * 14 % kBlocks});
      }
      line(blocks == 1 ? "digest and a block" : "digest and 40 blocks", 0, [&] {
        read();
        (void)reader->Fetch(wanted);
      });
    }
  }
}

}  // namespace

void TimeOperations(Kernels& kernels, Kernels& fast) {
  TimeSmall(kernels);
  TimeLogitRows(kernels);
  TimeMatmul(kernels, "matmul", false, {1, 2, 4, 8, 16, 32, 64, 512});
  TimeMatmul(fast, "fast matmul", true, {64, 512, 2048});
  TimeMoe(kernels, "moe", {1, 4, 16, 32, 64, 128, 256, 512, 2048});
  TimeMoe(fast, "fast moe", {1024, 2048});
  TimeRoute(kernels);
  TimeAttention(kernels);
}

}  // namespace conclave::engine
