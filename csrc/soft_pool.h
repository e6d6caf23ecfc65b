// The numerics of one window, for host and device code. videopool/ops/reference.py defines what is computed, and the
// results for NaN and infinities.
//
// SoftPool pools z = x * scale (scale is +1, or -1 for a negative beta) with weights exp(rate * z), rate > 0:
//
//   shift = max z      t_i = z_i - shift      e_i = exp(rate * t_i)      s = sum e_i      mean = sum e_i t_i / s
//   shift + mean       the result
//   g / s * e_i * (1 + rate * (t_i - mean))    the gradient of cell i
//
// The general op pools values v with weights exp(l) of separate logits: the same with t_i = l_i - max l and
// mean = sum e_i v_i / s, which is the result; the gradients are g / s * e_i for v_i, times (v_i - mean) for l_i.
//
// The only difference of large numbers is that of a cell and the maximum of its window, which is exact where it
// matters, so this is valid for every finite input. The backward pass computes shift, s and mean again, which is
// cheaper than writing and reading them; the op saves only its input.
//
// V is a float, a double or a GCC vector of them; A is the type of one lane; Math gives exp(V).
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

// A form of beta that is safe for accumulation in A. Near beta = 0 the power of two `scale` keeps sums and differences
// of huge inputs from overflowing, and `rate` has a lower bound that changes no finite result but gives -inf cells
// weight 0.
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

// The state of a window for the gradient; see the top of this file. `inverse` is 1 / s, or NaN for a window without a
// finite result, which makes its gradients NaN.
template <class V>
struct WindowState {
  V shift, inverse, mean;
};

// ---- SoftPool ----

// The shift for a window whose largest cell is `top`: finite, so that infinite cells stay infinite.
template <class A, class V>
VIDEOPOOL_INLINE V shift_of(V top) {
  const V most = splat<V>(Limits<A>::max), least = splat<V>(-Limits<A>::max);
  const V bounded = top > most ? most : top;
  return bounded < least ? least : bounded;
}

// rate * t, for t = z - shift: bounded below, so that a -inf cell has a finite product with its weight 0.
template <class A, class V>
VIDEOPOOL_INLINE V below_shift(V z, V shift) {
  const V least = splat<V>(-Limits<A>::max), t = z - shift;
  return t < least ? least : t;
}

// Add one cell to the sums. A +inf cell has t = inf: weight e, product +inf, as the rules require.
template <class Math, class A, class V>
VIDEOPOOL_INLINE void add_cell(V z, V shift, A rate, V& weights, V& products) {
  const V one = splat<V>(A(1)), t = below_shift<A>(z, shift);
  V exponent = t * rate;
  exponent = exponent > one ? one : exponent;
  const V e = Math::exp(exponent);
  weights += e;
  products += e * t;
}

// The result of a window, in units of x, and its state, from its sums.
template <class A, class V>
VIDEOPOOL_INLINE V finish(V shift, V weights, V products, const Slope<A>& slope, WindowState<V>& state) {
  const V most = splat<V>(Limits<A>::max), mean = products / weights;
  V y = shift + mean;
  y = weights == V{} ? splat<V>(-Limits<A>::infinity) : y;
  const auto finite = (y <= most) & (y >= -most);
  state.shift = shift;
  state.inverse = finite ? splat<V>(A(1)) / weights : splat<V>(Limits<A>::nan);
  state.mean = mean;
  return y * slope.inverse;
}

// The contribution of one window to the gradient of one of its cells. exact: 1, or 0 to hold the weights constant.
template <class Math, class A, class V>
VIDEOPOOL_INLINE V cell_gradient(V z, V grad, const WindowState<V>& window, A rate, A exact) {
  const V one = splat<V>(A(1)), t = below_shift<A>(z, window.shift);
  V exponent = t * rate;
  exponent = exponent > one ? one : exponent;
  const V weight = Math::exp(exponent) * window.inverse;
  // A weight of 0 has t = -max, whose product with the rate may be infinite.
  const V slope = (t - window.mean) * (rate * exact);
  return grad * weight * (one + (weight == V{} ? V{} : slope));
}

// ---- softmax-weighted values ----

template <class Math, class A, class V>
VIDEOPOOL_INLINE V weight_of(V logit, V shift) {  // 1 where the logit is the shift, NaN where either is NaN or +inf
  return Math::exp(below_shift<A>(logit, shift));
}

// Add one cell to the sums. A logit of -inf excludes the cell, regardless of its value; a weight of 0 by underflow does
// not, so that a value that is not finite is never lost.
template <class Math, class A, class V>
VIDEOPOOL_INLINE void add_value(V value, V logit, V shift, V& weights, V& products) {
  const V e = weight_of<Math, A>(logit, shift);
  weights += e;
  products += logit < splat<V>(-Limits<A>::max) ? V{} : e * value;
}

// The contributions of one window to the gradients of a cell's value and logit.
template <class Math, class A, class V>
VIDEOPOOL_INLINE void add_gradients(V value, V logit, V grad, const WindowState<V>& window, V& dvalue, V& dlogit) {
  const V weight = weight_of<Math, A>(logit, window.shift) * window.inverse, given = grad * weight;
  dvalue += given;
  dlogit += weight == V{} ? V{} : given * (value - window.mean);
}

}  // namespace videopool
