// Panels times activation rows. A tile is R panels by C activation rows; its sums live in registers
// while it walks the inputs. Each output is one lane of one sum and is built in the order of the
// inputs, whatever R and C are: that is what makes a row's result independent of its batch.
//
// Cost of a group of 32 inputs for one panel and one row: 8 byte dot products (512 products) and 3
// or 4 floating operations, so about 70 % of the instructions are products.
namespace conclave::engine::CONCLAVE_ISA {
namespace {

struct Int8Column {
  const int8_t* q;
  const float* scales;
  const int32_t* negative_sums;
};

CONCLAVE_INLINE Int8Column ColumnOf(const PanelRun& run, int64_t i) {
  const int64_t row = run.rows == nullptr ? i : run.rows[i];
  const int64_t cols = run.cols;
  return {run.int8.q + row * cols, run.int8.scales + row * (cols / 32),
          run.int8.negative_sums + row * (cols / 16)};
}

CONCLAVE_INLINE int32_t GroupSum(const Int8Column& column, int64_t g) {
  return column.negative_sums[2 * g] + column.negative_sums[2 * g + 1];
}

// --- planes of quants ---
// One step of a group as unsigned bytes u. They stand for u − offset: Start folds the offset into
// the sum through the activations' own sums. `Whole` is the order in which the steps of a group
// read the plane.

template <int... steps>
struct Steps {};

struct Table16 {
  alignas(16) uint8_t shifted[16];
};
constexpr Table16 Shifted(const int8_t (&values)[16], int offset) {
  Table16 table = {};
  for (int i = 0; i < 16; ++i) table.shifted[i] = static_cast<uint8_t>(values[i] + offset);
  return table;
}
constexpr Table16 kNl4Table = Shifted(kNl4Values, 128);
constexpr Table16 kFp4Table = Shifted(kFp4Values, 12);

struct Quants8 {
  static constexpr int64_t kBytes = 512;
  using Whole = Steps<0, 1, 2, 3, 4, 5, 6, 7>;
  template <int s>
  CONCLAVE_INLINE static U8x64 Step(const std::byte* group) {
    return LoadBytes(group + s * 64);
  }
  CONCLAVE_INLINE static I32x16 Start(int32_t negative_sum) { return InitU8(negative_sum); }
  CONCLAVE_INLINE static I32x16 Add(I32x16 sum, const U8x64& u, const int8_t* four) {
    return DotU8(sum, u, four);
  }
};

// What all quants of up to six bits share.
template <int offset>
struct SmallQuants {
  CONCLAVE_INLINE static I32x16 Start(int32_t negative_sum) {
    return Set1Int(negative_sum * offset);
  }
  CONCLAVE_INLINE static I32x16 Add(I32x16 sum, const U8x64& u, const int8_t* four) {
    return Dot(sum, u, four);
  }
};

template <int offset>
struct Quants4 : SmallQuants<offset> {
  static constexpr int64_t kBytes = 256;
  using Whole = Steps<0, 4, 1, 5, 2, 6, 3, 7>;  // a register holds two steps
  template <int s>
  CONCLAVE_INLINE static U8x64 Step(const std::byte* group) {
    const U8x64 bytes = LoadBytes(group + s % 4 * 64);
    return BitsOf<s / 4 * 4, 4>(bytes);
  }
};

template <int offset>
struct Quants5 : SmallQuants<offset> {
  static constexpr int64_t kBytes = 320;
  using Whole = typename Quants4<offset>::Whole;
  template <int s>
  CONCLAVE_INLINE static U8x64 Step(const std::byte* group) {
    return WithBitsOf<s, 1, 4>(Quants4<offset>::template Step<s>(group), LoadBytes(group + 256));
  }
};

struct Quants2 : SmallQuants<0> {
  static constexpr int64_t kBytes = 128;
  template <int s>
  CONCLAVE_INLINE static U8x64 Step(const std::byte* group) {
    return BitsOf<s % 4 * 2, 2>(LoadBytes(group + s / 4 * 64));
  }
};

struct Quants3 : SmallQuants<4> {
  static constexpr int64_t kBytes = 192;
  template <int s>
  CONCLAVE_INLINE static U8x64 Step(const std::byte* group) {
    return WithBitsOf<s, 1, 2>(Quants2::Step<s>(group), LoadBytes(group + 128));
  }
};

struct Quants6 : SmallQuants<32> {
  static constexpr int64_t kBytes = 384;
  using Whole = Quants4<32>::Whole;
  template <int s>
  CONCLAVE_INLINE static U8x64 Step(const std::byte* group) {
    return WithBitsOf<s % 4 * 2, 2, 4>(Quants4<32>::Step<s>(group),
                                       LoadBytes(group + 256 + s / 4 * 64));
  }
};

// Nibbles that choose from a table, shifted to be unsigned.
struct QuantsNl4 : Quants8 {
  static constexpr int64_t kBytes = 256;
  using Whole = Quants4<0>::Whole;
  template <int s>
  CONCLAVE_INLINE static U8x64 Step(const std::byte* group) {
    return Lookup(kNl4Table.shifted, Quants4<0>::Step<s>(group));
  }
};

struct QuantsFp4 : SmallQuants<12> {
  static constexpr int64_t kBytes = 256;
  using Whole = Quants4<0>::Whole;
  template <int s>
  CONCLAVE_INLINE static U8x64 Step(const std::byte* group) {
    return Lookup(kFp4Table.shifted, Quants4<0>::Step<s>(group));
  }
};

// --- planes of scales ---
// Of `kGroups` groups at a time, from kBytes of the plane: Super is what they share. A group has
// one scale or, with two parts, one for each half. y = scale · (u − offset) − min.

struct ScaleHalf {
  static constexpr int kGroups = 1, kParts = 1;
  static constexpr int64_t kBytes = 32;
  static constexpr bool kHasMin = false;
  struct Super {};
  CONCLAVE_INLINE static Super LoadSuper(const std::byte*) { return {}; }
  CONCLAVE_INLINE static F32x16 Scale(const Super&, const std::byte* p, int64_t, int) {
    return LoadHalf(p);
  }
};

// m is subtracted like every minimum: who packs a format that adds it turns its sign.
struct ScaleHalfMin {
  static constexpr int kGroups = 1, kParts = 1;
  static constexpr int64_t kBytes = 64;
  static constexpr bool kHasMin = true;
  struct Super {};
  CONCLAVE_INLINE static Super LoadSuper(const std::byte*) { return {}; }
  CONCLAVE_INLINE static F32x16 Scale(const Super&, const std::byte* p, int64_t, int) {
    return LoadHalf(p);
  }
  CONCLAVE_INLINE static F32x16 Min(const Super&, const std::byte* p, int64_t, int) {
    return LoadHalf(p + 32);
  }
};

struct ScaleExponent {
  static constexpr int kGroups = 1, kParts = 1;
  static constexpr int64_t kBytes = 16;
  static constexpr bool kHasMin = false;
  struct Super {};
  CONCLAVE_INLINE static Super LoadSuper(const std::byte*) { return {}; }
  CONCLAVE_INLINE static F32x16 Scale(const Super&, const std::byte* p, int64_t, int) {
    return LoadExponents(p);
  }
};

struct ScaleSuperMin {
  static constexpr int kGroups = 8, kParts = 1;
  static constexpr int64_t kBytes = 320;
  static constexpr bool kHasMin = true;
  struct Super {
    F32x16 d, dmin;
  };
  CONCLAVE_INLINE static Super LoadSuper(const std::byte* p) {
    return {LoadHalf(p), LoadHalf(p + 32)};
  }
  CONCLAVE_INLINE static F32x16 Scale(const Super& super, const std::byte* p, int64_t group, int) {
    return Mul(super.d, LoadUint8(p + 64 + group * 32));
  }
  CONCLAVE_INLINE static F32x16 Min(const Super& super, const std::byte* p, int64_t group, int) {
    return Mul(super.dmin, LoadUint8(p + 64 + group * 32 + 16));
  }
};

struct ScaleSuperMin16 {
  static constexpr int kGroups = 8, kParts = 2;
  static constexpr int64_t kBytes = 320;
  static constexpr bool kHasMin = true;
  using Super = ScaleSuperMin::Super;
  CONCLAVE_INLINE static Super LoadSuper(const std::byte* p) {
    return {LoadHalf(p), LoadHalf(p + 32)};
  }
  CONCLAVE_INLINE static F32x16 Scale(const Super& super, const std::byte* p, int64_t group,
                                      int part) {
    return Mul(super.d, LoadNibbles<0>(p + 64 + group * 32 + part * 16));
  }
  CONCLAVE_INLINE static F32x16 Min(const Super& super, const std::byte* p, int64_t group,
                                    int part) {
    return Mul(super.dmin, LoadNibbles<4>(p + 64 + group * 32 + part * 16));
  }
};

struct ScaleSuper {
  static constexpr int kGroups = 8, kParts = 1;
  static constexpr int64_t kBytes = 160;
  static constexpr bool kHasMin = false;
  struct Super {
    F32x16 d;
  };
  CONCLAVE_INLINE static Super LoadSuper(const std::byte* p) { return {LoadHalf(p)}; }
  CONCLAVE_INLINE static F32x16 Scale(const Super& super, const std::byte* p, int64_t group, int) {
    return Mul(super.d, LoadInt8(p + 32 + group * 16));
  }
};

struct ScaleSuper16 {
  static constexpr int kGroups = 8, kParts = 2;
  static constexpr int64_t kBytes = 288;
  static constexpr bool kHasMin = false;
  struct Super {
    F32x16 d;
  };
  CONCLAVE_INLINE static Super LoadSuper(const std::byte* p) { return {LoadHalf(p)}; }
  CONCLAVE_INLINE static F32x16 Scale(const Super& super, const std::byte* p, int64_t group,
                                      int part) {
    return Mul(super.d, LoadInt8(p + 32 + group * 32 + part * 16));
  }
};

// --- kinds: a plane of quants with a plane of scales ---

template <typename QuantsPlane, typename ScalesPlane, int widest>
struct Int8Kind {
  using Quants = QuantsPlane;
  using Scales = ScalesPlane;
  static constexpr int kWidest = widest;

  template <int s, int R, int C>
  CONCLAVE_INLINE static void Step(const std::byte* const (&quants)[R], int64_t g,
                                   const Int8Column (&column)[C], I32x16 (&dot)[R][C]) {
    for (int r = 0; r < R; ++r) {
      const U8x64 u = Quants::template Step<s>(quants[r] + g * Quants::kBytes);
      for (int c = 0; c < C; ++c) {
        dot[r][c] = Quants::Add(dot[r][c], u, column[c].q + g * 32 + s * 4);
      }
    }
  }

  template <int R, int C, int... steps>
  CONCLAVE_INLINE static void AllSteps(Steps<steps...>, const std::byte* const (&quants)[R],
                                       int64_t g, const Int8Column (&column)[C],
                                       I32x16 (&dot)[R][C]) {
    (Step<steps, R, C>(quants, g, column, dot), ...);
  }

  // −Σq of a part of group g.
  template <int part>
  CONCLAVE_INLINE static int32_t NegativeSum(const Int8Column& column, int64_t g) {
    return Scales::kParts == 1 ? GroupSum(column, g) : column.negative_sums[2 * g + part];
  }

  // Adds what one part of group g comes to, before the activations' own scale.
  template <int part, int R, int C>
  CONCLAVE_INLINE static void Part(const std::byte* const (&quants)[R],
                                   const std::byte* const (&scales)[R],
                                   const typename Scales::Super (&super)[R], int64_t g,
                                   const Int8Column (&column)[C], F32x16 (&value)[R][C]) {
    I32x16 dot[R][C];
    for (int c = 0; c < C; ++c) {
      const I32x16 start = Quants::Start(Scales::kHasMin ? 0 : NegativeSum<part>(column[c], g));
      for (int r = 0; r < R; ++r) dot[r][c] = start;
    }
    if constexpr (Scales::kParts == 1) {
      AllSteps<R, C>(typename Quants::Whole(), quants, g, column, dot);
    } else if constexpr (part == 0) {
      AllSteps<R, C>(Steps<0, 1, 2, 3>(), quants, g, column, dot);
    } else {
      AllSteps<R, C>(Steps<4, 5, 6, 7>(), quants, g, column, dot);
    }
    for (int r = 0; r < R; ++r) {
      const std::byte* at = scales[r] + g / Scales::kGroups * Scales::kBytes;
      const F32x16 scale = Scales::Scale(super[r], at, g % Scales::kGroups, part);
      for (int c = 0; c < C; ++c) {
        const F32x16 product = ToFloat(dot[r][c]);
        value[r][c] = part == 0 ? Mul(product, scale) : Fma(product, scale, value[r][c]);
      }
      if constexpr (Scales::kHasMin) {
        const F32x16 min = Scales::Min(super[r], at, g % Scales::kGroups, part);
        for (int c = 0; c < C; ++c) {
          const float sum = static_cast<float>(NegativeSum<part>(column[c], g));
          value[r][c] = Fma(Set1(sum), min, value[r][c]);
        }
      }
    }
  }

  template <int R, int C>
  CONCLAVE_INLINE static void Run(const std::byte* const (&quants)[R],
                                  const std::byte* const (&scales)[R], int64_t cols,
                                  const Int8Column (&column)[C], F32x16 (&sum)[R][C]) {
    for (int64_t first = 0; first < cols / 32; first += Scales::kGroups) {
      typename Scales::Super super[R];
      for (int r = 0; r < R; ++r) {
        super[r] = Scales::LoadSuper(scales[r] + first / Scales::kGroups * Scales::kBytes);
      }
      for (int64_t g = first; g < first + Scales::kGroups; ++g) {
        F32x16 value[R][C];
        Part<0, R, C>(quants, scales, super, g, column, value);
        if constexpr (Scales::kParts == 2) {
          Part<1, R, C>(quants, scales, super, g, column, value);
        }
        for (int r = 0; r < R; ++r) {
          for (int c = 0; c < C; ++c) {
            sum[r][c] = Fma(value[r][c], Set1(column[c].scales[g]), sum[r][c]);
          }
        }
      }
    }
  }
};

// Panels side by side of kinds whose group is several runs of memory, a stream the hardware follows
// less well: with four panels it loses track (one row, from memory: 15.4 against 16.6 GB/s on a
// Zen 4 core).
constexpr int kFewerPanels = (kWidePanels + 1) / 2;

using KindU8 = Int8Kind<Quants8, ScaleHalf, kWidePanels>;
using KindU4 = Int8Kind<Quants4<8>, ScaleHalf, kWidePanels>;
using KindU5 = Int8Kind<Quants5<16>, ScaleHalf, kFewerPanels>;
using KindU4HalfMin = Int8Kind<Quants4<0>, ScaleHalfMin, kWidePanels>;
using KindU5HalfMin = Int8Kind<Quants5<0>, ScaleHalfMin, kFewerPanels>;
using KindU4Min = Int8Kind<Quants4<0>, ScaleSuperMin, kWidePanels>;
using KindU5Min = Int8Kind<Quants5<0>, ScaleSuperMin, kFewerPanels>;
using KindU2Min = Int8Kind<Quants2, ScaleSuperMin16, kFewerPanels>;
using KindU3 = Int8Kind<Quants3, ScaleSuper16, kFewerPanels>;
using KindU6 = Int8Kind<Quants6, ScaleSuper16, kFewerPanels>;
using KindNl4 = Int8Kind<QuantsNl4, ScaleHalf, kWidePanels>;
using KindNl4Super = Int8Kind<QuantsNl4, ScaleSuper, kWidePanels>;
using KindFp4 = Int8Kind<QuantsFp4, ScaleExponent, kWidePanels>;

template <PanelKind kind>
CONCLAVE_INLINE F32x16 LoadWeights(const std::byte* panel, int64_t k) {
  if constexpr (kind == PanelKind::kF32) {
    return Load(reinterpret_cast<const float*>(panel + k * 64));
  } else if constexpr (kind == PanelKind::kF16) {
    return LoadHalf(panel + k * 32);
  } else {
    return LoadBf16(panel + k * 32);
  }
}

template <int R, int C>
CONCLAVE_INLINE void StoreTile(const PanelRun& run, int64_t panel, int64_t i,
                               const F32x16 (&sum)[R][C]) {
  for (int r = 0; r < R; ++r) {
    const int64_t first = (panel + r) * 16;
    const int64_t lanes = run.valid - first;
    for (int c = 0; c < C; ++c) {
      F32x16 v = sum[r][c];
      if (run.bias != nullptr) v = Add(v, LoadN(run.bias + first, lanes));
      StoreN(run.y + (i + c) * run.y_stride + first, v, lanes);
    }
  }
}

// Inner loops by kind of weight: one tile each.
template <typename Kind>
struct Int8Tile {
  // Panels side by side for up to 1, 2, 4, 8 activation rows: an output has an integer and a float
  // sum, so 8 outputs fill half of 32 registers.
  static constexpr int kPanels1 = Kind::kWidest;
  static constexpr int kPanels2 = Kind::kWidest;
  static constexpr int kPanels4 = (kWidePanels + 1) / 2;
  static constexpr int kPanels8 = 1;

  template <int R, int C>
  __attribute__((noinline)) static void Run(const PanelRun& run, int64_t panel, int64_t i) {
    const std::byte* quants[R];
    const std::byte* scales[R];
    for (int r = 0; r < R; ++r) {
      quants[r] = run.panels + (panel + r) * run.panel_bytes;
      scales[r] = quants[r] + run.quant_bytes;
    }
    Int8Column column[C];
    for (int c = 0; c < C; ++c) column[c] = ColumnOf(run, i + c);
    F32x16 sum[R][C];
    for (int r = 0; r < R; ++r) {
      for (int c = 0; c < C; ++c) sum[r][c] = Set1(0.0f);
    }
    Kind::template Run<R, C>(quants, scales, run.cols, column, sum);
    StoreTile<R, C>(run, panel, i, sum);
  }
};

template <PanelKind kind>
struct FloatTile {
  // An output has one sum: twice as many fit, where there are 32 registers.
  static constexpr int kPanels1 = kWidePanels;
  static constexpr int kPanels2 = kWidePanels;
  static constexpr int kPanels4 = kTileColumns > 4 ? kWidePanels : 1;
  static constexpr int kPanels8 = (kWidePanels + 1) / 2;

  template <int R, int C>
  __attribute__((noinline)) static void Run(const PanelRun& run, int64_t panel, int64_t i) {
    const std::byte* weights[R];
    for (int r = 0; r < R; ++r) weights[r] = run.panels + (panel + r) * run.panel_bytes;
    const float* x[C];
    for (int c = 0; c < C; ++c) {
      x[c] = run.x + (run.rows == nullptr ? i + c : run.rows[i + c]) * run.x_stride;
    }
    F32x16 sum[R][C];
    for (int r = 0; r < R; ++r) {
      for (int c = 0; c < C; ++c) sum[r][c] = Set1(0.0f);
    }
    for (int64_t k = 0; k < run.cols; ++k) {
      F32x16 w[R];
      for (int r = 0; r < R; ++r) w[r] = LoadWeights<kind>(weights[r], k);
      for (int c = 0; c < C; ++c) {
        const F32x16 a = Set1(x[c][k]);
        for (int r = 0; r < R; ++r) sum[r][c] = Fma(w[r], a, sum[r][c]);
      }
    }
    StoreTile<R, C>(run, panel, i, sum);
  }
};

// `count` panels from `panel` on for C activation rows, R at a time.
template <typename Tile, int R, int C>
void Panels(const PanelRun& run, int64_t i) {
  int64_t panel = 0;
  for (; panel + R <= run.count; panel += R) Tile::template Run<R, C>(run, panel, i);
  if constexpr (R > 1) {
    for (; panel < run.count; ++panel) Tile::template Run<1, C>(run, panel, i);
  }
}

template <typename Tile>
void Columns(const PanelRun& run, int64_t i, int64_t columns) {
  switch (columns) {
    case 1:
      return Panels<Tile, Tile::kPanels1, 1>(run, i);
    case 2:
      return Panels<Tile, Tile::kPanels2, 2>(run, i);
    case 3:
      return Panels<Tile, Tile::kPanels4, 3>(run, i);
    case 4:
      return Panels<Tile, Tile::kPanels4, 4>(run, i);
  }
  if constexpr (kTileColumns > 4) {
    switch (columns) {
      case 5:
        return Panels<Tile, Tile::kPanels8, 5>(run, i);
      case 6:
        return Panels<Tile, Tile::kPanels8, 6>(run, i);
      case 7:
        return Panels<Tile, Tile::kPanels8, 7>(run, i);
      case 8:
        return Panels<Tile, Tile::kPanels8, 8>(run, i);
    }
  }
}

// Rows in tiles of nearly equal width, so that no ragged tile runs at a fraction of the speed.
template <typename Tile>
void AllColumns(const PanelRun& run) {
  const int64_t tiles = (run.m + kTileColumns - 1) / kTileColumns;
  int64_t i = 0;
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t columns = run.m / tiles + (t < run.m % tiles ? 1 : 0);
    Columns<Tile>(run, i, columns);
    i += columns;
  }
}

void Multiply(const PanelRun& run) {
  switch (run.kind) {
    case PanelKind::kF32:
      return AllColumns<FloatTile<PanelKind::kF32>>(run);
    case PanelKind::kF16:
      return AllColumns<FloatTile<PanelKind::kF16>>(run);
    case PanelKind::kBF16:
      return AllColumns<FloatTile<PanelKind::kBF16>>(run);
    case PanelKind::kU8:
      return AllColumns<Int8Tile<KindU8>>(run);
    case PanelKind::kU4:
      return AllColumns<Int8Tile<KindU4>>(run);
    case PanelKind::kU5:
      return AllColumns<Int8Tile<KindU5>>(run);
    case PanelKind::kU4HalfMin:
      return AllColumns<Int8Tile<KindU4HalfMin>>(run);
    case PanelKind::kU5HalfMin:
      return AllColumns<Int8Tile<KindU5HalfMin>>(run);
    case PanelKind::kU4Min:
      return AllColumns<Int8Tile<KindU4Min>>(run);
    case PanelKind::kU5Min:
      return AllColumns<Int8Tile<KindU5Min>>(run);
    case PanelKind::kU2Min:
      return AllColumns<Int8Tile<KindU2Min>>(run);
    case PanelKind::kU3:
      return AllColumns<Int8Tile<KindU3>>(run);
    case PanelKind::kU6:
      return AllColumns<Int8Tile<KindU6>>(run);
    case PanelKind::kNl4:
      return AllColumns<Int8Tile<KindNl4>>(run);
    case PanelKind::kNl4Super:
      return AllColumns<Int8Tile<KindNl4Super>>(run);
    case PanelKind::kFp4:
      return AllColumns<Int8Tile<KindFp4>>(run);
  }
}

}  // namespace
}  // namespace conclave::engine::CONCLAVE_ISA
