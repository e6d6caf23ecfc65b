// Backward kernels of one instruction set. They gather: every cell adds up what the windows over it give, in a fixed
// order, so the result does not depend on the number of threads.
#pragma once
#include "kernels.h"
#include "rows.h"

namespace videopool {
namespace {

// A saved row of windows as the contiguous kernel reads it: four arrays in units of z, with room on both sides that
// belongs to no window and gives nothing (grad 0, lse +inf).
template <class T>
struct WindowRows {
  using A = typename Types<T>::A;
  static constexpr int arrays = kKeepLow<T> ? 4 : 3;  // grad, center, lse, center_low
  int64_t windows, reach, length;

  WindowRows(const Axis<int64_t>& w, int64_t reach_)
      : windows(w.out), reach(reach_), length(reach_ + w.out + reach_ + 2 * kLanes<T>) {}

  int64_t size() const { return arrays * length; }

  void prepare(const BackwardCall& call, int64_t at, A scale, A* place) const {
    fill(place, 0);
    scale_row(static_cast<const T*>(call.grad) + at, place + reach, windows, A(1));
    fill(place + length, 0);
    scale_row(static_cast<const A*>(call.center) + at, place + length + reach, windows, scale);
    fill(place + 2 * length, Limits<A>::infinity);
    scale_row(static_cast<const A*>(call.lse) + at, place + 2 * length + reach, windows, A(1));
    if constexpr (kKeepLow<T>) {
      fill(place + 3 * length, 0);
      scale_row(static_cast<const A*>(call.center_low) + at, place + 3 * length + reach, windows, scale);
    }
  }

  void fill(A* array, A value) const {
    for (int64_t i = 0; i < reach; ++i) array[i] = value;
    for (int64_t i = reach + windows; i < length; ++i) array[i] = value;
  }
};

// Cells that make every window over them NaN anyway (NaN, or +inf in units of z) become 0, so that vector lanes beside a
// window cannot turn 0 into NaN.
template <class A>
void drop_dominating(A* z, int64_t cells) {
  for (int64_t w = 0; w < cells; ++w) z[w] = z[w] <= Limits<A>::max ? z[w] : A(0);
}

// One slot of a row of cells: the gradients at its indices [first, end), from the prepared window rows over it.
template <class T>
void slot_gradients(
    const BackwardCall& call,
    const RowSplit& split,
    const WindowRows<T>& layout,
    int64_t slot,
    const typename Types<T>::A* z,
    const typename Types<T>::A* const* rows,
    int64_t row_count,
    typename Types<T>::A rate,
    typename Types<T>::A* out) {
  using A = typename Types<T>::A;
  using V = typename Types<T>::V;
  const A exact = call.detach_weights ? A(0) : A(1);
  const Taps<int64_t> held = split.indices(slot, split.axis.out + split.reach);
  for (int64_t i = held.first; i < held.end; i += kLanes<T>) {
    const V cell = load(z + i);
    V sum = V{};
    for (int64_t r = 0; r < row_count; ++r) {
      for (int64_t tap = slot; tap < split.axis.kernel; tap += split.slots) {
        const A* from = rows[r] + layout.reach + i - split.shift_of(tap);
        const V low = kKeepLow<T> ? load(from + (layout.arrays - 1) * layout.length) : V{};
        sum += cell_gradient<VectorMath, kKeepLow<T>, A>(
            cell, load(from), load(from + layout.length), low, load(from + 2 * layout.length), rate, exact);
      }
    }
    store_lanes(out + i, sum, kLanes<T>);
  }
}

// Puts the gradients of all slots back into the order of the row; cells that no tap reads get 0.
template <class T>
void join_row(const RowSplit& split, const typename Types<T>::A* slots, typename Types<T>::A* row, T* dx) {
  using A = typename Types<T>::A;
  const int64_t stride = split.axis.stride;
  for (int64_t w = 0; w < split.axis.in; ++w) row[w] = A(0);
  for (int64_t slot = 0; slot < split.slots; ++slot) {
    const Taps<int64_t> held = split.indices(slot, split.axis.out + split.reach);
    if (held.first == held.end) continue;
    const A* from = slots + slot * split.length + held.first;
    spread_strided(from, row + split.origin(slot) + held.first * stride, held.end - held.first, stride);
  }
  for (int64_t w = 0; w < split.axis.in; w += kLanes<T>) {
    const int n = int(smaller(kLanes<T>, split.axis.in - w));
    store_lanes(dx + w, load_lanes(row + w, n), n);
  }
}

// Rows (n, c, d); vectors along the cells of a row.
template <class T>
void backward_contiguous(const BackwardCall& call, int64_t begin, int64_t end) {
  using A = typename Types<T>::A;
  const Problem<int64_t>& p = call.problem;
  const Slope<A> slope = make_slope<A>(call.beta);
  const int64_t reach = (p.w.kernel - 1) * p.w.dilation / p.w.stride;
  const RowSplit split(p.w, p.w.out + reach, kLanes<T>);
  const WindowRows<T> layout(p.w, reach);
  const int64_t need_d = (p.d.kernel - 1) * p.d.dilation / p.d.stride + 1;
  const int64_t need_h = (p.h.kernel - 1) * p.h.dilation / p.h.stride + 1;
  RowCache<A> cache(p.d.out, p.h.out, need_d, need_h, layout.size());
  Buffer<A> row(p.w.in), z(split.size()), gradients(split.size());
  Buffer<const A*> rows(need_d * need_h);

  for (int64_t i = begin; i < end; ++i) {
    const int64_t plane = i / p.d.in;
    const Windows<int64_t> over_d = windows_over(p.d, i % p.d.in);
    for (int64_t h = 0; h < p.h.in; ++h) {
      const Windows<int64_t> over_h = windows_over(p.h, h);
      int64_t count = 0;
      for (int64_t od = over_d.first; od < over_d.end; od += over_d.step)
        for (int64_t oh = over_h.first; oh < over_h.end; oh += over_h.step)
          rows[count++] = cache.get(plane, od, oh, [&](A* place) {
            layout.prepare(call, ((plane * p.d.out + od) * p.h.out + oh) * p.w.out, slope.scale, place);
          });
      const int64_t at = (i * p.h.in + h) * p.w.in;
      scale_row(static_cast<const T*>(call.x) + at, row.data(), p.w.in, slope.scale);
      drop_dominating(row.data(), p.w.in);
      split_row(split, row.data(), z.data(), A(0));
      for (int64_t slot = 0; slot < split.slots; ++slot) {
        const int64_t offset = slot * split.length;
        slot_gradients<T>(
            call, split, layout, slot, z.data() + offset, &rows[0], count, slope.rate, gradients.data() + offset);
      }
      join_row(split, gradients.data(), row.data(), static_cast<T*>(call.dx) + at);
    }
  }
}

// Collects where the windows over cell (d, h, w) of batch entry n start, channels innermost.
VIDEOPOOL_INLINE int64_t
cell_windows(const Problem<int64_t>& p, int64_t n, int64_t d, int64_t h, int64_t w, int64_t* windows) {
  const Windows<int64_t> over_d = windows_over(p.d, d), over_h = windows_over(p.h, h), over_w = windows_over(p.w, w);
  int64_t count = 0;
  for (int64_t od = over_d.first; od < over_d.end; od += over_d.step)
    for (int64_t oh = over_h.first; oh < over_h.end; oh += over_h.step)
      for (int64_t ow = over_w.first; ow < over_w.end; ow += over_w.step)
        windows[count++] = (((n * p.d.out + od) * p.h.out + oh) * p.w.out + ow) * p.channels;
  return count;
}

// Rows (n, d, h); vectors along the channels.
template <class T>
void backward_channels_last(const BackwardCall& call, int64_t begin, int64_t end) {
  using A = typename Types<T>::A;
  using V = typename Types<T>::V;
  constexpr int lanes = kLanes<T>;
  const Problem<int64_t>& p = call.problem;
  const Slope<A> slope = make_slope<A>(call.beta);
  const A exact = call.detach_weights ? A(0) : A(1);
  const T* grad = static_cast<const T*>(call.grad);
  const A *center = static_cast<const A*>(call.center), *lse = static_cast<const A*>(call.lse);
  const A* center_low = static_cast<const A*>(call.center_low);
  Buffer<int64_t> windows(p.d.kernel * p.h.kernel * p.w.kernel);

  for (int64_t i = begin * p.w.in; i < end * p.w.in; ++i) {
    const int64_t w = i % p.w.in, h = i / p.w.in % p.h.in, d = i / (p.w.in * p.h.in) % p.d.in;
    const int64_t count = cell_windows(p, i / (p.w.in * p.h.in * p.d.in), d, h, w, &windows[0]);
    const T* x = static_cast<const T*>(call.x) + i * p.channels;
    T* dx = static_cast<T*>(call.dx) + i * p.channels;
    for (int64_t c = 0; c < p.channels; c += lanes) {
      // The last vector may overlap the one before it: both store the same numbers.
      if (p.channels >= lanes) c = smaller(c, p.channels - lanes);
      const int n = int(smaller(lanes, p.channels - c));
      const V z = load_lanes(x + c, n) * slope.scale;
      V sum = V{};
      for (int64_t k = 0; k < count; ++k) {
        const int64_t at = windows[k] + c;
        V low = V{};
        if constexpr (kKeepLow<T>) low = load_lanes(center_low + at, n) * slope.scale;
        sum += cell_gradient<VectorMath, kKeepLow<T>, A>(
            z, load_lanes(grad + at, n), load_lanes(center + at, n) * slope.scale, low, load_lanes(lse + at, n),
            slope.rate, exact);
      }
      store_lanes(dx + c, sum, n);
    }
  }
}

}  // namespace
}  // namespace videopool
