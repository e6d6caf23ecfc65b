// Lets a C++ compiler take CUDA device code as it is, and runs a kernel on the host: block by block, thread by thread.
// For kernels without barriers, shared memory and warp intrinsics.
#pragma once
#include <cmath>
#include <cstdint>

#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline

namespace host_cuda {
struct Index {
  unsigned x = 0;
};
inline Index thread, block, block_size, grid_size;

template <class Kernel>
void launch(unsigned blocks, unsigned threads, const Kernel& kernel) {
  grid_size.x = blocks;
  block_size.x = threads;
  for (block.x = 0; block.x < blocks; ++block.x)
    for (thread.x = 0; thread.x < threads; ++thread.x) kernel();
}
}  // namespace host_cuda

#define threadIdx host_cuda::thread
#define blockIdx host_cuda::block
#define blockDim host_cuda::block_size
#define gridDim host_cuda::grid_size
