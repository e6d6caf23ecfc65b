#include "runs.cuh"

#include "kernels.h"
#include "types.cuh"

namespace videopool {
namespace {

template <RunKind kind>
using Kind = std::integral_constant<RunKind, kind>;

// Calls run(kind, T{}, n, sums).
template <class Call, class Run>
void with_run(const Call& call, ScalarType type, bool vectors, const Run& run) {
  with_narrow_type(type, [&](auto element) {
    constexpr int lanes = 16 / int(sizeof(element));
    const auto with_kind = [&](auto kind) {
      if (!vectors) return run(kind, element, Constant<1>{}, Constant<1>{});
      if (call.problem.channels_last) return run(kind, element, Constant<lanes>{}, Constant<lanes>{});
      if (cells_of_window(call.problem) % lanes == 0) return run(kind, element, Constant<lanes>{}, Constant<1>{});
      run(kind, element, Constant<4>{}, Constant<1>{});
    };
    if (call.logits != nullptr) return with_kind(Kind<kRunGeneral>{});
    if (call.relu) return with_kind(Kind<kRunRelu>{});
    with_kind(Kind<kRunSoft>{});
  });
}

}  // namespace

void run_runs_forward(const ForwardCall& call, ScalarType type, bool vectors, Stream stream) {
  with_run(call, type, vectors, [&](auto kind, auto element, auto n, auto sums) {
    using T = decltype(element);
    int64_t blocks = 0;
    const RunUnits units = run_units(call.problem, n.value, blocks);
    launch(
        runs_forward<kind.value, T, n.value, sums.value>, {blocks, kRunThreads}, stream, units,
        make_weighting<float>(call), inputs_of<T>(call), static_cast<T*>(call.y));
  });
}

void run_runs_backward(const BackwardCall& call, ScalarType type, bool vectors, Stream stream) {
  with_run(call, type, vectors, [&](auto kind, auto element, auto n, auto sums) {
    using T = decltype(element);
    int64_t blocks = 0;
    const RunUnits units = run_units(call.problem, n.value, blocks);
    launch(
        runs_backward<kind.value, T, n.value, sums.value>, {blocks, kRunThreads}, stream, units,
        make_weighting<float>(call), static_cast<const T*>(call.grad), inputs_of<T>(call), gradients_of<T>(call));
  });
}

}  // namespace videopool
