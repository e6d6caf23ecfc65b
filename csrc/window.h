// Window arithmetic of pooling: the one definition, for host and device code.
//
// Along one axis, tap k of window o is cell  o * stride - padding + k * dilation;  cells outside [0, in) are
// padding. The windows of an adaptive axis are not regular: window o covers the cells from floor(o * in / out) up to, not
// including, ceil((o + 1) * in / out), as in torch. All sizes count cells. I is the index type: int64_t, or int32_t if
// fits_int32() is true.
#pragma once
#include <cstdint>

#ifdef __CUDACC__
#define VIDEOPOOL_INLINE static __host__ __device__ __forceinline__
#else
// Internal linkage: the CPU kernels compile this file once for each instruction set, and the linker must not merge them.
#define VIDEOPOOL_INLINE static inline __attribute__((always_inline))
#endif

namespace videopool {

template <class I>
struct Axis {
  I in, out, kernel, stride, padding, dilation;
  I window_step;  // windows that share a cell are this far apart: dilation / gcd(stride, dilation)
  bool adaptive;
};

// [first, end) of taps
template <class I>
struct Taps {
  I first, end;
};

// first, first + step, ... below end
template <class I>
struct Windows {
  I first, end, step;
};

// One call: x [batch, channels, d.in, h.in, w.in] -> y [batch, channels, d.out, h.out, w.out], both dense, with the
// channels either second or innermost in memory.
template <class I>
struct Problem {
  I batch, channels;
  Axis<I> d, h, w;
  bool channels_last;
};

template <class I>
VIDEOPOOL_INLINE I ceil_div(I a, I b) {  // a >= 0, b > 0
  return a / b + (a % b != 0);
}

VIDEOPOOL_INLINE int64_t gcd(int64_t a, int64_t b) {
  while (b != 0) {
    const int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

// Number of windows along an axis, by the rule of torch's max pooling; below 1 when the window does not fit. A partial
// last window (ceil_mode) counts if it starts within the input or the padding before it.
VIDEOPOOL_INLINE int64_t
output_size(int64_t in, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation, bool ceil_mode) {
  const int64_t room = in + 2 * padding - (kernel - 1) * dilation - 1 + (ceil_mode ? stride - 1 : 0);
  if (room < 0) return 0;
  const int64_t windows = room / stride + 1;
  return ceil_mode && (windows - 1) * stride >= in + padding ? windows - 1 : windows;
}

VIDEOPOOL_INLINE Axis<int64_t> make_axis(
    int64_t in, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation, bool ceil_mode) {
  const int64_t out = output_size(in, kernel, stride, padding, dilation, ceil_mode);
  if (out == 1 && padding == 0 && dilation == 1) stride = kernel;  // irrelevant for a single window
  return {in, out, kernel, stride, padding, dilation, dilation / gcd(stride, dilation), false};
}

// The windows of adaptive pooling to `out` results; they are regular if `in` is a multiple of `out`.
VIDEOPOOL_INLINE Axis<int64_t> make_adaptive_axis(int64_t in, int64_t out) {
  const int64_t size = in / out;
  if (in % out == 0) return {in, out, size, size, 0, 1, 1, false};
  return {in, out, size + 2, size > 0 ? size : 1, 0, 1, 1, true};  // kernel: no window has more cells
}

template <class I>
VIDEOPOOL_INLINE I cell_of(const Axis<I>& axis, I window, I tap) {
  if (axis.adaptive) return window * axis.in / axis.out + tap;
  return window * axis.stride - axis.padding + tap * axis.dilation;
}

// The taps of a window that are cells; none if the window is only padding.
template <class I>
VIDEOPOOL_INLINE Taps<I> taps_of(const Axis<I>& axis, I window) {
  if (axis.adaptive) return {I(0), ceil_div((window + 1) * axis.in, axis.out) - window * axis.in / axis.out};
  const I start = window * axis.stride - axis.padding;
  const I first = start >= 0 ? I(0) : ceil_div(-start, axis.dilation);
  const I room = axis.in - start;
  I end = room <= 0 ? I(0) : ceil_div(room, axis.dilation);
  if (end > axis.kernel) end = axis.kernel;
  return {first, end < first ? first : end};
}

// The windows that have a tap on a cell, in ascending order.
template <class I>
VIDEOPOOL_INLINE Windows<I> windows_over(const Axis<I>& axis, I cell) {
  if (axis.adaptive) return {cell * axis.out / axis.in, ceil_div((cell + 1) * axis.out, axis.in), I(1)};
  const I position = cell + axis.padding;
  const I reach = (axis.kernel - 1) * axis.dilation;
  I first = position <= reach ? I(0) : ceil_div(position - reach, axis.stride);
  I end = position / axis.stride + 1;
  if (end > axis.out) end = axis.out;
  if (axis.dilation > 1) {
    // At most every window_step-th window has a tap here: dilation must divide the offset.
    I tries = 0;
    while (first < end && tries < axis.window_step && (position - first * axis.stride) % axis.dilation != 0) {
      ++first;
      ++tries;
    }
    if (tries == axis.window_step) end = first;
  }
  return {first, end < first ? first : end, axis.window_step};
}

template <class I>
VIDEOPOOL_INLINE I cells_of(const Problem<I>& p) {
  return p.batch * p.channels * p.d.in * p.h.in * p.w.in;
}

template <class I>
VIDEOPOOL_INLINE I windows_of(const Problem<I>& p) {
  return p.batch * p.channels * p.d.out * p.h.out * p.w.out;
}

VIDEOPOOL_INLINE bool fits_int32(const Axis<int64_t>& a) {
  constexpr int64_t limit = int64_t(1) << 30;
  const int64_t product = a.adaptive ? (a.in + 1) * (a.out + 1) : 0;
  return a.in < limit && a.stride < limit && a.dilation < limit && (a.kernel - 1) * a.dilation < limit &&
         product < limit;
}

// Whether all index arithmetic of the problem stays below 2^31, with room for the step of a grid-stride loop.
VIDEOPOOL_INLINE bool fits_int32(const Problem<int64_t>& p) {
  constexpr int64_t limit = int64_t(1) << 30;
  return cells_of(p) < limit && windows_of(p) < limit && fits_int32(p.d) && fits_int32(p.h) && fits_int32(p.w);
}

template <class I>
VIDEOPOOL_INLINE Axis<I> narrow(const Axis<int64_t>& a) {
  return {I(a.in), I(a.out), I(a.kernel), I(a.stride), I(a.padding), I(a.dilation), I(a.window_step), a.adaptive};
}

template <class I>
VIDEOPOOL_INLINE Problem<I> narrow(const Problem<int64_t>& p) {
  return {I(p.batch), I(p.channels), narrow<I>(p.d), narrow<I>(p.h), narrow<I>(p.w), p.channels_last};
}

}  // namespace videopool
