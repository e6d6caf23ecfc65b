// The schemas of the ops. Each device registers its kernels at the end of its own file.
//
// x, values, logits: [N,C,D,H,W]; grad and the results of pooling: [N,C,OD,OH,OW]. detach_weights affects only the
// gradient; it is an argument of the forward op because autograd sees only the arguments of that. relu: pool max(x, 0).
#include <torch/csrc/stable/library.h>

#define WINDOW "int[3] kernel_size, int[3] stride, int[3] padding, int[3] dilation, bool ceil_mode"
#define ADAPTIVE "int[3] output_size"
#define SLOPE "float beta, bool detach_weights, bool relu"

STABLE_TORCH_LIBRARY(videopool, m) {
  m.def("soft_pool3d(Tensor x, " WINDOW ", " SLOPE ") -> Tensor");
  m.def("soft_pool3d_backward(Tensor grad, Tensor x, " WINDOW ", " SLOPE ") -> Tensor");
  m.def("adaptive_soft_pool3d(Tensor x, " ADAPTIVE ", " SLOPE ") -> Tensor");
  m.def("adaptive_soft_pool3d_backward(Tensor grad, Tensor x, " ADAPTIVE ", " SLOPE ") -> Tensor");
  m.def("softmax_pool3d(Tensor values, Tensor logits, " WINDOW ") -> Tensor");
  m.def(
      "softmax_pool3d_backward(Tensor grad, Tensor values, Tensor logits, " WINDOW
      ") -> (Tensor dvalues, Tensor dlogits)");
  m.def(
      "resample_frame_(Tensor(a!) out, Tensor first, Tensor second, Tensor third, Tensor grid, Tensor matrix, "
      "bool mirrored) -> ()");
  m.def("cpu_instruction_set() -> int");  // 0 baseline, 1 AVX2, 2 AVX-512
}
