// What the CPU and CUDA registrations share: argument checks and the memory layout of the results. The Python layer
// checks first and says it better; these keep a direct call of the op from reading out of bounds.
#pragma once
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <vector>

#include "window.h"

namespace videopool {
namespace {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

using Sizes = std::vector<int64_t>;

// The layout of the results: channels innermost where the input has them so and is not plainly contiguous; the twin of
// _is_channels_last in videopool/ops/native.py.
inline bool is_channels_last(const Tensor& x) {
  return x.size(1) > 1 && x.stride(1) == 1 && !x.is_contiguous();
}

inline MemoryFormat format_of(const Problem<int64_t>& p) {
  return p.channels_last ? MemoryFormat::ChannelsLast3d : MemoryFormat::Contiguous;
}

inline Axis<int64_t> checked_axis(int64_t in, int64_t k, int64_t s, int64_t p, int64_t d, bool ceil_mode) {
  STD_TORCH_CHECK(k > 0 && s > 0 && d > 0, "soft_pool3d: kernel_size, stride and dilation must be positive");
  STD_TORCH_CHECK(p >= 0 && p <= k / 2, "soft_pool3d: padding ", p, " is negative or over half of kernel_size ", k);
  const Axis<int64_t> axis = make_axis(in, k, s, p, d, ceil_mode);
  STD_TORCH_CHECK(in > 0 && axis.out > 0, "soft_pool3d: the window does not fit an axis of ", in, " cells");
  return axis;
}

inline Problem<int64_t> make_problem(
    const Tensor& x, const Sizes& k, const Sizes& s, const Sizes& p, const Sizes& d, bool ceil_mode) {
  STD_TORCH_CHECK(x.dim() == 5, "soft_pool3d: x must have 5 axes, got ", x.dim());
  STD_TORCH_CHECK(
      k.size() == 3 && s.size() == 3 && p.size() == 3 && d.size() == 3,
      "soft_pool3d: kernel_size, stride, padding and dilation need 3 values each");
  Problem<int64_t> problem{};
  problem.batch = x.size(0);
  problem.channels = x.size(1);
  problem.d = checked_axis(x.size(2), k[0], s[0], p[0], d[0], ceil_mode);
  problem.h = checked_axis(x.size(3), k[1], s[1], p[1], d[1], ceil_mode);
  problem.w = checked_axis(x.size(4), k[2], s[2], p[2], d[2], ceil_mode);
  problem.channels_last = is_channels_last(x);
  return problem;
}

inline void check_like_output(const Tensor& t, const Problem<int64_t>& p, const Tensor& x, const char* name) {
  STD_TORCH_CHECK(
      t.dim() == 5 && t.size(0) == p.batch && t.size(1) == p.channels && t.size(2) == p.d.out &&
          t.size(3) == p.h.out && t.size(4) == p.w.out,
      "soft_pool3d_backward: ", name, " must have the shape of the output");
  STD_TORCH_CHECK(
      t.is_cuda() == x.is_cuda() && t.get_device_index() == x.get_device_index(),
      "soft_pool3d_backward: ", name, " and x must be on one device");
}

// The dtype that sums and saved statistics have for inputs of dtype t.
inline ScalarType accumulation_type(ScalarType t) {
  return t == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline bool keeps_low(ScalarType t) {
  return t == accumulation_type(t);
}

inline void check_type(ScalarType t) {
  STD_TORCH_CHECK(
      t == ScalarType::Double || t == ScalarType::Float || t == ScalarType::Half || t == ScalarType::BFloat16,
      "soft_pool3d: x must be float64, float32, float16 or bfloat16");
}

inline Tensor new_windows(const Tensor& x, const Problem<int64_t>& p, ScalarType type) {
  const int64_t sizes[5] = {p.batch, p.channels, p.d.out, p.h.out, p.w.out};
  return torch::stable::empty({sizes, 5}, type, std::nullopt, x.device(), std::nullopt, format_of(p));
}

inline Tensor new_cells(const Tensor& x, const Problem<int64_t>& p) {
  const int64_t sizes[5] = {p.batch, p.channels, p.d.in, p.h.in, p.w.in};
  return torch::stable::empty({sizes, 5}, x.scalar_type(), std::nullopt, x.device(), std::nullopt, format_of(p));
}

inline Tensor new_nothing(const Tensor& x, ScalarType type) {
  const int64_t sizes[1] = {0};
  return torch::stable::empty({sizes, 1}, type, std::nullopt, x.device());
}

// The four results of the forward op; those that are not asked for are empty.
struct Outputs {
  Tensor y, center, center_low, lse;
};

inline Outputs new_outputs(const Tensor& x, const Problem<int64_t>& p, bool want_stats) {
  const ScalarType type = x.scalar_type(), wide = accumulation_type(type);
  const bool low = want_stats && keeps_low(type);
  return {
      new_windows(x, p, type),
      want_stats ? new_windows(x, p, wide) : new_nothing(x, wide),
      low ? new_windows(x, p, wide) : new_nothing(x, wide),
      want_stats ? new_windows(x, p, wide) : new_nothing(x, wide)};
}

// The inputs of the backward op, checked and laid out as x is.
struct Saved {
  Tensor grad, x, center, center_low, lse;
};

inline Saved checked_saved(
    const Tensor& grad,
    const Tensor& x,
    const Tensor& center,
    const Tensor& center_low,
    const Tensor& lse,
    const Problem<int64_t>& p) {
  const ScalarType type = x.scalar_type(), wide = accumulation_type(type);
  check_type(type);
  check_like_output(grad, p, x, "grad");
  check_like_output(center, p, x, "center");
  check_like_output(lse, p, x, "lse");
  if (keeps_low(type)) check_like_output(center_low, p, x, "center_low");
  STD_TORCH_CHECK(
      grad.scalar_type() == type && center.scalar_type() == wide && center_low.scalar_type() == wide &&
          lse.scalar_type() == wide,
      "soft_pool3d_backward: grad must have the dtype of x, the statistics its accumulation dtype");
  const MemoryFormat format = format_of(p);
  auto laid_out = [&](const Tensor& t) { return torch::stable::contiguous(t, format); };
  return {
      laid_out(grad),
      laid_out(x),
      laid_out(center),
      keeps_low(type) ? laid_out(center_low) : center_low,
      laid_out(lse)};
}

}  // namespace
}  // namespace videopool
