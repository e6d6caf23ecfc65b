// The kernels for larger windows that share no cell, those over whole axes (global pooling) among them.
//
// The lanes of a group share a window, keep sums relative to their largest cell so far, and merge them by shuffles. A
// window is lines of cells. In contiguous tensors, windows that are runs of memory are one line, at whose packs of n
// cells the lanes take turns; otherwise each lane has a column of cells, or the lanes take turns at the cells of a long
// row. Channels innermost: a pack has n channels of one cell, and `columns` neighboring lanes have neighboring packs,
// so that each access of a warp is of whole memory transfers. A long window is shared by all threads of a block.
#pragma once
#include "launch.cuh"
#include "numerics.cuh"
#include "plan.h"

namespace videopool {

constexpr int kLargeThreads = 256, kWarp = 32, kLargeWarps = kLargeThreads / kWarp;
constexpr int kLargeColumns = 8;  // at most
constexpr int kLargeBatch = 4;    // loads in flight of each thread

// A number of packs that the compiler knows.
template <int value>
struct Held {
  __host__ __device__ constexpr operator int() const { return value; }
};

// Blocks of a multiprocessor: as many as leave enough registers.
constexpr int large_blocks(Kind kind, int n, int sums, bool backward) {
  return (backward && n == 8) || (kind == kGeneral && (backward || sums > 4)) ? 2 : 3;
}

// An axis of windows: how many a launch visits and how many exist (backward, there are cells after the last one); the
// cells of a window, and of the input, in packs; the elements from one cell to the next.
struct LargeAxis {
  Divider visited;
  int windows, kernel, in, step;
};

// A group: `members` lanes for each of `columns` packs of channels. Both are powers of two. A line of a window has its
// cells along `w`, at which the members take turns, or if `upright` along `h`, and each member has its own.
struct LargeUnits {
  int groups, members, columns;
  int packs;                   // of channels; 1 if contiguous
  Divider column_groups;       // groups for all packs
  int column_bits, size_bits;  // log2 of the columns, and of the lanes of a group
  bool upright;
  LargeAxis d, h, w;
  int64_t plane;  // elements
};

// What the lanes of a group share by shuffles, and by shared memory if the group is a whole block.
template <int sums, class SharedArray>
struct LargeGroup {
  int columns, size;
  SharedArray& shared;

  template <class Join>
  __device__ __forceinline__ void reduce(float (&values)[sums], const Join& join) const {
    const int width = size < kWarp ? size : kWarp;
#pragma unroll 1
    for (int offset = columns; offset < width; offset *= 2) {
#pragma unroll
      for (int l = 0; l < sums; ++l) values[l] = join(values[l], __shfl_xor_sync(~0u, values[l], offset));
    }
    if (size <= kWarp) return;
    const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp, column = lane % columns;
    __syncthreads();
    if (lane < columns) {
#pragma unroll
      for (int l = 0; l < sums; ++l) shared[(l * kLargeWarps + warp) * kLargeColumns + lane] = values[l];
    }
    __syncthreads();
#pragma unroll
    for (int l = 0; l < sums; ++l) {
      values[l] = shared[l * kLargeWarps * kLargeColumns + column];
#pragma unroll 1
      for (int w = 1; w < kLargeWarps; ++w)
        values[l] = join(values[l], shared[(l * kLargeWarps + w) * kLargeColumns + column]);
    }
  }

  __device__ __forceinline__ void reduce_largest(float (&values)[sums]) const {
    reduce(values, [](float a, float b) { return fmaxf(a, b); });
  }
  __device__ __forceinline__ void reduce_sum(float (&values)[sums]) const {
    reduce(values, [](float a, float b) { return a + b; });
  }
};

// A thread's part of a window. sums: windows of a pack, 1 or, with channels innermost, n.
template <Kind kind, class T, int n, int sums>
struct LargeThread {
  static constexpr bool general = kind == kGeneral;
  static constexpr bool run = n > 1 && sums == 1;  // packs of cells, not of channels: only runs of memory have them
  const LargeUnits& units;
  const Weighting<float>& weighting;
  float exponent;
  int member;
  bool active, is_first, exists;  // exists: the window; otherwise its cells come after the last one
  int64_t cell, result;           // the first element of the thread's first line, and of the results
  int planes, rows;               // of lines
  // Of a line: the first turn, the end, the distance of those of a thread; elements between turns.
  int first, turns, stride, step;
  Inputs<T> in;

  __device__ __forceinline__
  LargeThread(const LargeUnits& units_, const Weighting<float>& weighting_, const Inputs<T>& inputs)
      : units(units_), weighting(weighting_), exponent(weighting_.slope.rate * float(kLog2E)), in(inputs) {
    const int lane = int(threadIdx.x) & ((1 << units.size_bits) - 1);
    const int group = int((blockIdx.x * kLargeThreads + threadIdx.x) >> units.size_bits);
    int pack = group, at = run ? group : units.column_groups.split(pack);
    member = run ? lane : lane >> units.column_bits;
    pack = run ? 0 : (pack << units.column_bits) + (lane & (units.columns - 1));
    active = group < units.groups && pack < units.packs;
    is_first = active && member == 0;
    at = active ? at : 0;
    if constexpr (run) {
      exists = true;
      result = at;
      cell = int64_t(at) * units.plane;
      planes = rows = 1;
      turns = units.w.kernel;
    } else {
      find(at, pack);
    }
    first = member;
    stride = units.members;
    step = units.w.step;
    if (!run && units.upright) {
      cell += member * units.w.step;
      turns = member < turns ? rows : 0;
      rows = 1;
      first = 0;
      stride = 1;
      step = units.h.step;
    }
    if (!active) turns = 0;
  }

  // Where window `at` of the launch is.
  __device__ __forceinline__ void find(int at, int pack) {
    int d, h, w = at;
    h = units.w.visited.split(w);
    d = units.h.visited.split(h);
    const int64_t plane = units.d.visited.split(d);
    exists = d < units.d.windows && h < units.h.windows && w < units.w.windows;
    const int64_t window = ((plane * units.d.windows + d) * units.h.windows + h) * units.w.windows + w;
    result = active ? (window * units.packs + pack) * sums : 0;
    cell = plane * units.plane + int64_t(d) * units.d.kernel * units.d.step + h * units.h.kernel * units.h.step +
           w * units.w.kernel * units.w.step + (active ? pack * n : 0);
    planes = cells_within(units.d, d);
    rows = cells_within(units.h, h);
    turns = cells_within(units.w, w);
  }

  __device__ __forceinline__ static int cells_within(const LargeAxis& axis, int window) {
    const int left = axis.in - window * axis.kernel;
    return left < axis.kernel ? left : axis.kernel;
  }

  __device__ __forceinline__ float logit_of(float value, T logit) const {
    return general ? static_cast<float>(logit) : value * weighting.slope.scale;
  }

  // Calls visit(offsets, x, logits, held) for `count` packs of a line, all of which are read before the first is used.
  // held: how many of them exist.
  template <int count, class Count, class Visit>
  __device__ __forceinline__ void visit_packs(int64_t line, int turn, Count held, const Visit& visit) const {
    int64_t at[count];
    Pack<T, n> x[count] = {}, logits[count] = {};
#pragma unroll
    for (int k = 0; k < count; ++k) {
      if (k >= held) continue;
      at[k] = line + int64_t(turn + k * stride) * step;
      x[k] = load<n>(in.x + at[k]);
      if constexpr (general) logits[k] = load<n>(in.logits + at[k]);
    }
    visit(at, x, logits, held);
  }

  // Calls visit for all packs of the thread, `count` at a time.
  template <int count, class Visit>
  __device__ __forceinline__ void visit_all(const Visit& visit) const {
    if constexpr (run) return visit_line<count>(cell, visit);
    int64_t line = cell;
#pragma unroll 1
    for (int d = 0; d < planes; ++d) {
#pragma unroll 1
      for (int h = 0; h < rows; ++h) {
        visit_line<count>(line, visit);
        line += units.h.step;
      }
      line += units.d.step - int64_t(rows) * units.h.step;
    }
  }

  template <int count, class Visit>
  __device__ __forceinline__ void visit_line(int64_t line, const Visit& visit) const {
    int turn = first;
#pragma unroll 1
    for (; turn + (count - 1) * stride < turns; turn += count * stride)
      visit_packs<count>(line, turn, Held<count>{}, visit);
    if (turn >= turns) return;
    int held = 1;
#pragma unroll
    for (int k = 1; k < count - 1; ++k) held += turn + k * stride < turns ? 1 : 0;
    visit_packs<count>(line, turn, held, visit);
  }

  // The sums of the thread's cells, for finite cells.
  __device__ __forceinline__ void pool(float (&top)[sums], float (&weights)[sums], float (&products)[sums]) const {
    constexpr int run = n / sums;  // cells of a window in a pack
#pragma unroll
    for (int l = 0; l < sums; ++l) {
      top[l] = -Limits<float>::max;
      weights[l] = products[l] = 0;
    }
    visit_all<kLargeBatch>([&](const auto&, const auto& x, const auto& logits, auto held) {
      constexpr int count = kLargeBatch;
#pragma unroll
      for (int l = 0; l < sums; ++l) {
        float value[count * run], logit[count * run], next = top[l];
#pragma unroll
        for (int i = 0; i < count * run; ++i) {
          const int lane = l * run + i % run;
          value[i] = pooled<kind>(static_cast<float>(x[i / run].lanes[lane]));
          // A pack that does not exist has values of 0, and gets weights of 0.
          logit[i] = i / run < held ? logit_of(value[i], logits[i / run].lanes[lane]) : -Limits<float>::max;
          next = fmaxf(next, logit[i]);
        }
        rescale(top[l], next, weights[l], products[l]);
#pragma unroll
        for (int i = 0; i < count * run; ++i) {
          const float t = logit[i] - next, e = DeviceMath::exp2(t * exponent);
          weights[l] += e;
          products[l] += e * (general ? value[i] : t);
        }
      }
    });
  }

  // Sums about `next` from those about `top`, which becomes it.
  __device__ __forceinline__ void rescale(float& top, float next, float& weights, float& products) const {
    const float back = top - next, scale = DeviceMath::exp2(back * exponent);
    products = (products + (general ? 0.0f : weights * back)) * scale;
    weights *= scale;
    top = next;
  }

  // The results and states of the group's windows, for finite cells; the return value has a bit for each other one.
  template <class Group>
  __device__ __forceinline__ unsigned pool_group(
      const Group& group, float (&results)[sums], WindowState<float> (&states)[sums]) const {
    float top[sums], weights[sums], products[sums], largest[sums];
    pool(top, weights, products);
#pragma unroll
    for (int l = 0; l < sums; ++l) largest[l] = top[l];
    group.reduce_largest(largest);
#pragma unroll
    for (int l = 0; l < sums; ++l) rescale(top[l], largest[l], weights[l], products[l]);
    group.reduce_sum(weights);
    group.reduce_sum(products);
    unsigned again = 0;
#pragma unroll
    for (int l = 0; l < sums; ++l) {
      results[l] = finish_quickly<general>({largest[l], weights[l], products[l]}, weighting.slope, states[l]);
      again |= active && !is_finite(results[l]) ? 1u << l : 0u;
    }
    return again;
  }

  // The same for every input, by soft_pool.h.
  template <class Group>
  __device__ __forceinline__ void pool_group_carefully(
      const Group& group, float (&results)[sums], WindowState<float> (&states)[sums]) const {
    constexpr int run = n / sums;
    float top[sums], weights[sums] = {}, products[sums] = {};
#pragma unroll
    for (int l = 0; l < sums; ++l) top[l] = -Limits<float>::infinity;
    visit_all<1>([&](const auto&, const auto& x, const auto& logits, auto) {
#pragma unroll
      for (int lane = 0; lane < n; ++lane)
        top[lane / run] = larger(
            logit_of(pooled<kind>(static_cast<float>(x[0].lanes[lane])), logits[0].lanes[lane]), top[lane / run]);
    });
    group.reduce_largest(top);
    if constexpr (!general) {
#pragma unroll
      for (int l = 0; l < sums; ++l) top[l] = shift_of<float>(top[l]);
    }
    visit_all<1>([&](const auto&, const auto& x, const auto& logits, auto) {
#pragma unroll
      for (int lane = 0; lane < n; ++lane) {
        const int l = lane / run;
        const float value = pooled<kind>(static_cast<float>(x[0].lanes[lane])),
                    logit = logit_of(value, logits[0].lanes[lane]);
        if constexpr (general) {
          add_value<DeviceMath, float>(value, logit, top[l], weights[l], products[l]);
        } else {
          add_cell<DeviceMath, float>(logit, top[l], weighting.slope.rate, weights[l], products[l]);
        }
      }
    });
    group.reduce_sum(weights);
    group.reduce_sum(products);
#pragma unroll
    for (int l = 0; l < sums; ++l) {
      if constexpr (general) {
        results[l] = products[l] / weights[l];
        states[l] = {top[l], is_finite(results[l]) ? 1.0f / weights[l] : Limits<float>::nan, results[l]};
      } else {
        results[l] = finish(top[l], weights[l], products[l], weighting.slope, states[l]);
      }
    }
  }
};

template <Kind kind, class T, int n, int sums>
__global__ void __launch_bounds__(kLargeThreads, large_blocks(kind, n, sums, false))
    large_forward(LargeUnits units, Weighting<float> weighting, Inputs<T> in, T* y) {
  VIDEOPOOL_SHARED(float, shared, sums * kLargeWarps * kLargeColumns);
  const LargeThread<kind, T, n, sums> thread(units, weighting, in);
  const LargeGroup<sums, decltype(shared)> group{units.columns, units.members * units.columns, shared};
  float results[sums];
  WindowState<float> states[sums];
  const unsigned again = thread.pool_group(group, results, states);
  if (__syncthreads_or(again != 0)) thread.pool_group_carefully(group, results, states);
  if (!thread.is_first) return;
  Pack<T, sums> out;
#pragma unroll
  for (int l = 0; l < sums; ++l) out.lanes[l] = static_cast<T>(results[l]);
  store(y + thread.result, out);
}

template <Kind kind, class T, int n, int sums>
__global__ void __launch_bounds__(kLargeThreads, large_blocks(kind, n, sums, true))
    large_backward(LargeUnits units, Weighting<float> weighting, const T* grad, Inputs<T> in, Gradients<T> to) {
  constexpr bool general = kind == kGeneral;
  constexpr int run = n / sums;
  VIDEOPOOL_SHARED(float, shared, sums * kLargeWarps * kLargeColumns);
  const LargeThread<kind, T, n, sums> thread(units, weighting, in);
  const LargeGroup<sums, decltype(shared)> group{units.columns, units.members * units.columns, shared};
  float results[sums], grads[sums];
  WindowState<float> states[sums];
  const bool careful = __syncthreads_or(thread.pool_group(group, results, states) != 0);
  if (careful) thread.pool_group_carefully(group, results, states);
  if (!thread.active) return;
  Pack<T, sums> given = {};
  if (thread.exists) given = load<sums>(grad + thread.result);
  const float slope = weighting.slope.rate * weighting.exact;
#pragma unroll
  for (int l = 0; l < sums; ++l) {
    grads[l] = static_cast<float>(given.lanes[l]);
    if (!careful) states[l].inverse *= grads[l];
  }
  thread.template visit_all<kLargeBatch>([&](const auto& at, auto& x, auto& logits, auto held) {
#pragma unroll
    for (int i = 0; i < kLargeBatch; ++i) {
      if (i >= held) continue;
#pragma unroll
      for (int lane = 0; lane < n; ++lane) {
        const WindowState<float>& state = states[lane / run];
        const T cell = x[i].lanes[lane];
        const float value = pooled<kind>(static_cast<float>(cell)),
                    logit = thread.logit_of(value, logits[i].lanes[lane]);
        float dvalue = 0, dlogit = 0;
        if (!thread.exists) {  // cells after the last window
        } else if (!careful) {
          const float e = DeviceMath::exp2((logit - state.shift) * thread.exponent);
          dvalue = gradient_quickly<general>(value, logit, e, state.inverse, state, slope, dlogit);
        } else if constexpr (general) {
          add_gradients<DeviceMath, float>(value, logit, grads[lane / run], state, dvalue, dlogit);
        } else {
          dvalue =
              cell_gradient<DeviceMath, float>(logit, grads[lane / run], state, weighting.slope.rate, weighting.exact);
        }
        x[i].lanes[lane] = static_cast<T>(through<kind>(dvalue, static_cast<float>(cell)));
        if constexpr (general) logits[i].lanes[lane] = static_cast<T>(dlogit);
      }
      store(to.dx + at[i], x[i]);
      if constexpr (general) store(to.dlogits + at[i], logits[i]);
    }
  });
}

inline int64_t cells_of_window(const Problem<int64_t>& p) {
  return p.d.kernel * p.h.kernel * p.w.kernel;
}

// n: elements of a pack. every: visit all cells, those after the last windows too.
inline LargeUnits large_units(const Problem<int64_t>& p, int64_t n, bool every, int64_t& blocks) {
  constexpr int64_t enough = int64_t(1) << 18;  // threads
  const bool run = is_run(p);
  const int64_t channels = p.channels_last ? p.channels : 1, packs = p.channels_last ? channels / n : 1;
  const auto axis = [&](const Axis<int64_t>& of, int64_t step) {
    const int64_t visited = every ? ceil_div(of.in, of.kernel) : of.out;
    return LargeAxis{Divider(visited), int(of.out), int(of.kernel), int(of.in), int(step)};
  };
  // A run is a plane with one window, of one line of packs.
  const int64_t cells = cells_of_window(p), turns = run ? (p.channels_last ? cells : cells / n) : p.w.kernel;
  const LargeAxis one{Divider(1), 1, 1, 1, 0};
  const LargeAxis line{Divider(1), 1, int(turns), int(turns), int(p.channels_last ? channels : n)};
  const Strides<int64_t> step = cell_strides(p);
  const LargeAxis d = run ? one : axis(p.d, step.d), h = run ? one : axis(p.h, step.h),
                  w = run ? line : axis(p.w, step.w);
  const int64_t planes = run ? windows_of(p) / channels : p.channels_last ? p.batch : p.batch * p.channels;
  const int64_t windows = planes * d.visited.divisor * h.visited.divisor * w.visited.divisor;
  int64_t columns = 1;
  while (columns < kLargeColumns && columns < packs) columns *= 2;
  const int64_t column_groups = ceil_div(packs, columns), groups = windows * column_groups;
  const bool upright = !run && !p.channels_last && p.w.kernel <= kWarp;
  int64_t members = 1;
  if (run || p.channels_last) {
    // More lanes share a window as long as each has some batches, or the GPU has idle threads.
    while (members * columns < kWarp && members * 2 <= turns &&
           (turns >= 4 * kLargeBatch * members ||
            (groups * columns * members < enough && turns >= 2 * kLargeBatch * members)))
      members *= 2;
    if (members * columns == kWarp && turns >= 4 * kLargeBatch * kLargeThreads / columns && groups * kWarp < enough)
      members = kLargeThreads / columns;
  } else {
    while (members < kWarp && members < p.w.kernel) members *= 2;
  }
  blocks = ceil_div(groups, kLargeThreads / (members * columns));
  const auto bits = [](int64_t power) {
    int found = 0;
    while ((int64_t(1) << found) < power) ++found;
    return found;
  };
  return {
      int(groups),
      int(members),
      int(columns),
      int(packs),
      Divider(column_groups),
      bits(columns),
      bits(members * columns),
      upright,
      d,
      h,
      w,
      run ? cells * channels : step.plane};
}

}  // namespace videopool
