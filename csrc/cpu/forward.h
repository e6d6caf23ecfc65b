// The forward kernel of one instruction set.
#pragma once
#include "each_window.h"
#include "sums.h"

namespace videopool {
namespace {

template <class T, Form form>
class Forward {
  using A = typename Types<T>::A;
  using V = typename Types<T>::V;
  // Half types need no bounds: a result that leaves the range of its window by float32 rounding is rounded back to it.
  static constexpr bool bounds = sizeof(T) > 2;
  using Sums = Running<T, form, bounds>;
  static constexpr int lanes = kLanes<T>;

 public:
  Forward(const ForwardCall& call, const Plan& plan)
      : p_(call.problem),
        plan_(plan),
        geometry_(p_, plan),
        y_(static_cast<T*>(call.y)),
        sums_(call, plan, geometry_, smaller(p_.h.in, rows_of_a_block()), scratch_),
        each_window_(call, geometry_, scratch_),
        in_registers_(fits_registers()),
        whole_rows_(has_whole_rows()),
        marches_(sums_.can_march()),
        is_short_(p_.d.kernel * p_.h.kernel * p_.w.kernel <= kRun),
        window_cells_(scratch_.take<int64_t>(is_short_ ? kRun : 0)) {}

  void run(int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const Block block(plan_, unit, p_.d.out, p_.h.out);
      const Start start = geometry_.start(block.plane);
      const Taps<int64_t> rows = sums_.rows_under(block.h);
      sums_.begin(start, smaller(p_.d.in - 1, block.d.first * p_.d.stride), rows);
      int failures = 0;
      for (int64_t od = block.d.first; od < block.d.end; ++od)
        for (int64_t oh = block.h.first; oh < block.h.end; oh += plan_.batch) {
          const int64_t count = smaller(plan_.batch, block.h.end - oh);
          T* y = y_ + geometry_.window_row(start, od, oh);
          if (failures < 2 && pool_rows(od, oh, count, y)) continue;
          if (failures++ == 0) {
            sums_.refer_to_largest({od, od + 1}, {oh, oh + count}, rows);
            if (pool_rows(od, oh, count, y)) continue;
          }
          pool_each_window(od, oh, count, y);
        }
    }
  }

 private:
  int64_t rows_of_a_block() const {
    if (p_.h.adaptive) return p_.h.in;
    return (plan_.block_h - 1) * p_.h.stride + (p_.h.kernel - 1) * p_.h.dilation + 1;
  }

  // False if some window needs another form; then y holds no results.
  bool pool_rows(int64_t od, int64_t oh, int64_t count, T* y) {
    if (whole_rows_) return pool_whole_rows(od, oh, count, y);
    if (in_registers_) return pool_rows_in_registers(od, oh, count, y);
    if (marches_) return march_rows(od, oh, count, y);
    if (!sums_.sum(od, oh, count)) return false;
    const A *weights = sums_.windows(kWeights), *products = sums_.windows(kProducts);
    const A *smallest = bounds ? sums_.windows(kSmallest) : nullptr,
            *largest = bounds ? sums_.windows(kLargest) : nullptr;
    Safety<T> safety;
    safety.clear();
    for_each_place<lanes>(
        geometry_.windows, sums_.pitch(), count, [&](int64_t from, int64_t to, int n) __attribute__((always_inline)) {
          Sums sums;
          sums.weights = load_lanes(weights + from, n);
          sums.products = load_lanes(products + from, n);
          if constexpr (bounds) {
            sums.smallest = load_lanes(smallest + from, n);
            sums.largest = load_lanes(largest + from, n);
          }
          finish(sums, y + to, n, safety);
        });
    return safety.all();
  }

  // The same for windows that share columns of cells with their neighbors, channels innermost.
  bool march_rows(int64_t od, int64_t oh, int64_t count, T* y) {
    Safety<T> safety;
    safety.clear();
    for (int64_t r = 0; r < count; ++r, y += geometry_.row_out) {
      const bool any =
          sums_.march(od, oh + r, [&](int64_t o, int64_t c, const Sums& sums) __attribute__((always_inline)) {
            finish(sums, y + o * geometry_.channels + c, lanes, safety);
          });
      if (!any) return false;
    }
    return safety.all();
  }

  // The same if no cell along W is in two windows: no intermediate values go through memory.
  bool pool_rows_in_registers(int64_t od, int64_t oh, int64_t count, T* y) {
    Safety<T> safety;
    safety.clear();
    for (int64_t r = 0; r < count; ++r, y += geometry_.row_out) {
      const int64_t* rows;
      const int64_t row_count = sums_.collect_rows(od, oh + r, &rows);
      if (geometry_.inner == 1) {
        for_each_block<lanes>(p_.w.out, [&](int64_t o, int n) __attribute__((always_inline)) {
          // Windows o .. o + n cover 2 n cells: two vectors, whose even and odd elements form pairs.
          const int first = 2 * n < lanes ? 2 * n : lanes, second = 2 * n - first;
          Sums left, right;
          left.clear();
          right.clear();
          for (int64_t i = 0; i < row_count; ++i) {
            left.take(sums_.cells(), rows[i] + 2 * o, first);
            if (second > 0) right.take(sums_.cells(), rows[i] + 2 * o + lanes, second);
          }
          finish(join_pairs(left, right), y + o, n, safety);
        });
        continue;
      }
      if (is_short_) {
        pool_short_windows(sums_.collect_cells(od, oh + r, window_cells_), y, safety);
        continue;
      }
      const auto put = [&](int64_t o, int64_t c, int n, const Sums& sums)
                           __attribute__((always_inline)) { finish(sums, y + o * geometry_.channels + c, n, safety); };
      sums_.sum_long_windows(od, oh + r, put);
    }
    return safety.all();
  }

  // A row of windows of few cells, channels innermost: the first window has its cells at window_cells_[0 .. count).
  VIDEOPOOL_MEMBER void pool_short_windows(int64_t count, T* y, Safety<T>& safety) const {
    const Cells<T, form> cells = sums_.cells();
    const int64_t *at = window_cells_, step = p_.w.stride * geometry_.channels, inner = geometry_.inner;
    Safety<T> seen = safety;
    for (int64_t o = 0; o < p_.w.out; ++o) {
      for_each_block<lanes>(inner, [&](int64_t c, int n) __attribute__((always_inline)) {
        Sums sums = Sums::empty();
        for (int64_t i = 0; i < count; ++i) sums.take(cells, at[i] + o * step + c, n);
        finish(sums, cells.reference, y + o * geometry_.channels + c, n, seen);
      });
    }
    safety = seen;
  }

  // The same in the contiguous layout if a window covers whole rows: one run of memory, or a few.
  bool pool_whole_rows(int64_t od, int64_t oh, int64_t count, T* y) {
    Safety<T> safety;
    safety.clear();
    for (int64_t r = 0; r < count; ++r, y += geometry_.row_out) {
      const int64_t* rows;
      const int64_t row_count = sums_.collect_rows(od, oh + r, &rows);
      finish(sum_runs<bounds>(sums_.cells(), rows, row_count, p_.w.in), y, 1, safety);
    }
    return safety.all();
  }

  bool has_whole_rows() const {
    return geometry_.inner == 1 && is_whole(p_.w) && tiles(p_.d) && tiles(p_.h) && !p_.channels_last;
  }

  // Results of n windows.
  VIDEOPOOL_MEMBER void finish(const Sums& sums, T* y, int n, Safety<T>& safety) const {
    finish(sums, sums_.cells().reference, y, n, safety);
  }
  static VIDEOPOOL_MEMBER void finish(const Sums& sums, A reference, T* y, int n, Safety<T>& safety) {
    const V mean = sums.products / sums.weights;
    V result = mean + reference, finite = mean;
    if constexpr (bounds) {
      result = result < sums.smallest ? sums.smallest : result;
      result = result > sums.largest ? sums.largest : result;
    } else if (reference != 0) {
      // Near 0 half types are finer than the rounding of numbers about the reference.
      const V coarse = result * result * A(0x1p12) - reference * reference;
      finite = coarse < V{} ? splat<V>(Limits<A>::nan) : mean;
    }
    store_lanes(y, result, n);
    safety.see(sums.weights, finite, n);
  }

  bool fits_registers() const {
    const Axis<int64_t>& w = p_.w;
    if (plan_.keep_weights || w.adaptive || w.dilation > 1 || w.padding > 0 || w.kernel > w.stride) return false;
    if ((w.out - 1) * w.stride + w.kernel > w.in) return false;
    if (geometry_.inner == 1) return w.kernel == 2 && w.stride == 2;
    return geometry_.inner % lanes == 0 || geometry_.inner >= 4 * lanes;
  }

  void pool_each_window(int64_t od, int64_t oh, int64_t count, T* y) {
    WindowState<V> state;
    for (int64_t r = 0; r < count; ++r, y += geometry_.row_out) {
      const int64_t* rows;
      const int64_t row_count = sums_.collect_rows(od, oh + r, &rows);
      each_window_.for_each_group([&](int64_t o, int64_t c, int n) {
        store_lanes(y + o * geometry_.channels + c, each_window_.pool(rows, row_count, o, c, n, state), n);
      });
    }
  }

  const Problem<int64_t>& p_;
  const Plan& plan_;
  const Geometry geometry_;
  T* y_;
  Scratch scratch_;
  WindowSums<T, form, bounds> sums_;
  const EachWindow<T, form> each_window_;
  const bool in_registers_, whole_rows_, marches_, is_short_;
  int64_t* window_cells_;
};

}  // namespace
}  // namespace videopool
