// The kernels for the common windows that share cells: 3 x 3 x 3 of stride 1 or 2, 1 x 3 x 3 of stride 2, one cell of
// padding (none along D for 1 x 3 x 3).
//
// Windows over the same cells share their exponentials. With t the distance of a cell from a reference, one number
// for many windows, and e = exp(beta t), a window has S = sum e and A = sum e t, and pools to reference + A / S: sums
// over boxes, which neighbors share. Backward, every window gives G = grad / S and Q = G A / S, and a cell with the
// sums P and Q over the windows above it has the gradient e (P + beta (t P - Q)); the general op takes e from the
// logits, and has e P and e (t P - Q). So there is about one exponential for a cell, not one for a cell and a window.
//
// This is valid while S is neither huge nor tiny, for cells within about 55 / beta of the reference; kLeast and kMost
// leave a margin for the division and for sums in float32. Forward, pool_window computes other windows again. Backward,
// the block uses windows with a level each, whose states it keeps in shared memory.
//
// A thread has a patch: a row or two of windows, and as many columns as make 4 elements of a row of cells, or 2 cells
// of 2 channels if channels are innermost. It walks along D and sums planes in registers.
#pragma once
#include "launch.cuh"
#include "numerics.cuh"

namespace videopool {

constexpr int kForwardThreads = 128, kBackwardThreads = 256;
constexpr float kLeast = 0x1p-80f, kMost = 0x1p80f;

template <int depth_, int stride_, int lanes_, int rows_>
struct Patch {
  static constexpr int depth = depth_, stride = stride_;
  static constexpr int lanes = lanes_;  // channels; 1 for contiguous tensors
  static constexpr int depth_stride = depth == 1 ? 1 : stride;
  static constexpr int rows = rows_, columns = 4 / lanes / stride, windows = rows * columns * lanes;
  static constexpr int cell_rows = rows * stride, cell_columns = columns * stride;
  static constexpr int cells = cell_rows * cell_columns * lanes;
  // Cells that the windows cover, from the one before the patch.
  static constexpr int read_rows = (rows - 1) * stride + 3, read_columns = (columns - 1) * stride + 3;
  // Windows over the cells: those of the patch, the next, and for stride 1 the one before.
  static constexpr int before = stride == 1 ? 1 : 0, over_rows = rows + 1 + before, over_columns = columns + 1 + before;
};

template <class P>
__device__ __forceinline__ Problem<int> overlapping_problem(const Problem<int>& p) {
  constexpr int padding = P::depth == 1 ? 0 : 1;
  return {
      p.batch,
      p.channels,
      known_axis<P::depth, P::depth_stride, padding>(p.d),
      known_axis<3, P::stride, 1>(p.h),
      known_axis<3, P::stride, 1>(p.w),
      p.channels_last};
}

// Where a thread works: pointers to its plane (with the channel), its first window.
template <class T>
struct Spot {
  Inputs<T> in;
  int row, column;  // the first window
  bool vectors;     // whether rows are aligned (contiguous tensors)
};

// ---- sums over boxes ----

// The sums of the windows of a patch.
template <class P>
struct PatchSums {
  float weights[P::rows][P::columns][P::lanes] = {}, products[P::rows][P::columns][P::lanes] = {};

  __device__ __forceinline__ void add(const PatchSums& other) {
#pragma unroll
    for (int r = 0; r < P::rows; ++r)
#pragma unroll
      for (int c = 0; c < P::columns; ++c)
#pragma unroll
        for (int l = 0; l < P::lanes; ++l) {
          weights[r][c][l] += other.weights[r][c][l];
          products[r][c][l] += other.products[r][c][l];
        }
  }
};

// The weights of cells. The reference is one cell, for each lane.
template <bool general, int lanes>
struct Level {
  float value[lanes], logit[lanes];
  float exponent;  // beta * log2(e)

  // The weight of a cell, and its value relative to the reference.
  template <class T>
  __device__ __forceinline__ float weight(T x, T l, int lane, const Weighting<float>& weighting, float& t) const {
    t = pooled_value<general>(x, weighting) - value[lane];
    return DeviceMath::exp2((general ? static_cast<float>(l) - logit[lane] : t) * exponent);
  }
};

// `count` cells of a row from column `first`, of which those inside the input are loaded.
template <class P, int count, class T>
__device__ __forceinline__ void read_columns(
    const T* row,
    int first,
    const Problem<int>& p,
    const Strides<int>& step,
    bool vectors,
    T (&cells)[count][P::lanes]) {
  if constexpr (P::lanes > 1) {
#pragma unroll
    for (int c = 0; c < count; ++c) {
      if (unsigned(first + c) >= unsigned(p.w.in)) continue;
      const Pack<T, P::lanes> pack = load<P::lanes>(row + (first + c) * step.w);
#pragma unroll
      for (int l = 0; l < P::lanes; ++l) cells[c][l] = pack.lanes[l];
    }
  } else {
    // The patch's own cells, which may be aligned, start after the one before it.
    constexpr int own = count > P::cell_columns ? 1 : 0;
    const bool whole = vectors && first + own + P::cell_columns <= p.w.in;
    if (whole) {
      const Pack<T, P::cell_columns> pack = load<P::cell_columns>(row + first + own);
#pragma unroll
      for (int c = 0; c < P::cell_columns; ++c) cells[own + c][0] = pack.lanes[c];
    }
#pragma unroll
    for (int c = 0; c < count; ++c) {
      const bool is_own = c >= own && c < own + P::cell_columns;
      if (!(is_own && whole) && unsigned(first + c) < unsigned(p.w.in)) cells[c][0] = load(row + first + c);
    }
  }
}

// Adds the cells of plane d to the sums of the windows of the patch over them.
template <bool general, class P, class T>
__device__ __forceinline__ PatchSums<P> sum_plane(
    const Problem<int>& p,
    const Strides<int>& step,
    const Spot<T>& spot,
    const Weighting<float>& weighting,
    const Level<general, P::lanes>& level,
    int d) {
  PatchSums<P> sums;
  if (unsigned(d) >= unsigned(p.d.in)) return sums;
  const int h = spot.row * P::stride - 1, w = spot.column * P::stride - 1;
  T x[P::read_rows][P::read_columns][P::lanes] = {}, logits[P::read_rows][P::read_columns][P::lanes] = {};
#pragma unroll
  for (int r = 0; r < P::read_rows; ++r) {
    if (unsigned(h + r) >= unsigned(p.h.in)) continue;
    const int at = d * step.d + (h + r) * step.h;
    read_columns<P>(spot.in.x + at, w, p, step, spot.vectors, x[r]);
    if constexpr (general) read_columns<P>(spot.in.logits + at, w, p, step, spot.vectors, logits[r]);
  }
#pragma unroll
  for (int r = 0; r < P::read_rows; ++r) {
    float weights[P::read_columns][P::lanes], products[P::read_columns][P::lanes];
#pragma unroll
    for (int c = 0; c < P::read_columns; ++c)
#pragma unroll
      for (int l = 0; l < P::lanes; ++l) {
        float t;
        const float e = level.weight(x[r][c][l], logits[r][c][l], l, weighting, t);
        const bool present = unsigned(h + r) < unsigned(p.h.in) && unsigned(w + c) < unsigned(p.w.in);
        weights[c][l] = present ? e : 0.0f;
        products[c][l] = present ? e * t : 0.0f;
      }
#pragma unroll
    for (int c = 0; c < P::columns; ++c)
#pragma unroll
      for (int l = 0; l < P::lanes; ++l) {
        const int k = c * P::stride;
        const float row_weights = weights[k][l] + weights[k + 1][l] + weights[k + 2][l];
        const float row_products = products[k][l] + products[k + 1][l] + products[k + 2][l];
#pragma unroll
        for (int q = 0; q < P::rows; ++q) {
          if (r < q * P::stride || r > q * P::stride + 2) continue;
          sums.weights[q][c][l] += row_weights;
          sums.products[q][c][l] += row_products;
        }
      }
  }
  return sums;
}

// Walks along D and calls visit(window along D, sums of its windows) from window `first` to before `end`.
template <bool general, class P, class T, class Visit>
__device__ __forceinline__ void march(
    const Problem<int>& p,
    const Strides<int>& step,
    const Spot<T>& spot,
    const Weighting<float>& weighting,
    const Level<general, P::lanes>& level,
    int first,
    int end,
    const Visit& visit) {
  PatchSums<P> one, two;  // sums of the planes so far for windows that are not yet complete
  const int before = P::depth == 1 ? 0 : 1;
#pragma unroll 1
  for (int d = first * P::depth_stride - before; d < end * P::depth_stride + before * (2 - P::depth_stride); ++d) {
    const PatchSums<P> plane = sum_plane<general, P>(p, step, spot, weighting, level, d);
    const int window = (d - before) / P::depth_stride;
    if constexpr (P::depth == 1) {
      visit(window, plane);
    } else if constexpr (P::stride == 2) {
      one.add(plane);
      if (d % 2 == 0) continue;
      if (d > first * 2) visit(window, one);
      one = plane;
    } else {
      two.add(plane);
      if (window >= first) visit(window, two);
      one.add(plane);
      two = one;
      one = plane;
    }
  }
}

template <bool general, int lanes, class T>
__device__ __forceinline__ Level<general, lanes> level_at(
    const Inputs<T>& in, int at, const Weighting<float>& weighting) {
  Level<general, lanes> level;
  level.exponent = weighting.slope.rate * (general ? 1.0f : weighting.slope.scale) * float(kLog2E);
#pragma unroll
  for (int l = 0; l < lanes; ++l) {
    level.value[l] = pooled_value<general>(load(in.x + at + l), weighting);
    level.logit[l] = general ? static_cast<float>(load(in.logits + at + l)) : 0.0f;
  }
  return level;
}

__device__ __forceinline__ bool is_safe(float weights, float mean) {
  return weights >= kLeast && weights <= kMost && is_finite(mean);
}

__device__ __forceinline__ int smaller(int a, int b) { return a < b ? a : b; }

// ---- forward ----

// Threads in the order of memory: their numbers along each axis. chunk: windows along D of a thread.
struct OverlappingUnits {
  int count, chunk;
  Divider channels, columns, rows, chunks;
};

template <bool general, class T, class P>
__global__ void __launch_bounds__(kForwardThreads, general ? 3 : 4) overlapping_forward(
    Problem<int> problem,
    OverlappingUnits units,
    Weighting<float> weighting,
    Inputs<T> in,
    T* y,
    bool vectors,
    bool pack_y) {
  int i = int(blockIdx.x) * kForwardThreads + int(threadIdx.x);
  if (i >= units.count) return;
  const Problem<int> p = overlapping_problem<P>(problem);
  int channel = i;
  i = units.channels.split(channel);
  channel *= P::lanes;
  Spot<T> spot{in, 0, 0, vectors};
  spot.column = i;
  i = units.columns.split(spot.column);
  spot.column *= P::columns;
  spot.row = i;
  i = units.rows.split(spot.row);
  spot.row *= P::rows;
  int chunk = i;
  const int64_t plane = units.chunks.split(chunk);
  const Strides<int> step = cell_strides(p), out = window_strides(p);
  spot.in.x += plane * step.plane + channel;
  if constexpr (general) spot.in.logits += plane * step.plane + channel;
  y += plane * out.plane + channel;
  const int first = chunk * units.chunk, end = smaller(first + units.chunk, p.d.out);
  const int reference = smaller(first * P::depth_stride, p.d.in - 1) * step.d +
                        smaller(spot.row * P::stride, p.h.in - 1) * step.h +
                        smaller(spot.column * P::stride, p.w.in - 1) * step.w;
  const Level<general, P::lanes> level = level_at<general, P::lanes>(spot.in, reference, weighting);
  march<general, P>(p, step, spot, weighting, level, first, end, [&](int d, const PatchSums<P>& sums) {
    unsigned again = 0;
#pragma unroll
    for (int r = 0; r < P::rows; ++r) {
      if (spot.row + r >= p.h.out) continue;
      T* row = y + d * out.d + (spot.row + r) * out.h + spot.column * out.w;
      Pack<T, P::columns * P::lanes> results;
#pragma unroll
      for (int c = 0; c < P::columns; ++c)
#pragma unroll
        for (int l = 0; l < P::lanes; ++l) {
          const float mean = sums.products[r][c][l] * DeviceMath::reciprocal(sums.weights[r][c][l]);
          if (!is_safe(sums.weights[r][c][l], mean)) again |= 1u << ((r * P::columns + c) * P::lanes + l);
          results.lanes[c * P::lanes + l] = static_cast<T>(level.value[l] + mean);
        }
      if (pack_y) {  // contiguous tensors
        store(row, results);
        continue;
      }
#pragma unroll
      for (int c = 0; c < P::columns; ++c) {
        if (spot.column + c >= p.w.out) continue;
        Pack<T, P::lanes> one;
#pragma unroll
        for (int l = 0; l < P::lanes; ++l) one.lanes[l] = results.lanes[c * P::lanes + l];
        store(row + c * out.w, one);
      }
    }
#pragma unroll 1
    for (int k = 0; again != 0; ++k, again >>= 1) {
      if ((again & 1) == 0) continue;
      const int l = k % P::lanes, c = k / P::lanes % P::columns, r = k / (P::lanes * P::columns);
      const Place<int> window{d, spot.row + r, spot.column + c};
      if (window.w >= p.w.out) continue;
      const Inputs<T> lane{spot.in.x + l, general ? spot.in.logits + l : nullptr};
      WindowState<float> state;
      const float result = pool_window<general>(p, step, window, lane, weighting, state);
      store(y + window.d * out.d + window.h * out.h + window.w * out.w + l, static_cast<T>(result));
    }
  });
}

// ---- backward ----

// How one axis is cut into tiles: tile i computes windows from i * stride, and owns the cells from `begin` to before
// `end`, all of whose windows it computes.
struct TileAxis {
  int tiles, stride, shift;

  __device__ __forceinline__ int begin(int tile, int cells_per_window) const {
    return tile == 0 ? 0 : tile * stride * cells_per_window + shift;
  }
  __device__ __forceinline__ int end(int tile, int cells_per_window, int cells) const {
    return tile == tiles - 1 ? cells : (tile + 1) * stride * cells_per_window + shift;
  }
};

// A block has columns x rows patches of `pencils` planes (contiguous tensors) or groups of channels.
struct OverlappingTiles {
  int columns, rows, pencils, chunk;
  TileAxis d, h, w;
  int64_t planes;                           // planes of a contiguous tensor; channels / lanes of the others
  Divider thread_first, thread_second;      // of the two faster axes of the threads
  Divider blocks_w, blocks_h, blocks_d, blocks_planes;
};

template <class P>
struct PatchCells {
  float values[P::cell_rows][P::cell_columns][P::lanes] = {};
};

// One block's work.
template <bool general, class T, class P, class SharedArray>
struct OverlappingBlock {
  const Problem<int>& p;
  const OverlappingTiles& tiles;
  const Weighting<float>& weighting;
  SharedArray& shared;  // 4 * P::windows arrays with one number for each thread
  Strides<int> step, out;
  Spot<T> spot;
  const T* grad;
  Gradients<T> to;
  Level<general, P::lanes> level;
  int column, row;            // of the patch within the block
  int next_column, next_row;  // from a thread to the one of the next patch
  int tile_d, begin_h, end_h, begin_w, end_w;
  bool active, pack_grad;

  __device__ __forceinline__ static int slot(int array) { return array * kBackwardThreads + int(threadIdx.x); }

  __device__ __forceinline__ bool owns(int h, int w) const {
    return active && h >= begin_h && h < end_h && w >= begin_w && w < end_w;
  }

  // Writes G and Q of the patch's windows to shared memory; false if one of them needs another form.
  __device__ __forceinline__ bool share_windows(int d, const PatchSums<P>& sums, int buffer) const {
    bool safe = true;
#pragma unroll
    for (int r = 0; r < P::rows; ++r) {
      const bool exists = active && d < p.d.out && spot.row + r < p.h.out && spot.column < p.w.out;
      T given[P::columns][P::lanes] = {};
      if (exists) read_upstream(d, r, given);
#pragma unroll
      for (int c = 0; c < P::columns; ++c)
#pragma unroll
        for (int l = 0; l < P::lanes; ++l) {
          float g = 0, q = 0;
          if (exists && spot.column + c < p.w.out) {
            const float inverse = DeviceMath::reciprocal(sums.weights[r][c][l]);
            const float mean = sums.products[r][c][l] * inverse;
            g = static_cast<float>(given[c][l]) * inverse;
            q = g * mean;
            safe = safe && is_safe(sums.weights[r][c][l], mean) && is_finite(g) && is_finite(q);
          }
          const int window = (r * P::columns + c) * P::lanes + l;
          shared[slot((buffer * 2) * P::windows + window)] = g;
          shared[slot((buffer * 2 + 1) * P::windows + window)] = q;
        }
    }
    return safe;
  }

  __device__ __forceinline__ void read_upstream(int d, int r, T (&given)[P::columns][P::lanes]) const {
    const T* from = grad + d * out.d + (spot.row + r) * out.h + spot.column * out.w;
    if (pack_grad) {
      const Pack<T, P::columns * P::lanes> pack = load<P::columns * P::lanes>(from);
#pragma unroll
      for (int c = 0; c < P::columns; ++c) given[c][0] = pack.lanes[c * P::lanes];
      return;
    }
#pragma unroll
    for (int c = 0; c < P::columns; ++c) {
      if (spot.column + c >= p.w.out) continue;
      const Pack<T, P::lanes> pack = load<P::lanes>(from + c * out.w);
#pragma unroll
      for (int l = 0; l < P::lanes; ++l) given[c][l] = pack.lanes[l];
    }
  }

  // One array (0: G, 1: Q) of a window over the patch, by its place there; 0 outside of the block.
  __device__ __forceinline__ float shared_window(int array, int buffer, int r, int c, int l) const {
    r -= P::before;
    c -= P::before;
    const int down = r < 0 ? -1 : r >= P::rows ? 1 : 0, right = c < 0 ? -1 : c >= P::columns ? 1 : 0;
    if (unsigned(row + down) >= unsigned(tiles.rows) || unsigned(column + right) >= unsigned(tiles.columns)) return 0;
    const int window = ((r - down * P::rows) * P::columns + c - right * P::columns) * P::lanes + l;
    return shared[slot((buffer * 2 + array) * P::windows + window) + down * next_row + right * next_column];
  }

  // For every cell of the patch, the sum over the windows above it in one plane of windows.
  __device__ __forceinline__ PatchCells<P> sum_windows(int array, int buffer) const {
    PatchCells<P> sums;
    if (!active) return sums;
#pragma unroll
    for (int r = 0; r < P::over_rows; ++r)
#pragma unroll
      for (int l = 0; l < P::lanes; ++l) {
        float windows[P::over_columns];
#pragma unroll
        for (int c = 0; c < P::over_columns; ++c) windows[c] = shared_window(array, buffer, r, c, l);
#pragma unroll
        for (int j = 0; j < P::cell_columns; ++j) {
          float across = windows[P::stride == 1 ? j : j / 2];
          if (P::stride == 1 || j % 2 == 1) across += windows[P::stride == 1 ? j + 1 : j / 2 + 1];
          if (P::stride == 1) across += windows[j + 2 < P::over_columns ? j + 2 : 0];
#pragma unroll
          for (int i = 0; i < P::cell_rows; ++i) {
            const bool above = P::stride == 1 ? r >= i && r <= i + 2 : r == i / 2 || (i % 2 == 1 && r == i / 2 + 1);
            if (above) sums.values[i][j][l] += across;
          }
        }
      }
    return sums;
  }

  // Writes the gradients of the patch's cells in plane d, whose windows gave the sums P and Q.
  __device__ __forceinline__ void write_plane(int d, const PatchCells<P>& g, const PatchCells<P>& q) const {
    const float slope = weighting.slope.rate * weighting.slope.scale * weighting.exact;
#pragma unroll
    for (int i = 0; i < P::cell_rows; ++i) {
      const int h = spot.row * P::stride + i, w = spot.column * P::stride;
      if (!active || h < begin_h || h >= end_h) continue;
      const int at = d * step.d + h * step.h;
      T x[P::cell_columns][P::lanes] = {}, logits[P::cell_columns][P::lanes] = {};
      read_columns<P>(spot.in.x + at, w, p, step, spot.vectors, x);
      if constexpr (general) read_columns<P>(spot.in.logits + at, w, p, step, spot.vectors, logits);
#pragma unroll
      for (int j = 0; j < P::cell_columns; ++j)
#pragma unroll
        for (int l = 0; l < P::lanes; ++l) {
          float t;
          const float e = level.weight(x[j][l], logits[j][l], l, weighting, t);
          const float sum = g.values[i][j][l], deviation = t * sum - q.values[i][j][l];
          if constexpr (general) {
            logits[j][l] = static_cast<T>(e * deviation);
            x[j][l] = static_cast<T>(e * sum);
          } else {
            x[j][l] = static_cast<T>(through_relu<general>(e * (sum + slope * deviation), x[j][l], weighting));
          }
        }
      write_columns(to.dx + at, w, x);
      if constexpr (general) write_columns(to.dlogits + at, w, logits);
    }
  }

  __device__ __forceinline__ void write_columns(
      T* row_of_cells, int w, const T (&cells)[P::cell_columns][P::lanes]) const {
    if (P::lanes == 1 && spot.vectors && w >= begin_w && w + P::cell_columns <= end_w) {
      Pack<T, P::cell_columns> pack;
#pragma unroll
      for (int j = 0; j < P::cell_columns; ++j) pack.lanes[j] = cells[j][0];
      store(row_of_cells + w, pack);
      return;
    }
#pragma unroll
    for (int j = 0; j < P::cell_columns; ++j) {
      if (w + j < begin_w || w + j >= end_w) continue;
      Pack<T, P::lanes> pack;
#pragma unroll
      for (int l = 0; l < P::lanes; ++l) pack.lanes[l] = cells[j][l];
      store(row_of_cells + (w + j) * step.w, pack);
    }
  }

  // The whole block in the common form; false if it is not valid everywhere.
  __device__ __forceinline__ bool run_together() const {
    const int first = tile_d * tiles.d.stride;
    const int begin_d = tiles.d.begin(tile_d, P::depth_stride), end_d = tiles.d.end(tile_d, P::depth_stride, p.d.in);
    // One step without windows after the last ones completes the last cells.
    const int end = tile_d == tiles.d.tiles - 1 ? p.d.out + (P::depth == 1 ? 0 : 1) : first + tiles.chunk;
    PatchCells<P> g_one, q_one, g_two, q_two;  // of the planes of cells that wait for the next windows
    bool safe = true;
    march<general, P>(p, step, spot, weighting, level, first, end, [&](int d, const PatchSums<P>& sums) {
      if (!safe) return;
      const int buffer = d & 1;
      safe = __syncthreads_or(share_windows(d, sums, buffer) ? 0 : 1) == 0;
      if (!safe) return;
      const PatchCells<P> g = sum_windows(0, buffer), q = sum_windows(1, buffer);
      const auto write = [&](int plane, const PatchCells<P>& gs, const PatchCells<P>& qs) {
        if (plane >= begin_d && plane < end_d) write_plane(plane, gs, qs);
      };
      if constexpr (P::depth == 1) {
        write(d, g, q);
      } else if constexpr (P::stride == 2) {
        add(g_one, g);
        add(q_one, q);
        write(2 * d - 1, g_one, q_one);
        write(2 * d, g, q);
        g_one = g;
        q_one = q;
      } else {
        add(g_two, g);
        add(q_two, q);
        write(d - 1, g_two, q_two);
        add(g_one, g);
        add(q_one, q);
        g_two = g_one;
        q_two = q_one;
        g_one = g;
        q_one = q;
      }
    });
    return safe;
  }

  __device__ __forceinline__ static void add(PatchCells<P>& to, const PatchCells<P>& what) {
#pragma unroll
    for (int i = 0; i < P::cell_rows; ++i)
#pragma unroll
      for (int j = 0; j < P::cell_columns; ++j)
#pragma unroll
        for (int l = 0; l < P::lanes; ++l) to.values[i][j][l] += what.values[i][j][l];
  }

  // The whole block with a level for each window.
  __device__ __forceinline__ void run_apart() const {
    const int begin_d = tiles.d.begin(tile_d, P::depth_stride), end_d = tiles.d.end(tile_d, P::depth_stride, p.d.in);
#pragma unroll 1
    for (int d = begin_d; d < end_d; ++d) {
      float dvalues[P::cells] = {}, dlogits[P::cells] = {};
      const Windows<int> over = windows_over(p.d, d);
#pragma unroll 1
      for (int window = over.first; window < over.end; window += over.step) {
        __syncthreads();
        share_states(window);
        __syncthreads();
#pragma unroll 1
        for (int k = 0; k < P::cells && active; ++k) {
          float dvalue = 0, dlogit = 0;
          add_windows(d, k, dvalue, dlogit);
#pragma unroll
          for (int j = 0; j < P::cells; ++j) {  // a run-time index would move the arrays to memory
            dvalues[j] += j == k ? dvalue : 0.0f;
            dlogits[j] += j == k ? dlogit : 0.0f;
          }
        }
      }
#pragma unroll
      for (int k = 0; k < P::cells; ++k) {
        const Place<int> cell = cell_at(d, k);
        if (owns(cell.h, cell.w)) put<general>(to, offset(cell, k), dvalues[k], dlogits[k]);
      }
    }
  }

  __device__ __forceinline__ Place<int> cell_at(int d, int k) const {
    const int j = k / P::lanes % P::cell_columns, i = k / (P::lanes * P::cell_columns);
    return {d, spot.row * P::stride + i, spot.column * P::stride + j};
  }

  __device__ __forceinline__ int offset(const Place<int>& cell, int k) const {
    return cell.d * step.d + cell.h * step.h + cell.w * step.w + k % P::lanes;
  }

  // Writes the states of the patch's windows, and their upstream gradients, to shared memory.
  __device__ __forceinline__ void share_states(int d) const {
#pragma unroll 1
    for (int k = 0; k < P::windows && active; ++k) {
      const int l = k % P::lanes, c = k / P::lanes % P::columns, r = k / (P::lanes * P::columns);
      const Place<int> window{d, spot.row + r, spot.column + c};
      if (window.h >= p.h.out || window.w >= p.w.out) continue;
      const Inputs<T> lane{spot.in.x + l, general ? spot.in.logits + l : nullptr};
      WindowState<float> state;
      pool_window<general>(p, step, window, lane, weighting, state);
      shared[slot(k)] = state.shift;
      shared[slot(P::windows + k)] = state.inverse;
      shared[slot(2 * P::windows + k)] = state.mean;
      shared[slot(3 * P::windows + k)] =
          static_cast<float>(load(grad + d * out.d + window.h * out.h + window.w * out.w + l));
    }
  }

  // Adds the contributions of the windows of one plane to cell k of the patch.
  __device__ __forceinline__ void add_windows(int d, int k, float& dvalue, float& dlogit) const {
    const Place<int> cell = cell_at(d, k);
    if (!owns(cell.h, cell.w)) return;
    const Windows<int> over_h = windows_over(p.h, cell.h), over_w = windows_over(p.w, cell.w);
#pragma unroll 1
    for (int h = over_h.first; h < over_h.end; ++h) {
#pragma unroll 1
      for (int w = over_w.first; w < over_w.end; ++w) {
        // Relative to the block's first patch, so that nothing is negative.
        const int r = h - spot.row + row * P::rows, c = w - spot.column + column * P::columns;
        const int window = (r % P::rows * P::columns + c % P::columns) * P::lanes + k % P::lanes;
        const int at = slot(window) + (r / P::rows - row) * next_row + (c / P::columns - column) * next_column;
        constexpr int array = P::windows * kBackwardThreads;
        const WindowState<float> state{shared[at], shared[at + array], shared[at + 2 * array]};
        add_gradient<general>(spot.in, offset(cell, k), shared[at + 3 * array], state, weighting, dvalue, dlogit);
      }
    }
  }
};

// Two blocks on a multiprocessor hide memory latency better than one, but not everything fits their registers.
template <bool general, class T, class P>
__global__ void __launch_bounds__(kBackwardThreads, general && P::stride == 1 ? 1 : 2) overlapping_backward(
    Problem<int> problem,
    OverlappingTiles tiles,
    Weighting<float> weighting,
    const T* grad,
    Inputs<T> in,
    Gradients<T> to,
    bool vectors,
    bool pack_grad) {
  VIDEOPOOL_SHARED(float, shared, 4 * P::windows * kBackwardThreads);
  int i = int(blockIdx.x), first = int(threadIdx.x), second, third, tile_w, tile_h, tile_d;
  second = tiles.thread_first.split(first);
  third = tiles.thread_second.split(second);
  int64_t plane, pencil;
  const Problem<int> p = overlapping_problem<P>(problem);
  OverlappingBlock<general, T, P, decltype(shared)> block{p, tiles, weighting, shared};
  if constexpr (P::lanes == 1) {  // threads: columns, rows, planes; blocks: likewise
    block.column = first;
    block.row = second;
    pencil = third;
    tile_w = i;
    i = tiles.blocks_w.split(tile_w);
    tile_h = i;
    i = tiles.blocks_h.split(tile_h);
    tile_d = i;
    plane = pencil = int64_t(tiles.blocks_d.split(tile_d)) * tiles.pencils + pencil;
    block.active = third < tiles.pencils;
    block.next_column = 1;
    block.next_row = tiles.columns;
  } else {  // threads: channels, columns, rows; blocks: likewise
    pencil = first;
    block.column = second;
    block.row = third;
    int group = i;
    i = tiles.blocks_planes.split(group);
    tile_w = i;
    i = tiles.blocks_w.split(tile_w);
    tile_h = i;
    i = tiles.blocks_h.split(tile_h);
    tile_d = i;
    plane = tiles.blocks_d.split(tile_d);
    pencil += int64_t(group) * tiles.pencils;
    block.active = third < tiles.rows;
    block.next_column = tiles.pencils;
    block.next_row = tiles.pencils * tiles.columns;
  }
  block.active = block.active && pencil < tiles.planes;
  // Threads without work compute the first plane, and write nothing.
  if (pencil >= tiles.planes) plane = pencil = 0;
  const int64_t channel = P::lanes == 1 ? 0 : pencil * P::lanes;
  block.step = cell_strides(p);
  block.out = window_strides(p);
  const int64_t cells = plane * block.step.plane + channel;
  const int row = tile_h * tiles.h.stride + block.row * P::rows;
  const int column = tile_w * tiles.w.stride + block.column * P::columns;
  block.spot = {{in.x + cells, general ? in.logits + cells : nullptr}, row, column, vectors};
  block.grad = grad + plane * block.out.plane + channel;
  block.to = {to.dx + cells, general ? to.dlogits + cells : nullptr};
  block.tile_d = tile_d;
  block.begin_h = tiles.h.begin(tile_h, P::stride);
  block.end_h = tiles.h.end(tile_h, P::stride, p.h.in);
  block.begin_w = tiles.w.begin(tile_w, P::stride);
  block.end_w = tiles.w.end(tile_w, P::stride, p.w.in);
  block.pack_grad = pack_grad;
  const int reference = smaller(tile_d * tiles.d.stride * P::depth_stride, p.d.in - 1) * block.step.d +
                        smaller(tile_h * tiles.h.stride * P::stride, p.h.in - 1) * block.step.h +
                        smaller(tile_w * tiles.w.stride * P::stride, p.w.in - 1) * block.step.w;
  block.level = level_at<general, P::lanes>(block.spot.in, reference, weighting);
  if (!block.run_together()) block.run_apart();
}

// ---- how the work is cut ----

inline int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }

template <class P>
OverlappingUnits overlapping_units(const Problem<int64_t>& p) {
  const int64_t channels = p.channels_last ? p.channels / P::lanes : 1;
  const int64_t planes = p.channels_last ? p.batch : p.batch * p.channels;
  const int64_t columns = ceil_div(p.w.out, int64_t(P::columns)), rows = ceil_div(p.h.out, int64_t(P::rows));
  constexpr int64_t enough = 1 << 18;  // threads
  int64_t chunk = P::depth == 1 ? 1 : p.d.out;
  while (chunk > 4 && planes * columns * rows * channels * ceil_div(p.d.out, chunk) < enough)
    chunk = ceil_div(chunk, int64_t(2));
  const int64_t chunks = ceil_div(p.d.out, chunk);
  return {
      int(planes * chunks * rows * columns * channels),
      int(chunk),
      Divider(channels),
      Divider(columns),
      Divider(rows),
      Divider(chunks)};
}

// Tiles of at most `most` windows that cover `windows`; each shares `halo` windows with the next. Smaller tiles if
// that makes them equal: multiples of `unit`. -> the windows of a tile
inline int64_t cut_axis(int64_t windows, int64_t most, int64_t halo, int64_t unit, TileAxis& axis) {
  if (windows <= most) {
    axis = {1, int(windows), 0};
    return ceil_div(windows, unit) * unit;
  }
  const int64_t tiles = ceil_div(windows - halo, most - halo);
  const int64_t stride = ceil_div(ceil_div(windows - halo, tiles), unit) * unit;
  axis = {int(ceil_div(windows - halo, stride)), int(stride), 0};
  return stride + halo;
}

template <class P>
OverlappingTiles overlapping_tiles(const Problem<int64_t>& p, int64_t element_bytes, int64_t& blocks) {
  const auto windows = [](const Axis<int64_t>& axis) { return at_least(axis.out, ceil_div(axis.in, axis.stride)); };
  const bool dense = P::stride == 1;
  TileAxis d, h, w;
  // Contiguous rows are cut between patches, to stay aligned.
  const int64_t unit = P::lanes == 1 ? P::columns : 1, halo_w = (dense ? 2 : 1) * unit;
  const int64_t channels = p.channels_last ? p.channels / P::lanes : p.batch * p.channels;
  const int64_t widest = (P::lanes == 1 ? 32 : 8) * P::columns;
  const int64_t columns = ceil_div(cut_axis(windows(p.w), widest, halo_w, unit, w), int64_t(P::columns));
  const int64_t wide = P::lanes == 1 ? 1 : at_most(channels, 32 / (P::lanes * element_bytes));  // 32 bytes
  const int64_t tallest = kBackwardThreads / (columns * wide) * P::rows;
  const int64_t rows = ceil_div(cut_axis(windows(p.h), tallest, dense ? 2 : 1, 1, h), int64_t(P::rows));
  const int64_t room = kBackwardThreads / (columns * rows);
  const int64_t pencils = at_most(channels, P::lanes == 1 ? room : at_least(wide, room / wide * wide));
  const int64_t groups = ceil_div(channels, pencils), planes = p.channels_last ? p.batch : 1;
  const int64_t halo_d = P::depth == 1 ? 0 : dense ? 2 : 1;
  constexpr int64_t enough = 1024;  // blocks
  int64_t chunk = p.d.out;
  while (chunk > 4 && groups * planes * h.tiles * w.tiles * ceil_div(p.d.out, chunk) < enough)
    chunk = ceil_div(chunk, int64_t(2));
  const int64_t depth = cut_axis(p.d.out, chunk + halo_d, halo_d, 1, d);
  d.shift = P::depth == 1 || !dense ? 0 : 1;
  h.shift = dense ? 1 : 0;
  w.shift = dense ? int(unit) : 0;
  blocks = groups * planes * d.tiles * h.tiles * w.tiles;
  const bool lanes = P::lanes > 1;
  return {
      int(columns),
      int(rows),
      int(pencils),
      int(depth),
      d,
      h,
      w,
      channels,
      Divider(lanes ? pencils : columns),
      Divider(lanes ? columns : rows),
      Divider(w.tiles),
      Divider(h.tiles),
      Divider(d.tiles),
      Divider(groups)};
}

template <bool general, class T, class P>
void launch_overlapping_forward(const ForwardCall& call, bool vectors, Stream stream) {
  const Problem<int64_t>& p = call.problem;
  const OverlappingUnits units = overlapping_units<P>(p);
  launch(
      overlapping_forward<general, T, P>,
      {ceil_div(int64_t(units.count), int64_t(kForwardThreads)), kForwardThreads},
      stream,
      narrow<int>(p),
      units,
      make_weighting<float>(call),
      inputs_of<T>(call),
      static_cast<T*>(call.y),
      vectors,
      P::lanes == 1 && vectors && p.w.out % P::columns == 0);
}

template <bool general, class T, class P>
void launch_overlapping_backward(const BackwardCall& call, bool vectors, Stream stream) {
  const Problem<int64_t>& p = call.problem;
  int64_t blocks = 0;
  const OverlappingTiles tiles = overlapping_tiles<P>(p, sizeof(T), blocks);
  const int threads = int(ceil_div(int64_t(tiles.columns) * tiles.rows * tiles.pencils, int64_t(32)) * 32);
  launch(
      overlapping_backward<general, T, P>,
      {blocks, threads},
      stream,
      narrow<int>(p),
      tiles,
      make_weighting<float>(call),
      static_cast<const T*>(call.grad),
      inputs_of<T>(call),
      gradients_of<T>(call),
      vectors,
      P::lanes == 1 && vectors && p.w.out % P::columns == 0);
}

}  // namespace videopool
