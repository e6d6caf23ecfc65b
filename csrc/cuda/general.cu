#include "general.cuh"
#include "kernels.h"
#include "types.cuh"

namespace videopool {

void run_general_forward(const ForwardCall& call, ScalarType type, Stream stream) {
  with_type(type, [&](auto element) {
    with_bool(call.logits != nullptr, [&](auto general) {
      with_index(call.problem, [&](auto index) {
        launch_general_forward<general.value, decltype(element), decltype(index)>(call, stream);
      });
    });
  });
}

void run_general_backward(const BackwardCall& call, ScalarType type, void* scratch, Stream stream) {
  with_type(type, [&](auto element) {
    with_bool(call.logits != nullptr, [&](auto general) {
      with_index(call.problem, [&](auto index) {
        launch_general_backward<general.value, decltype(element), decltype(index)>(call, scratch, stream);
      });
    });
  });
}

}  // namespace videopool
