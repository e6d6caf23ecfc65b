// The backward kernel of overlapping windows; see march.cuh.
#pragma once
#include "sheets.cuh"

namespace videopool {

// A row or column of windows.
//   at: its offset; pinned: in the plane, and 0 where no window is; otherwise: from the first of the thread's windows
//   mask: all bits set; 0 where no window is
//   excess: 0; 1 where no window is, because the sums there may be 0
// pinned: these numbers stay in registers.
template <bool pinned>
struct WindowLine {
  int at;
  uint32_t mask;
  float excess;

  WindowLine() = default;
  __device__ __forceinline__ WindowLine(int first, int i, bool present, const MarchAxis& axis) {
    const bool exists = present && unsigned(first + i) < unsigned(axis.out);
    const int bits = exists ? -1 : 0;
    const float more = exists ? 0.0f : 1.0f;
    at = pinned ? unknown(exists ? (first + i) * axis.out_step : 0) : i * axis.out_step;
    mask = uint32_t(pinned ? unknown(bits) : bits);
    excess = pinned ? unknown(more) : more;
  }
  __device__ __forceinline__ bool exists() const { return mask != 0; }
};

template <class P, class T, class Lv>
struct Gradient {
  using R = Reach<P, true>;
  using Here = Sheets<P, R, T, Lv>;
  using Kept = typename Here::Kept;
  using Spread = typename Lv::Spread;
  // What windows give to the cells of a sheet: summed over the windows along H, and perhaps D.
  using Given = Spread[P::cell_rows][R::columns];
  static constexpr bool general = Lv::general, apart = Here::apart;
  static constexpr int packs = P::whole ? 1 : R::columns, packed = P::whole ? R::columns : 1;

  const MarchPlan& plan;
  const MarchSpot& spot;
  Lv& level;
  Here sheets;
  // They point to the plane; if the patch is whole, to its first window and its first cell.
  const T* grad;
  Inputs<T> in;
  Gradients<T> to;
  using Line = WindowLine<apart>;
  Line rows[R::rows], columns[packs];

  __device__ __forceinline__ Gradient(
      const MarchPlan& plan_,
      const MarchSpot& spot_,
      Lv& level_,
      const T* grad_,
      const Inputs<T>& plane,
      const Gradients<T>& to_)
      : plan(plan_), spot(spot_), level(level_), sheets(plan_, spot_, level_, plane), grad(grad_), in(plane), to(to_) {
    const int row = spot.row - R::rows_before, column = spot.column / P::stride - R::columns_before;
#pragma unroll
    for (int c = 0; c < packs; ++c) columns[c] = Line(column, c, spot.column >= 0, plan.wide);
#pragma unroll
    for (int r = 0; r < R::rows; ++r) rows[r] = Line(row, r, !P::whole || columns[0].exists(), plan.high);
    if constexpr (P::whole) {
      const int at = spot.row * P::stride * plan.high.step + spot.column;
      grad += row * plan.high.out_step + column;
      in = {plane.x + at, general ? plane.logits + at : nullptr};
      to = {to_.dx + at, general ? to_.dlogits + at : nullptr};
    }
  }

  // The upstream gradients of the windows k of the march; those of `columns_read` columns of them.
  template <int columns_read>
  struct Upstream {
    Loaded<T, packed> rows[R::rows][columns_read];
  };
  using AllUpstream = Upstream<packs>;

  template <int columns_read>
  __device__ __forceinline__ void read_upstream(int k, int column, Upstream<columns_read>& upstream) const {
    upstream = {};
    if (!P::innermost && k >= plan.march.out) return;
    const auto& address = sheets.address;
    const T* from = address(grad, k * plan.march.out_step);
#pragma unroll
    for (int r = 0; r < R::rows; ++r) {
      const T* row = P::tall ? settled(address(from, rows[r].at)) : from;
#pragma unroll
      for (int c = 0; c < columns_read; ++c) {
        auto& read = upstream.rows[r][c];
        if constexpr (P::whole) {
          if (rows[r].exists()) read = load_raw<packed>(row);
        } else {
          read = load_raw<packed>(address(row, columns[column + c].at));
          read.keep(rows[r].mask & columns[column + c].mask);
        }
      }
    }
  }

  __device__ __forceinline__ Spread join(const Spread& a, const Spread& b) const { return level.join_spread(a, b); }

  // From the sums of the windows k of the march to what they give, along H. With channels innermost, the registers do
  // not suffice to read all upstream gradients before.
  template <class Sums>
  __device__ __forceinline__ void spread(int k, const Sums& sums, const AllUpstream& all, Given& given) const {
#pragma unroll
    for (int c = 0; c < R::columns; ++c) {
      Lv::separate();
      Upstream<1> column;
      if constexpr (P::innermost) read_upstream(k, c, column);
      Spread windows[R::rows], cells[P::cell_rows];
#pragma unroll
      for (int r = 0; r < R::rows; ++r) {
        const float column_excess = columns[P::whole ? 0 : c].excess;
        const float excess = P::whole ? rows[r].excess : P::tall ? rows[r].excess + column_excess : column_excess;
        const auto& upstream = P::innermost ? column.rows[r][0] : all.rows[r][P::whole ? 0 : c];
        windows[r] = level.spread(sums[r][c], excess, k >= plan.march.out, upstream[P::whole ? c : 0]);
      }
      if constexpr (P::tall) {
        join_over(windows, cells);
      } else {
        cells[0] = windows[0];
      }
#pragma unroll
      for (int r = 0; r < P::cell_rows; ++r) given[r][c] = cells[r];
    }
  }

  // What the windows over each cell give, from the first window over the first cell on.
  template <int windows, int cells>
  __device__ __forceinline__ void join_over(const Spread (&of)[windows], Spread (&over)[cells]) const {
    if constexpr (P::stride == 2) {
#pragma unroll
      for (int i = 0; i < cells; ++i) over[i] = i % 2 == 0 ? of[i / 2] : join(of[i / 2], of[i / 2 + 1]);
    } else {
#pragma unroll
      for (int i = 0; i < cells; i += 2) {
        const Spread pair = join(of[i + 1], of[i + 2]);
        over[i] = join(of[i], pair);
        if (i + 1 < cells) over[i + 1] = join(pair, of[i + 1 < cells ? i + 3 : i]);
      }
    }
  }

  // Writes the gradients of the cells of sheet m.
  __device__ __forceinline__ void write(int m, const Given& given, const Kept& kept) const {
    const int sheet = m * plan.march.step;
#pragma unroll
    for (int r = 0; r < P::cell_rows; ++r) {
      constexpr int before = !P::innermost && P::stride == 1 ? 1 : 0;
      Spread windows[P::innermost ? R::columns : P::columns + before + 1], over[P::cells];
#pragma unroll
      for (int c = 0; c < R::columns; ++c) windows[before + c] = given[r][c];
      if constexpr (!P::innermost) {
        windows[before + P::columns] = spot.from_right(given[r][0], level.no_spread());
        if constexpr (before == 1) windows[0] = spot.from_left(given[r][P::columns - 1], level.no_spread());
      }
      join_over(windows, over);
      if constexpr (P::tall) __syncwarp();  // as in Sheets::sum
      const int row = P::whole ? r * plan.high.step : sheets.row_at[P::tall ? R::rows_before * P::stride + 1 + r : 0];
      const bool exists = spot.active && spot.row * P::stride + r < plan.high.in;
      if constexpr (apart) {
#pragma unroll
        for (int c = 0; c < P::cells; ++c)
          write_cells<1>(
              exists && spot.column + c < plan.wide.in,
              sheet,
              row,
              sheets.column_at[Here::own + c],
              &over[c],
              &kept[c]);
      } else if (exists && spot.column < plan.wide.in) {
        write_cells<P::cells>(true, sheet, row, 0, over, kept);
      }
    }
  }

  // Neighbors in memory.
  template <int n>
  __device__ __forceinline__ void write_cells(
      bool exist, int sheet, int row, int column, const Spread* over, const typename Lv::Cell* kept) const {
    const auto& address = sheets.address;
    const auto place = [&](auto* plane) { return address(settled(address(address(plane, sheet), row)), column); };
    Loaded<T, n> x, logits;
    if constexpr (P::tall) {
      x = load_raw<n>(place(in.x));
      if constexpr (general) logits = load_raw<n>(place(in.logits));
    }
    Pack<T, n> dx, dlogits;
#pragma unroll
    for (int c = 0; c < n; ++c) {
      float dlogit;
      const auto cell = P::tall ? level.cell(x[c], general ? logits[c] : 0.0f, 0.0f) : kept[c];
      dx.lanes[c] = static_cast<T>(level.gradient(cell, over[c], dlogit));
      if constexpr (general) dlogits.lanes[c] = static_cast<T>(dlogit);
    }
    store_if(exist, place(to.dx), dx);
    if constexpr (general) store_if(exist, place(to.dlogits), dlogits);
  }

  __device__ __forceinline__ void join_all(Given& all, const Given& other) const {
#pragma unroll
    for (int r = 0; r < P::cell_rows; ++r) {
#pragma unroll
      for (int c = 0; c < R::columns; ++c) all[r][c] = join(all[r][c], other[r][c]);
      Lv::separate();
    }
  }
  __device__ __forceinline__ static void copy(Given& all, const Given& from) {
#pragma unroll
    for (int r = 0; r < P::cell_rows; ++r)
#pragma unroll
      for (int c = 0; c < R::columns; ++c) all[r][c] = from[r][c];
  }

  __device__ __forceinline__ void fill(Given& all) const {
#pragma unroll
    for (int r = 0; r < P::cell_rows; ++r)
#pragma unroll
      for (int c = 0; c < R::columns; ++c) all[r][c] = level.no_spread();
  }

  // The cells of the chunk: stride 2, from the middle of its first window to before that of the next chunk's; stride 1,
  // the middles of its windows.
  __device__ __forceinline__ void run() const {
    const int begin = spot.first * P::stride, end = smaller(spot.end * P::stride, plan.march.in);
    const auto is_own = [&](int m) { return m >= begin && m < end; };
    AllUpstream upstream;
    Given last, pair;
    fill(last);
    fill(pair);
    const auto prepare = [&](int k) {
      if constexpr (!P::innermost && P::stride == 2) read_upstream(k, 0, upstream);
    };
    const auto visit = [&](int k, const auto& sums, const auto& kept) {
      Given given;
      if constexpr (!P::innermost && P::stride == 1) read_upstream(k, 0, upstream);  // only now, for lack of registers
      if (P::innermost && k >= plan.march.out) {
        fill(given);
      } else {
        spread(k, sums, upstream, given);
      }
      if constexpr (P::stride == 2) {
        join_all(last, given);
        if (is_own(2 * k - 1)) write(2 * k - 1, last, kept[0]);
        if (is_own(2 * k)) write(2 * k, given, kept[1]);
        copy(last, given);
      } else {
        join_all(pair, given);
        if (is_own(k - 1)) write(k - 1, pair, kept[0]);
        copy(pair, last);
        join_all(pair, given);
        copy(last, given);
      }
    };
    sheets.march(P::stride == 2 ? spot.first : greater(spot.first - 1, 0), spot.end + 1, prepare, visit);
  }
};

template <class P, Kind kind, class T>
__global__ void __launch_bounds__(kMarchThreads, march_blocks<P>(true))
    overlapping_backward(MarchPlan plan, Weighting<float> weighting, const T* grad, Inputs<T> in, Gradients<T> to) {
  const MarchSpot spot = march_spot<P>(plan, int(threadIdx.x), int(blockIdx.x));
  const Inputs<T> plane{in.x + spot.cells, kind == kGeneral ? in.logits + spot.cells : nullptr};
  const Gradients<T> out{to.dx + spot.cells, kind == kGeneral ? to.dlogits + spot.cells : nullptr};
  SharedLevel<kind> level(weighting);
  set_reference<P>(plan, spot, plane, level);
  Gradient<P, T, SharedLevel<kind>>(plan, spot, level, grad + spot.windows, plane, out).run();
  if (!__any_sync(~0u, !level.holds())) return;
  OwnLevels<kind> levels(weighting);
  for_each_part<P>(plan, [&](const MarchSpot& part) {
    const Inputs<T> same{in.x + part.cells, kind == kGeneral ? in.logits + part.cells : nullptr};
    const Gradients<T> there{to.dx + part.cells, kind == kGeneral ? to.dlogits + part.cells : nullptr};
    Gradient<typename P::Part, T, OwnLevels<kind>>(plan, part, levels, grad + part.windows, same, there).run();
  });
}

template <class P, Kind kind, class T>
void launch_overlapping_backward(const BackwardCall& call, Stream stream) {
  int64_t blocks = 0;
  const MarchPlan plan = march_plan<P>(call.problem, true, blocks);
  launch(
      overlapping_backward<P, kind, T>,
      {blocks, kMarchThreads},
      stream,
      plan,
      make_weighting<float>(call),
      static_cast<const T*>(call.grad),
      inputs_of<T>(call),
      gradients_of<T>(call));
}

}  // namespace videopool
