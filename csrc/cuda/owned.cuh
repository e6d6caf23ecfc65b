// The kernels for windows of 2 x 2 x 2 and 1 x 2 x 2 cells that share none. A thread owns whole windows: forward it
// reads their cells once and writes their results, backward it reads cells and upstream gradients once and writes the
// gradients; the cells stay in registers. All loads of a thread are issued before the first use.
//
// A thread has `n` neighbors in memory in every access: along a row of a contiguous tensor, that is n / 2 windows,
// or n channels of one window if channels are innermost. With n = 1, in either layout, it has one window of one
// channel.
#pragma once
#include "launch.cuh"
#include "numerics.cuh"

namespace videopool {

constexpr int kOwnedThreads = 256;

template <int kd, bool along_row, int n>
struct OwnedLayout {
  static constexpr int rows = kd * 2, taps = rows * 2;
  static constexpr int packs = along_row ? 1 : 2;  // accesses for the cells of a row
  static constexpr int windows = along_row ? n / 2 : n;
  static constexpr int columns = along_row ? windows : 1;  // windows along W

  static constexpr __device__ int pack_of(int tap) { return along_row ? 0 : tap; }
  static constexpr __device__ int lane_of(int window, int tap) { return along_row ? 2 * window + tap : window; }
};

// The threads in the order of memory: their numbers along each axis.
struct OwnedUnits {
  int count;
  Divider channels, w, h, d;
};

template <int kd>
__device__ __forceinline__ Problem<int> owned_problem(const Problem<int>& p) {
  return {
      p.batch,
      p.channels,
      known_axis<kd, kd, 0>(p.d),
      known_axis<2, 2, 0>(p.h),
      known_axis<2, 2, 0>(p.w),
      p.channels_last};
}

struct OwnedUnit {
  int channel, plane;
  Place<int> window;  // the first
};

template <class Layout, bool along_row, int n>
__device__ __forceinline__ OwnedUnit owned_unit(int i, const OwnedUnits& units) {
  OwnedUnit unit{};
  if constexpr (!along_row) {
    unit.channel = i;
    i = units.channels.split(unit.channel);
    unit.channel *= n;
  }
  unit.window.w = i;
  i = units.w.split(unit.window.w);
  unit.window.w *= Layout::columns;
  unit.window.h = i;
  i = units.h.split(unit.window.h);
  unit.window.d = i;
  unit.plane = units.d.split(unit.window.d);
  return unit;
}

// The cells of a thread's windows, or their gradients.
template <class T, class Layout, int n>
struct OwnedCells {
  Pack<T, n> packs[Layout::rows][Layout::packs];

  __device__ __forceinline__ T& at(int window, int tap) {
    return packs[tap / 2][Layout::pack_of(tap % 2)].lanes[Layout::lane_of(window, tap % 2)];
  }

  // Calls move(pack, offset in the plane) for every pack, or for those within the input.
  template <bool all, class Move>
  __device__ __forceinline__ void for_each_pack(
      const Problem<int>& p, const Strides<int>& step, const OwnedUnit& unit, const Move& move) {
    constexpr int kd = Layout::rows / 2;
#pragma unroll
    for (int row = 0; row < Layout::rows; ++row) {
      const int d = unit.window.d * kd + row / 2, h = unit.window.h * 2 + row % 2, w = unit.window.w * 2;
      const int at = d * step.d + h * step.h + w * step.w + unit.channel;
#pragma unroll
      for (int pack = 0; pack < Layout::packs; ++pack)
        if (all || (d < p.d.in && h < p.h.in && w + pack < p.w.in)) move(packs[row][pack], at + pack * step.w);
    }
  }

  __device__ __forceinline__ void read(
      const T* plane, const Problem<int>& p, const Strides<int>& step, const OwnedUnit& unit) {
    for_each_pack<true>(p, step, unit, [&](Pack<T, n>& pack, int at) { pack = load<n>(plane + at); });
  }

  template <bool all>
  __device__ __forceinline__ void write(
      T* plane, const Problem<int>& p, const Strides<int>& step, const OwnedUnit& unit) {
    for_each_pack<all>(p, step, unit, [&](Pack<T, n>& pack, int at) { store(plane + at, pack); });
  }
};

// One window in the quick form: its cells, their weights, its result and state.
template <bool general, int taps>
struct OwnedWindow {
  float value[taps], logit[taps], e[taps];
  WindowState<float> state;

  template <class Cells>
  __device__ __forceinline__ float pool(Cells& x, Cells& logits, int window, const Weighting<float>& weighting) {
    const Slope<float>& slope = weighting.slope;
    const float exponent = slope.rate * float(kLog2E);
    Sums sums{-Limits<float>::infinity, 0, 0};
#pragma unroll
    for (int tap = 0; tap < taps; ++tap) {
      value[tap] = pooled_value<general>(x.at(window, tap), weighting);
      logit[tap] = general ? static_cast<float>(logits.at(window, tap)) : value[tap] * slope.scale;
      sums.top = fmaxf(sums.top, logit[tap]);
    }
#pragma unroll
    for (int tap = 0; tap < taps; ++tap) e[tap] = add_quickly<general>(value[tap], logit[tap], exponent, sums);
    return finish_quickly<general>(sums, slope, state);
  }
};

// Whether all cells of a thread's windows are within the input. pool_window computes a window of ceil_mode that is not.
template <int kd>
__device__ __forceinline__ bool is_complete(const Problem<int>& p, const OwnedUnit& unit) {
  return (unit.window.d + 1) * kd <= p.d.in && (unit.window.h + 1) * 2 <= p.h.in && (unit.window.w + 1) * 2 <= p.w.in;
}

template <bool along_row>
__device__ __forceinline__ Place<int> owned_window(const OwnedUnit& unit, int window) {
  return {unit.window.d, unit.window.h, unit.window.w + (along_row ? window : 0)};
}

template <bool general, class T, int kd, bool along_row, int n>
__global__ void owned_forward(Problem<int> problem, OwnedUnits units, Weighting<float> weighting, Inputs<T> in, T* y) {
  using Layout = OwnedLayout<kd, along_row, n>;
  const int i = int(blockIdx.x) * kOwnedThreads + int(threadIdx.x);
  if (i >= units.count) return;
  const Problem<int> p = owned_problem<kd>(problem);
  const OwnedUnit unit = owned_unit<Layout, along_row, n>(i, units);
  const Strides<int> step = cell_strides(p), out = window_strides(p);
  in.x += unit.plane * step.plane;
  if constexpr (general) in.logits += unit.plane * step.plane;
  y += unit.plane * out.plane + unit.window.d * out.d + unit.window.h * out.h + unit.window.w * out.w + unit.channel;
  unsigned again = (1u << Layout::windows) - 1;
  if (is_complete<kd>(p, unit)) {
    OwnedCells<T, Layout, n> x, logits;
    x.read(in.x, p, step, unit);
    if constexpr (general) logits.read(in.logits, p, step, unit);
    Pack<T, Layout::windows> results;
    again = 0;
#pragma unroll
    for (int window = 0; window < Layout::windows; ++window) {
      OwnedWindow<general, Layout::taps> here;
      const float result = here.pool(x, logits, window, weighting);
      results.lanes[window] = static_cast<T>(result);
      again |= is_finite(result) ? 0u : 1u << window;
    }
    store(y, results);
  }
#pragma unroll 1
  for (int window = 0; again != 0; ++window, again >>= 1) {
    if ((again & 1) == 0) continue;
    const int channel = unit.channel + (along_row ? 0 : window);
    const Inputs<T> plane{in.x + channel, general ? in.logits + channel : nullptr};
    WindowState<float> state;
    const Place<int> place = owned_window<along_row>(unit, window);
    store(y + window, static_cast<T>(pool_window<general>(p, step, place, plane, weighting, state)));
  }
}

template <bool general, class T, int kd, bool along_row, int n>
__global__ void owned_backward(
    Problem<int> problem, OwnedUnits units, Weighting<float> weighting, const T* grad, Inputs<T> in, Gradients<T> to) {
  using Layout = OwnedLayout<kd, along_row, n>;
  const int i = int(blockIdx.x) * kOwnedThreads + int(threadIdx.x);
  if (i >= units.count) return;
  const Problem<int> p = owned_problem<kd>(problem);
  const OwnedUnit unit = owned_unit<Layout, along_row, n>(i, units);
  const Strides<int> step = cell_strides(p), out = window_strides(p);
  in.x += unit.plane * step.plane;
  to.dx += unit.plane * step.plane;
  if constexpr (general) {
    in.logits += unit.plane * step.plane;
    to.dlogits += unit.plane * step.plane;
  }
  OwnedCells<T, Layout, n> x, logits;
  unsigned again = 0;
  if (unit.window.d >= p.d.out || unit.window.h >= p.h.out || unit.window.w >= p.w.out) {
    // Cells after the last window.
#pragma unroll
    for (int window = 0; window < Layout::windows; ++window) {
#pragma unroll
      for (int tap = 0; tap < Layout::taps; ++tap) x.at(window, tap) = static_cast<T>(0.0f);
    }
    x.template write<false>(to.dx, p, step, unit);
    if constexpr (general) x.template write<false>(to.dlogits, p, step, unit);
  } else if (!is_complete<kd>(p, unit)) {
    again = (1u << Layout::windows) - 1;
  } else {
    x.read(in.x, p, step, unit);
    if constexpr (general) logits.read(in.logits, p, step, unit);
    const Pack<T, Layout::windows> upstream = load<Layout::windows>(
        grad + unit.plane * out.plane + unit.window.d * out.d + unit.window.h * out.h + unit.window.w * out.w +
        unit.channel);
    const float slope = weighting.slope.rate * weighting.exact;
#pragma unroll
    for (int window = 0; window < Layout::windows; ++window) {
      OwnedWindow<general, Layout::taps> here;
      again |= is_finite(here.pool(x, logits, window, weighting)) ? 0u : 1u << window;
      const float share = static_cast<float>(upstream.lanes[window]) * here.state.inverse;
#pragma unroll
      for (int tap = 0; tap < Layout::taps; ++tap) {
        float dlogit = 0;
        const float dvalue =
            gradient_quickly<general>(here.value[tap], here.logit[tap], here.e[tap], share, here.state, slope, dlogit);
        x.at(window, tap) = static_cast<T>(through_relu<general>(dvalue, x.at(window, tap), weighting));
        if constexpr (general) logits.at(window, tap) = static_cast<T>(dlogit);
      }
    }
    x.template write<true>(to.dx, p, step, unit);
    if constexpr (general) logits.template write<true>(to.dlogits, p, step, unit);
  }
#pragma unroll 1
  for (int window = 0; again != 0; ++window, again >>= 1) {
    if ((again & 1) == 0) continue;
    const int channel = unit.channel + (along_row ? 0 : window);
    const Inputs<T> plane{in.x + channel, general ? in.logits + channel : nullptr};
    const Gradients<T> gradients{to.dx + channel, general ? to.dlogits + channel : nullptr};
    const Place<int> place = owned_window<along_row>(unit, window);
    const int64_t at = unit.plane * out.plane + place.d * out.d + place.h * out.h + place.w * out.w + channel;
    put_window_gradient<general>(p, step, place, plane, weighting, static_cast<float>(load(grad + at)), gradients);
  }
}

// The units that cover `windows` along D, H, W.
template <class Layout, bool along_row, int n>
OwnedUnits owned_units(const Problem<int64_t>& p, const Place<int64_t>& windows) {
  const int64_t channels = p.channels_last ? p.channels / n : 1, w = ceil_div(windows.w, int64_t(Layout::columns));
  const int64_t planes = p.channels_last ? p.batch : p.batch * p.channels;
  return {
      int(planes * windows.d * windows.h * w * channels),
      Divider(channels),
      Divider(w),
      Divider(windows.h),
      Divider(windows.d)};
}

template <bool general, class T, int kd, bool along_row, int n>
void launch_owned_forward(const ForwardCall& call, Stream stream) {
  using Layout = OwnedLayout<kd, along_row, n>;
  const Problem<int64_t>& p = call.problem;
  const OwnedUnits units = owned_units<Layout, along_row, n>(p, {p.d.out, p.h.out, p.w.out});
  launch(
      owned_forward<general, T, kd, along_row, n>,
      {ceil_div(int64_t(units.count), int64_t(kOwnedThreads)), kOwnedThreads},
      stream,
      narrow<int>(p),
      units,
      make_weighting<float>(call),
      inputs_of<T>(call),
      static_cast<T*>(call.y));
}

template <bool general, class T, int kd, bool along_row, int n>
void launch_owned_backward(const BackwardCall& call, Stream stream) {
  using Layout = OwnedLayout<kd, along_row, n>;
  const Problem<int64_t>& p = call.problem;
  const auto covering = [](const Axis<int64_t>& axis) { return ceil_div(axis.in, axis.kernel); };
  const OwnedUnits units = owned_units<Layout, along_row, n>(p, {covering(p.d), covering(p.h), covering(p.w)});
  launch(
      owned_backward<general, T, kd, along_row, n>,
      {ceil_div(int64_t(units.count), int64_t(kOwnedThreads)), kOwnedThreads},
      stream,
      narrow<int>(p),
      units,
      make_weighting<float>(call),
      static_cast<const T*>(call.grad),
      inputs_of<T>(call),
      gradients_of<T>(call));
}

}  // namespace videopool
