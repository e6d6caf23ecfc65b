// The kernels for every window, dtype and size. Forward: one thread for each window. Backward: a first launch writes
// the state of every window to a scratch tensor, then one thread for each cell sums the contributions of its windows,
// without atomics, so the result is the same in every run.
#pragma once
#include "launch.cuh"
#include "numerics.cuh"

namespace videopool {

constexpr int kGeneralThreads = 256;

template <class I>
struct Located {
  int64_t plane_of_cells, plane_of_windows;  // offsets; those of a channel of channels_last tensors with the channel
  Place<I> at;
};

// The place of an element of a dense tensor, whose axes are depth, height and width.
template <class I>
__device__ __forceinline__ Located<I> locate(
    I index, const Problem<I>& p, const Strides<I>& cells, const Strides<I>& windows, I depth, I height, I width) {
  I channel = 0;
  if (p.channels_last) {
    channel = index % p.channels;
    index /= p.channels;
  }
  Located<I> found;
  found.at.w = index % width;
  index /= width;
  found.at.h = index % height;
  index /= height;
  found.at.d = index % depth;
  index /= depth;
  found.plane_of_cells = index * cells.plane + channel;
  found.plane_of_windows = index * windows.plane + channel;
  return found;
}

template <bool general, class T, class I>
__global__ void general_forward(
    Problem<I> p,
    Weighting<AccumulationOf<T>> weighting,
    Inputs<T> in,
    T* y,  // or, if null:
    WindowState<AccumulationOf<T>>* states) {
  using A = AccumulationOf<T>;
  const Strides<I> cells = cell_strides(p), windows = window_strides(p);
  const I count = windows_of(p), step = I(gridDim.x) * I(blockDim.x);
  for (I i = I(blockIdx.x) * I(blockDim.x) + I(threadIdx.x); i < count; i += step) {
    const Located<I> here = locate(i, p, cells, windows, p.d.out, p.h.out, p.w.out);
    const Inputs<T> plane{in.x + here.plane_of_cells, general ? in.logits + here.plane_of_cells : nullptr};
    WindowState<A> state;
    const A result = pool_window<general>(p, cells, here.at, plane, weighting, state);
    if (y != nullptr) {
      store(y + i, static_cast<T>(result));
    } else {
      store(states + i, state);
    }
  }
}

template <bool general, class T, class I>
__global__ void general_backward(
    Problem<I> p,
    Weighting<AccumulationOf<T>> weighting,
    const T* grad,
    Inputs<T> in,
    const WindowState<AccumulationOf<T>>* states,
    Gradients<T> out) {
  using A = AccumulationOf<T>;
  const Strides<I> cells = cell_strides(p), windows = window_strides(p);
  const I count = cells_of(p), step = I(gridDim.x) * I(blockDim.x);
  for (I i = I(blockIdx.x) * I(blockDim.x) + I(threadIdx.x); i < count; i += step) {
    const Located<I> here = locate(i, p, cells, windows, p.d.in, p.h.in, p.w.in);
    const Windows<I> over_d = windows_over(p.d, here.at.d), over_h = windows_over(p.h, here.at.h),
                     over_w = windows_over(p.w, here.at.w);
    A dvalue = 0, dlogit = 0;
    for (I d = over_d.first; d < over_d.end; d += over_d.step) {
      for (I h = over_h.first; h < over_h.end; h += over_h.step) {
        for (I w = over_w.first; w < over_w.end; w += over_w.step) {
          const int64_t window = here.plane_of_windows + d * windows.d + h * windows.h + w * windows.w;
          add_gradient<general>(
              in, i, static_cast<A>(load(grad + window)), load(states + window), weighting, dvalue, dlogit);
        }
      }
    }
    put<general>(out, i, dvalue, dlogit);
  }
}

// Enough blocks for any GPU; threads take several elements if there are more.
inline int64_t general_blocks(int64_t elements) {
  constexpr int64_t most = int64_t(1) << 20;
  const int64_t blocks = ceil_div(elements, int64_t(kGeneralThreads));
  return blocks < most ? blocks : most;
}

template <bool general, class T, class I>
void launch_general_forward(const ForwardCall& call, Stream stream) {
  using A = AccumulationOf<T>;
  launch(
      general_forward<general, T, I>,
      {general_blocks(windows_of(call.problem)), kGeneralThreads},
      stream,
      narrow<I>(call.problem),
      make_weighting<A>(call),
      inputs_of<T>(call),
      static_cast<T*>(call.y),
      static_cast<WindowState<A>*>(nullptr));
}

template <bool general, class T, class I>
void launch_general_backward(const BackwardCall& call, void* scratch, Stream stream) {
  using A = AccumulationOf<T>;
  WindowState<A>* states = static_cast<WindowState<A>*>(scratch);
  const Weighting<A> weighting = make_weighting<A>(call);
  launch(
      general_forward<general, T, I>,
      {general_blocks(windows_of(call.problem)), kGeneralThreads},
      stream,
      narrow<I>(call.problem),
      weighting,
      inputs_of<T>(call),
      static_cast<T*>(nullptr),
      states);
  launch(
      general_backward<general, T, I>,
      {general_blocks(cells_of(call.problem)), kGeneralThreads},
      stream,
      narrow<I>(call.problem),
      weighting,
      static_cast<const T*>(call.grad),
      inputs_of<T>(call),
      static_cast<const WindowState<A>*>(states),
      gradients_of<T>(call));
}

}  // namespace videopool
