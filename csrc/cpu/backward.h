// The backward kernel of one instruction set. It gathers: every cell sums the contributions of its windows in a
// fixed order, so the result does not depend on the number of threads. The contributions of a row of windows are computed
// when the first row of cells needs them, and kept in a ring until the last has used them.
#pragma once
#include "each_window.h"
#include "owned.h"

namespace videopool {
namespace {

// The rows of windows in the fast form: the contributions of each window to its cells (gradients.h).
template <class T, Form form>
class SummedRows {
  using A = typename Types<T>::A;
  using V = typename Types<T>::V;
  static constexpr int lanes = kLanes<T>;

 public:
  SummedRows(
      const BackwardCall& call,
      const Plan& plan,
      const Geometry& geometry,
      const WindowsTable& over_w,
      int64_t most_rows,
      Scratch& scratch)
      : w_(call.problem.w),
        geometry_(geometry),
        over_w_(over_w),
        sums_(call, plan, geometry, most_rows, scratch),
        grad_(static_cast<const T*>(call.grad)),
        gradients_(call),
        halo_(w_, geometry.inner),
        scratch_(scratch),
        spread_p_(scratch.take<A>(spread_length(plan))),
        spread_q_(scratch.take<A>(spread_length(plan))) {}

  int64_t place_size() const { return 2 * halo_.length; }
  WindowSums<T, form, false>& sums() { return sums_; }

  // Before the first row of a block.
  void begin(A* ring, int64_t places) {
    for (int64_t i = 0; geometry_.inner == 1 && i < 2 * places; ++i) {
      A* part = ring + i * halo_.length;
      std::memset(part, 0, size_t(halo_.before) * sizeof(A));
      std::memset(part + halo_.before + w_.out, 0, size_t(halo_.length - halo_.before - w_.out) * sizeof(A));
    }
  }

  // Fills consecutive places with the contributions of `count` rows of windows; false if some window needs another
  // form.
  bool prepare(int64_t od, int64_t oh, int64_t count, int64_t window_row, A* places) {
    if (sums_.can_march()) return march_rows(od, oh, count, window_row, places);
    if (!sums_.sum(od, oh, count)) return false;
    const int64_t size = geometry_.windows.size();
    Safety<T> safety;
    safety.clear();
    for (int64_t r = 0; r < count; ++r, places += place_size(), window_row += geometry_.row_out) {
      A *p = places + halo_.before, *q = p + halo_.length;
      const A* weights = sums_.windows(kWeights) + r * sums_.pitch();
      const A* products = sums_.windows(kProducts) + r * sums_.pitch();
      const T* grad = grad_ + window_row;
      for_each_place<lanes>(
          geometry_.windows, size, 1, [&](int64_t at, int64_t from, int n) __attribute__((always_inline)) {
            V p_here, q_here;
            const V s = load_lanes(weights + at, n), product = load_lanes(products + at, n);
            gradients_.of_windows(s, product, V(load_lanes(grad + from, n)), n, p_here, q_here, safety);
            store_lanes(p + at, p_here, n);
            store_lanes(q + at, q_here, n);
          });
    }
    return safety.all();
  }

  // Writes the gradients of `count` rows of cells from (d, h) on, which start at `cell_row`. places(row, list) -> the
  // number of rows of windows over a row of cells, and their list.
  template <class Places>
  void gather(int64_t d, int64_t h, int64_t count, int64_t cell_row, const Places& places) {
    const A** list;
    const A* last = nullptr;
    int64_t last_number = 0, first = 0;  // rows from `first` on are spread, and wait for their gradients
    for (int64_t r = 0; r < count; ++r) {
      const int64_t number = places(h + r, &list), at = cell_row + r * geometry_.row_in;
      if (number == 0) {
        gather_contiguous(d, h, first, r, cell_row);
        first = r + 1;
        clear(at);
      } else if (geometry_.inner > 1) {
        gather_channels_last(d, h + r, at, total(list, number));
      } else if (r > first && number == last_number && list[0] == last) {
        std::memcpy(spread_p_ + r * w_.in, spread_p_ + (r - 1) * w_.in, size_t(w_.in) * sizeof(A));
        std::memcpy(spread_q_ + r * w_.in, spread_q_ + (r - 1) * w_.in, size_t(w_.in) * sizeof(A));
      } else {
        const A* place = total(list, number);
        spread_windows(w_, over_w_, place + halo_.before, spread_p_ + r * w_.in);
        spread_windows(w_, over_w_, place + halo_.length + halo_.before, spread_q_ + r * w_.in);
        last = list[0];
        last_number = number;
      }
    }
    gather_contiguous(d, h, first, count, cell_row);
  }

 private:
  int64_t spread_length(const Plan& plan) const { return geometry_.inner > 1 ? 0 : plan.batch * w_.in + 2 * lanes; }

  const A* total(const A* const* places, int64_t count) {
    if (count == 1) return places[0];
    if (totals_ == nullptr) totals_ = scratch_.template take_zeros<A>(2 * halo_.length);
    const int64_t size = geometry_.windows.size(), before = halo_.before, length = halo_.length;
    join_rows<kWeights>(places, count, before, size, totals_ + before);
    join_rows<kWeights>(places, count, length + before, size, totals_ + length + before);
    return totals_;
  }

  // The same as prepare() for windows that share columns of cells, channels innermost.
  bool march_rows(int64_t od, int64_t oh, int64_t count, int64_t window_row, A* places) {
    const int64_t inner = geometry_.inner, channels = geometry_.channels, length = halo_.length;
    const Gradients<T, form> gradients = gradients_;
    Safety<T> safety;
    safety.clear();
    for (int64_t r = 0; r < count; ++r, places += place_size(), window_row += geometry_.row_out) {
      const T* grad = grad_ + window_row;
      const auto put = [&](int64_t o, int64_t c, const auto& sums) __attribute__((always_inline)) {
        V p, q;
        const V given = load(grad + o * channels + c);
        gradients.of_windows(sums.weights, sums.products, given, lanes, p, q, safety);
        store(places + o * inner + c, p);
        store(places + length + o * inner + c, q);
      };
      if (!sums_.march(od, oh + r, put)) return false;
    }
    return safety.all();
  }

  // Calls put(weight) with a function for a cell's weight and value: weight(cell of the tensor, cell of the rows, n,
  // value).
  template <class Put>
  VIDEOPOOL_MEMBER void with_weights(int64_t d, int64_t h, const Put& put) const {
    const Cells<T, form> cells = sums_.cells();
    if (sums_.keeps_weights()) {
      const A* weights = sums_.kept().row(kWeights, sums_.kept().place(d), h);
      put([=](int64_t cell, int64_t at, int n, V& value) __attribute__((always_inline)) {
        value = load_values<T, form>(cells.x + cell, n) - cells.reference;
        return V(load_lanes(weights + at, n));
      });
    } else {
      put([=](int64_t cell, int64_t, int n, V& value)
              __attribute__((always_inline)) { return cells.weight(cell, n, value); });
    }
  }

  // The gradients of the rows [first, end) from (d, h) on, in the contiguous layout, whose sums are spread.
  void gather_contiguous(int64_t d, int64_t h, int64_t first, int64_t end, int64_t cell_row) {
    if (geometry_.inner > 1 || first == end) return;
    const A *p = spread_p_ + first * w_.in, *q = spread_q_ + first * w_.in;
    const Gradients<T, form> gradients = gradients_;
    cell_row += first * geometry_.row_in;
    with_weights(d, h + first, [&](const auto& weight) __attribute__((always_inline)) {
      for_each_block<lanes>((end - first) * w_.in, [&](int64_t i, int n) __attribute__((always_inline)) {
        V value;
        const V e = weight(cell_row + i, i, n, value);
        put_gradient(gradients, cell_row + i, e, value, load_lanes(p + i, n), load_lanes(q + i, n), n);
      });
    });
  }

  void gather_channels_last(int64_t d, int64_t h, int64_t cell_row, const A* place) {
    const int64_t inner = geometry_.inner, channels = geometry_.channels, length = halo_.length;
    const Gradients<T, form> gradients = gradients_;
    with_weights(d, h, [&](const auto& weight) __attribute__((always_inline)) {
      for_each_block<lanes>(inner, [&](int64_t c, int n) __attribute__((always_inline)) {
        for (int64_t i = 0; i < w_.in; ++i) {
          const Windows<int64_t> over = over_w_[i];
          const A *from = place + over.first * inner + c, *end = place + over.end * inner;
          V p{}, q{}, value;
          for (; from < end; from += over.step * inner) {
            p += load_lanes(from, n);
            q += load_lanes(from + length, n);
          }
          const int64_t at = cell_row + i * channels + c;
          const V e = weight(at, i * inner + c, n, value);
          put_gradient(gradients, at, e, value, p, q, n);
        }
      });
    });
  }

  VIDEOPOOL_MEMBER void put_gradient(
      const Gradients<T, form>& gradients, int64_t at, V e, V value, V p, V q, int n) const {
    V dvalue, dlogit;
    gradients.of_cells(e, value, p, q, dvalue, dlogit);
    if (over_w_.gaps) {
      // A cell without a window may be infinite or NaN.
      const auto nothing = (p == V{}) & (q == V{});
      dvalue = nothing ? V{} : dvalue;
      if (form == kGeneral) dlogit = nothing ? V{} : dlogit;
    }
    gradients.put(at, dvalue, dlogit, n);
  }

  void clear(int64_t cell_row) {
    for_each_place<lanes>(geometry_.cells, geometry_.cells.size(), 1, [&](int64_t, int64_t l, int n) {
      gradients_.put(cell_row + l, V{}, V{}, n);
    });
  }

  const Axis<int64_t>& w_;
  const Geometry& geometry_;
  const WindowsTable& over_w_;
  WindowSums<T, form, false> sums_;
  const T* grad_;
  const Gradients<T, form> gradients_;
  const Halo<A> halo_;
  Scratch& scratch_;
  A *totals_ = nullptr, *spread_p_, *spread_q_;
};

// The rows of windows in the form for every input: per window its state and its gradient.
template <class T, Form form>
class EachWindowRows {
  using A = typename Types<T>::A;
  using V = typename Types<T>::V;
  static constexpr int lanes = kLanes<T>;
  enum StatePart { kShift, kInverse, kMean, kGrad, kStateParts };

 public:
  EachWindowRows(
      const BackwardCall& call,
      const Geometry& geometry,
      const WindowsTable& over_w,
      WindowSums<T, form, false>& sums,
      Scratch& scratch)
      : call_(call),
        sums_(sums),
        w_(call.problem.w),
        geometry_(geometry),
        over_w_(over_w),
        window_(call, geometry, scratch),
        gradients_(call),
        exact_(A(call.sharpness.detach_weights ? 0 : 1)),
        length_(geometry.windows.size() + lanes) {}

  int64_t place_size() const { return kStateParts * length_; }

  void begin(A* /*ring*/, int64_t /*places*/) {}

  bool prepare(int64_t od, int64_t oh, int64_t count, int64_t window_row, A* places) {
    for (int64_t r = 0; r < count; ++r, places += place_size(), window_row += geometry_.row_out) {
      const int64_t* rows;
      const int64_t row_count = sums_.collect_rows(od, oh + r, &rows);
      const T* grad = static_cast<const T*>(call_.grad) + window_row;
      window_.for_each_group([&](int64_t o, int64_t c, int n) {
        WindowState<V> state;
        window_.pool(rows, row_count, o, c, n, state);
        const int64_t at = o * geometry_.inner + c;
        store_lanes(places + kShift * length_ + at, state.shift, n);
        store_lanes(places + kInverse * length_ + at, state.inverse, n);
        store_lanes(places + kMean * length_ + at, state.mean, n);
        store_lanes(places + kGrad * length_ + at, V(load_lanes(grad + o * geometry_.channels + c, n)), n);
      });
    }
    return true;
  }

  template <class Places>
  void gather(int64_t /*d*/, int64_t h, int64_t count, int64_t cell_row, const Places& places) {
    for (int64_t r = 0; r < count; ++r, cell_row += geometry_.row_in) {
      const A** list;
      const int64_t number = places(h + r, &list);
      for (int64_t i = 0; i < w_.in; i += geometry_.inner == 1 ? lanes : 1) {
        if (geometry_.inner == 1) gather_contiguous(cell_row, i, list, number);
        for (int64_t c = 0; geometry_.inner > 1 && c < geometry_.inner; c += lanes)
          gather_channels_last(cell_row, i, c, list, number);
      }
    }
  }

 private:
  VIDEOPOOL_MEMBER void add(V value, V logit, V grad, const WindowState<V>& state, V& dvalue, V& dlogit) const {
    if constexpr (form == kGeneral) {
      add_gradients<VectorMath, A>(value, logit, grad, state, dvalue, dlogit);
    } else {
      const A rate = window_.slope().rate;
      dvalue += cell_gradient<VectorMath, A>(value * window_.slope().scale, grad, state, rate, exact_);
    }
  }

  // Lanes are cells, each with its own windows.
  void gather_contiguous(int64_t cell_row, int64_t first, const A* const* places, int64_t count) {
    const int n = int(smaller(lanes, w_.in - first));
    const T *x = static_cast<const T*>(call_.x), *logits = static_cast<const T*>(call_.logits);
    const V value = load_values<T, form>(x + cell_row + first, n);
    const V logit = form == kGeneral ? load_lanes((form == kGeneral ? logits : x) + cell_row + first, n) : value;
    V dvalue{}, dlogit{};
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t turn = 0;; ++turn) {
        A parts[kStateParts][lanes] = {}, present[lanes] = {};
        bool any = false;
        for (int i = 0; i < n; ++i) {
          const Windows<int64_t> over = over_w_[first + i];
          const int64_t o = over.first + turn * over.step;
          if (o >= over.end) continue;
          for (int part = 0; part < kStateParts; ++part) parts[part][i] = places[r][part * length_ + o];
          present[i] = 1;
          any = true;
        }
        if (!any) break;
        const WindowState<V> state{load(parts[kShift]), load(parts[kInverse]), load(parts[kMean])};
        V given{}, given_logit{};
        add(value, logit, load(parts[kGrad]), state, given, given_logit);
        const auto absent = load(present) == V{};
        dvalue += absent ? V{} : given;
        dlogit += absent ? V{} : given_logit;
      }
    }
    gradients_.put(cell_row + first, dvalue, dlogit, n);
  }

  void gather_channels_last(int64_t cell_row, int64_t cell, int64_t c, const A* const* places, int64_t count) {
    const int n = int(smaller(lanes, geometry_.inner - c));
    const int64_t at = cell_row + cell * geometry_.channels + c;
    const T *x = static_cast<const T*>(call_.x), *logits = static_cast<const T*>(call_.logits);
    const V value = load_values<T, form>(x + at, n);
    const V logit = form == kGeneral ? load_lanes((form == kGeneral ? logits : x) + at, n) : value;
    const Windows<int64_t> over = over_w_[cell];
    V dvalue{}, dlogit{};
    for (int64_t r = 0; r < count; ++r) {
      for (int64_t o = over.first; o < over.end; o += over.step) {
        const auto part = [&](int which) {
          return load_lanes(places[r] + which * length_ + o * geometry_.inner + c, n);
        };
        add(value, logit, part(kGrad), {part(kShift), part(kInverse), part(kMean)}, dvalue, dlogit);
      }
    }
    gradients_.put(at, dvalue, dlogit, n);
  }

  const BackwardCall& call_;
  WindowSums<T, form, false>& sums_;
  const Axis<int64_t>& w_;
  const Geometry& geometry_;
  const WindowsTable& over_w_;
  const EachWindow<T, form> window_;
  const Gradients<T, form> gradients_;
  const A exact_;
  const int64_t length_;
};

template <class T, Form form>
class Backward {
  using A = typename Types<T>::A;
  using V = typename Types<T>::V;
  static constexpr int lanes = kLanes<T>;

 public:
  Backward(const BackwardCall& call, const Plan& plan)
      : p_(call.problem),
        plan_(plan),
        geometry_(p_, plan),
        over_d_(p_.d, scratch_),
        over_h_(p_.h, scratch_),
        over_w_(p_.w, scratch_),
        ring_h_(rows_of_a_block()),
        places_in_ring_(over_d_.most * ring_h_),
        summed_(call, plan, geometry_, over_w_, smaller(p_.h.in, cells_under(ring_h_)), scratch_),
        owned_(call, geometry_, summed_.sums(), scratch_),
        each_window_(call, geometry_, over_w_, summed_.sums(), scratch_),
        ready_(scratch_.take<Ready>(over_d_.most)),
        places_(scratch_.take<const A*>(over_d_.most * over_h_.most)),
        ring_(scratch_.take<A>(places_in_ring_ * summed_.place_size())) {}

  void run(int64_t begin, int64_t end) {
    A* wide_ring = nullptr;
    for (int64_t unit = begin; unit < end; ++unit) {
      const Block block(plan_, unit, p_.d.in, p_.h.in);
      const Taps<int64_t> windows = windows_over_cells(over_h_, p_.h.out, block.h);
      const Taps<int64_t> depths = windows_over_cells(over_d_, p_.d.out, block.d);
      const Taps<int64_t> rows = summed_.sums().rows_under(windows);
      const Start start = geometry_.start(block.plane);
      summed_.sums().begin(start, block.d.first, rows);
      const auto run_fast = [&] {
        return owned_ ? owned_.run(block, start) : run_block(block, windows.first, summed_, ring_);
      };
      if (run_fast()) continue;
      summed_.sums().refer_to_largest(depths, windows, rows);
      if (run_fast()) continue;
      if (wide_ring == nullptr) wide_ring = scratch_.take<A>(places_in_ring_ * each_window_.place_size());
      run_block(block, windows.first, each_window_, wide_ring);
    }
  }

 private:
  // The largest number of rows of windows over the rows of cells of a block.
  int64_t rows_of_a_block() const {
    int64_t most = 0;
    for (int64_t first = 0; first < p_.h.in; first += plan_.block_h) {
      const Taps<int64_t> held =
          windows_over_cells(over_h_, p_.h.out, {first, smaller(p_.h.in, first + plan_.block_h)});
      if (held.end - held.first > most) most = held.end - held.first;
    }
    return most;
  }

  int64_t cells_under(int64_t windows) const {
    return p_.h.adaptive ? p_.h.in : windows * p_.h.stride + p_.h.kernel * p_.h.dilation;
  }

  // The windows over the cells [first, end) of an axis.
  static Taps<int64_t> windows_over_cells(const WindowsTable& table, int64_t out, const Taps<int64_t>& cells) {
    int64_t first = out, end = 0;
    for (int64_t i = cells.first; i < cells.end; ++i) {
      const Windows<int64_t>& over = table[i];
      if (over.first >= over.end) continue;
      if (over.first < first) first = over.first;
      if (over.end > end) end = over.end;
    }
    return {first, end < first ? first : end};
  }

  template <class Rows>
  bool run_block(const Block& block, int64_t first_oh, Rows& rows, A* ring) {
    const int64_t size = rows.place_size();
    const Start start = geometry_.start(block.plane);
    for (int64_t i = 0; i < over_d_.most; ++i) ready_[i] = {-1, 0};
    rows.begin(ring, places_in_ring_);
    for (int64_t d = block.d.first; d < block.d.end; ++d) {
      const Windows<int64_t>& over = over_d_[d];
      for (int64_t h = block.h.first; h < block.h.end; h += plan_.batch) {
        const int64_t count = smaller(plan_.batch, block.h.end - h);
        const int64_t end = windows_over_cells(over_h_, p_.h.out, {h, h + count}).end;
        for (int64_t od = over.first; od < over.end; od += over.step) {
          Ready& ready = ready_[od % over_d_.most];
          if (ready.od != od) ready = {od, first_oh};
          while (ready.end_oh < end) {
            const int64_t some = smaller(plan_.batch, end - ready.end_oh);
            A* places = ring + (od % over_d_.most * ring_h_ + ready.end_oh - first_oh) * size;
            const int64_t window_row = geometry_.window_row(start, od, ready.end_oh);
            if (!rows.prepare(od, ready.end_oh, some, window_row, places)) return false;
            ready.end_oh += some;
          }
        }
        rows.gather(d, h, count, geometry_.cell_row(start, d, h), [&](int64_t row, const A*** list) {
          *list = places_;
          int64_t number = 0;
          for (int64_t od = over.first; od < over.end; od += over.step)
            for (int64_t oh = over_h_[row].first; oh < over_h_[row].end; oh += over_h_[row].step)
              places_[number++] = ring + (od % over_d_.most * ring_h_ + oh - first_oh) * size;
          return number;
        });
      }
    }
    return true;
  }

  // Which rows of windows of a depth the ring holds: from the first of the block to before end_oh.
  struct Ready {
    int64_t od, end_oh;
  };

  const Problem<int64_t>& p_;
  const Plan& plan_;
  const Geometry geometry_;
  Scratch scratch_;
  const WindowsTable over_d_, over_h_, over_w_;
  const int64_t ring_h_, places_in_ring_;
  SummedRows<T, form> summed_;
  OwnedWindows<T, form> owned_;
  EachWindowRows<T, form> each_window_;
  Ready* ready_;
  const A** places_;
  A* ring_;
};

}  // namespace
}  // namespace videopool
