// The device code of csrc/cuda as a plain library, called through ctypes by test_device_code.py.
#include "cuda_host_shim.h"

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "cuda/soft_pool_kernels.cuh"

using namespace videopool;

namespace {

struct Call {
  int64_t sizes[5], kernel[3], stride[3], padding[3], dilation[3];
  int64_t ceil_mode, channels_last, detach_weights, blocks, threads;
  double beta;
  const void *grad, *x;
  void *y, *center, *center_low, *lse, *dx;
};

Axis<int64_t> axis(const Call& c, int i) {
  return make_axis(c.sizes[2 + i], c.kernel[i], c.stride[i], c.padding[i], c.dilation[i], c.ceil_mode != 0);
}

Problem<int64_t> problem(const Call& c) {
  return {c.sizes[0], c.sizes[1], axis(c, 0), axis(c, 1), axis(c, 2), c.channels_last != 0};
}

template <class T, class I>
void forward(const Call& c) {
  using A = AccumulationOf<T>;
  const Statistics<A> out{static_cast<A*>(c.center), static_cast<A*>(c.center_low), static_cast<A*>(c.lse)};
  host_cuda::launch(unsigned(c.blocks), unsigned(c.threads), [&] {
    soft_pool_forward<T, I>(
        narrow<I>(problem(c)), make_slope<A>(c.beta), static_cast<const T*>(c.x), static_cast<T*>(c.y), out);
  });
}

template <class T, class I>
void backward(const Call& c) {
  using A = AccumulationOf<T>;
  const Statistics<const A> saved{
      static_cast<const A*>(c.center), static_cast<const A*>(c.center_low), static_cast<const A*>(c.lse)};
  host_cuda::launch(unsigned(c.blocks), unsigned(c.threads), [&] {
    soft_pool_backward<T, I>(
        narrow<I>(problem(c)),
        make_slope<A>(c.beta),
        c.detach_weights ? A(0) : A(1),
        static_cast<const T*>(c.grad),
        static_cast<const T*>(c.x),
        saved,
        static_cast<T*>(c.dx));
  });
}

}  // namespace

#define ENTRY(name, T)                                                \
  extern "C" void forward_##name(const Call* c, int wide_index) {     \
    wide_index ? forward<T, int64_t>(*c) : forward<T, int32_t>(*c);   \
  }                                                                   \
  extern "C" void backward_##name(const Call* c, int wide_index) {    \
    wide_index ? backward<T, int64_t>(*c) : backward<T, int32_t>(*c); \
  }
ENTRY(float64, double)
ENTRY(float32, float)
ENTRY(float16, c10::Half)
ENTRY(bfloat16, c10::BFloat16)
