// Functions of a lane, made of the vector's operations only: the same bits everywhere.
namespace conclave::engine::CONCLAVE_ISA {
namespace {

// e^x, 0 below −87.3; relative error < 2e-7 up to 88. exp(0) is exactly 1.
CONCLAVE_INLINE F32x16 Exp(F32x16 x) {
  const F32x16 lowest = Set1(-87.3f);
  const F32x16 bounded = Min(Max(x, lowest), Set1(88.0f));
  // x = n·ln2 + r with |r| <= ln2/2; ln2 in two parts, the first exact in few bits.
  const I32x16 n = ToInt(Mul(bounded, Set1(1.44269504088896341f)));
  const F32x16 nf = ToFloat(n);
  F32x16 r = Fma(nf, Set1(-0.693359375f), bounded);
  r = Fma(nf, Set1(2.12194440e-4f), r);
  // Taylor up to r^7/7!: the next term is below 6e-9.
  F32x16 p = Set1(1.0f / 5040.0f);
  p = Fma(p, r, Set1(1.0f / 720.0f));
  p = Fma(p, r, Set1(1.0f / 120.0f));
  p = Fma(p, r, Set1(1.0f / 24.0f));
  p = Fma(p, r, Set1(1.0f / 6.0f));
  p = Fma(p, r, Set1(0.5f));
  p = Fma(p, r, Set1(1.0f));
  p = Fma(p, r, Set1(1.0f));
  return SelectLess(x, lowest, Set1(0.0f), Mul(p, PowerOfTwo(n)));
}

// x · sigmoid(x)
CONCLAVE_INLINE F32x16 Silu(F32x16 x) {
  const F32x16 one = Set1(1.0f);
  return Div(x, Add(one, Exp(Sub(Set1(0.0f), x))));
}

CONCLAVE_INLINE F32x16 Sigmoid(F32x16 x) {
  const F32x16 one = Set1(1.0f);
  return Div(one, Add(one, Exp(Sub(Set1(0.0f), x))));
}

// types.h says what it is.
CONCLAVE_INLINE F32x16 SwigluOai(F32x16 gate, F32x16 up) {
  const F32x16 limit = Set1(7.0f);
  const F32x16 one = Set1(1.0f);
  const F32x16 g = Min(gate, limit);
  const F32x16 u = Max(Min(up, limit), Set1(-7.0f));
  const F32x16 active = Div(g, Add(one, Exp(Mul(g, Set1(-1.702f)))));
  return Mul(active, Add(u, one));
}

// x · Φ(x) with erf by Abramowitz and Stegun 7.1.26: absolute error of erf < 2e-7.
CONCLAVE_INLINE F32x16 GeluErf(F32x16 x) {
  const F32x16 one = Set1(1.0f);
  const F32x16 zero = Set1(0.0f);
  const F32x16 z = Mul(Abs(x), Set1(0.70710678118654752f));
  const F32x16 t = Div(one, Fma(z, Set1(0.3275911f), one));
  F32x16 p = Set1(1.061405429f);
  p = Fma(p, t, Set1(-1.453152027f));
  p = Fma(p, t, Set1(1.421413741f));
  p = Fma(p, t, Set1(-0.284496736f));
  p = Fma(p, t, Set1(0.254829592f));
  const F32x16 tail = Mul(Mul(p, t), Exp(Sub(zero, Mul(z, z))));  // 1 − erf(z)
  // Φ(x) = tail/2 for x < 0 and 1 − tail/2 else: no cancellation on either side.
  const F32x16 half_tail = Mul(tail, Set1(0.5f));
  return Mul(x, SelectLess(x, zero, half_tail, Sub(one, half_tail)));
}

// The tanh form: x · (1 + tanh(√(2/π)(x + 0.044715x³))) / 2, which is x · sigmoid of twice that.
CONCLAVE_INLINE F32x16 GeluTanh(F32x16 x) {
  const F32x16 cube = Mul(Mul(x, x), x);
  const F32x16 inner = Fma(cube, Set1(0.044715f), x);
  const F32x16 twice = Mul(inner, Set1(2.0f * 0.79788456080286536f));
  return Div(x, Add(Set1(1.0f), Exp(Sub(Set1(0.0f), twice))));
}

}  // namespace
}  // namespace conclave::engine::CONCLAVE_ISA
