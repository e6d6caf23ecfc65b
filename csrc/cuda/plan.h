// The kernels for a call. Plain C++, shared with the tests.
#pragma once
#include "../call.h"

namespace videopool {

enum class Family {
  general,      // every window, dtype and size
  owned,        // 2x2x2 and 1x2x2, no cell shared
  overlapping,  // 1x3x3 and 3x3x3 of stride 2, 3x3x3 of stride 1, one cell of padding
  large,        // other windows that share no cell
};

struct Choice {
  Family family;
  bool vectors;  // whether every access can be 16 bytes wide (a few kernels: 8)
};

inline bool is_window(const Axis<int64_t>& axis, int64_t kernel, int64_t stride, int64_t padding) {
  return !axis.adaptive && axis.dilation == 1 && axis.kernel == kernel && axis.stride == stride &&
         axis.padding == padding;
}

// Windows that share no cell and have none between them.
inline bool is_split(const Axis<int64_t>& axis) {
  return !axis.adaptive && axis.dilation == 1 && axis.padding == 0 &&
         (axis.stride == axis.kernel || (axis.out == 1 && axis.kernel <= axis.in));
}

// Whether every window is a run of cells, or of cells with all channels, and one starts where another ends.
inline bool is_run(const Problem<int64_t>& p) {
  const auto tiles = [](const Axis<int64_t>& axis) { return axis.in == axis.out * axis.kernel; };
  const auto whole = [](const Axis<int64_t>& axis) { return axis.out == 1 && axis.kernel == axis.in; };
  return (tiles(p.d) && whole(p.h) && whole(p.w)) || (p.d.kernel == 1 && tiles(p.h) && whole(p.w)) ||
         (p.d.kernel == 1 && p.h.kernel == 1 && tiles(p.w));
}

// Whether a plane and the number of threads fit 32 bits, as all kernels but the general ones need it. `limit` leaves
// room for windows that reach beyond the input.
inline bool fits_planes(const Problem<int64_t>& p) {
  constexpr int64_t limit = int64_t(1) << 30;
  const int64_t inner = p.channels_last ? p.channels : 1;
  const auto longest = [](const Axis<int64_t>& axis) { return axis.in > axis.out ? axis.in : axis.out; };
  const int64_t plane = longest(p.d) * longest(p.h) * longest(p.w) * inner;
  return plane < limit && fits_int32(p.d) && fits_int32(p.h) && fits_int32(p.w) && p.batch * p.channels < limit &&
         windows_of(p) < limit && cells_of(p) / 4 < limit;
}

inline bool is_aligned(const void* data) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0;
}

// aligned: whether all tensors of the call start at a multiple of 16 bytes.
inline Choice choose(const Problem<int64_t>& p, int64_t element_bytes, bool aligned) {
  constexpr Choice general{Family::general, false};
  const int64_t lanes = 16 / element_bytes;
  if (element_bytes == 8 || !fits_planes(p)) return general;
  const bool plane = is_window(p.h, 2, 2, 0) && is_window(p.w, 2, 2, 0);
  if (plane && (is_window(p.d, 2, 2, 0) || is_window(p.d, 1, 1, 0)))
    return {Family::owned, aligned && (p.channels_last ? p.channels : p.w.in) % lanes == 0};
  const bool wide = is_window(p.h, 3, 2, 1) && is_window(p.w, 3, 2, 1);
  const bool dense = is_window(p.d, 3, 1, 1) && is_window(p.h, 3, 1, 1) && is_window(p.w, 3, 1, 1);
  if ((wide && (is_window(p.d, 3, 2, 1) || is_window(p.d, 1, 1, 0))) || dense) {
    const bool whole = p.w.out * p.w.stride == p.w.in && p.w.in % (dense ? 2 : 4) == 0;
    return {Family::overlapping, aligned && !p.channels_last && whole};
  }
  const bool split = is_split(p.d) && is_split(p.h) && is_split(p.w);
  const int64_t cells = p.d.kernel * p.h.kernel * p.w.kernel;
  if (split && cells >= 8) {
    const bool packs = p.channels_last ? p.channels % lanes == 0 : is_run(p) && cells % 4 == 0;
    return {Family::large, aligned && packs};
  }
  return general;
}

inline Choice choose(const ForwardCall& call, int64_t element_bytes) {
  return choose(call.problem, element_bytes, is_aligned(call.x) && is_aligned(call.logits) && is_aligned(call.y));
}

inline Choice choose(const BackwardCall& call, int64_t element_bytes) {
  const bool aligned = is_aligned(call.grad) && is_aligned(call.x) && is_aligned(call.logits) && is_aligned(call.dx) &&
                       is_aligned(call.dlogits);
  return choose(call.problem, element_bytes, aligned);
}

}  // namespace videopool
