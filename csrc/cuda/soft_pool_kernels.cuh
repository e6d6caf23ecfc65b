// The device code of SoftPool, and nothing else: nvcc compiles it for GPUs, and the tests compile the same text with a
// C++ compiler and a small shim, to check its arithmetic on machines without a GPU.
//
// Forward: one thread for each window. Backward: one thread for each cell, which adds up what the windows over it give;
// no atomics, so the result is the same in every run. Both walk memory in its own order, whichever layout that is.
#pragma once
#include "../soft_pool.h"

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

struct DeviceMath {
  static __device__ __forceinline__ float exp(float x) { return expf(x); }
  static __device__ __forceinline__ double exp(double x) { return ::exp(x); }
  static __device__ __forceinline__ float log(float x) { return logf(x); }
  static __device__ __forceinline__ double log(double x) { return ::log(x); }
};

// What the backward pass needs of the forward pass; null where not wanted.
template <class A>
struct Statistics {
  A *center, *center_low, *lse;
};

// A place in a dense tensor [n, c, d, h, w].
template <class I>
struct Place {
  I n, c, d, h, w;
};

template <class I>
__device__ __forceinline__ Place<I> place_of(I index, const Problem<I>& p, I depth, I height, I width) {
  Place<I> at;
  if (p.channels_last) {
    at.c = index % p.channels;
    index /= p.channels;
  }
  at.w = index % width;
  index /= width;
  at.h = index % height;
  index /= height;
  at.d = index % depth;
  index /= depth;
  if (!p.channels_last) {
    at.c = index % p.channels;
    index /= p.channels;
  }
  at.n = index;
  return at;
}

// Elements between neighbours along d, h, w, and where the entries of one (n, c) start.
template <class I>
struct Plane {
  I start, d, h, w;
};

template <class I>
__device__ __forceinline__ Plane<I> plane_of(const Place<I>& at, const Problem<I>& p, I depth, I height, I width) {
  const I step = p.channels_last ? p.channels : I(1);
  const I start = p.channels_last ? at.n * depth * height * width * p.channels + at.c
                                  : (at.n * p.channels + at.c) * depth * height * width;
  return {start, height * width * step, width * step, step};
}

// Calls visit(offset) for every cell of the window at `at`.
template <class I, class Visit>
__device__ __forceinline__ void for_each_cell(
    const Problem<I>& p, const Place<I>& at, const Plane<I>& plane, const Visit& visit) {
  const Taps<I> taps_d = taps_of(p.d, at.d), taps_h = taps_of(p.h, at.h), taps_w = taps_of(p.w, at.w);
  for (I kd = taps_d.first; kd < taps_d.end; ++kd) {
    const I slice = plane.start + cell_of(p.d, at.d, kd) * plane.d;
    for (I kh = taps_h.first; kh < taps_h.end; ++kh) {
      const I row = slice + cell_of(p.h, at.h, kh) * plane.h;
      for (I kw = taps_w.first; kw < taps_w.end; ++kw) visit(row + cell_of(p.w, at.w, kw) * plane.w);
    }
  }
}

// Calls visit(offset) for every window over the cell at `at`.
template <class I, class Visit>
__device__ __forceinline__ void for_each_window(
    const Problem<I>& p, const Place<I>& at, const Plane<I>& plane, const Visit& visit) {
  const Windows<I> over_d = windows_over(p.d, at.d), over_h = windows_over(p.h, at.h), over_w = windows_over(p.w, at.w);
  for (I od = over_d.first; od < over_d.end; od += over_d.step) {
    for (I oh = over_h.first; oh < over_h.end; oh += over_h.step) {
      const I row = plane.start + od * plane.d + oh * plane.h;
      for (I ow = over_w.first; ow < over_w.end; ow += over_w.step) visit(row + ow * plane.w);
    }
  }
}

template <class T, class I>
__global__ void soft_pool_forward(
    Problem<I> p, Slope<AccumulationOf<T>> slope, const T* x, T* y, Statistics<AccumulationOf<T>> out) {
  using A = AccumulationOf<T>;
  constexpr bool keep_low = sizeof(T) == sizeof(A);
  const I count = windows_of(p), step = I(gridDim.x) * I(blockDim.x);
  for (I i = I(blockIdx.x) * I(blockDim.x) + I(threadIdx.x); i < count; i += step) {
    const Place<I> at = place_of(i, p, p.d.out, p.h.out, p.w.out);
    const Plane<I> plane = plane_of(at, p, p.d.in, p.h.in, p.w.in);
    A top = -Limits<A>::infinity, weights = 0, products = 0;
    for_each_cell(p, at, plane, [&](I cell) { top = larger(static_cast<A>(x[cell]) * slope.scale, top); });
    const A shift = shift_of<A>(top);
    for_each_cell(p, at, plane, [&](I cell) {
      add_cell<DeviceMath, A>(static_cast<A>(x[cell]) * slope.scale, shift, slope.rate, weights, products);
    });
    const Result<A> result = finish<DeviceMath, keep_low, A>(shift, weights, products, slope);
    y[i] = static_cast<T>(result.center);
    if (out.center == nullptr) continue;
    out.center[i] = result.center;
    out.lse[i] = result.lse;
    if constexpr (keep_low) out.center_low[i] = result.center_low;
  }
}

template <class T, class I>
__global__ void soft_pool_backward(
    Problem<I> p,
    Slope<AccumulationOf<T>> slope,
    AccumulationOf<T> exact,  // 1, or 0 to hold the weights constant
    const T* grad,
    const T* x,
    Statistics<const AccumulationOf<T>> saved,
    T* dx) {
  using A = AccumulationOf<T>;
  constexpr bool keep_low = sizeof(T) == sizeof(A);
  const I count = cells_of(p), step = I(gridDim.x) * I(blockDim.x);
  for (I i = I(blockIdx.x) * I(blockDim.x) + I(threadIdx.x); i < count; i += step) {
    const Place<I> at = place_of(i, p, p.d.in, p.h.in, p.w.in);
    const Plane<I> plane = plane_of(at, p, p.d.out, p.h.out, p.w.out);
    const A z = static_cast<A>(x[i]) * slope.scale;
    A sum = 0;
    for_each_window(p, at, plane, [&](I window) {
      const A low = keep_low ? saved.center_low[window] * slope.scale : A(0);
      sum += cell_gradient<DeviceMath, keep_low, A>(
          z,
          static_cast<A>(grad[window]),
          saved.center[window] * slope.scale,
          low,
          saved.lse[window],
          slope.rate,
          exact);
    });
    dx[i] = static_cast<T>(sum);
  }
}

}  // namespace videopool
