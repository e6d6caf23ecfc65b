// The table of kernels of one instruction set; included last by baseline.cpp, avx2.cpp and avx512.cpp.
#include "turned.h"

namespace videopool {
namespace {

template <class T>
constexpr TypedKernels typed_kernels() {
  return {
      {forward<T, kSoft>, forward<T, kReluSoft>, forward<T, kGeneral>},
      {backward<T, kSoft>, backward<T, kReluSoft>, backward<T, kGeneral>}};
}

}  // namespace

extern const KernelTable VIDEOPOOL_KERNELS = {
    {typed_kernels<double>(), typed_kernels<float>(), typed_kernels<Half>(), typed_kernels<BFloat16>()}};

}  // namespace videopool
