// What the forward and the backward kernel of overlapping windows share: the cells of a thread, sheet by sheet, their sums,
// and the reference.
#pragma once
#include "march.cuh"
#include "sums.cuh"

namespace videopool {

// The cells of a thread's sheets, and their sums. Lv: SharedLevel or OwnLevels.
template <class P, class R, class T, class Lv>
struct Sheets {
  static constexpr bool general = Lv::general;
  static constexpr int read_columns = P::innermost ? R::cell_columns : P::cells;
  static constexpr bool apart = P::innermost || P::ragged;  // columns are loaded one by one
  static constexpr bool ahead = !P::tall;                   // a sheet is loaded while another is summed
  static constexpr int packs = apart ? read_columns : 1, packed = apart ? 1 : read_columns;
  // How many rows the compiler may load before it sums them. Without a limit, it loads more than fit the registers.
  static constexpr int at_a_time = P::innermost || Lv::needs_registers ? 1 : P::stride == 2 ? 3 : R::high ? 1 : 2;
  static constexpr int own = P::innermost ? R::columns_before * P::stride + 1 : 0;  // the first column of the patch

  using Cell = typename Lv::Cell;
  using Sum = typename Lv::Sum;
  using Windows = Sum[R::rows][R::columns];
  using Kept = Cell[P::cells];
  struct Row {
    Loaded<T, packed> x[packs], logits[general ? packs : 1];
  };
  // A sheet as it was loaded, or the place to load it from.
  struct Sheet {
    float absence = 0;
    Inputs<T> from;
    Row rows[ahead ? R::cell_rows : 1];
  };

  const MarchPlan& plan;
  const MarchSpot& spot;
  const Lv& level;
  Inputs<T> in;
  int row_at[R::cell_rows], column_at[apart ? read_columns : 1];
  float row_absence[R::cell_rows], column_absence[apart ? read_columns : 1];
  Addresses<T, apart> address;

  __device__ __forceinline__
  Sheets(const MarchPlan& plan_, const MarchSpot& spot_, const Lv& level_, const Inputs<T>& in_)
      : plan(plan_), spot(spot_), level(level_), in(in_) {
    const int row = (spot.row - R::rows_before) * P::stride - 1, column = spot.column - own;
    const bool beyond = !apart && unsigned(column) >= unsigned(plan.wide.in);
#pragma unroll
    for (int r = 0; r < R::cell_rows; ++r) {
      const bool present = !beyond && (!P::tall || unsigned(row + r) < unsigned(plan.high.in));
      row_absence[r] = present ? 0.0f : kAbsent;
      row_at[r] = P::tall ? clamped(row + r, plan.high.in) * plan.high.step : 0;
      if constexpr (!apart) row_at[r] += beyond ? 0 : column;
    }
    if constexpr (apart) {
#pragma unroll
      for (int c = 0; c < read_columns; ++c) {
        column_at[c] = unknown(clamped(column + c, plan.wide.in) * plan.wide.step);
        column_absence[c] = unknown(unsigned(column + c) < unsigned(plan.wide.in) ? 0.0f : kAbsent);
      }
    }
  }

  __device__ __forceinline__ static int clamped(int at, int size) { return smaller(greater(at, 0), size - 1); }

  __device__ __forceinline__ void read_row(const Inputs<T>& from, int r, Row& row) const {
    const T *x = settled(address(from.x, row_at[r])),
            *logits = general ? settled(address(from.logits, row_at[r])) : nullptr;
#pragma unroll
    for (int c = 0; c < packs; ++c) {
      const int at = apart ? column_at[apart ? c : 0] : 0;
      row.x[c] = load_raw<packed>(address(x, at));
      if constexpr (general) row.logits[c] = load_raw<packed>(address(logits, at));
    }
  }

  // Read sheet m of the march, at `from`. A sheet that does not exist keeps what was read before and gets no weight.
  __device__ __forceinline__ void read(int m, const Inputs<T>& from, Sheet& sheet) const {
    const bool present = unsigned(m) < unsigned(plan.march.in);
    sheet.absence = present ? 0.0f : kAbsent;
    if (!present) return;
    if constexpr (ahead) {
#pragma unroll
      for (int r = 0; r < R::cell_rows; ++r) read_row(from, r, sheet.rows[r]);
    } else {
      sheet.from = from;
    }
  }

  // The sums of a row along W; the cells of the patch in `kept`.
  __device__ __forceinline__ void sum_row(const Row& row, float absence, Sum (&sums)[R::columns], Kept& kept) const {
    constexpr int before = P::innermost ? 0 : 1;
    Sum cells[R::cell_columns];
#pragma unroll
    for (int c = 0; c < read_columns; ++c) {
      const float l = general ? row.logits[general && apart ? c : 0][apart ? 0 : c] : 0.0f;
      const float column = apart ? absence + column_absence[apart ? c : 0] : absence;
      const Cell cell = level.cell(row.x[apart ? c : 0][apart ? 0 : c], l, column);
      if (c >= own && c < own + P::cells) kept[c - own] = cell;
      if (before + c < R::cell_columns) cells[before + c] = level.sum(cell);
    }
    if constexpr (!P::innermost) {
      const Sum last = P::cells == 1 ? cells[1] : cells[P::cells];
      if constexpr (P::stride == 1) cells[P::cells + 1] = spot.from_right(cells[1], level.none());
      cells[0] = spot.from_left(last, level.none());
    }
    join_threes(cells, sums);
  }

  // The sums of the windows over one sheet.
  __device__ __forceinline__ void sum(const Sheet& sheet, Windows& sums, Kept& kept) const {
    Sum row[R::columns], pair[R::columns];
#pragma unroll
    for (int r = 0; r < R::cell_rows; ++r) {
      Sum before[R::columns];
      copy_row(before, row);
      if constexpr (ahead) {
        sum_row(sheet.rows[r], sheet.absence + row_absence[r], row, kept);
      } else {
        Row cells;
        read_row(sheet.from, r, cells);
        sum_row(cells, sheet.absence + row_absence[r], row, kept);
        if (r % at_a_time == at_a_time - 1) __syncwarp();
      }
      if constexpr (!P::tall) {
        copy_row(sums[0], row);
      } else {
        add_row(r, before, row, pair, sums);
      }
    }
  }

  __device__ __forceinline__ static void copy_row(Sum (&to)[R::columns], const Sum (&from)[R::columns]) {
#pragma unroll
    for (int c = 0; c < R::columns; ++c) to[c] = from[c];
  }

  // Adds row r to the sums of the windows over it. pair: stride 1, of two rows that two windows share.
  __device__ __forceinline__ void add_row(
      int r,
      const Sum (&before)[R::columns],
      const Sum (&row)[R::columns],
      Sum (&pair)[R::columns],
      Windows& sums) const {
#pragma unroll
    for (int c = 0; c < R::columns; ++c) {
      if constexpr (P::stride == 2) {
        if (r % 2 == 0 && r >= 2) sums[r / 2 - 1][c] = level.join(sums[r / 2 - 1][c], row[c]);
        if (r % 2 == 0 && r / 2 < R::rows) sums[r / 2][c] = row[c];
        if (r % 2 == 1) sums[r / 2][c] = level.join(sums[r / 2][c], row[c]);
      } else if (r % 2 == 0) {
        if (r >= 2) {
          pair[c] = level.join(before[c], row[c]);
          sums[r - 2][c] = level.join(sums[r - 2][c], pair[c]);
        }
        if (r < R::rows) sums[r][c] = row[c];
      } else if (r >= 3) {
        sums[r - 2][c] = level.join(pair[c], row[c]);
      }
    }
  }

  // The sums of three that follow each other, every `stride`.
  template <int count, int results>
  __device__ __forceinline__ void join_threes(const Sum (&of)[count], Sum (&to)[results]) const {
    if constexpr (P::stride == 2) {
#pragma unroll
      for (int i = 0; i < results; ++i) to[i] = level.join(of[2 * i], level.join(of[2 * i + 1], of[2 * i + 2]));
    } else {  // two neighbors share a pair
#pragma unroll
      for (int i = 0; i < results; i += 2) {
        const Sum pair = level.join(of[i + 1], of[i + 2]);
        to[i] = level.join(of[i], pair);
        if (i + 1 < results) to[i + 1] = level.join(pair, of[i + 1 < results ? i + 3 : i]);
      }
    }
  }

  __device__ __forceinline__ void join_all(Windows& to, const Windows& other) const {
#pragma unroll
    for (int r = 0; r < R::rows; ++r) {
#pragma unroll
      for (int c = 0; c < R::columns; ++c) to[r][c] = level.join(to[r][c], other[r][c]);
      Lv::separate();
    }
  }
  __device__ __forceinline__ static void copy(Windows& to, const Windows& from) {
#pragma unroll
    for (int r = 0; r < R::rows; ++r)
#pragma unroll
      for (int c = 0; c < R::columns; ++c) to[r][c] = from[r][c];
  }
  __device__ __forceinline__ static void copy(Kept& to, const Kept& from) {
#pragma unroll
    for (int c = 0; c < P::cells; ++c) to[c] = from[c];
  }

  // Calls visit(k, sums of its windows, kept cells) for the windows k of the march from `first` to before `end`, and
  // prepare(k) some time before; the sums of the one after all windows are undefined. kept: for windows of one row of
  // cells, stride 2, those of sheets 2 k - 1 and 2 k.
  template <class Prepare, class Visit>
  __device__ __forceinline__ void march(int first, int end, const Prepare& prepare, const Visit& visit) const {
    int m = first * P::stride - 1;
    const int start = m * plan.march.step;
    Inputs<T> from{in.x + start, general ? in.logits + start : nullptr};
    const auto read_next = [&](Sheet& sheet) {
      read(m, from, sheet);
      ++m;
      from.x += plan.march.step;
      if constexpr (general) from.logits += plan.march.step;
    };
    // The march begins before the first window, with sheets that it only shares with others.
    Windows sums, last;
    Kept kept[2], next_kept;
    fill(sums);
    fill(last);
    if constexpr (P::stride == 2) {
      Sheet even{0, in}, odd{0, in};
      read_next(odd);
#pragma unroll 1
      for (int k = first - 1; k < end; ++k) {
        if (k >= first) prepare(k);
        if (k < plan.march.out) {
          if (k >= first) {
            sum(even, sums, kept[1]);
            join_all(sums, last);
          }
          read_next(even);
          sum(odd, last, next_kept);
          read_next(odd);
          join_all(sums, last);
        }
        if (k >= first) visit(k, sums, kept);
        copy(kept[0], next_kept);
      }
    } else {
      Sheet next{0, in};
      Windows pair;
      fill(pair);
      read_next(next);
#pragma unroll 1
      for (int k = first - 2; k < end; ++k) {
        if (k >= first) prepare(k);
        if (k < plan.march.out) {
          sum(next, sums, next_kept);
          read_next(next);
          join_all(pair, sums);
        }
        if (k >= first) visit(k, pair, kept);
        copy(pair, last);
        join_all(pair, sums);
        copy(last, sums);
      }
    }
  }

  __device__ __forceinline__ void fill(Windows& windows) const {
#pragma unroll
    for (int r = 0; r < R::rows; ++r)
#pragma unroll
      for (int c = 0; c < R::columns; ++c) windows[r][c] = level.none();
  }
};

__device__ __forceinline__ float median(float a, float b, float c) {
  return fmaxf(fminf(a, b), fminf(fmaxf(a, b), c));
}

// The reference: the median of three cells, so that it is seldom far from the others. Contiguous tensors: of a row of
// the strip; innermost: of the patch.
template <class P, Kind kind, class T>
__device__ __forceinline__ void set_reference(
    const MarchPlan& plan, const MarchSpot& spot, const Inputs<T>& in, SharedLevel<kind>& level) {
  const int row = smaller(spot.first * P::stride, plan.march.in - 1) * plan.march.step +
                  smaller(spot.row * P::stride, plan.high.in - 1) * plan.high.step;
  const auto reference = [&](const T* from) {
    const auto cell = [&](int column) {
      return static_cast<float>(load(from + row + smaller(greater(column, 0), plan.wide.in - 1) * plan.wide.step));
    };
    if constexpr (P::innermost) {
      return median(cell(spot.column), cell(spot.column + P::cells / 2), cell(spot.column + P::cells));
    } else {
      const float mine = cell(spot.column);
      const float first = __shfl_sync(~0u, mine, spot.lane), last = __shfl_sync(~0u, mine, spot.lane + plan.slots - 1);
      return median(first, __shfl_sync(~0u, mine, spot.lane + plan.slots / 2), last);
    }
  };
  level.set_reference(reference(in.x), kind == kGeneral ? reference(in.logits) : 0.0f);
}

}  // namespace videopool
