// The kernels for larger windows that share no cell, those over whole axes (global pooling) among them.
//
// The threads of a group take turns at the cells of one window, each keeps sums relative to its largest cell so far,
// and the group merges them in shared memory, always in the same order. Backward, the group then reads the cells again,
// which are in the cache unless the window is very large. In contiguous tensors neighboring threads of a group have
// neighboring cells of a row; if channels are innermost they belong to groups of neighboring channels, and a thread has
// n channels. Axes that windows cover completely are first merged with the next one.
#pragma once
#include "launch.cuh"
#include "numerics.cuh"

namespace videopool {

constexpr int kLargeThreads = 256;
constexpr int kBatch = 4;  // loads in flight of each thread

// count: groups; each has `columns` threads along a row, `splits` times. positions: turns of all threads of a group.
struct LargeUnits {
  int count, groups, columns, splits, positions;
  bool one_row;
  Divider channels, w, h, d;      // groups along each axis, in the order of memory
  Divider row_positions, rows;    // turns for a row of the window, rows in a plane of it
};

template <bool general>
__device__ __forceinline__ void merge(Sums& into, const Sums& other, float exponent) {
  const float top = fmaxf(into.top, other.top), near = into.top - top, far = other.top - top;
  const float scale = DeviceMath::exp2(near * exponent), other_scale = DeviceMath::exp2(far * exponent);
  const float products = into.products + (general ? 0.0f : into.weights * near);
  const float other_products = other.products + (general ? 0.0f : other.weights * far);
  into = {
      top,
      into.weights * scale + other.weights * other_scale,
      products * scale + other_products * other_scale};
}

__device__ __forceinline__ Axis<int> split_axis(const Axis<int>& axis) {
  return {axis.in, axis.out, axis.kernel, axis.kernel, 0, 1, 1, false};
}

__device__ __forceinline__ Problem<int> large_problem(const Problem<int>& p) {
  return {p.batch, p.channels, split_axis(p.d), split_axis(p.h), split_axis(p.w), p.channels_last};
}

// A thread's part of a window.
template <bool general, class T, int n>
struct LargeThread {
  const Problem<int>& p;
  const LargeUnits& units;
  const Weighting<float>& weighting;
  Strides<int> step;
  int column, split, group;  // the group within the block
  bool active;
  Inputs<T> in;  // of the plane, with the channel
  Place<int> window;
  int64_t plane;
  int channel;

  __device__ __forceinline__ LargeThread(
      const Problem<int>& p_, const LargeUnits& units_, const Weighting<float>& weighting_, const Inputs<T>& inputs)
      : p(p_), units(units_), weighting(weighting_), step(cell_strides(p_)), in(inputs) {
    int t = int(threadIdx.x);
    column = t % units.columns;
    t /= units.columns;
    group = t % units.groups;
    split = t / units.groups;
    int i = int(blockIdx.x) * units.groups + group;
    active = split < units.splits && i < units.count;
    i = active ? i : 0;
    channel = i;
    i = units.channels.split(channel);
    channel *= n;
    window.w = i;
    i = units.w.split(window.w);
    window.h = i;
    i = units.h.split(window.h);
    window.d = i;
    plane = units.d.split(window.d);
    in.x += plane * step.plane + channel;
    if constexpr (general) in.logits += plane * step.plane + channel;
  }

  __device__ __forceinline__ bool exists() const {
    return window.d < p.d.out && window.h < p.h.out && window.w < p.w.out;
  }

  // The cell of turn `position`: its offset in the plane, or -1.
  __device__ __forceinline__ int cell_at(int position) const {
    if (position >= units.positions) return -1;
    int kw = position, kh = 0, kd = 0;
    if (!units.one_row) {
      kh = units.row_positions.split(kw);
      kd = units.rows.split(kh);
    }
    kw = kw * units.columns + column;
    const int d = window.d * p.d.kernel + kd, h = window.h * p.h.kernel + kh, w = window.w * p.w.kernel + kw;
    if (kw >= p.w.kernel || d >= p.d.in || h >= p.h.in || w >= p.w.in) return -1;
    return d * step.d + h * step.h + w * step.w;
  }

  // Reads the next cells of the thread, all before the first is used.
  __device__ __forceinline__ void read(
      int position, int (&at)[kBatch], Pack<T, n> (&x)[kBatch], Pack<T, n> (&logits)[kBatch]) const {
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      at[k] = cell_at(position + k * units.splits);
      if (at[k] < 0) continue;
      x[k] = load<n>(in.x + at[k]);
      if constexpr (general) logits[k] = load<n>(in.logits + at[k]);
    }
  }

  __device__ __forceinline__ float logit_of(float value, T logit) const {
    return general ? static_cast<float>(logit) : value * weighting.slope.scale;
  }

  __device__ __forceinline__ void pool(Sums (&sums)[n]) const {
    const float exponent = weighting.slope.rate * float(kLog2E);
#pragma unroll
    for (int l = 0; l < n; ++l) sums[l] = {-Limits<float>::max, 0, 0};
    if (!active || !exists()) return;
#pragma unroll 1
    for (int position = split; position < units.positions; position += kBatch * units.splits) {
      int at[kBatch];
      Pack<T, n> x[kBatch] = {}, logits[kBatch] = {};
      read(position, at, x, logits);
#pragma unroll
      for (int l = 0; l < n; ++l) {
        Sums next{sums[l].top, 0, 0};
        float value[kBatch], logit[kBatch];
#pragma unroll
        for (int k = 0; k < kBatch; ++k) {
          value[k] = pooled_value<general>(x[k].lanes[l], weighting);
          logit[k] = at[k] < 0 ? -Limits<float>::max : logit_of(value[k], logits[k].lanes[l]);
          next.top = fmaxf(next.top, logit[k]);
        }
        const float back = sums[l].top - next.top, scale = DeviceMath::exp2(back * exponent);
        next.weights = sums[l].weights * scale;
        next.products = (sums[l].products + (general ? 0.0f : sums[l].weights * back)) * scale;
#pragma unroll
        for (int k = 0; k < kBatch; ++k) {
          const float t = logit[k] - next.top, e = at[k] < 0 ? 0.0f : DeviceMath::exp2(t * exponent);
          next.weights += e;
          next.products += e * (general ? value[k] : t);
        }
        sums[l] = next;
      }
    }
  }

  // Merges the sums of a group; its first thread, column and split 0, has the result.
  template <class SharedArray>
  __device__ __forceinline__ void merge_group(Sums (&sums)[n], SharedArray& shared) const {
    const float exponent = weighting.slope.rate * float(kLog2E);
    const int members = units.columns * units.splits, member = split * units.columns + column;
    put_shared(sums, shared);
    int half = 1;
    while (half < members) half *= 2;
#pragma unroll 1
    for (half /= 2; half > 0; half /= 2) {
      __syncthreads();
      if (member >= half || member + half >= members) continue;
      const int other = member + half;
      const int thread = (other / units.columns * units.groups + group) * units.columns + other % units.columns;
#pragma unroll
      for (int l = 0; l < n; ++l) {
        const int at = l * kLargeThreads + thread;
        constexpr int array = n * kLargeThreads;
        merge<general>(sums[l], Sums{shared[at], shared[at + array], shared[at + 2 * array]}, exponent);
      }
      put_shared(sums, shared);
    }
  }

  template <class SharedArray>
  __device__ __forceinline__ void put_shared(const Sums (&sums)[n], SharedArray& shared) const {
#pragma unroll
    for (int l = 0; l < n; ++l) {
      const int at = l * kLargeThreads + int(threadIdx.x);
      constexpr int array = n * kLargeThreads;
      shared[at] = sums[l].top;
      shared[at + array] = sums[l].weights;
      shared[at + 2 * array] = sums[l].products;
    }
  }

  __device__ __forceinline__ bool is_first() const { return active && column == 0 && split == 0; }

  // One lane of the window in the form for every input.
  __device__ __forceinline__ float pool_again(int l, WindowState<float>& state) const {
    const Inputs<T> lane{in.x + l, general ? in.logits + l : nullptr};
    return pool_window<general>(p, step, window, lane, weighting, state);
  }
};

template <bool general, class T, int n>
__global__ void large_forward(
    Problem<int> problem, LargeUnits units, Weighting<float> weighting, Inputs<T> in, T* y) {
  VIDEOPOOL_SHARED(float, shared, 3 * n * kLargeThreads);
  const Problem<int> p = large_problem(problem);
  const LargeThread<general, T, n> thread(p, units, weighting, in);
  Sums sums[n];
  thread.pool(sums);
  thread.merge_group(sums, shared);
  if (!thread.is_first()) return;
  const Strides<int> out = window_strides(p);
  y += thread.plane * out.plane + thread.window.d * out.d + thread.window.h * out.h + thread.window.w * out.w +
       thread.channel;
  Pack<T, n> results;
  unsigned again = 0;
#pragma unroll
  for (int l = 0; l < n; ++l) {
    WindowState<float> state;
    const float result = finish_quickly<general>(sums[l], weighting.slope, state);
    results.lanes[l] = static_cast<T>(result);
    again |= is_finite(result) ? 0u : 1u << l;
  }
  store(y, results);
#pragma unroll 1
  for (int l = 0; again != 0; ++l, again >>= 1) {
    WindowState<float> state;
    if ((again & 1) != 0) store(y + l, static_cast<T>(thread.pool_again(l, state)));
  }
}

template <bool general, class T, int n>
__global__ void large_backward(
    Problem<int> problem, LargeUnits units, Weighting<float> weighting, const T* grad, Inputs<T> in, Gradients<T> to) {
  VIDEOPOOL_SHARED(float, shared, 4 * n * kLargeThreads);
  const Problem<int> p = large_problem(problem);
  const LargeThread<general, T, n> thread(p, units, weighting, in);
  Sums sums[n];
  thread.pool(sums);
  thread.merge_group(sums, shared);
  // The state of the group's window: shift, grad / sum of weights, mean, and whether the quick form is valid.
  constexpr int array = n * kLargeThreads;
  const bool exists = thread.exists();
  if (thread.is_first() && exists) {
    const Strides<int> out = window_strides(p);
    grad += thread.plane * out.plane + thread.window.d * out.d + thread.window.h * out.h + thread.window.w * out.w +
            thread.channel;
#pragma unroll 1
    for (int l = 0; l < n; ++l) {
      const int at = l * kLargeThreads + int(threadIdx.x);
      const Sums lane{shared[at], shared[at + array], shared[at + 2 * array]};
      WindowState<float> state;
      const bool quick = is_finite(finish_quickly<general>(lane, weighting.slope, state));
      if (!quick) thread.pool_again(l, state);
      shared[at] = state.shift;
      shared[at + array] = state.inverse * static_cast<float>(load(grad + l));
      shared[at + 2 * array] = state.mean;
      shared[at + 3 * array] = quick ? 1.0f : 0.0f;
    }
  }
  __syncthreads();
  if (!thread.active) return;
  WindowState<float> states[n];
  float quick[n];
#pragma unroll
  for (int l = 0; l < n; ++l) {
    const int at = l * kLargeThreads + thread.group * units.columns;
    states[l] = {};
    quick[l] = 1;
    if (!exists) continue;
    states[l] = {shared[at], shared[at + array], shared[at + 2 * array]};
    quick[l] = shared[at + 3 * array];
  }
  const int64_t plane = thread.plane * thread.step.plane + thread.channel;
  const float exponent = weighting.slope.rate * float(kLog2E), slope = weighting.slope.rate * weighting.exact;
#pragma unroll 1
  for (int position = thread.split; position < units.positions; position += kBatch * units.splits) {
    int at[kBatch];
    Pack<T, n> x[kBatch] = {}, logits[kBatch] = {};
    thread.read(position, at, x, logits);
#pragma unroll
    for (int k = 0; k < kBatch; ++k) {
      if (at[k] < 0) continue;
#pragma unroll
      for (int l = 0; l < n; ++l) {
        const float value = pooled_value<general>(x[k].lanes[l], weighting);
        const float logit = thread.logit_of(value, logits[k].lanes[l]);
        float dvalue = 0, dlogit = 0;
        if (!exists) {  // cells after the last window
        } else if (quick[l] != 0) {
          const float e = DeviceMath::exp2((logit - states[l].shift) * exponent);
          dvalue = gradient_quickly<general>(value, logit, e, states[l].inverse, states[l], slope, dlogit);
          dvalue = through_relu<general>(dvalue, x[k].lanes[l], weighting);
        } else {
          const Inputs<T> lane{thread.in.x + l, general ? thread.in.logits + l : nullptr};
          add_gradient<general>(lane, at[k], 1.0f, states[l], weighting, dvalue, dlogit);
        }
        x[k].lanes[l] = static_cast<T>(dvalue);
        if constexpr (general) logits[k].lanes[l] = static_cast<T>(dlogit);
      }
      store(to.dx + plane + at[k], x[k]);
      if constexpr (general) store(to.dlogits + plane + at[k], logits[k]);
    }
  }
}

// The same windows with fewer axes: an axis that they cover completely is merged with the next.
inline Problem<int64_t> merge_axes(Problem<int64_t> p) {
  const Axis<int64_t> none{1, 1, 1, 1, 0, 1, 1, false};
  const auto merged = [](const Axis<int64_t>& outer, const Axis<int64_t>& inner) {
    const int64_t kernel = outer.kernel * inner.in;
    return Axis<int64_t>{outer.in * inner.in, outer.out, kernel, kernel, 0, 1, 1, false};
  };
  for (Axis<int64_t>* axis : {&p.d, &p.h, &p.w}) axis->stride = axis->kernel;
  for (int turn = 0; turn < 2; ++turn) {
    if (p.w.out == 1 && p.w.kernel == p.w.in) {
      p.w = merged(p.h, p.w);
      p.h = p.d;
      p.d = none;
    }
  }
  if (p.h.out == 1 && p.h.kernel == p.h.in) {
    p.h = merged(p.d, p.h);
    p.d = none;
  }
  return p;
}

// windows: how many along D, H, W of the merged problem
inline LargeUnits large_units(const Problem<int64_t>& p, const int64_t (&windows)[3], int64_t n, int64_t& blocks) {
  const int64_t channels = p.channels_last ? p.channels / n : 1;
  const int64_t planes = p.channels_last ? p.batch : p.batch * p.channels;
  const int64_t count = planes * windows[0] * windows[1] * windows[2] * channels;
  const int64_t rows = p.d.kernel * p.h.kernel;
  // Channels innermost: a thread goes along rows, its neighbors are other channels.
  const int64_t columns = p.channels_last ? 1 : (p.w.kernel < kLargeThreads ? p.w.kernel : int64_t(kLargeThreads));
  const int64_t row_positions = ceil_div(p.w.kernel, columns), positions = rows * row_positions;
  constexpr int64_t enough = 2048;  // blocks
  int64_t splits = 1;
  while (columns * splits * 2 <= kLargeThreads && positions >= splits * 2 * kBatch &&
         ceil_div(count * columns * splits, int64_t(kLargeThreads)) < enough)
    splits *= 2;
  const int64_t groups = kLargeThreads / (columns * splits);
  blocks = ceil_div(count, groups);
  return {
      int(count),
      int(groups),
      int(columns),
      int(splits),
      int(positions),
      rows == 1,
      Divider(channels),
      Divider(windows[2]),
      Divider(windows[1]),
      Divider(windows[0]),
      Divider(row_positions),
      Divider(p.h.kernel)};
}

template <bool general, class T, int n>
void launch_large_forward(const ForwardCall& call, Stream stream) {
  const Problem<int64_t> p = merge_axes(call.problem);
  int64_t blocks = 0;
  const LargeUnits units = large_units(p, {p.d.out, p.h.out, p.w.out}, n, blocks);
  launch(
      large_forward<general, T, n>,
      {blocks, kLargeThreads},
      stream,
      narrow<int>(p),
      units,
      make_weighting<float>(call),
      inputs_of<T>(call),
      static_cast<T*>(call.y));
}

template <bool general, class T, int n>
void launch_large_backward(const BackwardCall& call, Stream stream) {
  const Problem<int64_t> p = merge_axes(call.problem);
  const auto covering = [](const Axis<int64_t>& axis) { return ceil_div(axis.in, axis.kernel); };
  int64_t blocks = 0;
  const LargeUnits units = large_units(p, {covering(p.d), covering(p.h), covering(p.w)}, n, blocks);
  launch(
      large_backward<general, T, n>,
      {blocks, kLargeThreads},
      stream,
      narrow<int>(p),
      units,
      make_weighting<float>(call),
      static_cast<const T*>(call.grad),
      inputs_of<T>(call),
      gradients_of<T>(call));
}

}  // namespace videopool
