#include "kernels.h"
#include "overlapping_types.cuh"

namespace videopool {

void run_overlapping_forward(const ForwardCall& call, ScalarType type, bool vectors, Stream stream) {
  with_overlapping<2>(call, type, [&](auto general, auto element, auto patch) {
    launch_overlapping_forward<general.value, decltype(element), decltype(patch)>(call, vectors, stream);
  });
}

}  // namespace videopool
