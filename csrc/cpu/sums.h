// The fast form: one power for each cell, shared by its windows.
//
// A window has the sums S = sum e_i and A = sum e_i t_i with t_i = v_i - reference and e_i = exp(logit_i - reference of
// the logits), and pools to reference + A / S. A reference is one number for many windows: 0, or some cell among them if
// that is far from 0. So the sums of neighboring windows share terms: they are taken first along D and H, then along
// W. Padding adds nothing. The result is clamped to the smallest and largest cell of its window, which rounding could
// exceed, also in a constant window.
//
// This is valid while S is neither huge nor tiny (Safety), which holds for values within about 27 of the reference.
// Otherwise the caller tries again with the largest logit as the reference, which is valid for every large window, and
// then uses each_window.h.
#pragma once
#include "rows.h"

namespace videopool {
namespace {

// The cells of the inputs, read as values with their weights, both about a reference.
template <class T, Form form>
struct Cells {
  using A = typename Types<T>::A;
  using V = typename Types<T>::V;
  const T *x, *logits;
  A factor;  // a weight is 2^(logit * factor)
  A reference = 0, logit_reference = 0;

  template <class Call>
  explicit Cells(const Call& call)
      : x(static_cast<const T*>(call.x)),
        logits(static_cast<const T*>(call.logits)),
        factor(A(kLog2E * (form == kGeneral ? 1.0 : call.sharpness.beta))) {}

  void refer_to(int64_t cell) {
    reference = load_values<T, form>(x + cell, 1)[0];
    if (form == kGeneral) logit_reference = load(logits + cell, 1)[0];
  }

  // The cell if it is far from 0, else 0, relative to which small values keep all digits.
  void refer_near(int64_t cell) {
    constexpr A kNear = 16;
    refer_to(cell);
    if (reference <= kNear && reference >= -kNear) reference = 0;
    if (logit_reference <= kNear && logit_reference >= -kNear) logit_reference = 0;
  }

  A logit(int64_t cell) const { return load_values<T, form>((form == kGeneral ? logits : x) + cell, 1)[0] * factor; }

  // -> the weight; `value` is about the reference.
  VIDEOPOOL_MEMBER V weight(int64_t at, int n, V& value) const {
    V cell;
    return weight(at, n, value, cell);
  }

  // The rows of a window are too many streams, and with channels innermost too far apart, for the processor to prefetch
  // all of them.
  VIDEOPOOL_MEMBER V weight(int64_t at, int n, V& value, V& cell) const {
    constexpr int64_t ahead = 2048 / int64_t(sizeof(T));
    __builtin_prefetch(x + at + ahead);
    if (form == kGeneral) __builtin_prefetch(logits + at + ahead);
    cell = load_values<T, form>(x + at, n);
    value = cell - reference;
    if constexpr (form == kGeneral) return power_of_two<T>(load_lanes(logits + at, n) - logit_reference, factor);
    return power_of_two<T>(value, factor);
  }
};

// Whether no window has overflowed or underflowed, with a margin for the gradient. Windows are recorded in few
// instructions; all() then gives the result for all of them.
template <class T>
struct Safety {
  using A = typename Types<T>::A;
  using V = typename Types<T>::V;
  V least, most, not_finite;

  VIDEOPOOL_MEMBER void clear() {
    least = most = splat<V>(A(1));
    not_finite = V{};
  }

  // The sums of weights of n windows, and a value that must be finite.
  VIDEOPOOL_MEMBER void see(V weights, V finite, int n) {
    if (n < kLanes<T>) {
      weights = first_lanes(weights, splat<V>(A(1)), n);
      finite = first_lanes(finite, V{}, n);
    }
    least = weights < least ? weights : least;
    most = weights > most ? weights : most;
    not_finite = times_plus(finite, V{}, not_finite);  // NaN from infinity and NaN
  }

  // A sum that is NaN gives a mean that is NaN.
  VIDEOPOOL_MEMBER bool all() const {
    const V low = splat<V>(A(0x1p-40)), high = splat<V>(A(0x1p40));
    return all_of((least >= low) & (most <= high) & (not_finite == V{}));
  }
};

// The contributions of windows with these sums to their cells, for the gradients grad: grad / S, and that times the
// mean.
template <class T, class V>
VIDEOPOOL_INLINE void window_shares(V weights, V products, V grad, int n, V& share, V& weighted, Safety<T>& safety) {
  const V inverse = splat<V>(typename Types<T>::A(1)) / weights;
  share = grad * inverse;
  weighted = share * (products * inverse);  // not finite if any input is not
  safety.see(weights, weighted, n);
}

// The sums of the windows of a form: S, A and, for the result, the smallest and the largest cell.
enum Part { kWeights, kProducts, kSmallest, kLargest };

template <bool bounds>
constexpr int kParts = bounds ? 4 : 2;

template <int part, class V>
VIDEOPOOL_INLINE V join(V a, V b) {
  if constexpr (part == kSmallest) return b < a ? b : a;
  if constexpr (part == kLargest) return b > a ? b : a;
  return a + b;
}

// The neutral element of join.
template <int part, class A>
constexpr A kNeutral = part == kSmallest ? Limits<A>::infinity : part == kLargest ? -Limits<A>::infinity : A(0);

// The most terms that are joined one after the other. A sum of more is one of pairs of such sums, and again of pairs, so
// that its rounding error grows with the logarithm of the number of terms.
constexpr int64_t kRun = 32;

// Runs joined in pairs. A bit of the number of runs is set for each level that holds the join of 2^level of them.
template <class S>
class Pairs {
 public:
  template <class Join>
  VIDEOPOOL_MEMBER void add(S run, const Join& join) {
    int level = 0;
    for (int64_t held = count_++; held % 2 != 0; held /= 2) run = join(levels_[level++], run);
    levels_[level] = run;
  }

  template <class Join>
  VIDEOPOOL_MEMBER S total(const Join& join) const {
    int level = __builtin_ctzll(count_);
    S joined = levels_[level++];
    for (int64_t held = count_ >> level; held != 0; held /= 2, ++level)
      if (held % 2 != 0) joined = join(levels_[level], joined);
    return joined;
  }

 private:
  S levels_[48];
  int64_t count_ = 0;
};

// `empty` with `count` terms: take(sums, first, end) adds the terms first to end, of which each has `weight` numbers.
template <class S, class Take, class Join>
VIDEOPOOL_INLINE S join_terms(int64_t count, int64_t weight, const S& empty, const Take& take, const Join& join) {
  S sums = empty;
  if (count * weight <= kRun) {
    take(sums, int64_t(0), count);
    return sums;
  }
  const int64_t step = weight < kRun ? kRun / weight : 1;
  Pairs<S> pairs;
  for (int64_t first = 0; first < count; first += step) {
    sums = empty;
    take(sums, first, smaller(first + step, count));
    pairs.add(sums, join);
  }
  return pairs.total(join);
}

// A vector of sums, to which cells are added.
template <class T, Form form, bool bounds>
struct Running {
  using A = typename Types<T>::A;
  using V = typename Types<T>::V;
  V weights, products, smallest, largest;

  VIDEOPOOL_MEMBER void clear() {
    weights = products = V{};
    smallest = splat<V>(kNeutral<kSmallest, A>);
    largest = splat<V>(kNeutral<kLargest, A>);
  }

  VIDEOPOOL_MEMBER void take(const Cells<T, form>& cells, int64_t at, int n) {
    V value, cell;
    const V e = cells.weight(at, n, value, cell);
    weights += e;
    products += e * value;
    if constexpr (bounds) {
      smallest = join<kSmallest>(smallest, cell);
      largest = join<kLargest>(largest, cell);
    }
  }

  static VIDEOPOOL_MEMBER Running empty() {
    Running none;
    none.clear();
    return none;
  }

  static VIDEOPOOL_MEMBER Running joined(const Running& a, const Running& b) {
    Running sums;
    sums.weights = a.weights + b.weights;
    sums.products = a.products + b.products;
    if constexpr (bounds) {
      sums.smallest = join<kSmallest>(a.smallest, b.smallest);
      sums.largest = join<kLargest>(a.largest, b.largest);
    }
    return sums;
  }

  // Add the first n lanes of others.
  VIDEOPOOL_MEMBER void add_lanes(const Running& others, int n) {
    weights += first_lanes(others.weights, V{}, n);
    products += first_lanes(others.products, V{}, n);
    if constexpr (bounds) {
      smallest = join<kSmallest>(smallest, first_lanes(others.smallest, smallest, n));
      largest = join<kLargest>(largest, first_lanes(others.largest, largest, n));
    }
  }

  // The sum of all lanes, in every lane.
  VIDEOPOOL_MEMBER Running over_lanes() const {
    Running joined = *this;
    for (int lane = 1; lane < kLanes<T>; ++lane) {
      joined.weights[0] += weights[lane];
      joined.products[0] += products[lane];
      if constexpr (bounds) {
        joined.smallest[0] = join<kSmallest>(A(joined.smallest[0]), A(smallest[lane]));
        joined.largest[0] = join<kLargest>(A(joined.largest[0]), A(largest[lane]));
      }
    }
    joined.weights = splat<V>(joined.weights[0]);
    joined.products = splat<V>(joined.products[0]);
    if constexpr (bounds) {
      joined.smallest = splat<V>(joined.smallest[0]);
      joined.largest = splat<V>(joined.largest[0]);
    }
    return joined;
  }
};

// The sums of one window over rows of `length` neighboring cells each, in all lanes.
template <bool bounds, class T, Form form>
VIDEOPOOL_INLINE Running<T, form, bounds> sum_runs(
    const Cells<T, form>& cells, const int64_t* rows, int64_t count, int64_t length) {
  constexpr int lanes = kLanes<T>;
  constexpr int64_t vectors = 64;  // summed separately: a long sum rounds each term to its own last digit
  Running<T, form, bounds> total;
  total.clear();
  for_each_run(rows, count, length, [&](int64_t start, int64_t run) __attribute__((always_inline)) {
    int64_t i = 0;
    while (i < run) {
      const int64_t end = smaller(run, i + vectors * lanes);
      Running<T, form, bounds> sums;
      sums.clear();
      for (; i + lanes <= end; i += lanes) sums.take(cells, start + i, lanes);
      total.add_lanes(sums, lanes);
      if (i == end) continue;
      sums.clear();
      sums.take(cells, start + i, int(end - i));
      total.add_lanes(sums, int(end - i));
      i = end;
    }
  });
  return total.over_lanes();
}

// The sums of neighboring windows of two cells each, from those over their even and odd cells: two vectors of cells that
// follow each other.
template <class T, Form form, bool bounds>
VIDEOPOOL_INLINE Running<T, form, bounds> join_pairs(
    const Running<T, form, bounds>& left, const Running<T, form, bounds>& right) {
  Running<T, form, bounds> joined;
  joined.weights = even_of(left.weights, right.weights) + odd_of(left.weights, right.weights);
  joined.products = even_of(left.products, right.products) + odd_of(left.products, right.products);
  if constexpr (bounds) {
    joined.smallest =
        join<kSmallest>(even_of(left.smallest, right.smallest), odd_of(left.smallest, right.smallest));
    joined.largest = join<kLargest>(even_of(left.largest, right.largest), odd_of(left.largest, right.largest));
  }
  return joined;
}

// Rows of cells that start at rows[0 .. count), joined cell by cell -> dense rows, one for each part.
template <bool bounds, class T, Form form>
VIDEOPOOL_INLINE void sum_rows(
    const Cells<T, form>& cells,
    const RowShape& shape,
    const int64_t* rows,
    int64_t count,
    typename Types<T>::A* const* parts) {
  for (int64_t segment = 0; segment < shape.segments; ++segment) {
    const int64_t from = segment * shape.step, to = segment * shape.length;
    for_each_block<kLanes<T>>(shape.length, [&](int64_t l, int n) __attribute__((always_inline)) {
      using Sums = Running<T, form, bounds>;
      const auto take = [&](Sums& sums, int64_t first, int64_t end) __attribute__((always_inline)) {
        for (int64_t i = first; i < end; ++i) sums.take(cells, rows[i] + from + l, n);
      };
      const Sums sums = join_terms(count, 1, Sums::empty(), take, Sums::joined);
      store_lanes(parts[kWeights] + to + l, sums.weights, n);
      store_lanes(parts[kProducts] + to + l, sums.products, n);
      if constexpr (bounds) {
        store_lanes(parts[kSmallest] + to + l, sums.smallest, n);
        store_lanes(parts[kLargest] + to + l, sums.largest, n);
      }
    });
  }
}

// Dense rows joined, element by element.
template <int part, class A>
VIDEOPOOL_INLINE void join_rows(const A* const* rows, int64_t count, int64_t offset, int64_t size, A* to) {
  for_each_block<kLanes<A>>(size, [&](int64_t l, int n) __attribute__((always_inline)) {
    using V = typename Types<A>::V;
    const auto take = [&](V& joined, int64_t first, int64_t end) __attribute__((always_inline)) {
      for (int64_t i = first; i < end; ++i) joined = join<part>(joined, V(load_lanes(rows[i] + offset + l, n)));
    };
    store_lanes(to + l, join_terms(count, 1, splat<V>(kNeutral<part, A>), take, join<part, V>), n);
  });
}

// The weights and products of the cells of a block, and the cells where bounds are wanted, computed once for all windows
// over them: a ring over the depths that one window reaches, each with the rows of cells that the block needs.
template <class T, Form form, bool bounds>
class KeptWeights {
  using A = typename Types<T>::A;

 public:
  KeptWeights(const Axis<int64_t>& d, const Geometry& geometry, int64_t most_rows, Scratch& scratch)
      : geometry_(geometry),
        depths_(smaller(d.in, (d.kernel - 1) * d.dilation + 1)),
        slice_(most_rows * geometry.cells.size() + kLanes<A>),
        held_(scratch.take<int64_t>(depths_)) {
    for (int part = 0; part < kParts<bounds>; ++part) parts_[part] = scratch.take<A>(depths_ * slice_);
  }

  void begin(const Start& start, const Taps<int64_t>& rows) {
    start_ = start;
    rows_ = rows;
    for (int64_t i = 0; i < depths_; ++i) held_[i] = -1;
  }

  // The position of a depth in the ring; it must have been required.
  int64_t place(int64_t d) const { return d % depths_ * slice_; }

  // -> place(d)
  int64_t require(const Cells<T, form>& cells, int64_t d) {
    const int64_t slot = d % depths_, at = slot * slice_;
    if (held_[slot] == d) return at;
    held_[slot] = d;
    // Rows that follow each other are one run of memory, or of segments.
    const int64_t from = geometry_.cell_row(start_, d, rows_.first), count = rows_.end - rows_.first;
    RowShape shape = geometry_.cells;
    (shape.segments == 1 ? shape.length : shape.segments) *= count;
    A* places[kParts<bounds>];
    for (int part = 0; part < kParts<bounds>; ++part) places[part] = parts_[part] + at;
    sum_rows<bounds>(cells, shape, &from, 1, places);
    return at;
  }

  const A* row(int part, int64_t place, int64_t h) const {
    return parts_[part] + place + (h - rows_.first) * geometry_.cells.size();
  }

 private:
  const Geometry& geometry_;
  const int64_t depths_, slice_;
  int64_t* held_;
  A* parts_[kParts<bounds>];
  Start start_{0, 0};
  Taps<int64_t> rows_{0, 0};
};

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

// The sums of windows, some rows of them at a time.
template <class T, Form form, bool bounds>
class WindowSums {
  using A = typename Types<T>::A;

 public:
  // most_cell_rows: of cells that a block may ask for.
  template <class Call>
  WindowSums(const Call& call, const Plan& plan, const Geometry& geometry, int64_t most_cell_rows, Scratch& scratch)
      : p_(call.problem),
        geometry_(geometry),
        keep_(plan.keep_weights),
        along_w_(p_.w.kernel > 1 || p_.w.stride > 1),
        cells_(call),
        taps_d_(p_.d, scratch),
        taps_h_(p_.h, scratch),
        taps_w_(p_.w, scratch),
        pitch_(p_.w, geometry.inner),
        kept_(p_.d, geometry, keep_ ? most_cell_rows : 0, scratch),
        rows_(scratch.take<int64_t>(p_.d.kernel * p_.h.kernel)),
        kept_rows_(scratch.take<const A*>(kParts<bounds> * p_.d.kernel * p_.h.kernel)) {
    prepare_part<kWeights>(plan, scratch);
    prepare_part<kProducts>(plan, scratch);
    if constexpr (bounds) {
      prepare_part<kSmallest>(plan, scratch);
      prepare_part<kLargest>(plan, scratch);
    }
  }

  // A block of a plane begins that reads the rows of cells [first, end) of some depths, the first at (d, rows.first).
  void begin(const Start& start, int64_t d, const Taps<int64_t>& rows) {
    start_ = start;
    cells_.refer_near(geometry_.cell_row(start, d, rows.first));
    if (keep_) kept_.begin(start, rows);
  }

  // The largest logit under the windows (od, first) to before (od, end), of all depths in `ods`, becomes the reference.
  void refer_to_largest(const Taps<int64_t>& ods, const Taps<int64_t>& ohs, const Taps<int64_t>& rows) {
    int64_t best = -1;
    A top = -Limits<A>::infinity;
    const auto see = [&](int64_t cell) {
      const A logit = cells_.logit(cell);
      if (!(logit > top)) return;
      top = logit;
      best = cell;
    };
    for (int64_t od = ods.first; od < ods.end; ++od)
      for (int64_t oh = ohs.first; oh < ohs.end; ++oh) {
        const int64_t* starts;
        const int64_t count = collect_rows(od, oh, &starts);
        for (int64_t i = 0; i < count * geometry_.cells.segments; ++i)
          for (int64_t l = 0; l < geometry_.cells.length; ++l)
            see(starts[i / geometry_.cells.segments] + i % geometry_.cells.segments * geometry_.cells.step + l);
      }
    if (best >= 0) cells_.refer_to(best);
    if (keep_) kept_.begin(start_, rows);
  }

  // Sums over the windows (od, first) to before (od, first + count), at most plan.batch rows; false if some row has no
  // cells.
  bool sum(int64_t od, int64_t first, int64_t count) {
    bool any = true;
    for (int64_t r = 0; r < count; ++r) {
      A* rows[kParts<bounds>];
      for (int part = 0; part < kParts<bounds>; ++part) rows[part] = cells_in_[part] + r * pitch_.cells + pitch_.padding;
      any &= keep_ ? join_kept_rows(od, first + r, rows) : sum_computed_rows(od, first + r, rows);
    }
    if (along_w_) {
      along_w<kWeights>(count);
      along_w<kProducts>(count);
      if constexpr (bounds) {
        along_w<kSmallest>(count);
        along_w<kLargest>(count);
      }
    }
    return any;
  }

  // What sum() found: rows of windows, `pitch` apart.
  const A* windows(int part) const { return windows_[part]; }
  int64_t pitch() const { return pitch_.windows; }

  // Where the rows of cells of the windows (od, oh) start; -> how many.
  int64_t collect_rows(int64_t od, int64_t oh, const int64_t** rows) {
    const Taps<int64_t> d = taps_d_[od], h = taps_h_[oh];
    int64_t count = 0;
    for (int64_t kd = d.first; kd < d.end; ++kd)
      for (int64_t kh = h.first; kh < h.end; ++kh)
        rows_[count++] = geometry_.cell_row(start_, cell_of(p_.d, od, kd), cell_of(p_.h, oh, kh));
    *rows = rows_;
    return count;
  }

  // The rows of cells that the windows [first, end) along H cover.
  Taps<int64_t> rows_under(const Taps<int64_t>& windows) const {
    int64_t first = p_.h.in, end = 0;
    for (int64_t oh = windows.first; oh < windows.end; ++oh) {
      const Taps<int64_t>& taps = taps_h_[oh];
      if (taps.first >= taps.end) continue;
      const int64_t from = cell_of(p_.h, oh, taps.first), to = cell_of(p_.h, oh, taps.end - 1) + 1;
      if (from < first) first = from;
      if (to > end) end = to;
    }
    return end > first ? Taps<int64_t>{first, end} : Taps<int64_t>{0, 0};
  }

  const Cells<T, form>& cells() const { return cells_; }
  bool keeps_weights() const { return keep_; }
  const KeptWeights<T, form, bounds>& kept() const { return kept_; }

 private:
  template <int part>
  void prepare_part(const Plan& plan, Scratch& scratch) {
    const int64_t size = pitch_.cell_elements<A>(p_.w, plan.batch);
    cells_in_[part] = scratch.take<A>(size);
    for (int64_t i = 0; i < size; ++i) cells_in_[part][i] = kNeutral<part, A>;
    windows_[part] = along_w_ ? scratch.take<A>(pitch_.window_elements<A>(plan.batch)) : cells_in_[part];
  }

  template <int part>
  void along_w(int64_t rows) {
    join_windows<part>(p_.w, taps_w_, pitch_, geometry_.inner, rows, cells_in_[part], windows_[part]);
  }

  bool sum_computed_rows(int64_t od, int64_t oh, A* const* to) {
    const int64_t* rows;
    const int64_t count = collect_rows(od, oh, &rows);
    sum_rows<bounds>(cells_, geometry_.cells, rows, count, to);
    return count > 0;
  }

  bool join_kept_rows(int64_t od, int64_t oh, A* const* to) {
    const Taps<int64_t> d = taps_d_[od], h = taps_h_[oh];
    const int64_t most = p_.d.kernel * p_.h.kernel;
    int64_t count = 0;
    for (int64_t kd = d.first; kd < d.end; ++kd) {
      const int64_t depth = cell_of(p_.d, od, kd);
      const int64_t place = kept_.require(cells_, depth);
      for (int64_t kh = h.first; kh < h.end; ++kh, ++count)
        for (int part = 0; part < kParts<bounds>; ++part)
          kept_rows_[part * most + count] = kept_.row(part, place, cell_of(p_.h, oh, kh));
    }
    const int64_t size = geometry_.cells.size();
    join_rows<kWeights>(kept_rows_, count, 0, size, to[kWeights]);
    join_rows<kProducts>(kept_rows_ + most, count, 0, size, to[kProducts]);
    if constexpr (bounds) {
      join_rows<kSmallest>(kept_rows_ + 2 * most, count, 0, size, to[kSmallest]);
      join_rows<kLargest>(kept_rows_ + 3 * most, count, 0, size, to[kLargest]);
    }
    return count > 0;
  }

  const Problem<int64_t>& p_;
  const Geometry& geometry_;
  const bool keep_, along_w_;
  Cells<T, form> cells_;
  const TapsTable taps_d_, taps_h_, taps_w_;
  const Pitch pitch_;
  KeptWeights<T, form, bounds> kept_;
  int64_t* rows_;
  const A** kept_rows_;
  A *cells_in_[kParts<bounds>], *windows_[kParts<bounds>];
  Start start_{0, 0};
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
    for_each_block<lanes>(shape.length, [&](int64_t l, int n) __attribute__((always_inline)) { block(from + l, to + l, n); });
  }
}

}  // namespace
}  // namespace videopool
