// The gradients of a cell from the contributions of its windows.
#pragma once
#include "sums.h"

namespace videopool {
namespace {

// What the windows of a cell give to its gradient are sums over them of two numbers P and Q. With the G = grad / S of
// each window (cells.h has S and A):
//
//   SoftPool        P = beta G    Q = G - beta G A / S    the gradient is e (t P + Q)
//   the general op  P = G         Q = G A / S             e P for the value, e (t P - Q) for the logit
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

  // P and Q of n windows, from S, A and the gradients of their results.
  VIDEOPOOL_MEMBER void of_windows(V weights, V products, V grad, int n, V& p, V& q, Safety<T>& safety) const {
    const V inverse = splat<V>(A(1)) / weights, share = grad * inverse;
    const V weighted = share * (products * inverse);  // not finite if any input is not
    safety.see(weights, weighted, n);
    p = form == kGeneral ? share : V(share * slope);
    q = form == kGeneral ? weighted : times_plus(splat<V>(-slope), weighted, share);
  }

  // From the weight e and the value t of cells, and their sums P and Q.
  VIDEOPOOL_MEMBER void of_cells(V e, V value, V p, V q, V& dvalue, V& dlogit) const {
    if constexpr (form == kGeneral) {
      dvalue = e * p;
      dlogit = e * times_less(value, p, q);
    } else {
      dvalue = e * times_plus(value, p, q);
    }
  }

  VIDEOPOOL_MEMBER void put(int64_t at, V dvalue, V dlogit, int n) const {
    store_lanes(dx + at, through_relu<T, form>(x + at, dvalue, n), n);
    if constexpr (form == kGeneral) store_lanes(dlogits + at, dlogit, n);
  }
};

}  // namespace
}  // namespace videopool
