// The table of kernels of one instruction set; included last by baseline.cpp, avx2.cpp and avx512.cpp.
#include "backward.h"
#include "forward.h"

namespace videopool {
namespace {

template <class T>
constexpr TypedKernels typed_kernels() {
  return {forward_contiguous<T>, forward_channels_last<T>, backward_contiguous<T>, backward_channels_last<T>};
}

}  // namespace

extern const KernelTable VIDEOPOOL_KERNELS = {
    {typed_kernels<double>(), typed_kernels<float>(), typed_kernels<Half>(), typed_kernels<BFloat16>()}};

}  // namespace videopool
