// The two ways in which windows that share cells also share their exponentials: sums over boxes of cells.
//
// SharedLevel: one reference for all windows. With t the distance of a cell from it and e = exp(beta t), a window has
// S = sum e and A = sum e t, and pools to reference + A / S. Backward, a window gives G = grad / S and Q = G A / S, and a
// cell with the sums P and Q over the windows above it has the gradient e (P + beta (t P - Q)); the general op takes e
// from the logits, and has e P and e (t P - Q). So there is one exponential for a cell, and additions. This is valid
// for cells within some 55 / beta of the reference; `check` stays finite only where it is.
//
// OwnLevels: each sum has its own level, the largest of its cells (backward: the smallest of its windows' levels), and
// joining two sums rescales them to that of the result. Valid for every input, by the rules of soft_pool.h, at 5 to 14
// times the cost.
#pragma once
#include "numerics.cuh"

namespace videopool {

constexpr float kAbsent = -1e30f;  // the exponent of a cell that is not there

template <Kind kind>
struct SharedLevel {
  static constexpr bool general = kind == kGeneral, needs_registers = false;
  struct Cell {
    float weight, distance, x;
  };
  struct Sum {
    float weights, products;
  };
  using Spread = Sum;

  float exponent;      // beta * log2(e)
  float slope;         // beta, or 0 to hold the weights constant
  float value, logit;  // the reference
  float check = 0;     // not finite if a window is beyond the reach of the reference

  __device__ __forceinline__ explicit SharedLevel(const Weighting<float>& weighting) {
    const float scale = general ? 1.0f : weighting.slope.scale;
    exponent = weighting.slope.rate * scale * float(kLog2E);
    slope = weighting.slope.rate * scale * weighting.exact;
  }

  __device__ __forceinline__ bool holds() const { return is_finite(check); }
  __device__ __forceinline__ static void separate() {}

  __device__ __forceinline__ void set_reference(float x, float l) {
    value = pooled<kind>(x);
    logit = l;
  }

  __device__ __forceinline__ Sum none() const { return {0.0f, 0.0f}; }
  __device__ __forceinline__ Spread no_spread() const { return {0.0f, 0.0f}; }

  // absence: 0, or kAbsent
  __device__ __forceinline__ Cell cell(float x, float l, float absence) const {
    const float distance = pooled<kind>(x) - value;
    return {DeviceMath::exp2(fmaf(general ? l - logit : distance, exponent, absence)), distance, x};
  }
  __device__ __forceinline__ Sum sum(const Cell& cell) const { return {cell.weight, cell.weight * cell.distance}; }
  __device__ __forceinline__ Sum join(const Sum& a, const Sum& b) const {
    return {a.weights + b.weights, a.products + b.products};
  }
  __device__ __forceinline__ Spread join_spread(const Spread& a, const Spread& b) const { return join(a, b); }

  __device__ __forceinline__ float result(const Sum& window, bool present) {
    const float weights = present ? window.weights : 1.0f, inverse = DeviceMath::reciprocal(weights);
    const float mean = window.products * inverse;
    note(weights, inverse, mean);
    return value + mean;
  }

  // excess: 0, or above it where no window is; past: whether the march has passed all windows. Then grad is 0.
  __device__ __forceinline__ Spread spread(const Sum& window, float excess, bool /*past*/, float grad) {
    const float weights = window.weights + excess, inverse = DeviceMath::reciprocal(weights);
    const float g = grad * inverse, q = g * (window.products * inverse);
    note(weights, inverse, is_finite(grad) ? q : 0.0f);  // an infinite gradient does not invalidate the reference
    return {g, q};
  }

  // -> the gradient of the value; of the logit in `dlogit`
  __device__ __forceinline__ float gradient(const Cell& cell, const Spread& over, float& dlogit) const {
    const float deviation = cell.distance * over.weights - over.products;
    if constexpr (general) {
      dlogit = cell.weight * deviation;
      return cell.weight * over.weights;
    } else {
      return through<kind>(cell.weight * (over.weights + slope * deviation), cell.x);
    }
  }

 private:
  // Sums beyond 2^80, or below 2^-80 and so their inverses beyond it, overflow here.
  __device__ __forceinline__ void note(float weights, float inverse, float mean) {
    check = fmaf(weights, 0x1p47f, check);
    check = fmaf(inverse, 0x1p47f, check);
    check = fmaf(mean, 0.0f, check);
  }
};

template <Kind kind>
struct OwnLevels {
  static constexpr bool general = kind == kGeneral, needs_registers = true;
  struct Cell {
    float x, logit, absence;
  };
  // top: of the cells that have weight. Spread: the lowest of the windows' levels.
  struct Sum {
    float top, weights, products;
  };
  using Spread = Sum;

  Slope<float> units;
  float exponent;  // |beta| * log2(e)
  float slope;     // |beta|, or 0 to hold the weights constant

  __device__ __forceinline__ explicit OwnLevels(const Weighting<float>& weighting) : units(weighting.slope) {
    exponent = fminf(units.rate * float(kLog2E), Limits<float>::max);
    slope = units.rate * weighting.exact;
  }

  // Keeps the compiler from doing everything at a time, for which the registers do not suffice.
  __device__ __forceinline__ static void separate() { __syncwarp(); }

  __device__ __forceinline__ Sum none() const { return {-Limits<float>::max, 0.0f, 0.0f}; }
  __device__ __forceinline__ Spread no_spread() const { return {Limits<float>::max, 0.0f, 0.0f}; }

  __device__ __forceinline__ Cell cell(float x, float l, float absence) const { return {x, l, absence}; }
  __device__ __forceinline__ Sum sum(const Cell& cell) const {
    const float most = Limits<float>::max, z = level_of(cell);
    if (cell.absence < 0.0f || z < -most) return none();
    const bool is_number = general ? z <= most : z == z;
    const float weight = is_number ? 1.0f : Limits<float>::nan;
    return {fminf(z, most), weight, general ? cell.x * weight : z > most ? z : 0.0f};
  }

  __device__ __forceinline__ Sum join(const Sum& a, const Sum& b) const {
    return joined(a, b, fmaxf(a.top, b.top), exponent);
  }
  __device__ __forceinline__ Spread join_spread(const Spread& a, const Spread& b) const {
    return joined(a, b, fminf(a.top, b.top), -exponent);
  }

  __device__ __forceinline__ float result(const Sum& window, bool) const {
    const float mean = window.products * DeviceMath::reciprocal(window.weights);
    if constexpr (general) return mean;
    return (window.weights == 0.0f ? -Limits<float>::infinity : window.top + mean) * units.inverse;
  }

  __device__ __forceinline__ Spread spread(const Sum& window, float excess, bool past, float grad) const {
    if (excess > 0.0f || past) return no_spread();
    const float inverse = DeviceMath::reciprocal(window.weights), mean = window.products * inverse;
    const float y = general ? mean : window.top + mean;
    const float g = is_finite(y) && window.weights != 0.0f ? grad * inverse : Limits<float>::nan;
    return {window.top, g, g * mean};
  }

  __device__ __forceinline__ float gradient(const Cell& cell, const Spread& over, float& dlogit) const {
    const float t = bounded(level_of(cell) - over.top), e = DeviceMath::exp2(t * exponent), whole = e * over.weights;
    if constexpr (general) {
      dlogit = e == 0.0f ? whole : e * (cell.x * over.weights - over.products);
      return whole;
    } else {
      const float deviation = slope * (t * over.weights - over.products);
      return through<kind>(e == 0.0f ? whole : whole + e * deviation, cell.x);
    }
  }

 private:
  __device__ __forceinline__ float level_of(const Cell& cell) const {
    return general ? cell.logit : pooled<kind>(cell.x) * units.scale;
  }
  __device__ __forceinline__ static float bounded(float distance) {
    const float most = Limits<float>::max;
    return distance < -most ? -most : distance > most ? most : distance;
  }
  // Adds a sum to one about another level.
  __device__ __forceinline__ static void add(Sum& to, const Sum& part, float power) {
    const float distance = bounded(part.top - to.top), scale = DeviceMath::exp2(distance * power);
    to.weights += part.weights == 0.0f ? 0.0f : part.weights * scale;
    if constexpr (general) {
      to.products += part.weights == 0.0f ? 0.0f : part.products * scale;
    } else {  // without weight, the distance may be so large that the product overflows
      to.products += part.weights == 0.0f || scale == 0.0f ? 0.0f : (part.products + part.weights * distance) * scale;
    }
  }
  __device__ __forceinline__ static Sum joined(const Sum& a, const Sum& b, float top, float power) {
    Sum sum{top, 0.0f, 0.0f};
    add(sum, a, power);
    add(sum, b, power);
    return sum;
  }
};

}  // namespace videopool
