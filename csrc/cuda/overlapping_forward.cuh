// The forward kernel of overlapping windows; see march.cuh.
#pragma once
#include "sheets.cuh"

namespace videopool {

template <class P, class T, class Lv>
__device__ __forceinline__ void march_forward(
    const MarchPlan& plan, const MarchSpot& spot, Lv& level, const Inputs<T>& in, T* y) {
  const Sheets<P, Reach<P, false>, T, Lv> sheets(plan, spot, level, in);
  const int column = spot.column / P::stride;
  bool exists[P::rows][P::columns];
#pragma unroll
  for (int r = 0; r < P::rows; ++r)
#pragma unroll
    for (int c = 0; c < P::columns; ++c)
      exists[r][c] = spot.active && spot.row + r < plan.high.out && (P::whole || column + c < plan.wide.out);
  T* to = y + spot.first * plan.march.out_step + spot.row * plan.high.out_step + column * plan.wide.out_step;
  const auto write = [&](int, const auto& sums, const auto&) {
#pragma unroll
    for (int r = 0; r < P::rows; ++r) {
      Pack<T, P::whole ? P::columns : 1> pack;
      T* row = to + r * plan.high.out_step;
#pragma unroll
      for (int c = 0; c < P::columns; ++c) {
        const T result = static_cast<T>(level.result(sums[r][c], exists[r][c]));
        pack.lanes[P::whole ? c : 0] = result;
        if (!P::whole && exists[r][c]) store(row + c * plan.wide.out_step, result);
      }
      if (P::whole && exists[r][0]) store(row, pack);
    }
    to += plan.march.out_step;
  };
  sheets.march(spot.first, spot.end, [](int) {}, write);
}

template <class P, Kind kind, class T>
__global__ void __launch_bounds__(kMarchThreads, march_blocks<P>(false))
    overlapping_forward(MarchPlan plan, Weighting<float> weighting, Inputs<T> in, T* y) {
  const MarchSpot spot = march_spot<P>(plan, int(threadIdx.x), int(blockIdx.x));
  const Inputs<T> plane{in.x + spot.cells, kind == kGeneral ? in.logits + spot.cells : nullptr};
  SharedLevel<kind> level(weighting);
  set_reference<P>(plan, spot, plane, level);
  march_forward<P>(plan, spot, level, plane, y + spot.windows);
  if (!__any_sync(~0u, !level.holds())) return;
  OwnLevels<kind> levels(weighting);
  for_each_part<P>(plan, [&](const MarchSpot& part) {
    const Inputs<T> same{in.x + part.cells, kind == kGeneral ? in.logits + part.cells : nullptr};
    march_forward<typename P::Part>(plan, part, levels, same, y + part.windows);
  });
}

template <class P, Kind kind, class T>
void launch_overlapping_forward(const ForwardCall& call, Stream stream) {
  int64_t blocks = 0;
  const MarchPlan plan = march_plan<P>(call.problem, false, blocks);
  launch(
      overlapping_forward<P, kind, T>,
      {blocks, kMarchThreads},
      stream,
      plan,
      make_weighting<float>(call),
      inputs_of<T>(call),
      static_cast<T*>(call.y));
}

}  // namespace videopool
