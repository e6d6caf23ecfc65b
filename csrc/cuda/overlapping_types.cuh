// Template arguments of a call, for forward and backward of the overlapping windows.
#pragma once
#include "overlapping.cuh"
#include "types.cuh"

namespace videopool {

// Calls run(general, T{}, Patch{}). depth_rows: rows of a patch for windows of 3 x 3 x 3; more rows share more, and
// use more registers.
template <int depth_rows, class Call, class Run>
void with_overlapping(const Call& call, ScalarType type, const Run& run) {
  with_narrow_type(type, [&](auto element) {
    with_bool(call.logits != nullptr, [&](auto general) {
      with_bool(call.problem.channels_last, [&](auto channels_last) {
        constexpr int lanes = channels_last.value ? 2 : 1;
        if (call.problem.d.kernel == 1) {
          run(general, element, Patch<1, 2, lanes, 2>{});
        } else if (call.problem.d.stride == 2) {
          run(general, element, Patch<3, 2, lanes, depth_rows>{});
        } else {
          run(general, element, Patch<3, 1, lanes, depth_rows>{});
        }
      });
    });
  });
}

}  // namespace videopool
