// Vectors of one instruction set: loads and stores of the four dtypes, exp and log. Included after `#pragma GCC target`,
// with VIDEOPOOL_VECTOR_BYTES set. Everything has internal linkage, for the reason given in window.h.
#pragma once
#include <cstring>

#include "../soft_pool.h"

namespace videopool {
namespace {

constexpr int kLanes32 = VIDEOPOOL_VECTOR_BYTES / 4;
typedef float Float __attribute__((vector_size(VIDEOPOOL_VECTOR_BYTES)));
typedef double Double __attribute__((vector_size(VIDEOPOOL_VECTOR_BYTES)));
typedef int32_t Int32 __attribute__((vector_size(VIDEOPOOL_VECTOR_BYTES)));
typedef uint32_t Uint32 __attribute__((vector_size(VIDEOPOOL_VECTOR_BYTES)));
typedef int64_t Int64 __attribute__((vector_size(VIDEOPOOL_VECTOR_BYTES)));
typedef uint16_t Uint16 __attribute__((vector_size(VIDEOPOOL_VECTOR_BYTES / 2)));

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

// The accumulation type of a dtype, and the vector of it that the kernels work with.
template <class T>
struct Types {
  using A = float;
  using V = Float;
};
template <>
struct Types<double> {
  using A = double;
  using V = Double;
};
template <class T>
constexpr int kLanes = VIDEOPOOL_VECTOR_BYTES / int(sizeof(typename Types<T>::A));
template <class T>
constexpr bool kKeepLow = sizeof(T) == sizeof(typename Types<T>::A);

template <class To, class From>
VIDEOPOOL_INLINE To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

template <class V, class T>
VIDEOPOOL_INLINE V read(const T* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// ---- float16 and bfloat16, in integer arithmetic that any instruction set vectorises ----

VIDEOPOOL_INLINE Float widen(Uint16 bits, BFloat16) {
  return bits_as<Float>(__builtin_convertvector(bits, Uint32) << 16);
}

VIDEOPOOL_INLINE Uint16 narrow_to(Float v, BFloat16) {
  const Uint32 bits = bits_as<Uint32>(v);
  const Uint32 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;  // to nearest, ties to even
  const Uint32 result = (Uint32)(v == v) ? rounded : (Uint32{} + 0x7fc0);
  return __builtin_convertvector(result, Uint16);
}

VIDEOPOOL_INLINE Float widen(Uint16 bits, Half) {
  const Uint32 all = __builtin_convertvector(bits, Uint32);
  const Uint32 magnitude = all & 0x7fff, exponent_shift = Uint32{} + (112u << 23);
  Uint32 normal = (magnitude << 13) + exponent_shift;
  normal += (magnitude >= 0x7c00) ? exponent_shift : Uint32{};  // infinity and NaN
  const Float tiny = __builtin_convertvector((Int32)magnitude, Float) * 0x1p-24f;
  const Uint32 value = (magnitude < 0x0400) ? bits_as<Uint32>(tiny) : normal;
  return bits_as<Float>(value | ((all & 0x8000) << 16));
}

VIDEOPOOL_INLINE Uint16 narrow_to(Float v, Half) {
  const Uint32 bits = bits_as<Uint32>(v), magnitude = bits & 0x7fffffff;
  const Uint32 normal = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  // Adding 0.5 leaves the value in units of 2^-24, the spacing of float16 below 2^-14, rounded to nearest even.
  const Uint32 tiny = bits_as<Uint32>(bits_as<Float>(magnitude) + 0.5f) - 0x3f000000;
  Uint32 result = (magnitude < 0x38800000) ? tiny : normal;
  result = (magnitude >= 0x477ff000) ? (Uint32{} + 0x7c00) : result;
  result = (magnitude > 0x7f800000) ? (Uint32{} + 0x7e00) : result;
  return __builtin_convertvector(result | ((bits >> 16) & 0x8000), Uint16);
}

// ---- loads and stores of kLanes<T> elements, and of the first n of them ----

VIDEOPOOL_INLINE Float load(const float* p) {
  return read<Float>(p);
}
VIDEOPOOL_INLINE Double load(const double* p) {
  return read<Double>(p);
}
VIDEOPOOL_INLINE Float load(const Half* p) {
  return widen(read<Uint16>(p), Half{});
}
VIDEOPOOL_INLINE Float load(const BFloat16* p) {
  return widen(read<Uint16>(p), BFloat16{});
}

template <class T>
VIDEOPOOL_INLINE auto load(const T* p, int n) {
  T buffer[kLanes<T>] = {};
  std::memcpy(buffer, p, n * sizeof(T));
  return load(buffer);
}

template <class T>
VIDEOPOOL_INLINE auto load_lanes(const T* p, int n) {
  return n == kLanes<T> ? load(p) : load(p, n);
}

template <class T, class V>
VIDEOPOOL_INLINE void store_lanes(T* p, V v, int n) {
  if constexpr (sizeof(T) == 2) {
    const Uint16 bits = narrow_to(v, T{});
    std::memcpy(p, &bits, n * sizeof(T));
  } else if (n == kLanes<T>) {
    std::memcpy(p, &v, sizeof v);
  } else {
    std::memcpy(p, &v, n * sizeof(T));
  }
}

// ---- exp and log ----

// What differs between float and double; the series are the same.
template <class V>
struct Series;
template <>
struct Series<Float> {
  using A = float;
  using Int = Int32;
  static constexpr int exp_terms = 7, log_terms = 5, mantissa = 23, bias = 127;
  static constexpr float round = 0x1.8p23f, least = -87.33654f;
  static constexpr float ln2_high = 0x1.63p-1f, ln2_low = -2.12194440e-4f;
  static constexpr int32_t mantissa_mask = 0x007fffff, one = 0x3f800000;
};
template <>
struct Series<Double> {
  using A = double;
  using Int = Int64;
  static constexpr int exp_terms = 13, log_terms = 11, mantissa = 52, bias = 1023;
  static constexpr double round = 0x1.8p52, least = -708.39641853226408;
  static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
  static constexpr int64_t mantissa_mask = 0x000fffffffffffff, one = 0x3ff0000000000000;
};

template <class A>
constexpr A inverse_factorial(int n) {
  double product = 1;
  for (int i = 2; i <= n; ++i) product *= i;
  return A(1 / product);
}

struct VectorMath {
  // For x <= 88: within 2 ulp; 0 where the result would be subnormal; NaN for NaN.
  template <class V>
  VIDEOPOOL_INLINE V exp(V x) {
    using S = Series<V>;
    using A = typename S::A;
    const auto tiny = x < splat<V>(S::least);
    x = tiny ? splat<V>(S::least) : x;
    const V shifted = x * A(1.44269504088896340736) + S::round;  // the integer lands in the low mantissa bits
    const V n = shifted - S::round;
    const V r = (x - n * S::ln2_high) - n * S::ln2_low;
    V sum = splat<V>(inverse_factorial<A>(S::exp_terms));
#pragma GCC unroll 16
    for (int i = S::exp_terms - 1; i >= 0; --i) sum = sum * r + inverse_factorial<A>(i);
    const auto exponent = (bits_as<typename S::Int>(shifted) + S::bias) << S::mantissa;
    return tiny ? V{} : sum * bits_as<V>(exponent);
  }

  // For normal x > 0: 2 atanh((f - 1) / (f + 1)) + e log 2 with x = f 2^e, sqrt(1/2) <= f < sqrt(2).
  template <class V>
  VIDEOPOOL_INLINE V log(V x) {
    using S = Series<V>;
    using A = typename S::A;
    using Int = typename S::Int;
    const Int bits = bits_as<Int>(x);
    V f = bits_as<V>((bits & S::mantissa_mask) | S::one);
    const auto upper = f > splat<V>(A(1.41421356237309504880));
    const Int e = (bits >> S::mantissa) - S::bias - Int(upper);  // a true lane is -1
    f = upper ? f * A(0.5) : f;
    const V t = (f - A(1)) / (f + A(1)), square = t * t;
    V sum = splat<V>(A(1) / A(2 * S::log_terms + 1));
#pragma GCC unroll 16
    for (int i = S::log_terms - 1; i >= 0; --i) sum = sum * square + A(1) / A(2 * i + 1);
    const V n = __builtin_convertvector(e, V);
    return n * S::ln2_high + (t * sum * A(2) + n * S::ln2_low);
  }
};

}  // namespace
}  // namespace videopool
