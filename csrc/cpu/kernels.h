// The interface between the registration (soft_pool.cpp) and the kernels, which are compiled once for each instruction
// set. Plain data and function pointers only: nothing here may become code that differs between the instruction sets.
#pragma once
#include <cstddef>

#include "../call.h"

namespace videopool {

// The division of a call into units of work, for any number of threads in any order; units write to separate memory.
//
// Windows do not cross planes. A plane is one (n, c), or with channels innermost one n and a group of channels. A unit
// is a block of a plane: of results (od, oh) in the forward pass, of cells (d, h) in the backward pass, where block_d and
// block_h are multiples of the strides or the whole axes.
struct Plan {
  int64_t planes;
  int64_t groups, group;  // of channels: how many, and how many channels in each; 1 and 1 in the contiguous layout
  int64_t block_d, block_h, blocks_d, blocks_h;
  int64_t units;
  int64_t batch;       // rows that are processed together in each step
  bool keep_weights;   // whether the weights of a block are computed once and kept, or each time
  const Plan* turned;  // if set, a unit is `group` planes of the contiguous layout, pooled as channels by this plan
};

using ForwardKernel = void (*)(const ForwardCall&, const Plan&, int64_t begin, int64_t end);
using BackwardKernel = void (*)(const BackwardCall&, const Plan&, int64_t begin, int64_t end);

// The op of a kernel: SoftPool of x, SoftPool of max(x, 0), or the general op.
enum Form { kSoft, kReluSoft, kGeneral, kForms };

struct TypedKernels {
  ForwardKernel forward[kForms];
  BackwardKernel backward[kForms];
};

// In the order float64, float32, float16, bfloat16.
struct KernelTable {
  TypedKernels types[4];
};

extern const KernelTable kernels_baseline;
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define VIDEOPOOL_X86_KERNELS 1
extern const KernelTable kernels_avx2;
extern const KernelTable kernels_avx512;
#endif

// The index-th scratch block of the calling thread, of at least `bytes` and with any content. A thread keeps its
// blocks, so that repeated kernels do not wait for new pages from the system.
void* scratch_block(int index, size_t bytes);

}  // namespace videopool
