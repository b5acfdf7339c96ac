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

// y = d · (u − 128)
struct KindU8 {
  static constexpr int kWidest = kWidePanels;
  template <int R, int C>
  CONCLAVE_INLINE static void Run(const std::byte* const (&quants)[R],
                                  const std::byte* const (&scales)[R], int64_t cols,
                                  const Int8Column (&column)[C], F32x16 (&sum)[R][C]) {
    for (int64_t g = 0; g < cols / 32; ++g) {
      I32x16 dot[R][C];
      for (int c = 0; c < C; ++c) {
        const I32x16 init = InitU8(GroupSum(column[c], g));
        for (int r = 0; r < R; ++r) dot[r][c] = init;
      }
#pragma clang loop unroll(full)
      for (int s = 0; s < 8; ++s) {
        for (int r = 0; r < R; ++r) {
          const U8x64 w = LoadBytes(quants[r] + g * 512 + s * 64);
          for (int c = 0; c < C; ++c) dot[r][c] = DotU8(dot[r][c], w, column[c].q + g * 32 + s * 4);
        }
      }
      for (int r = 0; r < R; ++r) {
        const F32x16 d = LoadHalf(scales[r] + g * 32);
        for (int c = 0; c < C; ++c) {
          sum[r][c] = Fma(Mul(ToFloat(dot[r][c]), d), Set1(column[c].scales[g]), sum[r][c]);
        }
      }
    }
  }
};

// Sums of one group of nibbles, whatever they stand for.
template <int R, int C>
CONCLAVE_INLINE void DotNibbles(const std::byte* const (&quants)[R], int64_t g,
                                const Int8Column (&column)[C], I32x16 (&dot)[R][C]) {
#pragma clang loop unroll(full)
  for (int j = 0; j < 4; ++j) {
    for (int r = 0; r < R; ++r) {
      const U8x64 bytes = LoadBytes(quants[r] + g * 256 + j * 64);
      const U8x64 low = LowNibbles(bytes);
      const U8x64 high = HighNibbles(bytes);
      for (int c = 0; c < C; ++c) {
        dot[r][c] = Dot(dot[r][c], low, column[c].q + g * 32 + j * 4);
        dot[r][c] = Dot(dot[r][c], high, column[c].q + g * 32 + 16 + j * 4);
      }
    }
  }
}

// y = d · (u − 8)
struct KindU4 {
  static constexpr int kWidest = kWidePanels;
  template <int R, int C>
  CONCLAVE_INLINE static void Run(const std::byte* const (&quants)[R],
                                  const std::byte* const (&scales)[R], int64_t cols,
                                  const Int8Column (&column)[C], F32x16 (&sum)[R][C]) {
    for (int64_t g = 0; g < cols / 32; ++g) {
      I32x16 dot[R][C];
      for (int c = 0; c < C; ++c) {
        const I32x16 init = Set1Int(GroupSum(column[c], g) * 8);
        for (int r = 0; r < R; ++r) dot[r][c] = init;
      }
      DotNibbles<R, C>(quants, g, column, dot);
      for (int r = 0; r < R; ++r) {
        const F32x16 d = LoadHalf(scales[r] + g * 32);
        for (int c = 0; c < C; ++c) {
          sum[r][c] = Fma(Mul(ToFloat(dot[r][c]), d), Set1(column[c].scales[g]), sum[r][c]);
        }
      }
    }
  }
};

// y = d·sc·u − dmin·m
struct KindU4Min {
  static constexpr int kWidest = kWidePanels;
  template <int R, int C>
  CONCLAVE_INLINE static void Run(const std::byte* const (&quants)[R],
                                  const std::byte* const (&scales)[R], int64_t cols,
                                  const Int8Column (&column)[C], F32x16 (&sum)[R][C]) {
    for (int64_t super = 0; super < cols / 256; ++super) {
      F32x16 d[R];
      F32x16 dmin[R];
      for (int r = 0; r < R; ++r) {
        d[r] = LoadHalf(scales[r] + super * 320);
        dmin[r] = LoadHalf(scales[r] + super * 320 + 32);
      }
      for (int64_t g = super * 8; g < super * 8 + 8; ++g) {
        I32x16 dot[R][C];
        for (int c = 0; c < C; ++c) {
          for (int r = 0; r < R; ++r) dot[r][c] = Set1Int(0);
        }
        DotNibbles<R, C>(quants, g, column, dot);
        for (int r = 0; r < R; ++r) {
          const std::byte* group = scales[r] + super * 320 + 64 + (g - super * 8) * 32;
          const F32x16 scale = Mul(d[r], LoadUint8(group));
          const F32x16 min = Mul(dmin[r], LoadUint8(group + 16));
          for (int c = 0; c < C; ++c) {
            const F32x16 offset = Set1(static_cast<float>(GroupSum(column[c], g)));
            const F32x16 value = Fma(offset, min, Mul(ToFloat(dot[r][c]), scale));
            sum[r][c] = Fma(value, Set1(column[c].scales[g]), sum[r][c]);
          }
        }
      }
    }
  }
};

// y = d·sc·(u − 32), one sc per 16 inputs
struct KindU6 {
  // Three streams a panel: with four panels the hardware loses track (one row, from memory: 15.4
  // against 16.6 GB/s on a Zen 4 core).
  static constexpr int kWidest = (kWidePanels + 1) / 2;

  // Steps 4·half .. 4·half + 3 of group g.
  template <int half, int R, int C>
  CONCLAVE_INLINE static void HalfGroup(const std::byte* const (&quants)[R],
                                        const std::byte* const (&scales)[R], const F32x16 (&d)[R],
                                        int64_t g, const Int8Column (&column)[C],
                                        F32x16 (&value)[R][C]) {
    I32x16 dot[R][C];
    for (int c = 0; c < C; ++c) {
      const I32x16 init = Set1Int(column[c].negative_sums[2 * g + half] * 32);
      for (int r = 0; r < R; ++r) dot[r][c] = init;
    }
    for (int r = 0; r < R; ++r) {
      const std::byte* group = quants[r] + g * 384;
      const U8x64 pairs = LoadBytes(group + 256 + half * 64);
      Step<half, 0, R, C>(group, pairs, r, g, column, dot);
      Step<half, 1, R, C>(group, pairs, r, g, column, dot);
      Step<half, 2, R, C>(group, pairs, r, g, column, dot);
      Step<half, 3, R, C>(group, pairs, r, g, column, dot);
    }
    for (int r = 0; r < R; ++r) {
      const std::byte* sc = scales[r] + g / 8 * 288 + 32 + g % 8 * 32 + half * 16;
      const F32x16 scale = Mul(d[r], LoadInt8(sc));
      for (int c = 0; c < C; ++c) {
        value[r][c] = half == 0 ? Mul(ToFloat(dot[r][c]), scale)
                                : Fma(ToFloat(dot[r][c]), scale, value[r][c]);
      }
    }
  }

  template <int half, int j, int R, int C>
  CONCLAVE_INLINE static void Step(const std::byte* group, const U8x64& pairs, int r, int64_t g,
                                   const Int8Column (&column)[C], I32x16 (&dot)[R][C]) {
    const U8x64 bytes = LoadBytes(group + j * 64);
    const U8x64 nibbles = half == 0 ? LowNibbles(bytes) : HighNibbles(bytes);
    const U8x64 u = WithHighPair<j>(nibbles, pairs);
    for (int c = 0; c < C; ++c) {
      dot[r][c] = Dot(dot[r][c], u, column[c].q + g * 32 + half * 16 + j * 4);
    }
  }

  template <int R, int C>
  CONCLAVE_INLINE static void Run(const std::byte* const (&quants)[R],
                                  const std::byte* const (&scales)[R], int64_t cols,
                                  const Int8Column (&column)[C], F32x16 (&sum)[R][C]) {
    for (int64_t g = 0; g < cols / 32; ++g) {
      F32x16 d[R];
      for (int r = 0; r < R; ++r) d[r] = LoadHalf(scales[r] + g / 8 * 288);
      F32x16 value[R][C];
      HalfGroup<0, R, C>(quants, scales, d, g, column, value);
      HalfGroup<1, R, C>(quants, scales, d, g, column, value);
      for (int r = 0; r < R; ++r) {
        for (int c = 0; c < C; ++c) {
          sum[r][c] = Fma(value[r][c], Set1(column[c].scales[g]), sum[r][c]);
        }
      }
    }
  }
};

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
    case PanelKind::kU4Min:
      return AllColumns<Int8Tile<KindU4Min>>(run);
    case PanelKind::kU6:
      return AllColumns<Int8Tile<KindU6>>(run);
  }
}

}  // namespace
}  // namespace conclave::engine::CONCLAVE_ISA
