// Template arguments of a call, for forward and backward of the overlapping windows.
#pragma once
#include "march.cuh"
#include "types.cuh"

namespace videopool {

// Calls run(Patch{}, kind, T{}). vectors: whether rows of contiguous cells are aligned.
template <bool backward, class Call, class Run>
void with_overlapping(const Call& call, ScalarType type, bool vectors, const Run& run) {
  const Problem<int64_t>& p = call.problem;
  with_narrow_type(type, [&](auto element) {
    with_kind_of(call, [&](auto kind) {
      // Fewer rows and cells where registers are short.
      constexpr bool soft = kind.value == kSoft, general = kind.value == kGeneral;
      constexpr int rows = backward && general ? 1 : 2, cells = backward ? (soft ? 6 : 4) : (general ? 4 : 8);
      constexpr int long_row = backward && !soft ? 4 : 8;
      const auto with = [&](auto patch) { run(patch, kind, element); };
      if (p.d.kernel == 1) {
        if (p.channels_last) return with(Patch<1, 2, 1, long_row, true>{});
        return vectors ? with(Patch<1, 2, 1, 4, false>{}) : with(Patch<1, 2, 1, 2, false, true>{});
      }
      if (p.d.stride == 2) {
        if (p.channels_last) return with(Patch<3, 2, rows, cells, true>{});
        return vectors ? with(Patch<3, 2, rows, 4, false>{}) : with(Patch<3, 2, rows, 2, false, true>{});
      }
      if (p.channels_last) return with(Patch<3, 1, backward ? rows : cells / 2, backward ? 2 : 4, true>{});
      return vectors ? with(Patch<3, 1, 2 * rows, 2, false>{}) : with(Patch<3, 1, 2 * rows, 1, false>{});
    });
  });
}

}  // namespace videopool
