// How the kernels for the common windows that share cells divide their work: 3 x 3 x 3 of stride 1 or 2, 1 x 3 x 3 of
// stride 2, one cell of padding (none along D for 1 x 3 x 3).
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
#include "memory.cuh"

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

}  // namespace videopool
