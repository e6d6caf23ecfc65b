#include "kernels.h"
#include "overlapping_forward.cuh"
#include "overlapping_types.cuh"

namespace videopool {

void run_overlapping_forward(const ForwardCall& call, ScalarType type, bool vectors, Stream stream) {
  with_overlapping<false>(call, type, vectors, [&](auto patch, auto kind, auto element) {
    launch_overlapping_forward<decltype(patch), kind.value, decltype(element)>(call, stream);
  });
}

}  // namespace videopool
