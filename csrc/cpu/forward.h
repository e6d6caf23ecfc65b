// Forward kernels of one instruction set: two passes over the cells of U vectors of windows, in registers.
#pragma once
#include "kernels.h"
#include "rows.h"

namespace videopool {
namespace {

// Where U * kLanes<T> neighbouring results go; the statistics may be null.
template <class T>
struct Destination {
  using A = typename Types<T>::A;
  T* y;
  A *center, *center_low, *lse;

  explicit Destination(const ForwardCall& call)
      : y(static_cast<T*>(call.y)),
        center(static_cast<A*>(call.center)),
        center_low(static_cast<A*>(call.center_low)),
        lse(static_cast<A*>(call.lse)) {}

  template <class V>
  VIDEOPOOL_INLINE void put(const Destination& to, int64_t at, const Result<V>& result, int n) {
    store_lanes(to.y + at, result.center, n);
    if (to.center == nullptr) return;
    store_lanes(to.center + at, result.center, n);
    store_lanes(to.lse + at, result.lse, n);
    if constexpr (kKeepLow<T>) store_lanes(to.center_low + at, result.center_low, n);
  }
};

// Pools the cells that `cell(i, u)` gives (vector u of cell i of `count`), and stores results at `at`; n lanes of the last
// vector count.
template <class T, int U, class Cell>
VIDEOPOOL_INLINE void pool_block(
    const Cell& cell, int64_t count, const Slope<typename Types<T>::A>& slope, const Destination<T>& to, int64_t at, int n) {
  using A = typename Types<T>::A;
  using V = typename Types<T>::V;
  V shift[U], weights[U], products[U];
  for (int u = 0; u < U; ++u) {
    shift[u] = splat<V>(-Limits<A>::infinity);
    weights[u] = products[u] = V{};
  }
  for (int64_t i = 0; i < count; ++i)
    for (int u = 0; u < U; ++u) shift[u] = larger(cell(i, u), shift[u]);
  for (int u = 0; u < U; ++u) shift[u] = shift_of<A>(shift[u]);
  for (int64_t i = 0; i < count; ++i)
    for (int u = 0; u < U; ++u) add_cell<VectorMath, A>(cell(i, u), shift[u], slope.rate, weights[u], products[u]);
  for (int u = 0; u < U; ++u) {
    const auto result = finish<VectorMath, kKeepLow<T>, A>(shift[u], weights[u], products[u], slope);
    Destination<T>::put(to, at + u * kLanes<T>, result, u + 1 < U ? kLanes<T> : n);
  }
}

// Rows (n, c, od); vectors along the windows of a row.
template <class T>
void forward_contiguous(const ForwardCall& call, int64_t begin, int64_t end) {
  using A = typename Types<T>::A;
  constexpr int lanes = kLanes<T>;
  const Problem<int64_t>& p = call.problem;
  const Slope<A> slope = make_slope<A>(call.beta);
  const Destination<T> to(call);
  const RowSplit split(p.w, p.w.out + (p.w.kernel - 1) * p.w.dilation / p.w.stride, lanes);
  const int64_t reach_d = (p.d.kernel - 1) * p.d.dilation + 1, reach_h = (p.h.kernel - 1) * p.h.dilation + 1;
  RowCache<A> cache(p.d.in, p.h.in, reach_d, reach_h, split.size());
  Buffer<A> scaled(p.w.in);
  Buffer<const A*> taps(p.d.kernel * p.h.kernel * p.w.kernel);

  for (int64_t row = begin; row < end; ++row) {
    const int64_t plane = row / p.d.out, od = row % p.d.out;
    const T* x = static_cast<const T*>(call.x) + plane * p.d.in * p.h.in * p.w.in;
    const Taps<int64_t> taps_d = taps_of(p.d, od);
    for (int64_t oh = 0; oh < p.h.out; ++oh) {
      const Taps<int64_t> taps_h = taps_of(p.h, oh);
      int64_t count = 0;
      for (int64_t kd = taps_d.first; kd < taps_d.end; ++kd) {
        for (int64_t kh = taps_h.first; kh < taps_h.end; ++kh) {
          const int64_t d = cell_of(p.d, od, kd), h = cell_of(p.h, oh, kh);
          const A* cells = cache.get(plane, d, h, [&](A* place) {
            scale_row(x + (d * p.h.in + h) * p.w.in, scaled.data(), p.w.in, slope.scale);
            split_row(split, scaled.data(), place, -Limits<A>::infinity);
          });
          for (int64_t kw = 0; kw < p.w.kernel; ++kw)
            taps[count++] = cells + split.slot_of(kw) * split.length + split.shift_of(kw);
        }
      }
      const int64_t at = (row * p.h.out + oh) * p.w.out;
      int64_t ow = 0;
      const auto cell = [&](int64_t i, int u) { return load(taps[i] + ow + u * lanes); };
      for (; p.w.out - ow > lanes; ow += 2 * lanes)
        pool_block<T, 2>(cell, count, slope, to, at + ow, int(smaller(lanes, p.w.out - ow - lanes)));
      if (ow < p.w.out) pool_block<T, 1>(cell, count, slope, to, at + ow, int(p.w.out - ow));
    }
  }
}

// Collects where the cells of window (od, oh, ow) of batch entry n start, channels innermost.
template <class T>
VIDEOPOOL_INLINE int64_t window_cells(
    const Problem<int64_t>& p, const T* x, int64_t n, int64_t od, int64_t oh, int64_t ow, const T** cells) {
  const Taps<int64_t> taps_d = taps_of(p.d, od), taps_h = taps_of(p.h, oh), taps_w = taps_of(p.w, ow);
  int64_t count = 0;
  for (int64_t kd = taps_d.first; kd < taps_d.end; ++kd)
    for (int64_t kh = taps_h.first; kh < taps_h.end; ++kh)
      for (int64_t kw = taps_w.first; kw < taps_w.end; ++kw) {
        const int64_t row = (n * p.d.in + cell_of(p.d, od, kd)) * p.h.in + cell_of(p.h, oh, kh);
        cells[count++] = x + (row * p.w.in + cell_of(p.w, ow, kw)) * p.channels;
      }
  return count;
}

// Rows (n, od, oh); vectors along the channels.
template <class T>
void forward_channels_last(const ForwardCall& call, int64_t begin, int64_t end) {
  using A = typename Types<T>::A;
  constexpr int lanes = kLanes<T>;
  const Problem<int64_t>& p = call.problem;
  const Slope<A> slope = make_slope<A>(call.beta);
  const Destination<T> to(call);
  Buffer<const T*> cells(p.d.kernel * p.h.kernel * p.w.kernel);

  for (int64_t row = begin; row < end; ++row) {
    const int64_t n = row / (p.d.out * p.h.out), od = row / p.h.out % p.d.out, oh = row % p.h.out;
    for (int64_t ow = 0; ow < p.w.out; ++ow) {
      const int64_t count = window_cells(p, static_cast<const T*>(call.x), n, od, oh, ow, &cells[0]);
      const int64_t at = (row * p.w.out + ow) * p.channels;
      int64_t c = 0;
      int valid = lanes;
      const auto cell = [&](int64_t i, int u) { return load_lanes(cells[i] + c + u * lanes, valid) * slope.scale; };
      for (; p.channels - c >= 2 * lanes; c += 2 * lanes) pool_block<T, 2>(cell, count, slope, to, at + c, lanes);
      for (; c < p.channels; c += lanes) {
        // The last vector may overlap the one before it: both store the same numbers.
        if (p.channels >= lanes) c = smaller(c, p.channels - lanes);
        valid = int(smaller(lanes, p.channels - c));
        pool_block<T, 1>(cell, count, slope, to, at + c, valid);
      }
    }
  }
}

}  // namespace
}  // namespace videopool
