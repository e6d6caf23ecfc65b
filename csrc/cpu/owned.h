// The gradient if no cell is in two windows, as in most pooling: a window's cells are read once, and their weights stay
// in the first-level cache for the gradient, without row buffers.
#pragma once
#include "gradients.h"

namespace videopool {
namespace {

template <class T, Form form>
class OwnedWindows {
  using A = typename Types<T>::A;
  using V = typename Types<T>::V;
  using Sums = Running<T, form, false>;
  static constexpr int lanes = kLanes<T>;
  static constexpr int64_t kMostCells = 256;  // of a window; their weights and products take 32 KiB

 public:
  OwnedWindows(const BackwardCall& call, const Geometry& geometry, WindowSums<T, form, false>& sums, Scratch& scratch)
      : p_(call.problem),
        geometry_(geometry),
        sums_(sums),
        grad_(static_cast<const T*>(call.grad)),
        gradients_(call),
        whole_rows_(geometry.inner == 1 && !p_.channels_last && is_whole(p_.w)),
        pairs_(geometry.inner == 1 && p_.w.kernel == 2),
        run_(p_.w.kernel == 1 ? geometry.cells.length : geometry.inner),
        fits_(fits()),
        long_(fits_ && !whole_rows_ && cells_of_a_window() > kMostCells),
        window_cells_(scratch.take<int64_t>(smaller(kMostCells, cells_of_a_window()))),
        kept_(scratch.take<A>(kept_length())) {}

  // Whether this form applies to the call.
  explicit operator bool() const { return fits_; }

  // Writes the gradients of a block of cells that starts at the start of a window along D and H; false if some window
  // needs another form.
  bool run(const Block& block, const Start& start) {
    const Taps<int64_t> ods = windows_in(p_.d, block.d), ohs = windows_in(p_.h, block.h);
    for (int64_t od = ods.first; od < ods.end; ++od)
      for (int64_t oh = ohs.first; oh < ohs.end; ++oh)
        if (!pool_back(start, od, oh)) return false;
    clear_what_has_no_window(block, start);
    return true;
  }

 private:
  int64_t cells_of_a_window() const { return p_.d.kernel * p_.h.kernel * p_.w.kernel; }

  bool fits() const {
    if (!tiles(p_.d) || !tiles(p_.h) || !tiles(p_.w)) return false;
    if (whole_rows_) return true;
    if (p_.w.out * p_.w.kernel > p_.w.in) return false;
    if (cells_of_a_window() > kMostCells) return geometry_.inner >= lanes;
    return pairs_ || run_ % lanes == 0 || run_ >= lanes;
  }

  // The windows that start in a block of cells.
  static Taps<int64_t> windows_in(const Axis<int64_t>& a, const Taps<int64_t>& cells) {
    return {cells.first / a.stride, smaller(a.out, (cells.end + a.stride - 1) / a.stride)};
  }

  int64_t kept_length() const {
    if (!fits_ || whole_rows_) return 0;
    if (long_) return 2 * p_.w.out * geometry_.inner;
    return 2 * lanes * cells_of_a_window() * (pairs_ ? 2 : 1);
  }

  bool pool_back(const Start& start, int64_t od, int64_t oh) const {
    if (long_) return long_windows(start, od, oh);
    if (whole_rows_) return whole_rows(start, od, oh);
    return pairs_ ? pairs_of_cells(start, od, oh) : runs_of_channels(start, od, oh);
  }

  // Keeps the weights and values of a vector of cells, and counts them.
  VIDEOPOOL_MEMBER static void take(const Cells<T, form>& cells, int64_t at, int n, A* kept, Sums& sums) {
    V value;
    const V e = cells.weight(at, n, value);
    store(kept, e);
    store(kept + lanes, value);
    sums.weights += e;
    sums.products = times_plus(e, value, sums.products);
  }

  VIDEOPOOL_MEMBER static void give(const Gradients<T, form>& gradients, const A* kept, int64_t at, V p, V q, int n) {
    V dvalue, dlogit;
    gradients.of_cells(load(kept), load(kept + lanes), p, q, dvalue, dlogit);
    gradients.put(at, dvalue, dlogit, n);
  }

  // Contiguous layout, windows of two cells along W: vectors of windows over twice as many cells.
  bool pairs_of_cells(const Start& start, int64_t od, int64_t oh) const {
    const int64_t* rows;
    const int64_t row_count = sums_.collect_rows(od, oh, &rows);
    const T* grad = grad_ + geometry_.window_row(start, od, oh);
    const Cells<T, form> cells = sums_.cells();
    const Gradients<T, form> gradients = gradients_;
    Safety<T> safety;
    safety.clear();
    for_each_block<lanes>(p_.w.out, [&](int64_t o, int n) __attribute__((always_inline)) {
      const int first = 2 * n < lanes ? 2 * n : lanes, second = 2 * n - first;
      Sums left, right;
      left.clear();
      right.clear();
      for (int64_t i = 0; i < row_count; ++i) {
        A* kept = kept_ + 4 * lanes * i;
        take(cells, rows[i] + 2 * o, first, kept, left);
        if (second > 0) take(cells, rows[i] + 2 * o + lanes, second, kept + 2 * lanes, right);
      }
      V p, q;
      const Sums sums = join_pairs(left, right);
      gradients.of_windows(sums.weights, sums.products, V(load_lanes(grad + o, n)), n, p, q, safety);
      const V p_left = zip_low(p, p), q_left = zip_low(q, q), p_right = zip_high(p, p), q_right = zip_high(q, q);
      for (int64_t i = 0; i < row_count; ++i) {
        const A* kept = kept_ + 4 * lanes * i;
        give(gradients, kept, rows[i] + 2 * o, p_left, q_left, first);
        if (second > 0) give(gradients, kept + 2 * lanes, rows[i] + 2 * o + lanes, p_right, q_right, second);
      }
    });
    return safety.all();
  }

  // Contiguous layout, windows of whole rows: runs of memory that are too long to keep their weights.
  bool whole_rows(const Start& start, int64_t od, int64_t oh) const {
    const int64_t* rows;
    const int64_t row_count = sums_.collect_rows(od, oh, &rows);
    const Sums sums = sum_runs<false>(sums_.cells(), rows, row_count, p_.w.in);
    const A grad = load_lanes(grad_ + geometry_.window_row(start, od, oh), 1)[0];
    Safety<T> safety;
    safety.clear();
    V p, q;
    gradients_.of_windows(sums.weights, sums.products, splat<V>(grad), lanes, p, q, safety);
    if (!safety.all()) return false;
    const Cells<T, form> cells = sums_.cells();
    const Gradients<T, form> gradients = gradients_;
    for_each_run(rows, row_count, p_.w.in, [&](int64_t first, int64_t run) __attribute__((always_inline)) {
      for_each_block<lanes>(run, [&](int64_t i, int n) __attribute__((always_inline)) {
        V value, dvalue, dlogit;
        const V e = cells.weight(first + i, n, value);
        gradients.of_cells(e, value, p, q, dvalue, dlogit);
        gradients.put(first + i, dvalue, dlogit, n);
      });
    });
    return true;
  }

  // Channels innermost, windows of too many cells to keep their weights.
  bool long_windows(const Start& start, int64_t od, int64_t oh) const {
    const int64_t channels = geometry_.channels, inner = geometry_.inner;
    const T* grad = grad_ + geometry_.window_row(start, od, oh);
    const Gradients<T, form> gradients = gradients_;
    A *ps = kept_, *qs = ps + p_.w.out * inner;
    Safety<T> safety;
    safety.clear();
    const auto put = [&](int64_t o, int64_t c, int n, const Sums& sums) __attribute__((always_inline)) {
      V p, q;
      const V given = load_lanes(grad + o * channels + c, n);
      gradients.of_windows(sums.weights, sums.products, given, n, p, q, safety);
      store_lanes(ps + o * inner + c, p, n);
      store_lanes(qs + o * inner + c, q, n);
    };
    sums_.sum_long_windows(od, oh, put);
    if (!safety.all()) return false;
    const Cells<T, form> cells = sums_.cells();
    const int64_t* rows;
    const int64_t row_count = sums_.collect_rows(od, oh, &rows);
    const bool is_one = p_.w.out == 1;
    for (int64_t i = 0; i < row_count; ++i)
      for (int64_t first = 0; first < p_.w.out * p_.w.kernel; first += kRun)
        for_each_block<lanes>(inner, [&](int64_t c, int n) __attribute__((always_inline)) {
          const int64_t end = smaller(first + kRun, p_.w.out * p_.w.kernel);
          for (int64_t w = first; w < end; ++w) {
            const int64_t at = rows[i] + w * channels + c, window = (is_one ? 0 : w / p_.w.kernel * inner) + c;
            V value, dvalue, dlogit;
            const V e = cells.weight(at, n, value);
            gradients.of_cells(e, value, load_lanes(ps + window, n), load_lanes(qs + window, n), dvalue, dlogit);
            gradients.put(at, dvalue, dlogit, n);
          }
        });
    return true;
  }

  // Vectors of channels, or of cells that are windows of their own along W.
  bool runs_of_channels(const Start& start, int64_t od, int64_t oh) const {
    const int64_t count = sums_.collect_cells(od, oh, window_cells_), step = p_.w.kernel * geometry_.channels;
    const T* grad = grad_ + geometry_.window_row(start, od, oh);
    const int64_t windows = p_.w.kernel == 1 ? geometry_.cells.segments : p_.w.out;
    const Cells<T, form> cells = sums_.cells();
    const Gradients<T, form> gradients = gradients_;
    Safety<T> safety;
    safety.clear();
    for (int64_t o = 0; o < windows; ++o) {
      for_each_block<lanes>(run_, [&](int64_t c, int n) __attribute__((always_inline)) {
        const int64_t from = o * step + c;
        Sums sums;
        sums.clear();
        A* kept = kept_;
        for (int64_t i = 0; i < count; ++i, kept += 2 * lanes) take(cells, window_cells_[i] + from, n, kept, sums);
        V p, q;
        const V given = load_lanes(grad + o * geometry_.channels + c, n);
        gradients.of_windows(sums.weights, sums.products, given, n, p, q, safety);
        kept = kept_;
        for (int64_t i = 0; i < count; ++i, kept += 2 * lanes) give(gradients, kept, window_cells_[i] + from, p, q, n);
      });
    }
    return safety.all();
  }

  void clear_what_has_no_window(const Block& block, const Start& start) const {
    const int64_t d_end = p_.d.out * p_.d.stride, h_end = p_.h.out * p_.h.stride, w_end = p_.w.out * p_.w.stride;
    if (block.d.end <= d_end && block.h.end <= h_end && p_.w.in <= w_end) return;
    for (int64_t d = block.d.first; d < block.d.end; ++d)
      for (int64_t h = block.h.first; h < block.h.end; ++h)
        for (int64_t w = d < d_end && h < h_end ? w_end : 0; w < p_.w.in; ++w)
          for_each_block<lanes>(geometry_.inner, [&](int64_t c, int n) {
            gradients_.put(geometry_.cell_row(start, d, h) + w * geometry_.channels + c, V{}, V{}, n);
          });
  }

  const Problem<int64_t>& p_;
  const Geometry& geometry_;
  WindowSums<T, form, false>& sums_;
  const T* grad_;
  const Gradients<T, form> gradients_;
  const bool whole_rows_, pairs_;
  const int64_t run_;
  const bool fits_, long_;
  int64_t* window_cells_;
  A* kept_;
};

}  // namespace
}  // namespace videopool
