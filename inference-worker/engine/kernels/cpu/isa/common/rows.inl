// Operations on one row: norms, activations, rounding to int8, rotation. Sums run in 16 lanes,
// lane i taking elements i, i + 16, …, folded at the end.
namespace conclave::engine::CONCLAVE_ISA {
namespace {

void RmsNorm(const float* x, int64_t n, const float* weight, float eps, float* y) {
  F32x16 squares = Set1(0.0f);
  for (int64_t i = 0; i < n; i += 16) {
    const F32x16 v = LoadN(x + i, n - i);
    squares = Fma(v, v, squares);
  }
  const float mean = ReduceAdd(squares) / static_cast<float>(n);
  const F32x16 factor = Set1(1.0f / __builtin_sqrtf(mean + eps));
  for (int64_t i = 0; i < n; i += 16) {
    const F32x16 scaled = Mul(LoadN(x + i, n - i), factor);
    StoreN(y + i, Mul(scaled, LoadN(weight + i, n - i)), n - i);
  }
}

void LayerNorm(const float* x, int64_t n, const float* weight, const float* bias, float eps,
               float* y) {
  F32x16 sum = Set1(0.0f);
  for (int64_t i = 0; i < n; i += 16) sum = Add(sum, LoadN(x + i, n - i));
  const F32x16 mean = Set1(ReduceAdd(sum) / static_cast<float>(n));
  F32x16 squares = Set1(0.0f);
  for (int64_t i = 0; i < n; i += 16) {
    const F32x16 v = KeepN(Sub(LoadN(x + i, n - i), mean), n - i, 0.0f);
    squares = Fma(v, v, squares);
  }
  const float variance = ReduceAdd(squares) / static_cast<float>(n);
  const F32x16 factor = Set1(1.0f / __builtin_sqrtf(variance + eps));
  for (int64_t i = 0; i < n; i += 16) {
    const F32x16 scaled = Mul(Sub(LoadN(x + i, n - i), mean), factor);
    StoreN(y + i, Fma(scaled, LoadN(weight + i, n - i), LoadN(bias + i, n - i)), n - i);
  }
}

void AddTo(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; i += 16) {
    StoreN(y + i, Add(LoadN(y + i, n - i), LoadN(x + i, n - i)), n - i);
  }
}

void AddScaled(const float* x, float factor, int64_t n, float* y) {
  const F32x16 f = Set1(factor);
  for (int64_t i = 0; i < n; i += 16) {
    StoreN(y + i, Fma(LoadN(x + i, n - i), f, LoadN(y + i, n - i)), n - i);
  }
}

CONCLAVE_INLINE F32x16 Apply(Activation activation, F32x16 x) {
  if (activation == Activation::kSilu) return Silu(x);
  return activation == Activation::kGeluErf ? GeluErf(x) : GeluTanh(x);
}

void Activate(Activation activation, const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; i += 16) {
    StoreN(y + i, Apply(activation, LoadN(x + i, n - i)), n - i);
  }
}

void ActivateMul(Activation activation, const float* gate, const float* up, int64_t n, float* y) {
  if (activation == Activation::kSwigluOai) {
    for (int64_t i = 0; i < n; i += 16) {
      StoreN(y + i, SwigluOai(LoadN(gate + i, n - i), LoadN(up + i, n - i)), n - i);
    }
    return;
  }
  for (int64_t i = 0; i < n; i += 16) {
    const F32x16 active = Apply(activation, LoadN(gate + i, n - i));
    StoreN(y + i, Mul(active, LoadN(up + i, n - i)), n - i);
  }
}

void Scale(float factor, int64_t n, float* x) {
  const F32x16 f = Set1(factor);
  for (int64_t i = 0; i < n; i += 16) StoreN(x + i, Mul(LoadN(x + i, n - i), f), n - i);
}

void SigmoidOf(float* x, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) StoreN(x + i, Sigmoid(LoadN(x + i, n - i)), n - i);
}

void Softmax(float* x, int64_t n) {
  F32x16 largest = Set1(-__builtin_inff());
  for (int64_t i = 0; i < n; i += 16) {
    largest = Max(largest, KeepN(LoadN(x + i, n - i), n - i, -__builtin_inff()));
  }
  const F32x16 max = Set1(ReduceMax(largest));
  F32x16 sum = Set1(0.0f);
  for (int64_t i = 0; i < n; i += 16) {
    const F32x16 e = KeepN(Exp(Sub(LoadN(x + i, n - i), max)), n - i, 0.0f);
    sum = Add(sum, e);
    StoreN(x + i, e, n - i);
  }
  const F32x16 total = Set1(ReduceAdd(sum));
  for (int64_t i = 0; i < n; i += 16) StoreN(x + i, Div(LoadN(x + i, n - i), total), n - i);
}

CONCLAVE_INLINE F32x16 LoadOr(const float* x, int64_t n, float fill) {
  return n >= 16 ? Load(x) : KeepN(LoadN(x, n), n, fill);
}

void LargestByBlock(const float* x, int64_t n, float* largest) {
  for (int64_t begin = 0; begin < n; begin += kScanBlock) {
    const int64_t end = begin + kScanBlock < n ? begin + kScanBlock : n;
    F32x16 most = Set1(-__builtin_inff());
    // Max takes its second operand where the first is NaN.
    for (int64_t i = begin; i < end; i += 16) {
      most = Max(LoadOr(x + i, end - i, -__builtin_inff()), most);
    }
    *largest++ = ReduceMax(most);
  }
}

void WeighByBlock(const float* x, int64_t n, float max, float factor, float* weights, float* sums) {
  const F32x16 least = Set1(-80.0f);
  for (int64_t begin = 0; begin < n; begin += kScanBlock) {
    const int64_t end = begin + kScanBlock < n ? begin + kScanBlock : n;
    F32x16 sum = Set1(0.0f);
    for (int64_t i = begin; i < end; i += 16) {
      const F32x16 v = LoadOr(x + i, end - i, -__builtin_inff());
      const F32x16 power = Mul(Sub(v, Set1(max)), Set1(factor));
      const F32x16 weight = SelectLess(least, power, Exp(power), Set1(0.0f));
      sum = Add(sum, weight);
      StoreN(weights + i, weight, end - i);
    }
    *sums++ = ReduceAdd(sum);
  }
}

void QuantizeInt8(const float* x, int64_t n, int8_t* q, float* scales, int32_t* negative_sums) {
  for (int64_t g = 0; g < n / 32; ++g) {
    const F32x16 a = Load(x + g * 32);
    const F32x16 b = Load(x + g * 32 + 16);
    const float largest = ReduceMax(Max(Abs(a), Abs(b)));
    // Below this the inverse would leave fp32; such a group is zero for every purpose.
    const bool zero = !(largest > 1e-30f);
    const float scale = zero ? 0.0f : largest / 127.0f;
    const F32x16 inverse = Set1(zero ? 0.0f : 1.0f / scale);
    const F32x16 low = Set1(-127.0f);
    const F32x16 high = Set1(127.0f);
    const I32x16 qa = ToInt(Min(Max(Mul(a, inverse), low), high));
    const I32x16 qb = ToInt(Min(Max(Mul(b, inverse), low), high));
    StoreInt8(q + g * 32, qa);
    StoreInt8(q + g * 32 + 16, qb);
    scales[g] = scale;
    negative_sums[2 * g] = -ReduceAdd(qa);
    negative_sums[2 * g + 1] = -ReduceAdd(qb);
  }
}

void Rope(RopeStyle style, float* head, int32_t rope_dim, const float* cos_sin) {
  const int32_t half = rope_dim / 2;
  const int32_t step = style == RopeStyle::kNorm ? 2 : 1;
  const int32_t partner = style == RopeStyle::kNorm ? 1 : half;
  for (int32_t i = 0; i < half; ++i) {
    const float c = cos_sin[2 * i];
    const float s = cos_sin[2 * i + 1];
    float& first = head[i * step];
    float& second = head[i * step + partner];
    const float a = first;
    const float b = second;
    first = a * c - b * s;
    second = b * c + a * s;
  }
}

void StoreHalves(const float* x, int64_t n, uint16_t* out, int64_t element_stride) {
  const F32x16 low = Set1(-65504.0f);
  const F32x16 high = Set1(65504.0f);
  for (int64_t i = 0; i < n; i += 16) {
    uint16_t halves[16];
    StoreHalf(halves, Min(Max(LoadN(x + i, n - i), low), high));
    for (int64_t j = 0; j < 16 && i + j < n; ++j) out[(i + j) * element_stride] = halves[j];
  }
}

}  // namespace
}  // namespace conclave::engine::CONCLAVE_ISA
