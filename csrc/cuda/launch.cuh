// Launching a kernel: the only difference between CUDA and its emulation on the host.
#pragma once
#include <cstdint>

#ifdef __CUDACC__
#include <cuda_runtime.h>
#endif

namespace videopool {

struct Grid {
  int64_t blocks;
  int threads;
};

#ifdef __CUDACC__
using Stream = cudaStream_t;

// The caller checks cudaGetLastError() afterwards.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), Grid grid, Stream stream, Arguments... arguments) {
  kernel<<<unsigned(grid.blocks), unsigned(grid.threads), 0, stream>>>(Parameters(arguments)...);
}
#else
struct Stream {};

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), Grid grid, Stream, Arguments... arguments) {
  host_cuda::launch(unsigned(grid.blocks), unsigned(grid.threads), kernel, Parameters(arguments)...);
}
#endif

}  // namespace videopool
