// The ops as torch calls them, for CPU and CUDA. They turn arguments into a Problem, bring inputs into one layout and
// allocate results; `Run` then computes. The Python layer has checked the arguments with better messages; the checks
// here prevent direct calls of an op from reading out of bounds.
#pragma once
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <tuple>
#include <vector>

#include "call.h"

namespace videopool {
namespace {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

using Sizes = std::vector<int64_t>;

// The layout of the results: channels innermost if the input has them so and is not contiguous; the same rule as
// _is_channels_last in videopool/ops/native.py.
inline bool is_channels_last(const Tensor& x) {
  return x.size(1) > 1 && x.stride(1) == 1 && !x.is_contiguous();
}

inline MemoryFormat format_of(const Problem<int64_t>& p) {
  return p.channels_last ? MemoryFormat::ChannelsLast3d : MemoryFormat::Contiguous;
}

// `t`, or a copy of it, in the layout of the results. If nothing is to be done, torch is not called: for a small tensor
// that takes longer than the kernel.
inline Tensor laid_out(const Tensor& t, const Problem<int64_t>& p) {
  bool ready = !p.channels_last && t.is_contiguous();
  if (p.channels_last) {
    const int order[5] = {1, 4, 3, 2, 0};
    int64_t stride = 1;
    ready = true;
    for (const int axis : order) {
      ready = ready && (t.stride(axis) == stride || t.size(axis) == 1);
      stride *= t.size(axis);
    }
  }
  return ready ? t : torch::stable::contiguous(t, format_of(p));
}

inline Axis<int64_t> checked_axis(int64_t in, int64_t k, int64_t s, int64_t p, int64_t d, bool ceil_mode) {
  STD_TORCH_CHECK(k > 0 && s > 0 && d > 0, "videopool: kernel_size, stride and dilation must be positive");
  STD_TORCH_CHECK(p >= 0 && p <= k / 2, "videopool: padding ", p, " is negative or over half of kernel_size ", k);
  const Axis<int64_t> axis = make_axis(in, k, s, p, d, ceil_mode);
  STD_TORCH_CHECK(in > 0 && axis.out > 0, "videopool: the window does not fit an axis of ", in, " cells");
  return axis;
}

inline Axis<int64_t> checked_adaptive_axis(int64_t in, int64_t out) {
  STD_TORCH_CHECK(in > 0 && out > 0, "videopool: cannot pool an axis of ", in, " cells to ", out);
  return make_adaptive_axis(in, out);
}

inline Problem<int64_t> make_problem(
    const Tensor& x, const Axis<int64_t>& d, const Axis<int64_t>& h, const Axis<int64_t>& w) {
  return {x.size(0), x.size(1), d, h, w, is_channels_last(x)};
}

inline void check_input(const Tensor& x) {
  const ScalarType t = x.scalar_type();
  STD_TORCH_CHECK(x.dim() == 5, "videopool: the input must have 5 axes, got ", x.dim());
  STD_TORCH_CHECK(
      t == ScalarType::Double || t == ScalarType::Float || t == ScalarType::Half || t == ScalarType::BFloat16,
      "videopool: the input must be float64, float32, float16 or bfloat16");
}

inline Problem<int64_t> windowed(
    const Tensor& x, const Sizes& k, const Sizes& s, const Sizes& p, const Sizes& d, bool ceil_mode) {
  check_input(x);
  STD_TORCH_CHECK(
      k.size() == 3 && s.size() == 3 && p.size() == 3 && d.size() == 3,
      "videopool: kernel_size, stride, padding and dilation need 3 values each");
  const auto axis = [&](int i) { return checked_axis(x.size(2 + i), k[i], s[i], p[i], d[i], ceil_mode); };
  return make_problem(x, axis(0), axis(1), axis(2));
}

inline Problem<int64_t> adaptive(const Tensor& x, const Sizes& output_size) {
  check_input(x);
  STD_TORCH_CHECK(output_size.size() == 3, "videopool: output_size needs 3 values");
  const auto axis = [&](int i) { return checked_adaptive_axis(x.size(2 + i), output_size[i]); };
  return make_problem(x, axis(0), axis(1), axis(2));
}

inline void check_beside(const Tensor& t, const Tensor& x, const char* name) {
  STD_TORCH_CHECK(t.scalar_type() == x.scalar_type(), "videopool: ", name, " must have the dtype of the input");
  STD_TORCH_CHECK(
      t.is_cuda() == x.is_cuda() && t.get_device_index() == x.get_device_index(),
      "videopool: ",
      name,
      " must be on the device of the input");
}

inline void check_grad(const Tensor& grad, const Tensor& x, const Problem<int64_t>& p) {
  STD_TORCH_CHECK(
      grad.dim() == 5 && grad.size(0) == p.batch && grad.size(1) == p.channels && grad.size(2) == p.d.out &&
          grad.size(3) == p.h.out && grad.size(4) == p.w.out,
      "videopool: grad must have the shape of the output");
  check_beside(grad, x, "grad");
}

inline void check_logits(const Tensor& logits, const Tensor& values) {
  bool same = logits.dim() == 5;
  for (int i = 0; i < 5 && same; ++i) same = logits.size(i) == values.size(i);
  STD_TORCH_CHECK(same, "videopool: logits must have the shape of values");
  check_beside(logits, values, "logits");
}

inline Tensor new_windows(const Tensor& x, const Problem<int64_t>& p) {
  const int64_t sizes[5] = {p.batch, p.channels, p.d.out, p.h.out, p.w.out};
  return torch::stable::empty({sizes, 5}, x.scalar_type(), std::nullopt, x.device(), std::nullopt, format_of(p));
}

inline Tensor new_cells(const Tensor& x, const Problem<int64_t>& p) {
  const int64_t sizes[5] = {p.batch, p.channels, p.d.in, p.h.in, p.w.in};
  return torch::stable::empty({sizes, 5}, x.scalar_type(), std::nullopt, x.device(), std::nullopt, format_of(p));
}

// The ops over a device. Run::forward(call, dtype, device index) and Run::backward compute; Run::fresh(tensor) is
// called for every result before it is written. None of them is called for empty tensors.
template <class Run>
struct Ops {
  static Tensor forward(
      const Tensor& x, const Tensor* logits, const Problem<int64_t>& p, const Sharpness& sharpness, bool relu) {
    const Tensor cells = laid_out(x, p), weights = logits == nullptr ? cells : laid_out(*logits, p);
    Tensor y = new_windows(x, p);
    if (y.numel() == 0) return y;
    Run::fresh(y);
    Run::forward(
        ForwardCall{
            p,
            sharpness,
            cells.const_data_ptr(),
            logits == nullptr ? nullptr : weights.const_data_ptr(),
            y.mutable_data_ptr(),
            relu},
        x.scalar_type(),
        x.get_device_index());
    return y;
  }

  static std::tuple<Tensor, Tensor> backward(
      const Tensor& grad,
      const Tensor& x,
      const Tensor* logits,
      const Problem<int64_t>& p,
      const Sharpness& sharpness,
      bool relu) {
    check_grad(grad, x, p);
    const Tensor given = laid_out(grad, p), cells = laid_out(x, p);
    const Tensor weights = logits == nullptr ? cells : laid_out(*logits, p);
    Tensor dx = new_cells(x, p);
    Tensor dlogits = logits == nullptr ? dx : new_cells(x, p);
    if (dx.numel() == 0) return {dx, dlogits};
    Run::fresh(dx);
    if (logits != nullptr) Run::fresh(dlogits);
    Run::backward(
        BackwardCall{
            p,
            sharpness,
            given.const_data_ptr(),
            cells.const_data_ptr(),
            logits == nullptr ? nullptr : weights.const_data_ptr(),
            dx.mutable_data_ptr(),
            logits == nullptr ? nullptr : dlogits.mutable_data_ptr(),
            relu},
        x.scalar_type(),
        x.get_device_index());
    return {dx, dlogits};
  }

  static Tensor soft_pool3d(
      const Tensor& x,
      Sizes k,
      Sizes s,
      Sizes p,
      Sizes d,
      bool ceil_mode,
      double beta,
      bool detach_weights,
      bool relu) {
    return forward(x, nullptr, windowed(x, k, s, p, d, ceil_mode), {beta, detach_weights}, relu);
  }

  static Tensor soft_pool3d_backward(
      const Tensor& grad,
      const Tensor& x,
      Sizes k,
      Sizes s,
      Sizes p,
      Sizes d,
      bool ceil_mode,
      double beta,
      bool detach_weights,
      bool relu) {
    return std::get<0>(backward(grad, x, nullptr, windowed(x, k, s, p, d, ceil_mode), {beta, detach_weights}, relu));
  }

  static Tensor adaptive_soft_pool3d(const Tensor& x, Sizes output_size, double beta, bool detach_weights, bool relu) {
    return forward(x, nullptr, adaptive(x, output_size), {beta, detach_weights}, relu);
  }

  static Tensor adaptive_soft_pool3d_backward(
      const Tensor& grad, const Tensor& x, Sizes output_size, double beta, bool detach_weights, bool relu) {
    return std::get<0>(backward(grad, x, nullptr, adaptive(x, output_size), {beta, detach_weights}, relu));
  }

  static Tensor softmax_pool3d(
      const Tensor& values, const Tensor& logits, Sizes k, Sizes s, Sizes p, Sizes d, bool ceil_mode) {
    const Problem<int64_t> problem = windowed(values, k, s, p, d, ceil_mode);
    check_logits(logits, values);
    return forward(values, &logits, problem, {1.0, false}, false);
  }

  static std::tuple<Tensor, Tensor> softmax_pool3d_backward(
      const Tensor& grad,
      const Tensor& values,
      const Tensor& logits,
      Sizes k,
      Sizes s,
      Sizes p,
      Sizes d,
      bool ceil_mode) {
    const Problem<int64_t> problem = windowed(values, k, s, p, d, ceil_mode);
    check_logits(logits, values);
    return backward(grad, values, &logits, problem, {1.0, false}, false);
  }

  template <class Library>
  static void register_all(Library& m) {
    m.impl("soft_pool3d", TORCH_BOX(&Ops::soft_pool3d));
    m.impl("soft_pool3d_backward", TORCH_BOX(&Ops::soft_pool3d_backward));
    m.impl("adaptive_soft_pool3d", TORCH_BOX(&Ops::adaptive_soft_pool3d));
    m.impl("adaptive_soft_pool3d_backward", TORCH_BOX(&Ops::adaptive_soft_pool3d_backward));
    m.impl("softmax_pool3d", TORCH_BOX(&Ops::softmax_pool3d));
    m.impl("softmax_pool3d_backward", TORCH_BOX(&Ops::softmax_pool3d_backward));
  }
};

}  // namespace
}  // namespace videopool
