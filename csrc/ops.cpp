// The schemas of the ops. Each device registers its kernels at the foot of its own file.
//
// soft_pool3d: x [N,C,D,H,W] -> y, and what its gradient needs: center, center_low (empty for float16 and bfloat16) and
// lse, each [N,C,OD,OH,OW] in the accumulation dtype, all empty without want_stats. detach_weights concerns the
// gradient alone; it is an argument here because autograd sees only the arguments of the forward op.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(videopool, m) {
  m.def(
      "soft_pool3d(Tensor x, int[3] kernel_size, int[3] stride, int[3] padding, int[3] dilation, bool ceil_mode, "
      "float beta, bool detach_weights, bool want_stats) -> (Tensor y, Tensor center, Tensor center_low, Tensor lse)");
  m.def(
      "soft_pool3d_backward(Tensor grad, Tensor x, Tensor center, Tensor center_low, Tensor lse, int[3] kernel_size, "
      "int[3] stride, int[3] padding, int[3] dilation, bool ceil_mode, float beta, bool detach_weights) -> Tensor");
  m.def("cpu_instruction_set() -> int");  // 0 baseline, 1 AVX2, 2 AVX-512
}
