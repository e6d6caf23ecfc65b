#include "kernels.h"
#include "overlapping_backward.cuh"
#include "overlapping_types.cuh"

namespace videopool {

void run_overlapping_backward(const BackwardCall& call, ScalarType type, bool vectors, Stream stream) {
  with_overlapping<true>(call, type, vectors, [&](auto patch, auto kind, auto element) {
    launch_overlapping_backward<decltype(patch), kind.value, decltype(element)>(call, stream);
  });
}

}  // namespace videopool
