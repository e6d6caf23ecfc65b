#include "kernels.h"
#include "owned.cuh"
#include "types.cuh"

namespace videopool {
namespace {

// Calls run(general, T{}, kd, along_row, n) with what the kernels know at compile time.
template <class Call, class Run>
void with_owned(const Call& call, ScalarType type, bool vectors, const Run& run) {
  with_narrow_type(type, [&](auto element) {
    with_bool(call.logits != nullptr, [&](auto general) {
      const auto with_depth = [&](auto along_row, auto n) {
        if (call.problem.d.kernel == 2) {
          run(general, element, Constant<2>{}, along_row, n);
        } else {
          run(general, element, Constant<1>{}, along_row, n);
        }
      };
      constexpr int lanes = 16 / sizeof(element);
      // Two inputs, 8 cells and 8 channels would take too many registers.
      constexpr int channels = general.value ? 4 : lanes;
      if (!vectors) {
        with_depth(std::false_type{}, Constant<1>{});
      } else if (call.problem.channels_last) {
        with_depth(std::false_type{}, Constant<channels>{});
      } else {
        with_depth(std::true_type{}, Constant<lanes>{});
      }
    });
  });
}

}  // namespace

void run_owned_forward(const ForwardCall& call, ScalarType type, bool vectors, Stream stream) {
  with_owned(call, type, vectors, [&](auto general, auto element, auto kd, auto along_row, auto n) {
    launch_owned_forward<general.value, decltype(element), kd.value, along_row.value, n.value>(call, stream);
  });
}

void run_owned_backward(const BackwardCall& call, ScalarType type, bool vectors, Stream stream) {
  with_owned(call, type, vectors, [&](auto general, auto element, auto kd, auto along_row, auto n) {
    launch_owned_backward<general.value, decltype(element), kd.value, along_row.value, n.value>(call, stream);
  });
}

}  // namespace videopool
