// The form for every input: each window separately, by the numerics of soft_pool.h. Lanes are neighboring windows of a
// row in the contiguous layout, and channels of one window in the other.
#pragma once
#include "rows.h"

namespace videopool {
namespace {

template <class T, Form form>
class EachWindow {
 public:
  using A = typename Types<T>::A;
  using V = typename Types<T>::V;
  using State = WindowState<V>;
  static constexpr int lanes = kLanes<T>;

  template <class Call>
  EachWindow(const Call& call, const Geometry& geometry, Scratch& scratch)
      : w_(call.problem.w),
        taps_(w_, scratch),
        inner_(geometry.inner),
        step_(geometry.channels),
        slope_(make_slope<A>(form == kGeneral ? 1.0 : call.sharpness.beta)),
        x_(static_cast<const T*>(call.x)),
        logits_(static_cast<const T*>(call.logits)) {}

  const Slope<A>& slope() const { return slope_; }

  // Calls take(o, c, n) for every group of lanes of a row of windows.
  template <class Take>
  void for_each_group(const Take& take) const {
    if (inner_ == 1) {
      for (int64_t o = 0; o < w_.out; o += lanes) take(o, int64_t(0), int(smaller(lanes, w_.out - o)));
    } else {
      for (int64_t o = 0; o < w_.out; ++o)
        for (int64_t c = 0; c < inner_; c += lanes) take(o, c, int(smaller(lanes, inner_ - c)));
    }
  }

  // The results of one group, from the rows of cells that start at rows[0 .. count).
  V pool(const int64_t* rows, int64_t count, int64_t o, int64_t c, int n, State& state) const {
    V top = splat<V>(-Limits<A>::infinity), weights{}, products{};
    for_each_cell(rows, count, o, c, n, [&](V, V logit) { top = larger(logit, top); });
    if constexpr (form == kGeneral) {
      for_each_cell(rows, count, o, c, n, [&](V value, V logit) {
        add_value<VectorMath, A>(value, logit, top, weights, products);
      });
      const V y = products / weights, limit = splat<V>(Limits<A>::max);
      const auto finite = (y <= limit) & (y >= -limit);
      state = {top, finite ? splat<V>(A(1)) / weights : splat<V>(Limits<A>::nan), y};
      return y;
    } else {
      const V shift = shift_of<A>(top);
      for_each_cell(
          rows, count, o, c, n, [&](V, V z) { add_cell<VectorMath, A>(z, shift, slope_.rate, weights, products); });
      return finish(shift, weights, products, slope_, state);
    }
  }

 private:
  // Calls visit(value, logit); a lane without a cell there has the logit -inf.
  template <class Visit>
  void for_each_cell(const int64_t* rows, int64_t count, int64_t o, int64_t c, int n, const Visit& visit) const {
    for (int64_t r = 0; r < count; ++r) {
      if (inner_ == 1) {
        for (int64_t tap = 0; tap < w_.kernel; ++tap) visit_gathered(rows[r], o, n, tap, visit);
      } else {
        for (int64_t tap = taps_[o].first; tap < taps_[o].end; ++tap) {
          const int64_t at = rows[r] + cell_of(w_, o, tap) * step_ + c;
          const V value = load_values<T, form>(x_ + at, n);
          visit(value, form == kGeneral ? load_lanes((form == kGeneral ? logits_ : x_) + at, n) : value * slope_.scale);
        }
      }
    }
  }

  template <class Visit>
  void visit_gathered(int64_t row, int64_t o, int n, int64_t tap, const Visit& visit) const {
    T values[lanes] = {}, logits[lanes] = {};
    A present[lanes] = {};
    for (int i = 0; i < n; ++i) {
      const Taps<int64_t> held = taps_[o + i];
      if (tap < held.first || tap >= held.end) continue;
      const int64_t at = row + cell_of(w_, o + i, tap);
      values[i] = x_[at];
      if (form == kGeneral) logits[i] = logits_[at];
      present[i] = 1;
    }
    const V value = load_values<T, form>(values, lanes), logit = form == kGeneral ? load(logits) : value * slope_.scale;
    visit(value, load(present) == V{} ? splat<V>(-Limits<A>::infinity) : logit);
  }

  Axis<int64_t> w_;
  TapsTable taps_;
  int64_t inner_, step_;
  Slope<A> slope_;
  const T *x_, *logits_;
};

}  // namespace
}  // namespace videopool
