// One call of an op as the kernels of every device see it: plain data.
#pragma once
#include "window.h"

namespace videopool {

// How sharp the weights of SoftPool are, and whether its gradient knows that they depend on x.
struct Sharpness {
  double beta;
  bool detach_weights;
};

// All tensors are dense and in the layout of the problem. `logits` is null for SoftPool, which takes x for both. relu:
// SoftPool of max(x, 0), and the gradient for x.
struct ForwardCall {
  Problem<int64_t> problem;
  Sharpness sharpness;
  const void *x, *logits;
  void* y;
  bool relu = false;
};

struct BackwardCall {
  Problem<int64_t> problem;
  Sharpness sharpness;
  const void *grad, *x, *logits;
  void *dx, *dlogits;
  bool relu = false;
};

}  // namespace videopool
