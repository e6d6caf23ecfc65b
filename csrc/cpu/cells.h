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
constexpr A kNeutral = part == kSmallest  ? Limits<A>::infinity
                       : part == kLargest ? -Limits<A>::infinity
                                          : A(0);

// The most terms that are joined one after the other. A sum of more is one of pairs of such sums, and again of pairs, so
// that its rounding error grows with the logarithm of the number of terms.
constexpr int64_t kRun = 32;

// Runs joined in pairs. A bit of the number of runs is set for each level that holds the join of 2^level of them.
template <class S>
class Pairs {
 public:
  void clear() { count_ = 0; }

  template <class Join>
  void add(S run, const Join& join) {
    int level = 0;
    for (int64_t held = count_++; held % 2 != 0; held /= 2) run = join(levels_[level++], run);
    levels_[level] = run;
  }

  template <class Join>
  S total(const Join& join) const {
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

  // Add n cells of which weights, products and, with bounds, themselves are kept.
  VIDEOPOOL_MEMBER void take_kept(const A* const* parts, int64_t at, int n) {
    weights += load_lanes(parts[kWeights] + at, n);
    products += load_lanes(parts[kProducts] + at, n);
    if constexpr (bounds) {
      const V cell = load_lanes(parts[kSmallest] + at, n);
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
    joined.smallest = join<kSmallest>(even_of(left.smallest, right.smallest), odd_of(left.smallest, right.smallest));
    joined.largest = join<kLargest>(even_of(left.largest, right.largest), odd_of(left.largest, right.largest));
  }
  return joined;
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

}  // namespace
}  // namespace videopool
