// One call of an op as plain data, for the kernels of every device.
#pragma once
#include "window.h"

namespace videopool {

// The sharpness of SoftPool's weights, and whether its gradient treats them as constants.
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
