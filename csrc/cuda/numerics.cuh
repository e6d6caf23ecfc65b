// The numerics of one window on a GPU, on top of soft_pool.h.
//
// Powers are powers of two, from the special-function unit: ex2.approx is off by at most 2^-22 of the result, and the
// product before it adds |rate t| 2^-24. That is the size of the rounding of the inputs' differences: a window's
// weights stay within some 2^-21 of themselves for cells that count (rate t > -8), and an error common to all cells
// cancels. Results below 2^-126 become 0, relative to a largest weight of 1. float64 takes the library's exp.
#pragma once
#include "../call.h"
#include "../soft_pool.h"
#include "memory.cuh"

namespace videopool {

template <class T>
struct Accumulation {
  using Type = float;
};
template <>
struct Accumulation<double> {
  using Type = double;
};
template <class T>
using AccumulationOf = typename Accumulation<T>::Type;

constexpr double kLog2E = 1.4426950408889634;

struct DeviceMath {
#ifdef __CUDACC__
  static __device__ __forceinline__ float exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  }
  static __device__ __forceinline__ float reciprocal(float x) {  // off by at most one unit in the last place
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  }
#else
  static float exp2(float x) { return host_cuda::exp2(x); }
  static float reciprocal(float x) { return host_cuda::reciprocal(x); }
#endif
  static __device__ __forceinline__ float exp(float x) { return exp2(x * float(kLog2E)); }
  static __device__ __forceinline__ double exp(double x) { return ::exp(x); }
};

// What is pooled: x, x after a ReLU, or values with separate logits.
enum Kind { kSoft, kRelu, kGeneral };

// The value that is pooled; a NaN stays a NaN.
template <Kind kind>
__device__ __forceinline__ float pooled(float x) {
  if constexpr (kind != kRelu) return x;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  float result;
  asm("max.NaN.f32 %0, %1, 0f00000000;" : "=f"(result) : "f"(x));
  return result;
#else
  return x < 0.0f ? 0.0f : x;
#endif
}

// The gradient of x from that of the pooled value.
template <Kind kind>
__device__ __forceinline__ float through(float gradient, float x) {
  return kind == kRelu && x <= 0.0f ? 0.0f : gradient;
}

// The parameters of a call in the accumulation dtype. exact: 1, or 0 to hold the weights constant in the
// gradient. relu: pool max(x, 0).
template <class A>
struct Weighting {
  Slope<A> slope;
  A exact;
  bool relu;
};

template <class A, class Call>
Weighting<A> make_weighting(const Call& call) {
  return {make_slope<A>(call.sharpness.beta), call.sharpness.detach_weights ? A(0) : A(1), call.relu};
}

// The value of a cell that is pooled, after the ReLU if it is fused; a NaN stays a NaN.
template <bool general, class A, class T>
__device__ __forceinline__ A pooled_value(T x, const Weighting<A>& weighting) {
  const A value = static_cast<A>(x);
  return !general && weighting.relu && value < A(0) ? A(0) : value;
}

// The gradient of a cell from that of its pooled value.
template <bool general, class A, class T>
__device__ __forceinline__ A through_relu(A gradient, T x, const Weighting<A>& weighting) {
  return !general && weighting.relu && static_cast<A>(x) <= A(0) ? A(0) : gradient;
}

// The tensors of one call; logits and dlogits are null for SoftPool.
template <class T>
struct Inputs {
  const T *x, *logits;
};
template <class T>
struct Gradients {
  T *dx, *dlogits;
};

template <class T, class Call>
Inputs<T> inputs_of(const Call& call) {
  return {static_cast<const T*>(call.x), static_cast<const T*>(call.logits)};
}

template <class T>
Gradients<T> gradients_of(const BackwardCall& call) {
  return {static_cast<T*>(call.dx), static_cast<T*>(call.dlogits)};
}

template <class I>
struct Place {
  I d, h, w;
};

// The same axis, of which the compiler now knows all but the sizes.
template <int kernel, int stride, int padding>
__device__ __forceinline__ Axis<int> known_axis(const Axis<int>& axis) {
  return {axis.in, axis.out, kernel, stride, padding, 1, 1, false};
}

// Calls visit(offset in the plane) for every cell of a window.
template <class I, class Visit>
__device__ __forceinline__ void for_each_cell(
    const Problem<I>& p, const Strides<I>& step, const Place<I>& window, const Visit& visit) {
  const Taps<I> taps_d = taps_of(p.d, window.d), taps_h = taps_of(p.h, window.h), taps_w = taps_of(p.w, window.w);
  const I first = cell_of(p.w, window.w, taps_w.first) * step.w, move = p.w.dilation * step.w;
#pragma unroll 1
  for (I kd = taps_d.first; kd < taps_d.end; ++kd) {
#pragma unroll 1
    for (I kh = taps_h.first; kh < taps_h.end; ++kh) {
      I at = cell_of(p.d, window.d, kd) * step.d + cell_of(p.h, window.h, kh) * step.h + first;
#pragma unroll 1
      for (I kw = taps_w.first; kw < taps_w.end; ++kw, at += move) visit(at);
    }
  }
}

// A window exactly as in soft_pool.h: for every input, in two passes over its cells. `in` points to the plane.
template <bool general, class T, class I>
__device__ __forceinline__ AccumulationOf<T> pool_window(
    const Problem<I>& p,
    const Strides<I>& step,
    const Place<I>& window,
    const Inputs<T>& in,
    const Weighting<AccumulationOf<T>>& weighting,
    WindowState<AccumulationOf<T>>& state) {
  using A = AccumulationOf<T>;
  A top = -Limits<A>::infinity, weights = 0, products = 0;
  if constexpr (general) {
    for_each_cell(p, step, window, [&](I at) { top = larger(static_cast<A>(load(in.logits + at)), top); });
    for_each_cell(p, step, window, [&](I at) {
      const A value = static_cast<A>(load(in.x + at)), logit = static_cast<A>(load(in.logits + at));
      add_value<DeviceMath, A>(value, logit, top, weights, products);
    });
    const A y = products / weights;
    const bool finite = y <= Limits<A>::max && y >= -Limits<A>::max;
    state = {top, finite ? A(1) / weights : Limits<A>::nan, y};
    return y;
  } else {
    const Slope<A>& slope = weighting.slope;
    const auto cell = [&](I at) { return pooled_value<general>(load(in.x + at), weighting) * slope.scale; };
    for_each_cell(p, step, window, [&](I at) { top = larger(cell(at), top); });
    const A shift = shift_of<A>(top);
    for_each_cell(
        p, step, window, [&](I at) { add_cell<DeviceMath, A>(cell(at), shift, slope.rate, weights, products); });
    return finish(shift, weights, products, slope, state);
  }
}

// Adds the contribution of a window to the gradients of one of its cells.
template <bool general, class T>
__device__ __forceinline__ void add_gradient(
    const Inputs<T>& in,
    int64_t at,
    AccumulationOf<T> grad,
    const WindowState<AccumulationOf<T>>& state,
    const Weighting<AccumulationOf<T>>& weighting,
    AccumulationOf<T>& dvalue,
    AccumulationOf<T>& dlogit) {
  using A = AccumulationOf<T>;
  const T x = load(in.x + at);
  const A value = pooled_value<general>(x, weighting);
  if constexpr (general) {
    add_gradients<DeviceMath, A>(value, static_cast<A>(load(in.logits + at)), grad, state, dvalue, dlogit);
  } else {
    const Slope<A>& slope = weighting.slope;
    const A given = cell_gradient<DeviceMath, A>(value * slope.scale, grad, state, slope.rate, weighting.exact);
    dvalue += through_relu<general>(given, x, weighting);
  }
}

template <bool general, class T>
__device__ __forceinline__ void put(
    const Gradients<T>& out, int64_t at, AccumulationOf<T> dvalue, AccumulationOf<T> dlogit) {
  store(out.dx + at, static_cast<T>(dvalue));
  if constexpr (general) store(out.dlogits + at, static_cast<T>(dlogit));
}

// Writes the gradients of the cells of a window that no other window shares.
template <bool general, class T, class I>
__device__ __forceinline__ void put_window_gradient(
    const Problem<I>& p,
    const Strides<I>& step,
    const Place<I>& window,
    const Inputs<T>& in,
    const Weighting<AccumulationOf<T>>& weighting,
    AccumulationOf<T> grad,
    const Gradients<T>& out) {
  using A = AccumulationOf<T>;
  WindowState<A> state;
  pool_window<general>(p, step, window, in, weighting, state);
  for_each_cell(p, step, window, [&](I at) {
    A dvalue = 0, dlogit = 0;
    add_gradient<general>(in, at, grad, state, weighting, dvalue, dlogit);
    put<general>(out, at, dvalue, dlogit);
  });
}

// ---- the quick form, for windows of finite cells ----
//
// Without the bounds of soft_pool.h for infinities. Non-finite inputs and overflow give a result that is not finite;
// then pool_window computes the window again. Cells as logits: z = x * scale for SoftPool.

// The sums of some cells about the largest of them. SoftPool's products are e_i t_i, the general op's e_i v_i.
struct Sums {
  float top, weights, products;
};

// exponent: rate * log2(e)
template <bool general>
__device__ __forceinline__ float add_quickly(float value, float logit, float exponent, Sums& sums) {
  const float t = logit - sums.top, e = DeviceMath::exp2(t * exponent);
  sums.weights += e;
  sums.products += e * (general ? value : t);
  return e;
}

template <bool general>
__device__ __forceinline__ float finish_quickly(
    const Sums& sums, const Slope<float>& slope, WindowState<float>& state) {
  state.shift = sums.top;
  state.inverse = DeviceMath::reciprocal(sums.weights);
  state.mean = sums.products * state.inverse;
  return general ? state.mean : (sums.top + state.mean) * slope.inverse;
}

__device__ __forceinline__ bool is_finite(float x) {
  return fabsf(x) <= Limits<float>::max;
}

// The gradients of a cell of weight e (before the division by their sum), and `share` = grad / that sum.
template <bool general>
__device__ __forceinline__ float gradient_quickly(
    float value, float logit, float e, float share, const WindowState<float>& state, float slope, float& dlogit) {
  const float weight = share * e;
  if constexpr (general) {
    dlogit = e == 0.0f ? 0.0f : weight * (value - state.mean);
    return weight;
  } else {
    // A cell of weight 0 may be so far away that the product with the slope overflows.
    return e == 0.0f ? weight : weight + weight * ((logit - state.shift - state.mean) * slope);
  }
}

}  // namespace videopool
