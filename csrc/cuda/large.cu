#include "large.cuh"

#include "kernels.h"
#include "types.cuh"

namespace videopool {
namespace {

// Calls run(kind, T{}, n, sums).
template <class Call, class Run>
void with_large(const Call& call, ScalarType type, bool vectors, const Run& run) {
  with_narrow_type(type, [&](auto element) {
    constexpr int lanes = 16 / int(sizeof(element));
    const auto with_kind = [&](auto kind) {
      if (!vectors) return run(kind, element, Constant<1>{}, Constant<1>{});
      if (call.problem.channels_last) return run(kind, element, Constant<lanes>{}, Constant<lanes>{});
      if (cells_of_window(call.problem) % lanes == 0) return run(kind, element, Constant<lanes>{}, Constant<1>{});
      run(kind, element, Constant<4>{}, Constant<1>{});
    };
    with_kind_of(call, with_kind);
  });
}

}  // namespace

void run_large_forward(const ForwardCall& call, ScalarType type, bool vectors, Stream stream) {
  with_large(call, type, vectors, [&](auto kind, auto element, auto n, auto sums) {
    using T = decltype(element);
    int64_t blocks = 0;
    const LargeUnits units = large_units(call.problem, n.value, false, blocks);
    launch(
        large_forward<kind.value, T, n.value, sums.value>,
        {blocks, kLargeThreads},
        stream,
        units,
        make_weighting<float>(call),
        inputs_of<T>(call),
        static_cast<T*>(call.y));
  });
}

void run_large_backward(const BackwardCall& call, ScalarType type, bool vectors, Stream stream) {
  with_large(call, type, vectors, [&](auto kind, auto element, auto n, auto sums) {
    using T = decltype(element);
    int64_t blocks = 0;
    const LargeUnits units = large_units(call.problem, n.value, true, blocks);
    launch(
        large_backward<kind.value, T, n.value, sums.value>,
        {blocks, kLargeThreads},
        stream,
        units,
        make_weighting<float>(call),
        static_cast<const T*>(call.grad),
        inputs_of<T>(call),
        gradients_of<T>(call));
  });
}

}  // namespace videopool
