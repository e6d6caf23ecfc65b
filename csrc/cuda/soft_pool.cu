// The ops on CUDA: on the current stream of the tensor's device, without waiting for it. They are registered at the
// end.
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <torch/csrc/stable/accelerator.h>

#include <optional>

#include "../ops.h"
#include "kernels.h"

// Defined in libtorch_cuda; weak, so that this library also loads with a CPU-only torch.
extern "C" __attribute__((weak)) AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device, void** stream);

namespace videopool {
namespace {

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

void check_launches(const char* what) {
  const cudaError_t error = cudaGetLastError();
  STD_TORCH_CHECK(error == cudaSuccess, "videopool: ", what, ": ", cudaGetErrorString(error));
}

// From torch's allocator, which reserves it until the stream has finished what is launched now.
Tensor new_bytes(int64_t count, int32_t device) {
  const torch::stable::Device place(torch::headeronly::DeviceType::CUDA, device);
  return torch::stable::empty({&count, 1}, ScalarType::Byte, std::nullopt, place);
}

struct Cuda {
  static void fresh(Tensor&) {}

  static void forward(const ForwardCall& call, ScalarType type, int32_t device) {
    const torch::stable::accelerator::DeviceGuard guard(device);
    run_forward(call, type, current_stream(device));
    check_launches("launching the forward kernel");
  }

  static void backward(const BackwardCall& call, ScalarType type, int32_t device) {
    const torch::stable::accelerator::DeviceGuard guard(device);
    const int64_t bytes = scratch_bytes(call, type);
    std::optional<Tensor> scratch;
    if (bytes > 0) scratch = new_bytes(bytes, device);
    run_backward(call, type, scratch ? scratch->mutable_data_ptr() : nullptr, current_stream(device));
    check_launches("launching the backward kernel");
  }
};

}  // namespace
}  // namespace videopool

STABLE_TORCH_LIBRARY_IMPL(videopool, CUDA, m) {
  videopool::Ops<videopool::Cuda>::register_all(m);
}
