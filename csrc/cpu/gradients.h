// The gradients of a cell from the contributions of its windows.
#pragma once
#include "rows.h"

namespace videopool {
namespace {

// A window contributes G = grad / S and G A / S to its cells (sums.h has S and A). With P and Q their sums over the
// windows of a cell, the gradient is e P for its value and e (t P - Q) for its logit, and SoftPool's is e (P + beta (t
// P - Q)).
template <class T, Form form>
struct Gradients {
  using A = typename Types<T>::A;
  using V = typename Types<T>::V;
  const T* x;
  T *dx, *dlogits;
  A slope;

  explicit Gradients(const BackwardCall& call)
      : x(static_cast<const T*>(call.x)),
        dx(static_cast<T*>(call.dx)),
        dlogits(static_cast<T*>(call.dlogits)),
        slope(A(call.sharpness.detach_weights ? 0.0 : call.sharpness.beta)) {}

  // From the weight e and the product e t of cells, and P and Q.
  VIDEOPOOL_MEMBER void of(V e, V product, V share, V weighted, V& dvalue, V& dlogit) const {
    dvalue = e * share;
    dlogit = times_less(product, share, e * weighted);
    if (form != kGeneral) dvalue = times_plus(splat<V>(slope), dlogit, dvalue);
  }

  VIDEOPOOL_MEMBER void put(int64_t at, V dvalue, V dlogit, int n) const {
    store_lanes(dx + at, through_relu<T, form>(x + at, dvalue, n), n);
    if constexpr (form == kGeneral) store_lanes(dlogits + at, dlogit, n);
  }
};

}  // namespace
}  // namespace videopool
