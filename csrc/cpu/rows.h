// Rows of a contiguous tensor, made ready for vectors along W.
//
// Neighbouring windows start `stride` cells apart, so tap k of neighbouring windows reads every stride-th cell. A row is
// therefore split by the position modulo stride, counted from the start of the padding: then tap k of windows o, o+1, ...
// reads neighbours in one part. Only the parts that some tap reads are kept ("slots"; tap k reads slot k % slots).
#pragma once
#include <cstdlib>
#include <new>

#include "vector.h"

namespace videopool {
namespace {

VIDEOPOOL_INLINE int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

VIDEOPOOL_INLINE int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// A plain array. (std::vector would put code of this instruction set where the linker may share it with the others.)
template <class E>
class Buffer {
 public:
  explicit Buffer(int64_t size) : data_(static_cast<E*>(std::malloc(size_t(size > 0 ? size : 1) * sizeof(E)))) {
    if (data_ == nullptr) throw std::bad_alloc();
  }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  E& operator[](int64_t i) { return data_[i]; }
  E* data() { return data_; }

 private:
  E* data_;
};

// Where the cells of a row go: cell w is at position w + padding = index * stride + residue(slot).
struct RowSplit {
  Axis<int64_t> axis;
  int64_t slots;   // parts kept
  int64_t reach;   // the largest shift
  int64_t length;  // indices kept in a slot, and room for one more vector

  RowSplit(const Axis<int64_t>& w, int64_t indices, int64_t lanes)
      : axis(w),
        slots(smaller(w.kernel, w.stride / gcd(w.stride, w.dilation))),
        reach((w.kernel - 1) * w.dilation / w.stride),
        length(round_up(indices, lanes) + lanes) {}

  int64_t size() const { return slots * length; }
  int64_t residue(int64_t slot) const { return slot * axis.dilation % axis.stride; }
  int64_t slot_of(int64_t tap) const { return tap % slots; }
  int64_t shift_of(int64_t tap) const { return tap * axis.dilation / axis.stride; }

  // The cell at index 0 of a slot (it may be padding: negative), and the indices that hold cells.
  int64_t origin(int64_t slot) const { return residue(slot) - axis.padding; }
  Taps<int64_t> indices(int64_t slot, int64_t limit) const {
    const int64_t start = origin(slot), first = start >= 0 ? 0 : ceil_div(-start, axis.stride);
    const int64_t end = axis.in > start ? smaller(limit, ceil_div(axis.in - start, axis.stride)) : 0;
    return {first, end < first ? first : end};
  }
};

// z = x * scale for one row of cells.
template <class T>
void scale_row(const T* x, typename Types<T>::A* z, int64_t cells, typename Types<T>::A scale) {
  for (int64_t w = 0; w < cells; w += kLanes<T>) {
    const int n = int(smaller(kLanes<T>, cells - w));
    store_lanes(z + w, load_lanes(x + w, n) * scale, n);
  }
}

template <class A>
void copy_strided(const A* from, A* to, int64_t count, int64_t stride) {
  if (stride == 1) {
    std::memcpy(to, from, size_t(count) * sizeof(A));
  } else if (stride == 2) {
    for (int64_t i = 0; i < count; ++i) to[i] = from[2 * i];
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i * stride];
  }
}

template <class A>
void spread_strided(const A* from, A* to, int64_t count, int64_t stride) {
  if (stride == 1) {
    std::memcpy(to, from, size_t(count) * sizeof(A));
  } else if (stride == 2) {
    for (int64_t i = 0; i < count; ++i) to[2 * i] = from[i];
  } else {
    for (int64_t i = 0; i < count; ++i) to[i * stride] = from[i];
  }
}

// Splits the scaled row `cells` into `slots`; what is not a cell becomes `padding`.
template <class A>
void split_row(const RowSplit& split, const A* cells, A* slots, A padding) {
  for (int64_t slot = 0; slot < split.slots; ++slot) {
    A* out = slots + slot * split.length;
    const Taps<int64_t> held = split.indices(slot, split.length);
    for (int64_t i = 0; i < held.first; ++i) out[i] = padding;
    if (held.first < held.end) {
      const int64_t stride = split.axis.stride;
      copy_strided(cells + split.origin(slot) + held.first * stride, out + held.first, held.end - held.first, stride);
    }
    for (int64_t i = held.end; i < split.length; ++i) out[i] = padding;
  }
}

// A ring of prepared rows, so that windows that share a row prepare it once. A row is known by its plane (n, c) and its
// place (a, b) on the two outer axes; `need_a` consecutive a, and `need_b` consecutive b, are in use at a time.
template <class A>
class RowCache {
 public:
  RowCache(int64_t size_a, int64_t size_b, int64_t need_a, int64_t need_b, int64_t row)
      : size_a_(size_a),
        size_b_(size_b),
        ring_a_(smaller(size_a, need_a)),
        ring_b_(fits(ring_a_ * size_b * row) ? size_b : smaller(size_b, need_b)),
        row_(row),
        rows_(ring_a_ * ring_b_ * row),
        tags_(ring_a_ * ring_b_) {
    for (int64_t i = 0; i < ring_a_ * ring_b_; ++i) tags_[i] = -1;
  }

  // The row's place; `prepare(place)` is called if it does not hold that row yet.
  template <class Prepare>
  A* get(int64_t plane, int64_t a, int64_t b, const Prepare& prepare) {
    const int64_t tag = (plane * size_a_ + a) * size_b_ + b, at = a % ring_a_ * ring_b_ + b % ring_b_;
    A* place = rows_.data() + at * row_;
    if (tags_[at] != tag) {
      prepare(place);
      tags_[at] = tag;
    }
    return place;
  }

 private:
  static bool fits(int64_t elements) { return elements * int64_t(sizeof(A)) <= (int64_t(1) << 20); }  // in the cache

  int64_t size_a_, size_b_, ring_a_, ring_b_, row_;
  Buffer<A> rows_;
  Buffer<int64_t> tags_;
};

}  // namespace
}  // namespace videopool
