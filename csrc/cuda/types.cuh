// From run-time facts of a call to template arguments.
#pragma once
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <type_traits>

#include "../call.h"
#include "numerics.cuh"

namespace videopool {

using torch::headeronly::ScalarType;

template <int value>
using Constant = std::integral_constant<int, value>;

// run(T{}) with a dtype that accumulates in float32
template <class Run>
void with_narrow_type(ScalarType type, const Run& run) {
  if (type == ScalarType::Float) run(float{});
  if (type == ScalarType::Half) run(c10::Half{});
  if (type == ScalarType::BFloat16) run(c10::BFloat16{});
}

template <class Run>
void with_type(ScalarType type, const Run& run) {
  if (type == ScalarType::Double) return run(double{});
  with_narrow_type(type, run);
}

// run(std::true_type{}) or run(std::false_type{})
template <class Run>
void with_bool(bool value, const Run& run) {
  if (value) {
    run(std::true_type{});
  } else {
    run(std::false_type{});
  }
}

// run(kind), an integral constant
template <class Call, class Run>
void with_kind_of(const Call& call, const Run& run) {
  if (call.logits != nullptr) return run(std::integral_constant<Kind, kGeneral>{});
  if (call.relu) return run(std::integral_constant<Kind, kRelu>{});
  run(std::integral_constant<Kind, kSoft>{});
}

// run(I{}) with the narrowest sufficient index type; 64-bit division is slow on a GPU.
template <class Run>
void with_index(const Problem<int64_t>& p, const Run& run) {
  if (fits_int32(p)) {
    run(int32_t{});
  } else {
    run(int64_t{});
  }
}

}  // namespace videopool
