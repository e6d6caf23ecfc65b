#include "kernels.h"
#include "overlapping_types.cuh"

namespace videopool {

void run_overlapping_backward(const BackwardCall& call, ScalarType type, bool vectors, Stream stream) {
  with_overlapping<1>(call, type, [&](auto general, auto element, auto patch) {
    launch_overlapping_backward<general.value, decltype(element), decltype(patch)>(call, vectors, stream);
  });
}

}  // namespace videopool
