// The kernels for windows that are runs of memory: whole planes, as in global pooling, or whole rows of the last axes.
//
// The lanes of a group take turns at the packs of a window, keep sums relative to their largest cell so far, and merge
// them by shuffles. Contiguous: a pack has n cells of the window. Channels innermost: it has n channels of one cell, and
// `columns` neighboring lanes have neighboring packs, so that each access of a warp is of whole memory transfers. A long
// window is shared by all threads of a block.
#pragma once
#include "launch.cuh"
#include "numerics.cuh"

namespace videopool {

constexpr int kRunThreads = 256, kWarp = 32, kRunWarps = kRunThreads / kWarp;
constexpr int kRunColumns = 8;  // at most
constexpr int kRunBatch = 4;    // loads in flight of each thread

enum RunKind { kRunSoft, kRunRelu, kRunGeneral };

// A number of packs that the compiler knows.
template <int value>
struct Held {
  __host__ __device__ constexpr operator int() const { return value; }
};

// Blocks of a multiprocessor: as many as leave enough registers.
constexpr int run_blocks(RunKind kind, int sums) { return kind == kRunGeneral && sums > 4 ? 2 : 3; }

// A group: `members` lanes for each of `columns` packs of channels. Both are powers of two.
struct RunUnits {
  int groups, members, columns;
  int packs;            // of channels; 1 if contiguous
  int column_groups;    // groups for all packs
  int turns, step;      // of a window: its packs, and the elements from one to the next
  int64_t window;       // elements
};

// What the lanes of a group share by shuffles, and by shared memory if the group is a whole block.
template <int sums, class SharedArray>
struct RunGroup {
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
      for (int l = 0; l < sums; ++l) shared[(l * kRunWarps + warp) * kRunColumns + lane] = values[l];
    }
    __syncthreads();
#pragma unroll
    for (int l = 0; l < sums; ++l) {
      values[l] = shared[l * kRunWarps * kRunColumns + column];
#pragma unroll 1
      for (int w = 1; w < kRunWarps; ++w) values[l] = join(values[l], shared[(l * kRunWarps + w) * kRunColumns + column]);
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
template <RunKind kind, class T, int n, int sums>
struct RunThread {
  static constexpr bool general = kind == kRunGeneral;
  const RunUnits& units;
  const Weighting<float>& weighting;
  float exponent;
  int member;
  bool active, is_first;
  int64_t cell, result;  // the first element of the window, and of the results
  Inputs<T> in;

  __device__ __forceinline__ RunThread(const RunUnits& units_, const Weighting<float>& weighting_, const Inputs<T>& inputs)
      : units(units_), weighting(weighting_), exponent(weighting_.slope.rate * float(kLog2E)), in(inputs) {
    const int size = units.members * units.columns, lane = int(threadIdx.x) % size;
    const int group = int(blockIdx.x) * (kRunThreads / size) + int(threadIdx.x) / size;
    member = lane / units.columns;
    const int window = group / units.column_groups;
    const int pack = (group - window * units.column_groups) * units.columns + lane % units.columns;
    active = group < units.groups && pack < units.packs;
    is_first = active && member == 0;
    cell = active ? window * units.window + pack * n : 0;
    result = active ? (int64_t(window) * units.packs + pack) * sums : 0;
  }

  __device__ __forceinline__ float value_of(T x) const {
    const float value = static_cast<float>(x);
    return kind == kRunRelu && value < 0.0f ? 0.0f : value;
  }
  __device__ __forceinline__ float logit_of(float value, T logit) const {
    return general ? static_cast<float>(logit) : value * weighting.slope.scale;
  }

  // Calls visit(offsets, x, logits, held) for `count` packs, all of which are read before the first is used. held: how
  // many of them exist.
  template <int count, class Count, class Visit>
  __device__ __forceinline__ void visit_packs(int turn, Count held, const Visit& visit) const {
    int64_t at[count];
    Pack<T, n> x[count] = {}, logits[count] = {};
#pragma unroll
    for (int k = 0; k < count; ++k) {
      if (k >= held) continue;
      at[k] = cell + int64_t(turn + k * units.members) * units.step;
      x[k] = load<n>(in.x + at[k]);
      if constexpr (general) logits[k] = load<n>(in.logits + at[k]);
    }
    visit(at, x, logits, held);
  }

  // Calls visit for all packs of the thread, kRunBatch at a time.
  template <class Visit>
  __device__ __forceinline__ void visit_all(const Visit& visit) const {
    int turn = active ? member : units.turns;
#pragma unroll 1
    for (; turn + (kRunBatch - 1) * units.members < units.turns; turn += kRunBatch * units.members)
      visit_packs<kRunBatch>(turn, Held<kRunBatch>{}, visit);
    if (turn >= units.turns) return;
    int held = 1;
#pragma unroll
    for (int k = 1; k < kRunBatch - 1; ++k) held += turn + k * units.members < units.turns ? 1 : 0;
    visit_packs<kRunBatch>(turn, held, visit);
  }

  // The same, one at a time.
  template <class Visit>
  __device__ __forceinline__ void visit_each(const Visit& visit) const {
#pragma unroll 1
    for (int turn = active ? member : units.turns; turn < units.turns; turn += units.members)
      visit_packs<1>(turn, Held<1>{}, visit);
  }

  // The sums of the thread's cells, for finite cells.
  __device__ __forceinline__ void pool(float (&top)[sums], float (&weights)[sums], float (&products)[sums]) const {
    constexpr int run = n / sums;  // cells of a window in a pack
#pragma unroll
    for (int l = 0; l < sums; ++l) {
      top[l] = -Limits<float>::max;
      weights[l] = products[l] = 0;
    }
    visit_all([&](const auto&, const auto& x, const auto& logits, auto held) {
      constexpr int count = kRunBatch;
#pragma unroll
      for (int l = 0; l < sums; ++l) {
        float value[count * run], logit[count * run], next = top[l];
#pragma unroll
        for (int i = 0; i < count * run; ++i) {
          const int lane = l * run + i % run;
          value[i] = value_of(x[i / run].lanes[lane]);
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
    visit_each([&](const auto&, const auto& x, const auto& logits, auto) {
#pragma unroll
      for (int lane = 0; lane < n; ++lane)
        top[lane / run] = larger(logit_of(value_of(x[0].lanes[lane]), logits[0].lanes[lane]), top[lane / run]);
    });
    group.reduce_largest(top);
    if constexpr (!general) {
#pragma unroll
      for (int l = 0; l < sums; ++l) top[l] = shift_of<float>(top[l]);
    }
    visit_each([&](const auto&, const auto& x, const auto& logits, auto) {
#pragma unroll
      for (int lane = 0; lane < n; ++lane) {
        const int l = lane / run;
        const float value = value_of(x[0].lanes[lane]), logit = logit_of(value, logits[0].lanes[lane]);
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

template <RunKind kind, class T, int n, int sums>
__global__ void __launch_bounds__(kRunThreads, run_blocks(kind, sums)) runs_forward(
    RunUnits units, Weighting<float> weighting, Inputs<T> in, T* y) {
  VIDEOPOOL_SHARED(float, shared, sums * kRunWarps * kRunColumns);
  const RunThread<kind, T, n, sums> thread(units, weighting, in);
  const RunGroup<sums, decltype(shared)> group{units.columns, units.members * units.columns, shared};
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

template <RunKind kind, class T, int n, int sums>
__global__ void __launch_bounds__(kRunThreads, run_blocks(kind, sums)) runs_backward(
    RunUnits units, Weighting<float> weighting, const T* grad, Inputs<T> in, Gradients<T> to) {
  constexpr bool general = kind == kRunGeneral;
  constexpr int run = n / sums;
  VIDEOPOOL_SHARED(float, shared, sums * kRunWarps * kRunColumns);
  const RunThread<kind, T, n, sums> thread(units, weighting, in);
  const RunGroup<sums, decltype(shared)> group{units.columns, units.members * units.columns, shared};
  float results[sums], grads[sums];
  WindowState<float> states[sums];
  const bool careful = __syncthreads_or(thread.pool_group(group, results, states) != 0);
  if (careful) thread.pool_group_carefully(group, results, states);
  if (!thread.active) return;
  const Pack<T, sums> given = load<sums>(grad + thread.result);
  const float slope = weighting.slope.rate * weighting.exact;
#pragma unroll
  for (int l = 0; l < sums; ++l) {
    grads[l] = static_cast<float>(given.lanes[l]);
    if (!careful) states[l].inverse *= grads[l];
  }
  thread.visit_all([&](const auto& at, auto& x, auto& logits, auto held) {
#pragma unroll
    for (int i = 0; i < kRunBatch; ++i) {
      if (i >= held) continue;
#pragma unroll
      for (int lane = 0; lane < n; ++lane) {
        const WindowState<float>& state = states[lane / run];
        const T cell = x[i].lanes[lane];
        const float value = thread.value_of(cell), logit = thread.logit_of(value, logits[i].lanes[lane]);
        float dvalue = 0, dlogit = 0;
        if (!careful) {
          const float e = DeviceMath::exp2((logit - state.shift) * thread.exponent);
          dvalue = gradient_quickly<general>(value, logit, e, state.inverse, state, slope, dlogit);
        } else if constexpr (general) {
          add_gradients<DeviceMath, float>(value, logit, grads[lane / run], state, dvalue, dlogit);
        } else {
          dvalue = cell_gradient<DeviceMath, float>(logit, grads[lane / run], state, weighting.slope.rate, weighting.exact);
        }
        if constexpr (kind == kRunRelu) dvalue = static_cast<float>(cell) <= 0.0f ? 0.0f : dvalue;
        x[i].lanes[lane] = static_cast<T>(dvalue);
        if constexpr (general) logits[i].lanes[lane] = static_cast<T>(dlogit);
      }
      store(to.dx + at[i], x[i]);
      if constexpr (general) store(to.dlogits + at[i], logits[i]);
    }
  });
}

inline int64_t cells_of_window(const Problem<int64_t>& p) { return p.d.kernel * p.h.kernel * p.w.kernel; }

// n: elements of a pack
inline RunUnits run_units(const Problem<int64_t>& p, int64_t n, int64_t& blocks) {
  constexpr int64_t enough = int64_t(1) << 18;  // threads
  const int64_t cells = cells_of_window(p), channels = p.channels_last ? p.channels : 1;
  const int64_t windows = windows_of(p) / channels, packs = p.channels_last ? channels / n : 1;
  const int64_t turns = p.channels_last ? cells : cells / n;
  int64_t columns = 1;
  while (columns < kRunColumns && columns < packs) columns *= 2;
  const int64_t column_groups = ceil_div(packs, columns), groups = windows * column_groups;
  // More lanes share a window as long as each has some batches, or the GPU has idle threads.
  int64_t members = 1;
  while (members * columns < kWarp && members * 2 <= turns &&
         (turns >= 4 * kRunBatch * members || (groups * columns * members < enough && turns >= 2 * kRunBatch * members)))
    members *= 2;
  if (members * columns == kWarp && turns >= 4 * kRunBatch * kRunThreads / columns && groups * kWarp < enough)
    members = kRunThreads / columns;
  blocks = ceil_div(groups, kRunThreads / (members * columns));
  return {
      int(groups), int(members), int(columns), int(packs), int(column_groups),
      int(turns), int(p.channels_last ? channels : n), cells * channels};
}

}  // namespace videopool
