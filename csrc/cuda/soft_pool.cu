// The ops on CUDA: allocates, launches on the current stream of the tensor's device, registers itself at the foot.
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <tuple>

#include "../checks.h"
#include "soft_pool_kernels.cuh"

// Lives in libtorch_cuda; weak, so that this library also loads beside a CPU-only torch.
extern "C" __attribute__((weak)) AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device, void** stream);

namespace videopool {
namespace {

constexpr unsigned kThreads = 256;
constexpr int64_t kMostBlocks = int64_t(1) << 20;

void check(cudaError_t error, const char* what) {
  STD_TORCH_CHECK(error == cudaSuccess, "videopool: ", what, ": ", cudaGetErrorString(error));
}

cudaStream_t current_stream(int32_t device) {
  using Getter = AOTITorchError (*)(int32_t, void**);
  static const Getter getter = [] {
    if (aoti_torch_get_current_cuda_stream != nullptr) return Getter(aoti_torch_get_current_cuda_stream);
    void* library = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
    return library == nullptr ? Getter(nullptr) : Getter(dlsym(library, "aoti_torch_get_current_cuda_stream"));
  }();
  STD_TORCH_CHECK(getter != nullptr, "videopool: this torch has no CUDA");
  void* stream = nullptr;
  STD_TORCH_CHECK(getter(device, &stream) == 0, "videopool: torch has no current CUDA stream");
  return static_cast<cudaStream_t>(stream);
}

unsigned blocks_for(int64_t threads) {
  const int64_t blocks = (threads + kThreads - 1) / kThreads;
  return unsigned(blocks < kMostBlocks ? blocks : kMostBlocks);
}

// Calls run(T{}) with the C++ type of a dtype.
template <class Run>
void with_type(ScalarType type, const Run& run) {
  check_type(type);
  if (type == ScalarType::Double) run(double{});
  if (type == ScalarType::Float) run(float{});
  if (type == ScalarType::Half) run(c10::Half{});
  if (type == ScalarType::BFloat16) run(c10::BFloat16{});
}

// Calls run(I{}) with the narrowest index type that serves; 64-bit division is slow on a GPU.
template <class Run>
void with_index(const Problem<int64_t>& p, const Run& run) {
  if (fits_int32(p)) {
    run(int32_t{});
  } else {
    run(int64_t{});
  }
}

template <class A>
A* data_or_null(const Tensor& t) {
  return t.numel() == 0 ? nullptr : static_cast<A*>(t.mutable_data_ptr());
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
  check_type(x.scalar_type());
  const torch::stable::accelerator::DeviceGuard guard(x.get_device_index());
  const Tensor cells = torch::stable::contiguous(x, format_of(p));
  Outputs out = new_outputs(x, p, want_stats);
  if (windows_of(p) == 0) return {out.y, out.center, out.center_low, out.lse};
  const cudaStream_t stream = current_stream(x.get_device_index());
  with_type(x.scalar_type(), [&](auto element) {
    using T = decltype(element);
    using A = AccumulationOf<T>;
    const Statistics<A> saved{data_or_null<A>(out.center), data_or_null<A>(out.center_low), data_or_null<A>(out.lse)};
    with_index(p, [&](auto index) {
      using I = decltype(index);
      soft_pool_forward<T, I><<<blocks_for(windows_of(p)), kThreads, 0, stream>>>(
          narrow<I>(p),
          make_slope<A>(beta),
          static_cast<const T*>(cells.const_data_ptr()),
          static_cast<T*>(out.y.mutable_data_ptr()),
          saved);
    });
  });
  check(cudaGetLastError(), "launching soft_pool_forward");
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
  const torch::stable::accelerator::DeviceGuard guard(x.get_device_index());
  const Saved saved = checked_saved(grad, x, center, center_low, lse, p);
  Tensor dx = new_cells(x, p);
  if (cells_of(p) == 0) return dx;
  const cudaStream_t stream = current_stream(x.get_device_index());
  with_type(x.scalar_type(), [&](auto element) {
    using T = decltype(element);
    using A = AccumulationOf<T>;
    auto read = [](const Tensor& t) { return static_cast<const A*>(t.const_data_ptr()); };
    const Statistics<const A> statistics{read(saved.center), read(saved.center_low), read(saved.lse)};
    with_index(p, [&](auto index) {
      using I = decltype(index);
      soft_pool_backward<T, I><<<blocks_for(cells_of(p)), kThreads, 0, stream>>>(
          narrow<I>(p),
          make_slope<A>(beta),
          detach_weights ? A(0) : A(1),
          static_cast<const T*>(saved.grad.const_data_ptr()),
          static_cast<const T*>(saved.x.const_data_ptr()),
          statistics,
          static_cast<T*>(dx.mutable_data_ptr()));
    });
  });
  check(cudaGetLastError(), "launching soft_pool_backward");
  return dx;
}

}  // namespace
}  // namespace videopool

STABLE_TORCH_LIBRARY_IMPL(videopool, CUDA, m) {
  m.impl("soft_pool3d", TORCH_BOX(&videopool::forward));
  m.impl("soft_pool3d_backward", TORCH_BOX(&videopool::backward));
}
