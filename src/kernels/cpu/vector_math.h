#pragma once

/// Functions of one register of a vector type V (vector_*.h). The polynomials are minimax fits of
/// tools/fit_polynomials.py; errors are given in units in the last place (ulp) of the result.
namespace diffllama {

/// c[0] + c[1] x + ...
template <class V, int kCount>
inline typename V::Reg polynomial(typename V::Reg x, const float (&c)[kCount]) {
  typename V::Reg y = V::set(c[kCount - 1]);
#pragma GCC unroll 16
  for (int i = kCount - 2; i >= 0; --i) y = V::fma(y, x, V::set(c[i]));
  return y;
}

/// e^(x + low), |low| <= 0.03: 2 ulp, subnormals and infinity included; NaN stays NaN.
template <class V>
inline typename V::Reg exp(typename V::Reg x, typename V::Reg low) {
  using Reg = typename V::Reg;
  // Outside of these the result is 0 or infinity, which the powers of two below then give.
  x = V::max(V::set(-105.0F), x);
  x = V::min(V::set(90.0F), x);
  // n = round(x / ln 2): adding 1.5 * 2^23 leaves no bits below the unit. ln 2 is split so that
  // n times its upper part is exact, with or without fma.
  const Reg magic = V::set(0x1.8p23F);
  const Reg n = V::sub(V::add(V::mul(x, V::set(0x1.715476p0F)), magic), magic);
  Reg r = V::sub(x, V::mul(n, V::set(0.693359375F)));
  r = V::add(V::fma(n, V::set(2.12194440e-4F), r), low);
  // e^r = 1 + r + r^2 q(r)
  const Reg q = polynomial<V>(
      r, {0.5F, 0.16666666F, 0.041666154F, 0.008333563F, 0.0013954546F, 0.00019780484F});
  const Reg y = V::add(V::fma(V::mul(r, r), q, r), V::set(1.0F));
  // Two factors, since 2^n itself may be out of range; only the second product rounds.
  const Reg half = V::sub(V::add(V::mul(n, V::set(0.5F)), magic), magic);
  return V::mul(V::mul(y, V::power_of_two(half)), V::power_of_two(V::sub(n, half)));
}

template <class V>
inline typename V::Reg exp(typename V::Reg x) {
  return exp<V>(x, V::zero());
}

/// 2^x for x <= 0 (or just above, by rounding): 2 ulp; exactly 0 below -126; NaN stays NaN.
template <class V>
inline typename V::Reg exp2_nonpositive(typename V::Reg x) {
  using Reg = typename V::Reg;
  const Reg n = V::round(x);
  const Reg r = V::sub(x, n);
  // 2^r = 1 + r p(r)
  const Reg p =
      polynomial<V>(r, {0.693147F, 0.24022242F, 0.055507336F, 0.009671514F, 0.0013264725F});
  return V::scale_from(V::set(-126.0F), V::fma(r, p, V::set(1.0F)), n, x);
}

/// 1 / (1 + e^-x), without cancellation or overflow at either end.
template <class V>
inline typename V::Reg sigmoid(typename V::Reg x) {
  const typename V::Reg e = exp<V>(V::sub(V::zero(), V::abs(x)));
  const typename V::Reg one = V::set(1.0F);
  return V::div(V::select(V::less(x, V::zero()), e, one), V::add(one, e));
}

template <class V>
inline typename V::Reg tanh(typename V::Reg x) {
  using Reg = typename V::Reg;
  const Reg one = V::set(1.0F);
  const Reg magnitude = V::abs(x);
  const Reg e = exp<V>(V::mul(magnitude, V::set(-2.0F)));
  const Reg large = V::copy_sign(V::div(V::sub(one, e), V::add(one, e)), x);
  // Near 0 the difference above cancels: x + x^3 p(x^2).
  const Reg square = V::mul(x, x);
  const Reg p =
      polynomial<V>(square, {-0.333333F, 0.13331959F, -0.05378668F, 0.020805374F, -0.005905857F});
  const Reg small = V::fma(V::mul(square, x), p, x);
  return V::select(V::less(magnitude, V::set(0.6F)), small, large);
}

template <class V>
struct NormalDistribution {
  typename V::Reg cdf, density;
};

/// Phi(x) = erfc(-x / sqrt 2) / 2, the normal distribution, to a small relative error in the lower
/// tail too, and its derivative.
template <class V>
inline NormalDistribution<V> normal_distribution(typename V::Reg x) {
  using Reg = typename V::Reg;
  const Reg one = V::set(1.0F);
  const Reg magnitude = V::min(V::set(15.5F), V::abs(x));  // beyond, the tail is 0; keeps NaN
  const Reg z = V::mul(magnitude, V::set(0x1.6a09e6p-1F));
  // (1 + 2z) e^(z^2) erfc(z) is a polynomial in t = (z - 3) / (z + 3).
  const Reg t = V::div(V::sub(z, V::set(3.0F)), V::add(z, V::set(3.0F)));
  const Reg p = polynomial<V>(
      t, {1.253008F, -0.13562115F, -0.0475625F, 0.12964654F, -0.119269304F, 0.068296045F,
          -0.02380629F, 0.002559141F, 0.0020140687F, -0.0007563039F, -0.00025975166F});
  // e^(-x^2 / 2) needs x^2 to more than float's precision: head * head is exact.
  const Reg scaled = V::mul(magnitude, V::set(0x1.001p12F));
  const Reg head = V::sub(scaled, V::sub(scaled, magnitude));
  const Reg rest = V::mul(V::sub(magnitude, head), V::add(magnitude, head));
  const Reg minus_half = V::set(-0.5F);
  const Reg e = exp<V>(V::mul(V::mul(head, head), minus_half), V::mul(rest, minus_half));
  const Reg tail = V::div(V::mul(V::mul(V::set(0.5F), p), e), V::fma(z, V::set(2.0F), one));
  return {V::select(V::less(x, V::zero()), tail, V::sub(one, tail)),
          V::mul(e, V::set(0.3989422804F))};
}

template <class V>
inline typename V::Reg normal_cdf(typename V::Reg x) {
  return normal_distribution<V>(x).cdf;
}

}  // namespace diffllama
