#include <cstring>
#include <numeric>
#include <string>

#include "conformance/random.h"
#include "engine/quant/format.h"
#include "gpu/rig.h"

namespace conclave::engine {
namespace {

std::string Sizes(std::initializer_list<int64_t> sizes) {
  std::string text;
  for (const int64_t size : sizes) text += (text.empty() ? "" : "×") + std::to_string(size);
  return text;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
}

// --- linear -------------------------------------------------------------------------------------

std::vector<float> Multiply(Kernels& kernels, const Weight& weight, const std::vector<float>& x,
                            int64_t rows, const std::vector<float>& bias) {
  const absl::StatusOr<PackedMatrix> packed = kernels.Pack(weight.view);
  if (!packed.ok()) return {};
  OnDevice<float> device_x(kernels, std::span<const float>(x));
  OnDevice<float> device_bias(kernels, std::span<const float>(bias));
  OnDevice<float> y(kernels, rows * packed->out());
  kernels.Matmul(
      {{.weight = &*packed, .bias = device_bias.data(), .y = y.data(), .y_stride = packed->out()}},
      device_x.data(), packed->in(), rows);
  return y.Read();
}

void CheckMatmul(Kernels& device, Kernels& cpu, bool quick, Report& report) {
  struct Shape_ {
    int64_t out, in;
  };
  for (const QuantFormat* format : AllFormats()) {
    const bool blocks = format->block_elements() > 1;
    std::vector<Shape_> shapes = {{16, 256}, {37, 768}};
    if (format->block_elements() == 32) shapes.push_back({50, 96});
    if (!blocks) shapes.push_back({19, 21});
    if (!quick) {
      shapes.push_back({1024, 2048});
      shapes.push_back({100, 8192});
      // Blocks of 128 outputs for every multiprocessor: the kernels for many rows.
      if (blocks) shapes.push_back({17'000, 512});
    }
    for (const Shape_& s : shapes) {
      const Weight weight(*format, {s.out, s.in}, 7);
      const std::vector<float> bias = Random(5).Floats(s.out);
      const std::vector<float> x = Random(99).Floats(129 * s.in);
      std::vector<float> whole;
      for (const int64_t rows : {129, 1, 2, 3, 8, 9, 33, 64}) {
        if (quick && rows > 33 && rows != 129) continue;
        const std::vector<float> some(x.begin(), x.begin() + rows * s.in);
        const std::vector<float> found = Multiply(device, weight, some, rows, bias);
        const std::string what = std::string(format->name()) + " " + Sizes({s.out, s.in}) +
                                 ", rows " + std::to_string(rows);
        report.Compare("matmul", what, found, Multiply(cpu, weight, some, rows, bias), 1e-5);
        if (rows == 129) {
          whole = found;
        } else {
          report.Same("row alone", what,
                      SameBits(found, {whole.begin(), whole.begin() + rows * s.out}));
        }
      }
    }
  }
}

// --- feed-forward -------------------------------------------------------------------------------

// A gate of SiLU; gpt-oss's with biases; none, with biases.
enum class Unit { kSilu, kClamped, kPlain };

struct Network {
  Weight gate, up, down;
  Unit unit = Unit::kSilu;
  Network(DType gate_type, DType down_type, int64_t experts, int64_t hidden, int64_t ffn)
      : gate(*FindFormat(gate_type), {experts, ffn, hidden}, 21, 0.1f),
        up(*FindFormat(gate_type), {experts, ffn, hidden}, 22, 0.1f),
        down(*FindFormat(down_type), {experts, hidden, ffn}, 23, 0.1f) {}
};

std::vector<float> RunNetwork(Kernels& kernels, const Network& network, const std::vector<float>& x,
                              const std::vector<int32_t>& ids, const std::vector<float>& weights,
                              int64_t rows) {
  const bool dense = ids.empty();
  const auto pack = [&](const Weight& weight) {
    return kernels.Pack(dense ? weight.view.Slice(0) : weight.view);
  };
  const auto gate = pack(network.gate);
  const auto up = pack(network.up);
  const auto down = pack(network.down);
  if (!gate.ok() || !up.ok() || !down.ok()) return {};
  const int64_t hidden = gate->in();
  OnDevice<float> device_x(kernels, std::span<const float>(x));
  OnDevice<int32_t> device_ids(kernels, std::span<const int32_t>(ids));
  OnDevice<float> device_weights(kernels, std::span<const float>(weights));
  OnDevice<float> y(kernels, rows * hidden);
  FfnWeights w = {.gate = &*gate, .up = &*up, .down = &*down};
  const int64_t experts = up->num_matrices();
  OnDevice<float> inner(kernels, std::span<const float>(Random(35).Floats(experts * up->out())));
  OnDevice<float> outer(kernels, std::span<const float>(Random(36).Floats(experts * hidden)));
  if (network.unit != Unit::kSilu) {
    w.up_bias = inner.data();
    w.down_bias = outer.data();
  }
  if (network.unit == Unit::kClamped) {
    w.activation = Activation::kSwigluOai;
    w.gate_bias = inner.data();
  } else if (network.unit == Unit::kPlain) {
    w.activation = Activation::kGeluTanh;
    w.gate = nullptr;
  }
  if (dense) {
    kernels.Ffn(w, device_x.data(), hidden, rows, y.data(), hidden);
  } else {
    kernels.Moe(w,
                {.ids = device_ids.data(),
                 .weights = device_weights.data(),
                 .top_k = static_cast<int32_t>(static_cast<int64_t>(ids.size()) / rows)},
                device_x.data(), hidden, rows, y.data(), hidden);
  }
  return y.Read();
}

void CheckNetworks(Kernels& device, Kernels& cpu, bool quick, Report& report) {
  struct Case {
    DType gate, down;
    int64_t experts, hidden, ffn;
    int32_t top_k;
    Unit unit = Unit::kSilu;
  };
  std::vector<Case> cases = {{DType::kQ8_0, DType::kQ8_0, 5, 96, 160, 2},
                             {DType::kQ4_K, DType::kQ6_K, 5, 256, 256, 2},
                             {DType::kQ4_0, DType::kF16, 8, 256, 96, 3},
                             {DType::kBF16, DType::kQ4_0, 5, 256, 96, 2},
                             {DType::kF32, DType::kF32, 4, 64, 48, 2},
                             {DType::kQ8_0, DType::kQ8_0, 5, 96, 160, 2, Unit::kClamped},
                             {DType::kBF16, DType::kBF16, 5, 96, 160, 2, Unit::kClamped},
                             {DType::kF16, DType::kF16, 3, 96, 160, 2, Unit::kPlain},
                             {DType::kQ4_0, DType::kQ8_0, 3, 96, 160, 2, Unit::kPlain},
                             {DType::kMXFP4, DType::kMXFP4, 5, 96, 160, 2, Unit::kClamped},
                             {DType::kQ5_K, DType::kQ5_0, 5, 256, 96, 2}};
  if (!quick) cases.push_back({DType::kQ4_K, DType::kQ4_K, 32, 2048, 768, 8});
  for (const Case& c : cases) {
    Network network(c.gate, c.down, c.experts, c.hidden, c.ffn);
    network.unit = c.unit;
    const int64_t most = quick ? 40 : 512;
    const std::vector<float> x = Random(31).Floats(most * c.hidden, 1.0f);
    std::vector<int32_t> ids;
    std::vector<float> weights;
    Random random(32);
    for (int64_t r = 0; r < most; ++r) {
      const auto first = static_cast<int32_t>(random.Next() % static_cast<uint64_t>(c.experts));
      for (int32_t j = 0; j < c.top_k; ++j) {
        ids.push_back((first + j * 7) % static_cast<int32_t>(c.experts));
        weights.push_back(0.5f / static_cast<float>(j + 1));
      }
    }
    for (const bool dense : {true, false}) {
      if (dense && c.experts > 30) continue;
      std::vector<float> whole;
      for (const int64_t rows : {most, int64_t{1}, int64_t{6}, int64_t{30}}) {
        if (quick && rows == 30) continue;
        const std::vector<float> some(x.begin(), x.begin() + rows * c.hidden);
        const std::vector<int32_t> some_ids(ids.begin(),
                                            dense ? ids.begin() : ids.begin() + rows * c.top_k);
        const std::vector<float> some_weights(weights.begin(), weights.begin() + rows * c.top_k);
        const std::vector<float> found =
            RunNetwork(device, network, some, some_ids, some_weights, rows);
        const std::string what = std::string(NameOf(c.gate)) + "/" + std::string(NameOf(c.down)) +
                                 " " + Sizes({c.experts, c.ffn, c.hidden}) + ", rows " +
                                 std::to_string(rows) +
                                 (c.unit == Unit::kClamped ? ", clamped"
                                  : c.unit == Unit::kPlain ? ", no gate"
                                                           : "");
        // Between the two products activations are rounded to int8: a last bit may turn one level.
        const bool exact = !TakesInt8(FindFormat(c.down)->panel);
        report.Compare(dense ? "ffn" : "moe", what, found,
                       RunNetwork(cpu, network, some, some_ids, some_weights, rows),
                       exact ? 1e-5 : 5e-3);
        if (rows == most) {
          whole = found;
        } else {
          report.Same("row alone", what,
                      SameBits(found, {whole.begin(), whole.begin() + rows * c.hidden}));
        }
      }
    }
  }
}

// --- attention ----------------------------------------------------------------------------------

struct Heads {
  int32_t heads, kv_heads, head_dim, value_dim;
  int32_t window = 0;
  bool sinks = false;
  bool alibi = false;
  bool latent = false;  // values lie in keys
};

// The rows of sequences of the given lengths, computed in steps of `chunk` tokens each.
std::vector<float> RunAttention(Kernels& kernels, const Heads& h, KvType type,
                                const std::vector<int32_t>& lengths, int32_t chunk) {
  KvLayout layout;
  layout.num_kv_heads = h.kv_heads;
  layout.head_dim = h.head_dim;
  layout.value_dim = h.value_dim;
  layout.type = type;
  layout.values_in_keys = h.latent;
  const int64_t q_width = int64_t{h.heads} * h.head_dim;
  const int64_t k_width = int64_t{h.kv_heads} * h.head_dim;
  const int64_t v_width = int64_t{h.kv_heads} * h.value_dim;
  const int64_t out_width = int64_t{h.heads} * h.value_dim;
  const int32_t longest = *std::max_element(lengths.begin(), lengths.end());
  std::vector<std::vector<int32_t>> blocks(lengths.size());
  int32_t next = 0;
  for (int32_t b = 0; b * 16 < longest; ++b) {
    for (size_t s = 0; s < lengths.size(); ++s) {
      if (b * 16 < lengths[s]) blocks[s].push_back(next++);
    }
  }
  // Blocks others used may hold anything.
  OnDevice<float> kv(kernels, layout.block_bytes() * next / 4);
  std::vector<std::vector<float>> out(lengths.size());
  for (int32_t done = 0; done < longest; done += chunk) {
    std::vector<AttentionSpan> spans;
    std::vector<float> q, k, v;
    std::vector<size_t> owner;
    int32_t rows = 0;
    for (size_t s = 0; s < lengths.size(); ++s) {
      const int32_t count = std::min(chunk, lengths[s] - done);
      if (count <= 0) continue;
      spans.push_back({blocks[s].data(), done, rows, count});
      owner.push_back(s);
      rows += count;
      for (int32_t t = done; t < done + count; ++t) {
        Random random(s * 100'003 + static_cast<uint64_t>(t));
        for (const auto& [to, width] : {std::pair{&q, q_width}, {&k, k_width}, {&v, v_width}}) {
          const std::vector<float> row = random.Floats(width, to == &k ? 2.0f : 1.0f);
          to->insert(to->end(), row.begin(), row.end());
        }
      }
    }
    OnDevice<float> device_q(kernels, std::span<const float>(q));
    OnDevice<float> device_k(kernels, std::span<const float>(k));
    OnDevice<float> device_v(kernels, std::span<const float>(v));
    OnDevice<float> y(kernels, rows * out_width);
    OnDevice<float> sinks(kernels, std::span<const float>(Random(33).Floats(h.heads, 4.0f)));
    std::vector<float> slopes = Random(34).Floats(h.heads, 0.25f);
    for (float& slope : slopes) slope = std::abs(slope);
    OnDevice<float> device_slopes(kernels, std::span<const float>(slopes));
    kernels.BeginStep(spans);
    kernels.StoreKv(layout, kv.data(), device_k.data(), k_width,
                    h.latent ? nullptr : device_v.data(), v_width);
    kernels.Attention({.layout = layout,
                       .kv = kv.data(),
                       .num_heads = h.heads,
                       .scale = 1 / std::sqrt(static_cast<float>(h.head_dim)),
                       .q = device_q.data(),
                       .q_stride = q_width,
                       .out = y.data(),
                       .out_stride = out_width,
                       .window = h.window,
                       .sinks = h.sinks ? sinks.data() : nullptr,
                       .alibi_slopes = h.alibi ? device_slopes.data() : nullptr});
    const std::vector<float> rows_out = y.Read();
    if (rows_out.empty()) return {};
    for (size_t i = 0; i < spans.size(); ++i) {
      const auto begin = rows_out.begin() + spans[i].first_row * out_width;
      out[owner[i]].insert(out[owner[i]].end(), begin, begin + spans[i].rows * out_width);
    }
  }
  std::vector<float> all;
  for (const std::vector<float>& one : out) all.insert(all.end(), one.begin(), one.end());
  return all;
}

void CheckAttention(Kernels& device, Kernels& cpu, bool quick, Report& report) {
  std::vector<Heads> shapes = {
      {4, 4, 16, 16},
      {6, 1, 20, 12},
      {.heads = 4, .kv_heads = 2, .head_dim = 16, .value_dim = 16, .window = 20},
      {.heads = 4, .kv_heads = 1, .head_dim = 16, .value_dim = 16, .window = 140, .sinks = true},
      {.heads = 2, .kv_heads = 2, .head_dim = 16, .value_dim = 16, .alibi = true}};
  shapes.push_back({.heads = 20, .kv_heads = 1, .head_dim = 72, .value_dim = 64, .latent = true});
  shapes.push_back({.heads = 36,
                    .kv_heads = 1,
                    .head_dim = 40,
                    .value_dim = 36,
                    .window = 70,
                    .sinks = true,
                    .alibi = true,
                    .latent = true});
  // More queries than the shared memory of a small device holds.
  shapes.push_back({.heads = 2, .kv_heads = 1, .head_dim = 300, .value_dim = 256, .latent = true});
  shapes.push_back({3, 1, 128, 100});
  shapes.push_back({2, 1, 200, 256});
  if (!quick) {
    shapes.push_back({32, 4, 128, 128});
    shapes.push_back({32, 8, 64, 64});
    shapes.push_back({4, 2, 256, 256});
    shapes.push_back(
        {.heads = 16, .kv_heads = 1, .head_dim = 576, .value_dim = 512, .latent = true});
    shapes.push_back(
        {.heads = 128, .kv_heads = 1, .head_dim = 576, .value_dim = 512, .latent = true});
    shapes.push_back({.heads = 64,
                      .kv_heads = 8,
                      .head_dim = 64,
                      .value_dim = 64,
                      .window = 128,
                      .sinks = true});
  }
  for (const Heads& h : shapes) {
    // The first has more strips than one block of the kernel for few rows adds up.
    const int32_t longest = !quick ? 700 : &h == shapes.data() ? 530 : 150;
    for (const KvType type : {KvType::kF16, KvType::kF32}) {
      if (h.heads == 128 && type == KvType::kF32) continue;  // long on the vector units
      const std::vector<int32_t> lengths = {longest, 1, 17, 130};
      const std::string what = Sizes({h.heads, h.kv_heads, h.head_dim, h.value_dim}) +
                               (type == KvType::kF16 ? " f16" : " f32") +
                               (h.window > 0 ? " window " + std::to_string(h.window) : "") +
                               (h.sinks ? " sinks" : "") + (h.alibi ? " alibi" : "") +
                               (h.latent ? " latent" : "");
      const std::vector<float> whole = RunAttention(device, h, type, lengths, longest);
      report.Compare("attention", what, whole, RunAttention(cpu, h, type, lengths, longest), 2e-5);
      for (const int32_t chunk : {1, 64}) {
        if (chunk == 1 && (quick || h.head_dim > 64 || type == KvType::kF32)) continue;
        report.Same("chunks", what + ", " + std::to_string(chunk) + " at a time",
                    SameBits(RunAttention(device, h, type, lengths, chunk), whole));
      }
      // The last token of a long sequence alone: its splits run side by side.
      const std::vector<float> alone = RunAttention(device, h, type, {longest}, longest - 1);
      report.Same("row alone", what + ", a sequence alone",
                  alone.size() <= whole.size() &&
                      SameBits(alone, {whole.begin(),
                                       whole.begin() + static_cast<ptrdiff_t>(alone.size())}));
    }
  }
}

// The last tokens of many sequences at once, each of which then walks its strips.
void CheckManySequences(Kernels& device, bool quick, Report& report) {
  const Heads h =
      quick ? Heads{.heads = 5, .kv_heads = 1, .head_dim = 72, .value_dim = 64, .latent = true}
            : Heads{.heads = 4, .kv_heads = 1, .head_dim = 576, .value_dim = 512, .latent = true};
  const int32_t length = 70;
  const std::vector<int32_t> lengths(quick ? 3 : 140, length);
  const auto run = [&](int32_t chunk) {
    return RunAttention(device, h, KvType::kF16, lengths, chunk);
  };
  report.Same("row alone", "latents, the last tokens of " + std::to_string(lengths.size()),
              SameBits(run(length - 1), run(length)));
}

// --- rows ---------------------------------------------------------------------------------------

using Operation = std::function<std::vector<float>(Kernels&)>;

// Every kind of router of the published models.
void CheckRouters(Kernels& device, Kernels& cpu, Report& report) {
  const int32_t experts = 64;
  const int64_t rows = 33;
  struct Kind {
    const char* name;
    RouterArgs args;
    bool correction;
  };
  const Kind kinds[] = {
      {"softmax, 3 of 8 groups",
       {.top_k = 6, .num_groups = 8, .num_groups_used = 3, .scale = 16},
       false},
      {"sigmoid, 4 of 8 groups by two",
       {.top_k = 8,
        .score = RouterScore::kSigmoid,
        .num_groups = 8,
        .num_groups_used = 4,
        .group_best = 2,
        .renormalize = true,
        .scale = 2.5f},
       true},
      {"sigmoid", {.top_k = 8, .score = RouterScore::kSigmoid, .renormalize = true}, true},
      {"softmax of the chosen", {.top_k = 4, .score = RouterScore::kSoftmaxOfSelected}, false}};
  for (const Kind& kind : kinds) {
    for (const bool ids_wanted : {true, false}) {
      const auto run = [&](Kernels& kernels) {
        OnDevice<float> logits(kernels,
                               std::span<const float>(Random(82).Floats(rows * experts, 2)));
        OnDevice<float> bias(kernels, std::span<const float>(Random(83).Floats(experts, 0.5f)));
        RouterArgs router = kind.args;
        router.num_experts = experts;
        if (kind.correction) router.selection_bias = bias.data();
        OnDevice<int32_t> ids(kernels, rows * router.top_k);
        OnDevice<float> weights(kernels, rows * router.top_k);
        kernels.Route(router, logits.data(), experts, rows, ids.data(), weights.data());
        if (!ids_wanted) return weights.Read();
        const std::vector<int32_t> numbers = ids.Read();
        return std::vector<float>(numbers.begin(), numbers.end());
      };
      report.Compare("route", std::string(kind.name) + (ids_wanted ? ", ids" : ", weights"),
                     run(device), run(cpu), ids_wanted ? 0 : 1e-5);
    }
  }
}

void CheckRowwise(Kernels& device, Kernels& cpu, Report& report) {
  const auto check = [&](const std::string& op, const std::string& what, double bound,
                         const Operation& run) {
    report.Compare(op, what, run(device), run(cpu), bound);
  };
  for (const int64_t n : {1, 7, 64, 128, 2048}) {
    check("rms_norm", Sizes({9, n}), 1e-6, [n](Kernels& kernels) {
      OnDevice<float> x(kernels, std::span<const float>(Random(41).Floats(9 * n, 3.0f)));
      OnDevice<float> weight(kernels, std::span<const float>(Random(42).Floats(n)));
      kernels.RmsNorm(x.data(), n, 9, n, weight.data(), 1e-5f, x.data(), n);
      return x.Read();
    });
  }
  for (const Activation activation :
       {Activation::kSilu, Activation::kGeluErf, Activation::kGeluTanh}) {
    check("activate", std::to_string(static_cast<int>(activation)), 1e-6,
          [activation](Kernels& kernels) {
            OnDevice<float> x(kernels, std::span<const float>(Random(51).Floats(5000, 12.0f)));
            OnDevice<float> up(kernels, std::span<const float>(Random(52).Floats(5000)));
            kernels.ActivateMul(activation, x.data(), up.data(), 5000, x.data());
            return x.Read();
          });
  }
  check("add", "10001", 0, [](Kernels& kernels) {
    OnDevice<float> x(kernels, std::span<const float>(Random(71).Floats(10'001)));
    OnDevice<float> y(kernels, std::span<const float>(Random(72).Floats(10'001)));
    kernels.Add(x.data(), 10'001, y.data());
    return y.Read();
  });
  for (const RopeStyle style : {RopeStyle::kNorm, RopeStyle::kNeox}) {
    // Angles of far positions are rounded alike on both sides, but their sines are made
    // differently.
    check("rope", style == RopeStyle::kNorm ? "adjacent" : "halves", 2e-6,
          [style](Kernels& kernels) {
            const RopeTable table(96, 10000.0);
            const std::vector<int32_t> positions = {0, 5, 1000, 32'767};
            OnDevice<float> angles(kernels, int64_t{4 * 96});
            OnDevice<float> x(kernels, std::span<const float>(Random(91).Floats(4 * 3 * 128)));
            kernels.RopeAngles(table, positions, 1.1f, angles.data());
            kernels.Rope(style, x.data(), 3 * 128, 4, 3, 128, 96, angles.data());
            return x.Read();
          });
  }
  check("layer_norm", "7 rows of 300", 1e-5, [](Kernels& kernels) {
    OnDevice<float> x(kernels, std::span<const float>(Random(78).Floats(7 * 300, 3)));
    OnDevice<float> weight(kernels, std::span<const float>(Random(79).Floats(300)));
    OnDevice<float> bias(kernels, std::span<const float>(Random(80).Floats(300)));
    OnDevice<float> y(kernels, int64_t{7 * 300});
    kernels.LayerNorm(x.data(), 300, 7, 300, weight.data(), bias.data(), 1e-5f, y.data(), 300);
    return y.Read();
  });
  check("scale", "1000", 0, [](Kernels& kernels) {
    OnDevice<float> x(kernels, std::span<const float>(Random(75).Floats(1000)));
    kernels.Scale(50.6f, 1000, x.data());
    return x.Read();
  });
  check("add_gated", "9 rows of 100", 1e-6, [](Kernels& kernels) {
    OnDevice<float> x(kernels, std::span<const float>(Random(75).Floats(9 * 100)));
    OnDevice<float> gate(kernels, std::span<const float>(Random(76).Floats(9, 5)));
    OnDevice<float> y(kernels, std::span<const float>(Random(74).Floats(9 * 100)));
    kernels.AddGated(x.data(), gate.data(), 9, 100, y.data());
    return y.Read();
  });
}

void CheckMovedRows(Kernels& device, Kernels& cpu, Report& report) {
  const auto check = [&](const std::string& op, const std::string& what, double bound,
                         const Operation& run) {
    report.Compare(op, what, run(device), run(cpu), bound);
  };
  for (const QuantFormat* format : AllFormats()) {
    check("embed_rows", std::string(format->name()), 0, [format](Kernels& kernels) {
      const Weight table(*format, {50, 512}, 101);
      const auto rows = kernels.PackRows(table.view);
      if (!rows.ok()) return std::vector<float>();
      OnDevice<float> y(kernels, int64_t{4 * 512});
      kernels.EmbedRows(*rows, std::vector<int32_t>{49, 0, 3, 3}, y.data(), 512);
      return y.Read();
    });
  }
  check("copy_rows", "5 of 20 of 300", 0, [](Kernels& kernels) {
    OnDevice<float> x(kernels, std::span<const float>(Random(77).Floats(5 * 300)));
    OnDevice<float> y(kernels, std::span<const float>(Random(78).Floats(5 * 30)));
    kernels.CopyRows(x.data() + 7, 300, 5, 20, y.data() + 3, 30);
    return y.Read();
  });
  check("gather_rows", "3 of 5", 0, [](Kernels& kernels) {
    OnDevice<float> x(kernels, std::span<const float>(Random(77).Floats(5 * 300)));
    OnDevice<float> y(kernels, int64_t{3 * 300});
    kernels.GatherRows(x.data(), 300, std::vector<int32_t>{0, 2, 4}, 300, y.data(), 300);
    return y.Read();
  });
}

void CheckHeadsAndRoutes(Kernels& device, Kernels& cpu, Report& report) {
  const auto check = [&](const std::string& op, const std::string& what, double bound,
                         const Operation& run) {
    report.Compare(op, what, run(device), run(cpu), bound);
  };
  for (const DType type : {DType::kF32, DType::kBF16, DType::kQ8_0}) {
    for (const int64_t rows : {1, 3, 40}) {
      const std::string what = std::string(NameOf(type)) + ", rows " + std::to_string(rows);
      check("matmul_heads", what, 1e-5, [=](Kernels& kernels) {
        const int64_t heads = 5, in = 64, x_head = 80, out = 37, y_head = 41;
        const Weight weight(*FindFormat(type), {heads, out, in}, 89);
        const auto packed = kernels.Pack(weight.view);
        if (!packed.ok()) return std::vector<float>();
        OnDevice<float> x(kernels,
                          std::span<const float>(Random(90).Floats(rows * heads * x_head)));
        OnDevice<float> y(kernels,
                          std::span<const float>(Random(91).Floats(rows * heads * y_head)));
        kernels.MatmulHeads(*packed, x.data(), heads * x_head, x_head, rows, y.data(),
                            heads * y_head, y_head);
        return y.Read();
      });
    }
  }
  for (const int32_t experts : {8, 128, 512}) {
    for (const bool ids_wanted : {true, false}) {
      check("route_top_k", Sizes({experts}) + (ids_wanted ? " ids" : " weights"),
            ids_wanted ? 0 : 1e-6, [=](Kernels& kernels) {
              const int64_t rows = 65;
              OnDevice<float> logits(kernels,
                                     std::span<const float>(Random(81).Floats(rows * experts, 4)));
              OnDevice<int32_t> ids(kernels, rows * 8);
              OnDevice<float> weights(kernels, rows * 8);
              kernels.Route({.num_experts = experts, .top_k = 8, .renormalize = true},
                            logits.data(), experts, rows, ids.data(), weights.data());
              if (!ids_wanted) return weights.Read();
              const std::vector<int32_t> numbers = ids.Read();
              return std::vector<float>(numbers.begin(), numbers.end());
            });
    }
  }
  CheckRouters(device, cpu, report);
}

void CheckSequence(Kernels& device, Kernels& cpu, Report& report) {
  const auto check = [&](const std::string& op, const std::string& what, double bound,
                         const Operation& run) {
    report.Compare(op, what, run(device), run(cpu), bound);
  };
  // A sum, a norm of it and a product of that, which a device may do along the way of one another:
  // the sum and the norm, and products after what was multiplied has changed.
  for (const int which : {0, 1, 2}) {
    check("sequence", "sum, norm, products; " + std::to_string(which), 1e-5,
          [which](Kernels& kernels) {
            const int64_t rows = 3, n = 256, out = 48;
            const Weight weight(*FindFormat(DType::kQ8_0), {out, n}, 61);
            const auto packed = kernels.Pack(weight.view);
            if (!packed.ok()) return std::vector<float>();
            OnDevice<float> x(kernels, std::span<const float>(Random(62).Floats(rows * n)));
            OnDevice<float> branch(kernels, std::span<const float>(Random(63).Floats(rows * n)));
            OnDevice<float> norm(kernels, std::span<const float>(Random(64).Floats(n)));
            OnDevice<float> y(kernels, 3 * rows * out);
            const auto multiply = [&](float* from, int64_t to) {
              kernels.Matmul(
                  {{.weight = &*packed, .y = y.data() + to * rows * out, .y_stride = out}}, from, n,
                  rows);
            };
            multiply(branch.data(), 0);
            kernels.Add(branch.data(), rows * n, x.data());
            kernels.RmsNorm(x.data(), n, rows, n, norm.data(), 1e-5f, branch.data(), n);
            multiply(branch.data(), 1);
            kernels.Scale(-3.0f, rows * n, branch.data());
            multiply(branch.data(), 2);
            return which == 0 ? x.Read() : which == 1 ? branch.Read() : y.Read();
          });
  }
}

}  // namespace

void CheckOperations(Kernels& device, Kernels& cpu, bool quick, Report& report) {
  CheckRowwise(device, cpu, report);
  CheckMovedRows(device, cpu, report);
  CheckHeadsAndRoutes(device, cpu, report);
  CheckSequence(device, cpu, report);
  CheckMatmul(device, cpu, quick, report);
  CheckNetworks(device, cpu, quick, report);
  CheckAttention(device, cpu, quick, report);
  CheckManySequences(device, quick, report);
  CheckExpanded(device, cpu, quick, report);
}

}  // namespace conclave::engine
