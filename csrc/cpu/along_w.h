// Sums along W: from rows of cells to rows of windows, and back.
#pragma once
#include "cells.h"

namespace videopool {
namespace {

// The layout of rows of cells, and of windows over them, in buffers, so that windows along W can be summed for several
// rows at once. Contiguous layout: a row of cells starts with its padding and ends with zeros, its pitch is a multiple of
// the stride, so window o of row r is window r * windows + o of one long row. Channels innermost: rows are dense.
struct Pitch {
  int64_t padding, cells, windows;

  Pitch(const Axis<int64_t>& w, int64_t inner) : padding(0), cells(w.in * inner), windows(w.out * inner) {
    if (inner > 1 || w.adaptive) return;
    const int64_t last = (w.out - 1) * w.stride + (w.kernel - 1) * w.dilation + 1, held = w.padding + w.in;
    padding = w.padding;
    cells = round_up(last > held ? last : held, w.stride);
    windows = cells / w.stride;
  }

  // Elements of `rows` rows of cells, including what whole vectors read after the last.
  template <class A>
  int64_t cell_elements(const Axis<int64_t>& w, int64_t rows) const {
    return rows * cells + (w.stride + 1) * kLanes<A> + (w.kernel - 1) * w.dilation;
  }
  template <class A>
  int64_t window_elements(int64_t rows) const {
    return rows * windows + kLanes<A>;
  }
};

// `count` elements, `step` apart, joined.
template <int part, class A>
VIDEOPOOL_INLINE A join_elements(const A* from, int64_t count, int64_t step) {
  using V = typename Types<A>::V;
  constexpr int lanes = kLanes<A>;
  A joined = kNeutral<part, A>;
  const int64_t vectors = step == 1 && count >= 2 * lanes ? count / lanes : 0;
  if (vectors > 0) {
    const auto take = [&](V& run, int64_t first, int64_t end) __attribute__((always_inline)) {
      for (int64_t k = first; k < end; ++k) run = join<part>(run, V(load(from + k * lanes)));
    };
    const V run = join_terms(vectors, 1, splat<V>(joined), take, join<part, V>);
    for (int i = 0; i < lanes; ++i) joined = join<part>(joined, A(run[i]));
  }
  const auto take = [&](A& sum, int64_t first, int64_t end) __attribute__((always_inline)) {
    for (int64_t k = first; k < end; ++k) sum = join<part>(sum, from[k * step]);
  };
  from += vectors * lanes;
  return join<part>(joined, join_terms(count - vectors * lanes, 1, kNeutral<part, A>, take, join<part, A>));
}

// Cells joined over the windows along W, for `rows` rows of cells.
template <int part, class A>
void join_windows(
    const Axis<int64_t>& w,
    const TapsTable& taps,
    const Pitch& pitch,
    int64_t inner,
    int64_t rows,
    const A* cells,
    A* windows) {
  using V = typename Types<A>::V;
  constexpr int lanes = kLanes<A>;
  if (inner == 1 && !w.adaptive && w.stride <= 2) {
    const int64_t kernel = w.kernel, step = w.dilation, stride = w.stride;
    for (int64_t o = 0; o < rows * pitch.windows; o += lanes) {
      const A* from = cells + o * stride;
      V joined = stride == 1 ? load(from) : load_even(from);
      for (int64_t k = 1; k < kernel; ++k)
        joined = join<part>(joined, stride == 1 ? load(from + k * step) : load_even(from + k * step));
      store(windows + o, joined);
    }
    return;
  }
  if (inner == 1 && !w.adaptive && w.kernel < 2 * lanes) {
    const int64_t count = rows * pitch.windows, stride = w.stride;
    for (int64_t o = 0; o < count; ++o) windows[o] = cells[o * stride];
    for (int64_t k = 1; k < w.kernel; ++k) {
      const A* from = cells + k * w.dilation;
      for (int64_t o = 0; o < count; ++o) windows[o] = join<part>(windows[o], from[o * stride]);
    }
    return;
  }
  for (int64_t r = 0; r < rows; ++r, cells += pitch.cells, windows += pitch.windows) {
    for (int64_t o = 0; o < w.out; ++o) {
      const Taps<int64_t> held = taps[o];
      const A* from = cells + (pitch.padding + cell_of(w, o, held.first)) * inner;
      if (inner == 1) {
        windows[o] = join_elements<part>(from, held.end - held.first, w.dilation);
        continue;
      }
      for_each_block<lanes>(inner, [&](int64_t c, int n) __attribute__((always_inline)) {
        const auto take = [&](V& joined, int64_t first, int64_t end) __attribute__((always_inline)) {
          for (int64_t k = first; k < end; ++k)
            joined = join<part>(joined, V(load_lanes(from + k * w.dilation * inner + c, n)));
        };
        const V none = splat<V>(kNeutral<part, A>);
        store_lanes(windows + o * inner + c, join_terms(held.end - held.first, 1, none, take, join<part, V>), n);
      });
    }
  }
}

// The other way: every cell of a row gets the sum of what the windows over it hold. `windows` is a row with zeros around
// it (see Halo); whole vectors are written, up to 2 * lanes elements after the row of cells.
template <class A>
void spread_windows(const Axis<int64_t>& w, const WindowsTable& over, const A* windows, A* cells) {
  using V = typename Types<A>::V;
  constexpr int lanes = kLanes<A>;
  const int64_t in = w.in, kernel = w.kernel, step = w.dilation;
  if (!w.adaptive && w.stride == 1) {
    for (int64_t i = 0; i < in; i += lanes) {
      const A* from = windows + i + w.padding;
      V sum = load(from);
      for (int64_t k = 1; k < kernel; ++k) sum += load(from - k * step);
      store(cells + i, sum);
    }
  } else if (!w.adaptive && w.stride == 2 && step == 1) {
    // By position, counted from the start of the padding: even positions have the even taps, odd ones the odd taps.
    const bool odd_first = w.padding % 2 != 0;
    const A *even_from = windows + (w.padding + 1) / 2, *odd_from = windows + w.padding / 2;
    for (int64_t i = 0; 2 * i < in; i += lanes) {
      V even = load(even_from + i), odd{};
      for (int64_t k = 2; k < kernel; k += 2) even += load(even_from + i - k / 2);
      for (int64_t k = 1; k < kernel; k += 2) odd += load(odd_from + i - k / 2);
      const V low = odd_first ? odd : even, high = odd_first ? even : odd;
      store(cells + 2 * i, zip_low(low, high));
      store(cells + 2 * i + lanes, zip_high(low, high));
    }
  } else if (!w.adaptive && step == 1 && kernel <= w.stride) {
    if (over.gaps) std::memset(cells, 0, size_t(in) * sizeof(A));
    for (int64_t o = 0; o < w.out; ++o) {
      const int64_t start = o * w.stride - w.padding, end = smaller(in, start + kernel);
      for (int64_t i = start > 0 ? start : 0; i < end; ++i) cells[i] = windows[o];
    }
  } else {
    for (int64_t i = 0; i < in; ++i) {
      const Windows<int64_t> held = over[i];
      A sum = 0;
      for (int64_t o = held.first; o < held.end; o += held.step) sum += windows[o];
      cells[i] = sum;
    }
  }
}

// Zeros that spread_windows reads around a row of windows.
template <class A>
struct Halo {
  int64_t before, length;
  Halo(const Axis<int64_t>& w, int64_t inner)
      : before(inner > 1 ? 0 : (w.kernel - 1) * w.dilation + w.padding),
        length(before + inner * w.out + (inner > 1 ? 0 : w.in + w.padding) + 2 * kLanes<A>) {}
};

}  // namespace
}  // namespace videopool
