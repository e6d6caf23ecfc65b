// Calls of the ops on the host's stand-in for CUDA, for test_device_code.py: the choice of kernels, their launches and
// the device code are those of csrc/cuda.
#include <dlfcn.h>

#include "cuda/kernels.h"

using namespace videopool;

namespace {

struct Call {
  int64_t sizes[5], kernel[3], stride[3], padding[3], dilation[3];
  int64_t adaptive;  // then `kernel` holds the output size
  int64_t ceil_mode, channels_last, detach_weights, relu, type;
  double beta;
  void *grad, *x, *logits, *y, *dx, *dlogits;  // null: not part of the call
};

Axis<int64_t> axis(const Call& c, int i) {
  if (c.adaptive != 0) return make_adaptive_axis(c.sizes[2 + i], c.kernel[i]);
  return make_axis(c.sizes[2 + i], c.kernel[i], c.stride[i], c.padding[i], c.dilation[i], c.ceil_mode != 0);
}

Problem<int64_t> problem(const Call& c) {
  return {c.sizes[0], c.sizes[1], axis(c, 0), axis(c, 1), axis(c, 2), c.channels_last != 0};
}

ForwardCall forward_call(const Call& c) {
  return {problem(c), {c.beta, c.detach_weights != 0}, c.x, c.logits, c.y, c.relu != 0};
}

BackwardCall backward_call(const Call& c) {
  return {problem(c), {c.beta, c.detach_weights != 0}, c.grad, c.x, c.logits, c.dx, c.dlogits, c.relu != 0};
}

ScalarType type_of(const Call& c) {
  constexpr ScalarType types[] = {ScalarType::Double, ScalarType::Float, ScalarType::Half, ScalarType::BFloat16};
  return types[c.type];
}

void add(const char* name, const void* data, int64_t count, const Call& c, bool is_written) {
  host_cuda::add_tensor(name, data, size_t(count), size_t(element_bytes(type_of(c))), is_written);
}

void begin(const Call& c) {
  host_cuda::failure.clear();
  host_cuda::tensors.clear();
  add("x", c.x, cells_of(problem(c)), c, false);
  add("logits", c.logits, cells_of(problem(c)), c, false);
}

const char* end() {
  host_cuda::check_all_written();
  return host_cuda::failure.c_str();
}

int64_t code(const Choice& choice) { return int64_t(choice.family) * 2 + choice.vectors; }

}  // namespace

// Both return what went wrong, or an empty text.
extern "C" const char* forward(const Call* c) {
  begin(*c);
  add("y", c->y, windows_of(problem(*c)), *c, true);
  run_forward(forward_call(*c), type_of(*c), {});
  return end();
}

extern "C" const char* backward(const Call* c) {
  begin(*c);
  add("grad", c->grad, windows_of(problem(*c)), *c, false);
  add("dx", c->dx, cells_of(problem(*c)), *c, true);
  add("dlogits", c->dlogits, cells_of(problem(*c)), *c, true);
  const BackwardCall call = backward_call(*c);
  std::vector<double> scratch(size_t(scratch_bytes(call, type_of(*c))) / sizeof(double) + 1);
  const size_t wide = type_of(*c) == ScalarType::Double ? 8 : 4;
  host_cuda::add_tensor("scratch", scratch.data(), size_t(scratch_bytes(call, type_of(*c))) / wide, wide, true);
  run_backward(call, type_of(*c), scratch.data(), {});
  return end();
}

// Records the launches of a call instead of running them, and returns their number. The tensors need not exist.
extern "C" int64_t record_forward(const Call* c) {
  host_cuda::recorded.clear();
  host_cuda::recording = true;
  run_forward(forward_call(*c), type_of(*c), {});
  host_cuda::recording = false;
  return int64_t(host_cuda::recorded.size());
}

extern "C" int64_t record_backward(const Call* c, void* scratch) {
  host_cuda::recorded.clear();
  host_cuda::recording = true;
  run_backward(backward_call(*c), type_of(*c), scratch, {});
  host_cuda::recording = false;
  return int64_t(host_cuda::recorded.size());
}

extern "C" int64_t cells_of_call(const Call* c) { return cells_of(problem(*c)); }
extern "C" int64_t windows_of_call(const Call* c) { return windows_of(problem(*c)); }
extern "C" int64_t scratch_of_backward(const Call* c) { return scratch_bytes(backward_call(*c), type_of(*c)); }

// Of a recorded launch: the mangled name of its kernel, blocks, threads of a block, and bytes of its parameters.
extern "C" const char* recorded_kernel(int64_t launch) {
  Dl_info found{};
  dladdr(host_cuda::recorded[size_t(launch)].kernel, &found);
  return found.dli_sname;
}

extern "C" void recorded_sizes(int64_t launch, int64_t* sizes) {
  const host_cuda::Recorded& one = host_cuda::recorded[size_t(launch)];
  sizes[0] = one.blocks;
  sizes[1] = one.threads;
  sizes[2] = int64_t(one.parameters.size());
}

extern "C" const char* recorded_parameters(int64_t launch) {
  return host_cuda::recorded[size_t(launch)].parameters.data();
}

// The kernels chosen: family * 2 + whether they use vectors.
extern "C" int64_t choose_forward(const Call* c) { return code(choose(forward_call(*c), element_bytes(type_of(*c)))); }
extern "C" int64_t choose_backward(const Call* c) {
  return code(choose(backward_call(*c), element_bytes(type_of(*c))));
}
