// The interface between the registration (soft_pool.cpp) and the kernels, which are compiled once for each instruction
// set. Plain data and function pointers only: nothing here may become code that differs between the instruction sets.
#pragma once
#include "../window.h"

namespace videopool {

struct ForwardCall {
  Problem<int64_t> problem;
  double beta;
  const void* x;
  void* y;
  void *center, *center_low, *lse;  // null where not wanted
};

struct BackwardCall {
  Problem<int64_t> problem;
  double beta;
  bool detach_weights;
  const void *grad, *x, *center, *center_low, *lse;  // center_low may be null for float16 and bfloat16
  void* dx;
};

// A kernel works on the rows [begin, end) of a problem:
//   forward   contiguous (n, c, od)       channels last (n, od, oh)
//   backward  contiguous (n, c, d)        channels last (n, d, h)
using ForwardKernel = void (*)(const ForwardCall&, int64_t begin, int64_t end);
using BackwardKernel = void (*)(const BackwardCall&, int64_t begin, int64_t end);

struct TypedKernels {
  ForwardKernel forward_contiguous, forward_channels_last;
  BackwardKernel backward_contiguous, backward_channels_last;
};

// In the order float64, float32, float16, bfloat16.
struct KernelTable {
  TypedKernels types[4];
};

extern const KernelTable kernels_baseline;
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define VIDEOPOOL_X86_KERNELS 1
extern const KernelTable kernels_avx2;
extern const KernelTable kernels_avx512;
#endif

}  // namespace videopool
