// The sums of windows; cells.h has their form.
#pragma once
#include "along_w.h"

namespace videopool {
namespace {

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

// The weights and products of the cells of a block, and the cells where bounds are wanted, computed once for all windows
// over them: a ring over the depths that one window reaches, each with the rows of cells that the block needs. With
// bounds, a cell is the smallest and the largest of itself: they share a part.
template <class T, Form form, bool bounds>
class KeptWeights {
  using A = typename Types<T>::A;

 public:
  KeptWeights(const Axis<int64_t>& d, const Geometry& geometry, int64_t most_rows, Scratch& scratch)
      : geometry_(geometry),
        depths_(smaller(d.in, (d.kernel - 1) * d.dilation + 1)),
        slice_(most_rows * geometry.cells.size() + kLanes<A>),
        held_(scratch.take<int64_t>(depths_)) {
    for (A*& part : parts_) part = scratch.take<A>(depths_ * slice_);
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
    RowShape shape = geometry_.cells;
    (shape.segments == 1 ? shape.length : shape.segments) *= rows_.end - rows_.first;
    weigh(cells, shape, geometry_.cell_row(start_, d, rows_.first), at);
    return at;
  }

  const A* row(int part, int64_t place, int64_t h) const {
    return parts_[part < kLargest ? part : int(kSmallest)] + place + (h - rows_.first) * geometry_.cells.size();
  }

 private:
  static constexpr int kKeptParts = bounds ? 3 : 2;

  // Cells from `from` on are kept from `at` on.
  void weigh(const Cells<T, form> cells, const RowShape& shape, int64_t from, int64_t at) const {
    A *weights = parts_[kWeights] + at, *products = parts_[kProducts] + at, *kept = parts_[kKeptParts - 1] + at;
    const auto weigh_block = [&](int64_t cell_at, int64_t to, int n) __attribute__((always_inline)) {
      typename Types<T>::V value, cell;
      const auto e = cells.weight(cell_at, n, value, cell);
      store_lanes(weights + to, e, n);
      store_lanes(products + to, e * value, n);
      if constexpr (bounds) store_lanes(kept + to, cell, n);
    };
    if (shape.segments == 1) {
      for_each_block<kLanes<T>>(
          shape.length, [&](int64_t l, int n) __attribute__((always_inline)) { weigh_block(from + l, l, n); });
      return;
    }
    for_each_block<kLanes<T>>(shape.length, [&](int64_t l, int n) __attribute__((always_inline)) {
      for (int64_t segment = 0; segment < shape.segments; ++segment)
        weigh_block(from + segment * shape.step + l, segment * shape.length + l, n);
    });
  }

  const Geometry& geometry_;
  const int64_t depths_, slice_;
  int64_t* held_;
  A* parts_[kKeptParts];
  Start start_{0, 0};
  Taps<int64_t> rows_{0, 0};
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
        long_sums_(scratch.take<Pairs<Running<T, form, bounds>>>(
            geometry.inner > 1 && p_.d.kernel * p_.h.kernel * p_.w.kernel > kRun ? geometry.inner / kLanes<T> + 1 : 0)),
        kept_rows_(scratch.take<const A*>(kParts<bounds> * p_.d.kernel * p_.h.kernel)),
        scratch_(scratch),
        batch_(plan.batch) {}

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
    if (!has_buffers_) take_buffers();
    bool any = true;
    for (int64_t r = 0; r < count; ++r) {
      A* rows[kParts<bounds>];
      for (int part = 0; part < kParts<bounds>; ++part)
        rows[part] = cells_in_[part] + r * pitch_.cells + pitch_.padding;
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

  // The cells of the window (od, oh, 0), for windows without padding along W; -> how many.
  int64_t collect_cells(int64_t od, int64_t oh, int64_t* cells) {
    const int64_t* rows;
    const int64_t row_count = collect_rows(od, oh, &rows);
    int64_t count = 0;
    for (int64_t i = 0; i < row_count; ++i)
      for (int64_t k = 0; k < p_.w.kernel; ++k) cells[count++] = rows[i] + k * p_.w.dilation * geometry_.channels;
    return count;
  }

  // Calls put(o, c, n, sums) for all windows (od, oh, o) and vectors of channels c, channels innermost, for windows
  // without padding along W. Reads the cells of a window in the order of memory, and all their channels.
  template <class Put>
  VIDEOPOOL_MEMBER void sum_long_windows(int64_t od, int64_t oh, const Put& put) {
    using Sums = Running<T, form, bounds>;
    constexpr int lanes = kLanes<T>;
    const int64_t* rows;
    const int64_t count = collect_rows(od, oh, &rows), kernel = p_.w.kernel, channels = geometry_.channels;
    const int64_t row_step = smaller(count, kRun / smaller(kernel, kRun)), cell_step = smaller(kernel, kRun);
    const Cells<T, form> cells = cells_;
    for (int64_t o = 0; o < p_.w.out; ++o) {
      const int64_t from = o * p_.w.stride * channels;
      for (int64_t i = 0; i * lanes < geometry_.inner; ++i) long_sums_[i].clear();
      for (int64_t row = 0; row < count; row += row_step)
        for (int64_t first = 0; first < kernel; first += cell_step)
          for_each_block<lanes>(geometry_.inner, [&](int64_t c, int n) __attribute__((always_inline)) {
            Sums sums = Sums::empty();
            for (int64_t i = row; i < smaller(count, row + row_step); ++i)
              for (int64_t k = first; k < smaller(kernel, first + cell_step); ++k)
                sums.take(cells, rows[i] + from + k * channels + c, n);
            long_sums_[(c + lanes - 1) / lanes].add(sums, Sums::joined);
          });
      for_each_block<lanes>(geometry_.inner, [&](int64_t c, int n) __attribute__((always_inline)) {
        put(o, c, n, long_sums_[(c + lanes - 1) / lanes].total(Sums::joined));
      });
    }
  }

  // Whether march() applies: channels innermost, at least a vector of them, and windows of 3 cells along W that share
  // some.
  bool can_march() const {
    const Axis<int64_t>& w = p_.w;
    return geometry_.inner >= kLanes<T> && !w.adaptive && w.dilation == 1 && w.kernel == 3 && w.stride < 3 &&
           p_.d.kernel * p_.h.kernel <= kRun;
  }

  // Calls put(o, c, sums) for all windows (od, oh, o) and vectors of channels c, some of them twice; false if the
  // windows have no cells. The columns of cells along D and H are summed once for all windows along W.
  template <class Put>
  VIDEOPOOL_MEMBER bool march(int64_t od, int64_t oh, const Put& put) {
    using Sums = Running<T, form, bounds>;
    constexpr int lanes = kLanes<T>;
    if (keep_) {
      const int64_t most = p_.d.kernel * p_.h.kernel, count = collect_kept_rows(od, oh), inner = geometry_.inner;
      march_columns(put, [&](int64_t w, int64_t c) __attribute__((always_inline)) {
        Sums sums = Sums::empty();
        for (int64_t i = 0; i < count; ++i) {
          const A* parts[] = {kept_rows_[i], kept_rows_[most + i], bounds ? kept_rows_[2 * most + i] : nullptr};
          sums.take_kept(parts, w * inner + c, lanes);
        }
        return sums;
      });
      return count > 0;
    }
    const int64_t* rows;
    const int64_t count = collect_rows(od, oh, &rows), channels = geometry_.channels;
    const Cells<T, form> cells = cells_;
    march_columns(put, [&](int64_t w, int64_t c) __attribute__((always_inline)) {
      Sums sums = Sums::empty();
      for (int64_t i = 0; i < count; ++i) sums.take(cells, rows[i] + w * channels + c, lanes);
      return sums;
    });
    return count > 0;
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
  // Filling the buffers takes longer than pooling a small tensor in a form that does not need them.
  void take_buffers() {
    has_buffers_ = true;
    take_part<kWeights>();
    take_part<kProducts>();
    if constexpr (bounds) {
      take_part<kSmallest>();
      take_part<kLargest>();
    }
  }

  template <int part>
  void take_part() {
    const int64_t size = pitch_.cell_elements<A>(p_.w, batch_);
    cells_in_[part] = scratch_.take<A>(size);
    for (int64_t i = 0; i < size; ++i) cells_in_[part][i] = kNeutral<part, A>;
    windows_[part] = along_w_ ? scratch_.take<A>(pitch_.window_elements<A>(batch_)) : cells_in_[part];
  }

  template <int part>
  void along_w(int64_t rows) {
    join_windows<part>(p_.w, taps_w_, pitch_, geometry_.inner, rows, cells_in_[part], windows_[part]);
  }

  template <class Put, class Column>
  VIDEOPOOL_MEMBER void march_columns(const Put& put, const Column& column) const {
    for (int64_t c = 0; c < geometry_.inner; c += kLanes<T>) {
      const int64_t first = smaller(c, geometry_.inner - kLanes<T>);
      if (p_.w.stride == 1) {
        march_vector<1>(first, put, column);
      } else {
        march_vector<2>(first, put, column);
      }
    }
  }

  // One vector of channels, with the columns of a window in registers.
  template <int stride, class Put, class Column>
  VIDEOPOOL_MEMBER void march_vector(int64_t c, const Put& put, const Column& column) const {
    using Sums = Running<T, form, bounds>;
    const auto column_at = [&](int64_t w) __attribute__((always_inline)) {
      return w >= 0 && w < p_.w.in ? column(w, c) : Sums::empty();
    };
    int64_t w = -p_.w.padding;
    Sums left = column_at(w), middle = column_at(w + 1);
    for (int64_t o = 0; o < p_.w.out; ++o, w += stride) {
      const Sums right = column_at(w + 2);
      put(o, c, Sums::joined(Sums::joined(left, middle), right));
      left = stride == 1 ? middle : right;
      middle = stride == 1 ? right : column_at(w + 3);
    }
  }

  bool sum_computed_rows(int64_t od, int64_t oh, A* const* to) {
    const int64_t* rows;
    const int64_t count = collect_rows(od, oh, &rows);
    sum_rows<bounds>(cells_, geometry_.cells, rows, count, to);
    return count > 0;
  }

  // The kept rows of cells of the windows (od, oh), for each part; -> how many.
  int64_t collect_kept_rows(int64_t od, int64_t oh) {
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
    return count;
  }

  bool join_kept_rows(int64_t od, int64_t oh, A* const* to) {
    const int64_t most = p_.d.kernel * p_.h.kernel, count = collect_kept_rows(od, oh);
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
  Pairs<Running<T, form, bounds>>* long_sums_;
  const A** kept_rows_;
  Scratch& scratch_;
  const int64_t batch_;
  bool has_buffers_ = false;
  A *cells_in_[kParts<bounds>], *windows_[kParts<bounds>];
  Start start_{0, 0};
};

}  // namespace
}  // namespace videopool
