// The numerics of one window of SoftPool, for host and device code. What is computed, and what NaN and infinities give,
// is written in videopool/ops/reference.py; here is how.
//
// The kernels pool z = x * scale (scale is +1, or -1 for a negative beta) with weights exp(rate * z), rate > 0:
//
//   shift = max z      t_i = z_i - shift      e_i = exp(rate * t_i)      s = sum e_i      r = sum e_i t_i / s
//   center + center_low = shift + r           the result, before it is rounded to the dtype of x
//   lse = log sum exp(rate * (z_i - center))  the entropy of the weights, so it stays below log(window size)
//
// The backward pass needs only these: with u_i = z_i - center, w_i = exp(rate * u_i - lse) and the gradient is
// g * w_i * (1 + rate * u_i). Nothing large is subtracted from something large but z and center themselves, so this
// holds for every finite input. `center_low` is what is lost when shift + r is rounded to the accumulation dtype: it
// matters for float32 and float64 inputs far from zero (at 1e7 it is up to 0.5); a float16 or bfloat16 input has so few
// bits that its float32 center needs no such part.
//
// V is a float, a double or a GCC vector of them; A is the type of one lane; Math gives exp(V) and log(V).
#pragma once
#include <cfloat>

#include "window.h"

namespace videopool {

template <class A>
struct Limits;
template <>
struct Limits<float> {
  static constexpr float max = FLT_MAX, infinity = __builtin_huge_valf(), nan = __builtin_nanf("");
  static constexpr double near_zero = 1e-30, step = 0x1p-40;
};
template <>
struct Limits<double> {
  static constexpr double max = DBL_MAX, infinity = __builtin_huge_val(), nan = __builtin_nan("");
  static constexpr double near_zero = 1e-290, step = 0x1p-100;
};

// beta made safe for accumulation in A. Near beta = 0 the power of two `scale` keeps sums and differences of huge
// inputs from overflowing, and `rate` has a floor that changes no finite result but gives -inf cells the weight 0.
template <class A>
struct Slope {
  A scale, inverse, rate;
};

template <class A>
VIDEOPOOL_INLINE Slope<A> make_slope(double beta) {
  const double sign = beta < 0 ? -1.0 : 1.0, size = beta * sign;
  const double limit = Limits<A>::max, step = Limits<A>::step;
  if (size >= Limits<A>::near_zero) return {A(sign), A(sign), A(size < limit ? size : limit)};
  const double rate = size / step, floor = 1000.0 / limit;
  return {A(sign * step), A(sign / step), A(rate > floor ? rate : floor)};
}

template <class V, class A>
VIDEOPOOL_INLINE V splat(A value) {
  return V{} + value;
}

template <class V>
VIDEOPOOL_INLINE V larger(V a, V b) {  // b where a is NaN
  return a > b ? a : b;
}

// The shift for a window whose largest cell is `top`: finite, so that infinite cells stay infinite beside it.
template <class A, class V>
VIDEOPOOL_INLINE V shift_of(V top) {
  const V most = splat<V>(Limits<A>::max), least = splat<V>(-Limits<A>::max);
  const V bounded = top > most ? most : top;
  return bounded < least ? least : bounded;
}

// One cell joins the sums. A -inf cell has t = -max: weight 0. A +inf cell has t = inf: product +inf, as the rules ask.
template <class Math, class A, class V>
VIDEOPOOL_INLINE void add_cell(V z, V shift, A rate, V& weights, V& products) {
  const V least = splat<V>(-Limits<A>::max), one = splat<V>(A(1));
  V t = z - shift;
  t = t < least ? least : t;
  V exponent = t * rate;
  exponent = exponent > one ? one : exponent;
  const V e = Math::exp(exponent);
  weights += e;
  products += e * t;
}

template <class V>
struct Result {
  V center, center_low, lse;  // center and center_low in units of x
};

// From the sums over a window to what is stored. keep_low: whether center_low is stored and used by the backward pass.
template <class Math, bool keep_low, class A, class V>
VIDEOPOOL_INLINE Result<V> finish(V shift, V weights, V products, const Slope<A>& slope) {
  const V zero = V{}, most = splat<V>(Limits<A>::max), nothing = splat<V>(Limits<A>::nan);
  const V r = products / weights;
  V center = shift + r;
  const V rounded = center - shift;
  V low = (shift - (center - rounded)) + (r - rounded);  // two-sum: exact
  V lse = Math::log(weights) + (keep_low ? -(r * slope.rate) : (shift - center) * slope.rate);
  center = weights == zero ? splat<V>(-Limits<A>::infinity) : center;
  const auto finite = (center <= most) & (center >= -most);
  low = finite ? low : zero;
  lse = finite ? lse : nothing;
  return {center * slope.inverse, low * slope.inverse, lse};
}

// What one window gives to the gradient of one of its cells; all arguments in units of z. exact: 1, or 0 to hold the
// weights constant. lse is NaN for a window without a finite result, which passes NaN on.
template <class Math, bool keep_low, class A, class V>
VIDEOPOOL_INLINE V cell_gradient(V z, V grad, V center, V center_low, V lse, A rate, A exact) {
  const V least = splat<V>(-Limits<A>::max), one = splat<V>(A(1));
  V u = z - center;
  if (keep_low) u -= center_low;
  V exponent = u * rate;
  exponent = exponent < least ? least : exponent;
  const V weight = Math::exp(exponent - lse);
  return grad * weight * (one + exponent * exact);
}

}  // namespace videopool
