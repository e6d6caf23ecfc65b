// The ops on the CPU: picks the kernels of the processor's instruction set, allocates, runs rows in parallel.
#include <cstdlib>
#include <string>
#include <tuple>

#include "../checks.h"
#include "kernels.h"

namespace videopool {
namespace {

enum InstructionSet : int64_t { kBaseline = 0, kAvx2 = 1, kAvx512 = 2 };

// The best that the processor has, or the one that VIDEOPOOL_ISA names if the processor has it.
InstructionSet choose_instruction_set() {
  InstructionSet best = kBaseline;
#ifdef VIDEOPOOL_X86_KERNELS
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) best = kAvx2;
  if (best == kAvx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    best = kAvx512;
#endif
  const char* named = std::getenv("VIDEOPOOL_ISA");
  if (named == nullptr || *named == '\0') return best;
  const std::string name = named;
  STD_TORCH_CHECK(
      name == "baseline" || name == "avx2" || name == "avx512",
      "VIDEOPOOL_ISA=", name, " is not an instruction set; give baseline, avx2 or avx512");
  const InstructionSet wanted = name == "avx512" ? kAvx512 : name == "avx2" ? kAvx2 : kBaseline;
  STD_TORCH_CHECK(wanted <= best, "VIDEOPOOL_ISA=", name, " is more than this processor has");
  return wanted;
}

int64_t instruction_set() {
  static const InstructionSet chosen = choose_instruction_set();
  return chosen;
}

const TypedKernels& kernels_for(ScalarType type) {
  check_type(type);
  const int at = type == ScalarType::Double ? 0 : type == ScalarType::Float ? 1 : type == ScalarType::Half ? 2 : 3;
#ifdef VIDEOPOOL_X86_KERNELS
  if (instruction_set() == kAvx512) return kernels_avx512.types[at];
  if (instruction_set() == kAvx2) return kernels_avx2.types[at];
#endif
  return kernels_baseline.types[at];
}

// Rows for one thread at least: about 30,000 exponentials, some 30 microseconds.
int64_t grain(int64_t rows, int64_t exponentials) {
  const int64_t per_row = exponentials / (rows > 0 ? rows : 1) + 1;
  return 30000 / per_row + 1;
}

int64_t taps_in(const Problem<int64_t>& p) {
  return p.d.kernel * p.h.kernel * p.w.kernel;
}

void* data_or_null(const Tensor& t) {
  return t.numel() == 0 ? nullptr : t.mutable_data_ptr();
}

std::tuple<Tensor, Tensor, Tensor, Tensor> forward(
    const Tensor& x,
    Sizes kernel_size,
    Sizes stride,
    Sizes padding,
    Sizes dilation,
    bool ceil_mode,
    double beta,
    bool /*detach_weights*/,
    bool want_stats) {
  const Problem<int64_t> p = make_problem(x, kernel_size, stride, padding, dilation, ceil_mode);
  const TypedKernels& kernels = kernels_for(x.scalar_type());
  const Tensor cells = torch::stable::contiguous(x, format_of(p));
  Outputs out = new_outputs(x, p, want_stats);
  const ForwardCall call{
      p,
      beta,
      cells.const_data_ptr(),
      out.y.mutable_data_ptr(),
      data_or_null(out.center),
      data_or_null(out.center_low),
      data_or_null(out.lse)};
  const int64_t rows = p.channels_last ? p.batch * p.d.out * p.h.out : p.batch * p.channels * p.d.out;
  const ForwardKernel run = p.channels_last ? kernels.forward_channels_last : kernels.forward_contiguous;
  if (rows > 0)
    torch::stable::parallel_for(
        0, rows, grain(rows, windows_of(p) * taps_in(p)), [&](int64_t begin, int64_t end) { run(call, begin, end); });
  return {out.y, out.center, out.center_low, out.lse};
}

Tensor backward(
    const Tensor& grad,
    const Tensor& x,
    const Tensor& center,
    const Tensor& center_low,
    const Tensor& lse,
    Sizes kernel_size,
    Sizes stride,
    Sizes padding,
    Sizes dilation,
    bool ceil_mode,
    double beta,
    bool detach_weights) {
  const Problem<int64_t> p = make_problem(x, kernel_size, stride, padding, dilation, ceil_mode);
  const TypedKernels& kernels = kernels_for(x.scalar_type());
  const Saved saved = checked_saved(grad, x, center, center_low, lse, p);
  Tensor dx = new_cells(x, p);
  const BackwardCall call{
      p,
      beta,
      detach_weights,
      saved.grad.const_data_ptr(),
      saved.x.const_data_ptr(),
      saved.center.const_data_ptr(),
      saved.center_low.const_data_ptr(),
      saved.lse.const_data_ptr(),
      dx.mutable_data_ptr()};
  const int64_t rows = p.channels_last ? p.batch * p.d.in * p.h.in : p.batch * p.channels * p.d.in;
  const BackwardKernel run = p.channels_last ? kernels.backward_channels_last : kernels.backward_contiguous;
  if (rows > 0)
    torch::stable::parallel_for(
        0, rows, grain(rows, windows_of(p) * taps_in(p)), [&](int64_t begin, int64_t end) { run(call, begin, end); });
  return dx;
}

}  // namespace
}  // namespace videopool

STABLE_TORCH_LIBRARY_IMPL(videopool, CPU, m) {
  m.impl("soft_pool3d", TORCH_BOX(&videopool::forward));
  m.impl("soft_pool3d_backward", TORCH_BOX(&videopool::backward));
}

STABLE_TORCH_LIBRARY_IMPL(videopool, CompositeExplicitAutograd, m) {
  m.impl("cpu_instruction_set", TORCH_BOX(&videopool::instruction_set));
}
