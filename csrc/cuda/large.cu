#include "large.cuh"

#include "kernels.h"
#include "types.cuh"

namespace videopool {
namespace {

// Calls run(general, T{}, n).
template <class Call, class Run>
void with_large(const Call& call, ScalarType type, bool vectors, const Run& run) {
  with_narrow_type(type, [&](auto element) {
    with_bool(call.logits != nullptr, [&](auto general) {
      if (vectors) {
        run(general, element, Constant<4>{});
      } else {
        run(general, element, Constant<1>{});
      }
    });
  });
}

}  // namespace

void run_large_forward(const ForwardCall& call, ScalarType type, bool vectors, Stream stream) {
  with_large(call, type, vectors, [&](auto general, auto element, auto n) {
    launch_large_forward<general.value, decltype(element), n.value>(call, stream);
  });
}

void run_large_backward(const BackwardCall& call, ScalarType type, bool vectors, Stream stream) {
  with_large(call, type, vectors, [&](auto general, auto element, auto n) {
    launch_large_backward<general.value, decltype(element), n.value>(call, stream);
  });
}

}  // namespace videopool
