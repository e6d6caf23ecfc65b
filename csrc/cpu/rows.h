// Rows of cells and rows of windows, and sums from one to the other.
//
// Kernels work on rows: a row is the cells of one (plane, d, h) in memory order, so `inner` channels of the
// first cell, then of the second; inner is 1 in the contiguous layout. Rows in buffers are dense. Those of a
// tensor may be cut into segments, when a plane has only a group of the channels.
#pragma once
#include "kernels.h"
#include "vector.h"

namespace videopool {
namespace {

VIDEOPOOL_INLINE int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

VIDEOPOOL_INLINE int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

constexpr int kTurnedScratch = 48;  // the first block of turned.h, after those of the kernel that it calls

// The scratch memory of one run of a kernel.
class Scratch {
 public:
  explicit Scratch(int first = 0) : next_(first) {}
  template <class E>
  E* take(int64_t count) {
    return static_cast<E*>(scratch_block(next_++, size_t(count > 0 ? count : 1) * sizeof(E)));
  }
  template <class E>
  E* take_zeros(int64_t count) {
    E* block = take<E>(count);
    std::memset(block, 0, size_t(count) * sizeof(E));
    return block;
  }

 private:
  int next_;
};

// Calls block(at, n) for runs of n <= lanes neighbors that cover [0, length); the last run may overlap the one before
// it, so a block must give the same result when it is done twice.
template <int lanes, class Block>
VIDEOPOOL_INLINE void for_each_block(int64_t length, const Block& block) {
  int64_t at = 0;
  for (; at + lanes <= length; at += lanes) block(at, lanes);
  if (at == length) return;
  if (length > lanes) {
    block(length - lanes, lanes);
  } else {
    block(0, int(length));
  }
}

template <class T>
VIDEOPOOL_INLINE auto load_lanes(const T* p, int n) {
  return n == kLanes<T> ? load(p) : load(p, n);
}

// The values that the form pools.
template <class T, Form form>
VIDEOPOOL_INLINE auto load_values(const T* x, int n) {
  const auto v = load_lanes(x, n);
  using V = typename Types<T>::V;
  if constexpr (form == kReluSoft) return V(v < V{} ? V{} : v);  // NaN stays
  return V(v);
}

// The gradient for x from the one for max(x, 0).
template <class T, Form form, class V>
VIDEOPOOL_INLINE V through_relu(const T* x, V gradient, int n) {
  if constexpr (form == kReluSoft) return load_lanes(x, n) <= V{} ? V{} : gradient;
  return gradient;
}

template <class T, class V>
VIDEOPOOL_INLINE void store_lanes(T* p, V v, int n) {
  if (n == kLanes<T>) {
    store(p, v);
  } else {
    store(p, v, n);
  }
}

// A row of a tensor: `segments` runs of `length` neighbors, `step` apart.
struct RowShape {
  int64_t segments, length, step;
  int64_t size() const { return segments * length; }
};

// Whether one window covers the axis.
inline bool is_whole(const Axis<int64_t>& axis) {
  return axis.out == 1 && axis.kernel == axis.in && axis.padding == 0 && axis.dilation == 1;
}

// Whether no two windows share a cell, and no cell is between windows.
inline bool tiles(const Axis<int64_t>& axis) {
  return !axis.adaptive && axis.padding == 0 && axis.kernel == axis.stride && (axis.dilation == 1 || axis.kernel == 1);
}

// Calls run(start, length) for rows of `length` neighbors; adjacent rows are merged.
template <class Run>
VIDEOPOOL_INLINE void for_each_run(const int64_t* rows, int64_t count, int64_t length, const Run& run) {
  for (int64_t first = 0, end; first < count; first = end) {
    for (end = first + 1; end < count && rows[end] == rows[end - 1] + length;) ++end;
    run(rows[first], (end - first) * length);
  }
}

// Where a plane starts in the tensors of cells and of windows.
struct Start {
  int64_t cells, windows;
};

// The positions of rows for one plan.
struct Geometry {
  int64_t inner;  // channels of a cell in a buffer
  int64_t groups, group, channels;
  RowShape cells, windows;
  int64_t d_in, h_in, row_in, d_out, h_out, row_out;  // rows count elements of the tensor

  Geometry(const Problem<int64_t>& p, const Plan& plan)
      : inner(plan.group),
        groups(plan.groups),
        group(plan.group),
        channels(p.channels_last ? p.channels : 1),
        cells(shape(p.w.in)),
        windows(shape(p.w.out)),
        d_in(p.d.in),
        h_in(p.h.in),
        row_in(p.w.in * channels),
        d_out(p.d.out),
        h_out(p.h.out),
        row_out(p.w.out * channels) {}

  Start start(int64_t plane) const {
    const int64_t n = plane / groups, c = first_channel(plane);
    return {n * d_in * h_in * row_in + c, n * d_out * h_out * row_out + c};
  }
  int64_t cell_row(const Start& start, int64_t d, int64_t h) const { return start.cells + (d * h_in + h) * row_in; }
  int64_t window_row(const Start& start, int64_t d, int64_t h) const {
    return start.windows + (d * h_out + h) * row_out;
  }

 private:
  // The last group may overlap the one before it: both give the same numbers.
  int64_t first_channel(int64_t plane) const { return smaller(plane % groups * group, channels - group); }
  RowShape shape(int64_t length) const {
    return inner == channels ? RowShape{1, length * inner, 0} : RowShape{length, inner, channels};
  }
};

// The taps of every window of an axis.
class TapsTable {
 public:
  TapsTable(const Axis<int64_t>& axis, Scratch& scratch) : at_(scratch.take<Taps<int64_t>>(axis.out)) {
    for (int64_t o = 0; o < axis.out; ++o) at_[o] = taps_of(axis, o);
  }
  const Taps<int64_t>& operator[](int64_t window) const { return at_[window]; }

 private:
  Taps<int64_t>* at_;
};

// The windows over every cell of an axis.
class WindowsTable {
 public:
  int64_t most = 0;   // from first to end, over any cell
  bool gaps = false;  // whether some cell has no window over it

  WindowsTable(const Axis<int64_t>& axis, Scratch& scratch) : at_(scratch.take<Windows<int64_t>>(axis.in)) {
    for (int64_t i = 0; i < axis.in; ++i) {
      at_[i] = windows_over(axis, i);
      if (at_[i].end - at_[i].first > most) most = at_[i].end - at_[i].first;
      gaps |= at_[i].first >= at_[i].end;
    }
  }
  const Windows<int64_t>& operator[](int64_t cell) const { return at_[cell]; }

 private:
  Windows<int64_t>* at_;
};

// A block of a plane: [first, end) along D and H.
struct Block {
  int64_t plane;
  Taps<int64_t> d, h;

  Block(const Plan& plan, int64_t unit, int64_t size_d, int64_t size_h) {
    const int64_t bh = unit % plan.blocks_h, bd = unit / plan.blocks_h % plan.blocks_d;
    plane = unit / (plan.blocks_h * plan.blocks_d);
    d = {bd * plan.block_d, smaller(size_d, (bd + 1) * plan.block_d)};
    h = {bh * plan.block_h, smaller(size_h, (bh + 1) * plan.block_h)};
  }
};

// Calls block(row of windows or cells in buffers, place in the tensor, n) for `rows` rows that follow each other in a
// tensor of the shape, `pitch` apart in the buffers.
template <int lanes, class Block>
VIDEOPOOL_INLINE void for_each_place(const RowShape& shape, int64_t pitch, int64_t rows, const Block& block) {
  if (pitch == shape.size() && shape.segments == 1) {
    for_each_block<lanes>(rows * pitch, [&](int64_t l, int n) __attribute__((always_inline)) { block(l, l, n); });
    return;
  }
  for (int64_t i = 0; i < rows * shape.segments; ++i) {
    const int64_t row = i / shape.segments, segment = i % shape.segments;
    const int64_t from = row * pitch + segment * shape.length;
    const int64_t to = shape.segments == 1 ? row * shape.length : i * shape.step;
    for_each_block<lanes>(
        shape.length, [&](int64_t l, int n) __attribute__((always_inline)) { block(from + l, to + l, n); });
  }
}

}  // namespace
}  // namespace videopool
