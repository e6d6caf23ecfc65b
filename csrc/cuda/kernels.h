// The kernels for the ops. Each has its own source file, so that they compile in parallel.
#pragma once
#include <torch/headeronly/core/ScalarType.h>

#include "launch.cuh"
#include "plan.h"

namespace videopool {

using torch::headeronly::ScalarType;

void run_general_forward(const ForwardCall& call, ScalarType type, Stream stream);
// scratch: general_scratch_bytes(call, type) of device memory
void run_general_backward(const BackwardCall& call, ScalarType type, void* scratch, Stream stream);

void run_owned_forward(const ForwardCall& call, ScalarType type, bool vectors, Stream stream);
void run_owned_backward(const BackwardCall& call, ScalarType type, bool vectors, Stream stream);

void run_overlapping_forward(const ForwardCall& call, ScalarType type, bool vectors, Stream stream);
void run_overlapping_backward(const BackwardCall& call, ScalarType type, bool vectors, Stream stream);

void run_large_forward(const ForwardCall& call, ScalarType type, bool vectors, Stream stream);
void run_large_backward(const BackwardCall& call, ScalarType type, bool vectors, Stream stream);

inline int64_t element_bytes(ScalarType type) {
  return type == ScalarType::Double ? 8 : type == ScalarType::Float ? 4 : 2;
}

inline void run_forward(const ForwardCall& call, ScalarType type, Stream stream) {
  const Choice choice = choose(call, element_bytes(type));
  switch (choice.family) {
    case Family::general: return run_general_forward(call, type, stream);
    case Family::owned: return run_owned_forward(call, type, choice.vectors, stream);
    case Family::overlapping: return run_overlapping_forward(call, type, choice.vectors, stream);
    case Family::large: return run_large_forward(call, type, choice.vectors, stream);
  }
}

// Device memory that run_backward needs in addition to the tensors of the call: the states of the windows, for general
// kernels.
inline int64_t scratch_bytes(const BackwardCall& call, ScalarType type) {
  const bool general = choose(call, element_bytes(type)).family == Family::general;
  return general ? windows_of(call.problem) * 3 * (type == ScalarType::Double ? 8 : 4) : 0;
}

inline void run_backward(const BackwardCall& call, ScalarType type, void* scratch, Stream stream) {
  const Choice choice = choose(call, element_bytes(type));
  switch (choice.family) {
    case Family::general: return run_general_backward(call, type, scratch, stream);
    case Family::owned: return run_owned_backward(call, type, choice.vectors, stream);
    case Family::overlapping: return run_overlapping_backward(call, type, choice.vectors, stream);
    case Family::large: return run_large_backward(call, type, choice.vectors, stream);
  }
}

}  // namespace videopool
