// The kernels for the common windows that share cells: 3 x 3 x 3 of stride 1 or 2, 1 x 3 x 3 of stride 2, one cell of
// padding (none along D for 1 x 3 x 3).
//
// Sums over boxes (sums.cuh) are sums over one axis after another. A thread has a patch of a few rows and columns of
// cells, sums the windows over it along W and H, and marches along D, where the sums of three sheets make a window (or
// with H and D exchanged); for 1 x 3 x 3 a sheet is one row, and the march goes along H. Backward, what a window gives
// to its cells is summed the other way round: over the windows along H, then D, then W.
//
// Contiguous tensors: the lanes of a strip have neighboring columns, and get what they need of each other's by
// shuffles. Channels innermost: a lane has one channel, and loads the columns around its own. Rows around a patch are
// always loaded and summed once more.
//
// A march uses one reference for a strip. If that turns out to be invalid for one of the warp's windows, the warp
// marches again, with a level for each sum, and overwrites its results.
#pragma once
#include "launch.cuh"
#include "sums.cuh"

namespace videopool {

__device__ __forceinline__ int smaller(int a, int b) {
  return a < b ? a : b;
}
__device__ __forceinline__ int greater(int a, int b) {
  return a > b ? a : b;
}

constexpr int kMarchThreads = 128, kMarchWarp = 32, kMarchWarps = kMarchThreads / kMarchWarp;

// rows, cells: of a thread; rows of windows along H (1 for 1 x 3 x 3), cells along W. ragged: contiguous tensors whose
// rows of cells or windows cannot be loaded and stored a patch at a time.
template <int depth_, int stride_, int rows_, int cells_, bool innermost_, bool ragged_ = false>
struct Patch {
  static constexpr int depth = depth_, stride = stride_, rows = rows_, cells = cells_;
  static constexpr bool tall = depth == 3, innermost = innermost_, ragged = ragged_;
  static constexpr bool whole = !innermost && !ragged;
  static constexpr int columns = cells / stride;  // of windows
  static constexpr int cell_rows = tall ? rows * stride : 1;
  // The part of it that has levels for each sum, which need more registers.
  using Part = Patch<depth, stride, 1, innermost ? stride : cells, innermost, ragged>;
};

// The windows that a thread computes: those of its patch and, backward, the others over its cells, unless a neighboring
// lane computes them. And the cells that they cover.
template <class P, bool backward>
struct Reach {
  static constexpr bool dense = P::stride == 1, high = backward && P::tall, wide = backward && P::innermost;
  static constexpr int rows_before = high && dense ? 1 : 0, columns_before = wide && dense ? 1 : 0;
  static constexpr int rows = P::rows + rows_before + (high ? 1 : 0);
  static constexpr int columns = P::columns + columns_before + (wide ? 1 : 0);
  static constexpr int cell_rows = P::tall ? (rows - 1) * P::stride + 3 : 1;
  static constexpr int cell_columns = (columns - 1) * P::stride + 3;
};

// Blocks of a multiprocessor: as many as leave enough registers.
template <class P>
constexpr int march_blocks(bool backward) {
  if (P::tall && P::innermost) return backward ? 2 : 3;
  return backward && (P::tall || P::innermost) ? 3 : 4;
}

// One axis: cells, windows, and the elements from one to the next.
struct MarchAxis {
  int in, out, step, out_step;
};

// The march and the sheets of a call, and how they are cut. A block has one chunk of the march.
struct MarchPlan {
  MarchAxis march, high, wide;
  int64_t plane, out_plane;  // elements
  int chunk;                 // windows
  int units;                 // strips, or innermost: threads
  int slots, strips;         // contiguous: lanes of a strip, strips of a warp
  int halo, own;             // slots at each end that only supply neighbors; slots between them
  Divider blocks;            // of a chunk
  Divider rows, segments;    // patches along H; strips along W, or innermost: patches
  Divider channels;          // innermost
};

// Where a thread works.
struct MarchSpot {
  int64_t cells, windows;    // offsets of the plane, with the channel
  int first, end;            // of the march
  int row, column;           // of the patch: windows along H, cells along W
  int lane;                  // contiguous: the first lane of the strip
  bool active, left, right;  // whether the patch exists; whether lanes beside it have its neighbors

  template <class S>
  __device__ __forceinline__ S from_left(const S& mine, const S& none) const {
    const S other = shuffled(mine, [](float value) { return __shfl_up_sync(~0u, value, 1); });
    return left ? other : none;
  }
  template <class S>
  __device__ __forceinline__ S from_right(const S& mine, const S& none) const {
    const S other = shuffled(mine, [](float value) { return __shfl_down_sync(~0u, value, 1); });
    return right ? other : none;
  }
  template <class S, class Shuffle>
  __device__ __forceinline__ static S shuffled(const S& mine, const Shuffle& shuffle) {
    if constexpr (sizeof(S) == 2 * sizeof(float)) {
      return {shuffle(mine.weights), shuffle(mine.products)};
    } else {
      return {shuffle(mine.top), shuffle(mine.weights), shuffle(mine.products)};
    }
  }
};

template <class P>
__device__ __forceinline__ MarchSpot march_spot(const MarchPlan& plan, int thread, int block) {
  MarchSpot spot;
  const int chunk = plan.blocks.split(block);
  spot.first = chunk * plan.chunk;
  spot.end = smaller(spot.first + plan.chunk, plan.march.out);
  int unit, slot = 0, channel = 0, segment, row;
  if constexpr (P::innermost) {
    unit = block * kMarchThreads + thread;
    spot.active = unit < plan.units;
    channel = spot.active ? unit : 0;
    unit = plan.channels.split(channel);
    segment = unit;
    row = plan.segments.split(segment);
    spot.column = segment * P::cells;
    spot.lane = 0;
    spot.left = spot.right = false;
  } else {
    const int lane = thread % kMarchWarp, strip = lane / plan.slots;
    slot = lane - strip * plan.slots;
    unit = (block * kMarchWarps + thread / kMarchWarp) * plan.strips + strip;
    const bool exists = strip < plan.strips && unit < plan.units;
    segment = exists ? unit : 0;
    row = plan.segments.split(segment);
    spot.column = (segment * plan.own + slot - plan.halo) * P::cells;
    spot.lane = lane - slot;
    spot.left = slot > 0;
    spot.right = slot < plan.slots - 1;
    const bool beyond = spot.column >= plan.wide.in && spot.column >= plan.wide.out * P::stride;
    spot.active = exists && !beyond && slot >= plan.halo && slot < plan.slots - plan.halo;
  }
  int row_of_patches = row;
  const int64_t plane = plan.rows.split(row_of_patches);
  spot.row = row_of_patches * P::rows;
  spot.cells = plane * plan.plane + channel;
  spot.windows = plane * plan.out_plane + channel;
  return spot;
}

// Return the number such that the compiler treats it as unknown: it stays in a register, and is not computed again.
__device__ __forceinline__ int unknown(int number) {
#ifdef __CUDACC__
  asm volatile("" : "+r"(number));
#endif
  return number;
}
__device__ __forceinline__ float unknown(float number) {
#ifdef __CUDACC__
  asm volatile("" : "+f"(number));
#endif
  return number;
}

// Return the pointer such that the compiler does not regroup sums with it. It would keep an offset for each column of
// each row in registers.
template <class T>
__device__ __forceinline__ T* settled(T* pointer) {
#ifdef __CUDACC__
  asm volatile("" : "+l"(pointer));
#endif
  return pointer;
}

// Computes addresses. pinned: the size of an element is in a register, so that an address takes one instruction, which
// multiplies and adds. With a size that it knows, the compiler uses two.
template <class T, bool pinned>
struct Addresses {
  int size = pinned ? unknown(int(sizeof(T))) : int(sizeof(T));

  template <class U>
  __device__ __forceinline__ U* operator()(U* from, int elements) const {
    return reinterpret_cast<U*>(reinterpret_cast<uintptr_t>(from) + int64_t(elements) * size);
  }
};

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

// ---- forward ----

template <class P, class T, class Lv>
__device__ __forceinline__ void march_forward(
    const MarchPlan& plan, const MarchSpot& spot, Lv& level, const Inputs<T>& in, T* y) {
  const Sheets<P, Reach<P, false>, T, Lv> sheets(plan, spot, level, in);
  const int column = spot.column / P::stride;
  bool exists[P::rows][P::columns];
#pragma unroll
  for (int r = 0; r < P::rows; ++r)
#pragma unroll
    for (int c = 0; c < P::columns; ++c)
      exists[r][c] = spot.active && spot.row + r < plan.high.out && (P::whole || column + c < plan.wide.out);
  T* to = y + spot.first * plan.march.out_step + spot.row * plan.high.out_step + column * plan.wide.out_step;
  const auto write = [&](int, const auto& sums, const auto&) {
#pragma unroll
    for (int r = 0; r < P::rows; ++r) {
      Pack<T, P::whole ? P::columns : 1> pack;
      T* row = to + r * plan.high.out_step;
#pragma unroll
      for (int c = 0; c < P::columns; ++c) {
        const T result = static_cast<T>(level.result(sums[r][c], exists[r][c]));
        pack.lanes[P::whole ? c : 0] = result;
        if (!P::whole && exists[r][c]) store(row + c * plan.wide.out_step, result);
      }
      if (P::whole && exists[r][0]) store(row, pack);
    }
    to += plan.march.out_step;
  };
  sheets.march(spot.first, spot.end, [](int) {}, write);
}

// Return the number such that the compiler treats it as unknown: what follows from it is computed again instead of
// being kept in registers.
__device__ __forceinline__ int again(unsigned number) {
#ifdef __CUDACC__
  asm volatile("" : "+r"(number));
#endif
  return int(number);
}

// Calls run(spot) for the parts of a patch.
template <class P, class Run>
__device__ __forceinline__ void for_each_part(const MarchPlan& plan, const Run& run) {
  constexpr int in_row = P::cells / P::Part::cells;
#pragma unroll 1
  for (int i = 0; i < P::rows * in_row; ++i) {
    MarchSpot spot = march_spot<P>(plan, again(threadIdx.x), again(blockIdx.x));
    spot.row += i / in_row;
    spot.column += i % in_row * P::Part::cells;
    run(spot);
  }
}

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

template <class P, Kind kind, class T>
__global__ void __launch_bounds__(kMarchThreads, march_blocks<P>(false))
    overlapping_forward(MarchPlan plan, Weighting<float> weighting, Inputs<T> in, T* y) {
  const MarchSpot spot = march_spot<P>(plan, int(threadIdx.x), int(blockIdx.x));
  const Inputs<T> plane{in.x + spot.cells, kind == kGeneral ? in.logits + spot.cells : nullptr};
  SharedLevel<kind> level(weighting);
  set_reference<P>(plan, spot, plane, level);
  march_forward<P>(plan, spot, level, plane, y + spot.windows);
  if (!__any_sync(~0u, !level.holds())) return;
  OwnLevels<kind> levels(weighting);
  for_each_part<P>(plan, [&](const MarchSpot& part) {
    const Inputs<T> same{in.x + part.cells, kind == kGeneral ? in.logits + part.cells : nullptr};
    march_forward<typename P::Part>(plan, part, levels, same, y + part.windows);
  });
}

// ---- backward ----

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

// ---- how the work is cut ----

inline MarchAxis march_axis(const Axis<int64_t>& axis, int64_t step, int64_t out_step) {
  return {int(axis.in), int(axis.out), int(step), int(out_step)};
}

template <class P>
MarchPlan march_plan(const Problem<int64_t>& p, bool backward, int64_t& blocks) {
  const Strides<int64_t> cells = cell_strides(p), windows = window_strides(p);
  const MarchAxis d = march_axis(p.d, cells.d, windows.d), h = march_axis(p.h, cells.h, windows.h),
                  w = march_axis(p.w, cells.w, windows.w);
  // 3 x 3 x 3: along D or H, whichever leaves less work beside what is needed.
  const auto work = [](const MarchAxis& march, const MarchAxis& high) {
    const int patches = ceil_div(high.out, P::rows);
    return (march.out + 3 - P::stride) * double(patches * P::rows) / (double(march.out) * high.out);
  };
  const bool along_h = !P::tall || work(h, d) < work(d, h);
  const MarchAxis &march = along_h ? h : d, high = !P::tall ? MarchAxis{1, 1, 0, 0} : along_h ? d : h;
  const int64_t channels = P::innermost ? p.channels : 1, depth = P::tall ? 1 : p.d.in;
  const int64_t planes = p.batch * p.channels / channels * depth;
  const int64_t rows = ceil_div(int64_t(high.out), int64_t(P::rows));
  const int64_t reach = p.w.out * P::stride > p.w.in ? p.w.out * P::stride : p.w.in;
  const int64_t patches = ceil_div(reach, int64_t(P::cells));
  // A row longer than a warp is cut into strips whose outer lanes only help.
  const bool fits = patches <= kMarchWarp;
  const int64_t halo = P::innermost || fits ? 0 : backward && P::cells == 1 ? 2 : 1;
  const int64_t slots = fits ? patches : kMarchWarp, own = slots - 2 * halo;
  const int64_t segments = P::innermost ? patches : ceil_div(patches, own), strips = kMarchWarp / slots;
  const int64_t units = planes * rows * segments * channels;
  const int64_t in_block = P::innermost ? kMarchThreads : kMarchWarps * strips;
  const int64_t blocks_of_chunk = ceil_div(units, in_block);
  const int64_t length = march.out;
  constexpr int64_t enough = 2048;  // blocks
  int64_t chunk = length;
  while (chunk > 4 && blocks_of_chunk * ceil_div(length, chunk) < enough) chunk = ceil_div(chunk, int64_t(2));
  blocks = blocks_of_chunk * ceil_div(length, chunk);
  return {
      march,
      high,
      w,
      cells.plane / depth,
      windows.plane / depth,
      int(chunk),
      int(units),
      int(slots),
      int(strips),
      int(halo),
      int(own),
      Divider(blocks_of_chunk),
      Divider(rows),
      Divider(segments),
      Divider(channels)};
}

template <class P, Kind kind, class T>
void launch_overlapping_forward(const ForwardCall& call, Stream stream) {
  int64_t blocks = 0;
  const MarchPlan plan = march_plan<P>(call.problem, false, blocks);
  launch(
      overlapping_forward<P, kind, T>,
      {blocks, kMarchThreads},
      stream,
      plan,
      make_weighting<float>(call),
      inputs_of<T>(call),
      static_cast<T*>(call.y));
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
