// Contiguous planes of short rows leave vectors partly empty. So several planes at a time are transposed: copied to
// scratch memory with channels innermost, pooled by the kernels of that layout, and the results transposed back.
#pragma once
#include "backward.h"
#include "forward.h"

namespace videopool {
namespace {

// A vector of as many stored elements as there are lanes.
template <class T>
struct Stored {
  using Vector = Uint16;
};
template <>
struct Stored<float> {
  using Vector = Float;
};
template <>
struct Stored<double> {
  using Vector = Double;
};

// Rows become columns. In each of log2(lanes) rounds the rows i and i + lanes / 2 are zipped to the rows 2 i and 2 i + 1.
template <class Vector, int lanes>
VIDEOPOOL_INLINE void transpose_tile(Vector (&rows)[lanes]) {
#pragma GCC unroll 8
  for (int reach = 1; reach < lanes; reach *= 2) {
    Vector zipped[lanes];
#pragma GCC unroll 16
    for (int i = 0; i < lanes / 2; ++i) {
      zipped[2 * i] = zip_low(rows[i], rows[i + lanes / 2]);
      zipped[2 * i + 1] = zip_high(rows[i], rows[i + lanes / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) rows[i] = zipped[i];
  }
}

// [rows, columns] at `from` -> [columns, rows] at `to`, both dense.
template <class T>
void transpose(const T* from, int64_t rows, int64_t columns, T* to) {
  constexpr int lanes = kLanes<T>;
  using Vector = typename Stored<T>::Vector;
  for_each_block<lanes>(rows, [&](int64_t i, int ni) {
    for_each_block<lanes>(columns, [&](int64_t j, int nj) {
      const T* tile = from + i * columns + j;
      T* turned = to + j * rows + i;
      if (ni < lanes || nj < lanes) {
        for (int k = 0; k < ni; ++k)
          for (int l = 0; l < nj; ++l) turned[l * rows + k] = tile[k * columns + l];
        return;
      }
      Vector vectors[lanes];
      for (int k = 0; k < lanes; ++k) vectors[k] = read<Vector>(tile + k * columns);
      transpose_tile(vectors);
      for (int k = 0; k < lanes; ++k) std::memcpy(turned + k * rows, &vectors[k], sizeof(Vector));
    });
  });
}

// The tensors of a unit, plan.group planes of a batch element. The last unit of a batch element may overlap the one
// before it: both give the same numbers.
template <class T>
class TurnedUnits {
 public:
  template <class Call>
  TurnedUnits(const Call& call, const Plan& plan)
      : channels_(call.problem.channels),
        group_(plan.group),
        groups_(plan.groups),
        cells_(call.problem.d.in * call.problem.h.in * call.problem.w.in),
        windows_(call.problem.d.out * call.problem.h.out * call.problem.w.out) {}

  T* take_cells() { return scratch_.take<T>(cells_ * group_); }
  T* take_windows() { return scratch_.take<T>(windows_ * group_); }

  void turn_cells(int64_t unit, const void* tensor, T* turned) const { turn(unit, tensor, cells_, turned); }
  void turn_windows(int64_t unit, const void* tensor, T* turned) const { turn(unit, tensor, windows_, turned); }
  void return_cells(int64_t unit, const T* turned, void* tensor) const { put_back(unit, turned, cells_, tensor); }
  void return_windows(int64_t unit, const T* turned, void* tensor) const { put_back(unit, turned, windows_, tensor); }

  // The tensors of a unit for the kernels.
  Problem<int64_t> problem(Problem<int64_t> p) const {
    p.batch = 1;
    p.channels = group_;
    p.channels_last = true;
    return p;
  }

 private:
  int64_t first_plane(int64_t unit) const {
    return unit / groups_ * channels_ + smaller(unit % groups_ * group_, channels_ - group_);
  }
  void turn(int64_t unit, const void* tensor, int64_t elements, T* turned) const {
    transpose(static_cast<const T*>(tensor) + first_plane(unit) * elements, group_, elements, turned);
  }
  void put_back(int64_t unit, const T* turned, int64_t elements, void* tensor) const {
    transpose(turned, elements, group_, static_cast<T*>(tensor) + first_plane(unit) * elements);
  }

  const int64_t channels_, group_, groups_, cells_, windows_;
  Scratch scratch_{kTurnedScratch};
};

template <class T, Form form>
void forward(const ForwardCall& call, const Plan& plan, int64_t begin, int64_t end) {
  if (plan.turned == nullptr) return Forward<T, form>(call, plan).run(begin, end);
  TurnedUnits<T> units(call, plan);
  T *x = units.take_cells(), *logits = form == kGeneral ? units.take_cells() : nullptr, *y = units.take_windows();
  const ForwardCall turned{units.problem(call.problem), call.sharpness, x, logits, y, call.relu};
  Forward<T, form> kernel(turned, *plan.turned);
  for (int64_t unit = begin; unit < end; ++unit) {
    units.turn_cells(unit, call.x, x);
    if constexpr (form == kGeneral) units.turn_cells(unit, call.logits, logits);
    kernel.run(0, plan.turned->units);
    units.return_windows(unit, y, call.y);
  }
}

template <class T, Form form>
void backward(const BackwardCall& call, const Plan& plan, int64_t begin, int64_t end) {
  if (plan.turned == nullptr) return Backward<T, form>(call, plan).run(begin, end);
  TurnedUnits<T> units(call, plan);
  T *grad = units.take_windows(), *x = units.take_cells(), *dx = units.take_cells();
  T* logits = form == kGeneral ? units.take_cells() : nullptr;
  T* dlogits = form == kGeneral ? units.take_cells() : nullptr;
  const BackwardCall turned{units.problem(call.problem), call.sharpness, grad, x, logits, dx, dlogits, call.relu};
  Backward<T, form> kernel(turned, *plan.turned);
  for (int64_t unit = begin; unit < end; ++unit) {
    units.turn_windows(unit, call.grad, grad);
    units.turn_cells(unit, call.x, x);
    if constexpr (form == kGeneral) units.turn_cells(unit, call.logits, logits);
    kernel.run(0, plan.turned->units);
    units.return_cells(unit, dx, call.dx);
    if constexpr (form == kGeneral) units.return_cells(unit, dlogits, call.dlogits);
  }
}

}  // namespace
}  // namespace videopool
