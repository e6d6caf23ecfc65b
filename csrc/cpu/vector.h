// Vectors of one instruction set: loads and stores of the four dtypes, powers of two, comparisons. Included after
// `#pragma GCC target`, with VIDEOPOOL_VECTOR_BYTES set and, in their files, VIDEOPOOL_AVX512 or VIDEOPOOL_AVX2.
// Everything has internal linkage; window.h has the reason.
#pragma once
#include <cstring>
#include <utility>

#include "../soft_pool.h"

#define VIDEOPOOL_MEMBER inline __attribute__((always_inline))

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

// ---- float16 and bfloat16, in integer arithmetic where the processor has no conversion ----

// To twice the width and back, for numbers that fit. __builtin_convertvector would be several instructions in GCC.
VIDEOPOOL_INLINE Uint32 twice_as_wide(Uint16 v) {
#if defined(VIDEOPOOL_AVX512)
  return (Uint32)_mm512_maskz_cvtepu16_epi32(__mmask16(-1), (__m256i)v);
#elif defined(VIDEOPOOL_AVX2)
  return (Uint32)_mm256_cvtepu16_epi32((__m128i)v);
#else
  return __builtin_convertvector(v, Uint32);
#endif
}
VIDEOPOOL_INLINE Uint16 half_as_wide(Uint32 v) {
#if defined(VIDEOPOOL_AVX512)
  return (Uint16)_mm512_maskz_cvtepi32_epi16(__mmask16(-1), (__m512i)v);
#elif defined(VIDEOPOOL_AVX2)
  return (Uint16)_mm_packus_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
#else
  return __builtin_convertvector(v, Uint16);
#endif
}

VIDEOPOOL_INLINE Float widen(Uint16 bits, BFloat16) {
  return bits_as<Float>(twice_as_wide(bits) << 16);
}

VIDEOPOOL_INLINE Uint16 narrow_to(Float v, BFloat16) {
  const Uint32 bits = bits_as<Uint32>(v);
  const Uint32 rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;  // to nearest, ties to even
  const Uint32 result = (Uint32)(v == v) ? rounded : (Uint32{} + 0x7fc0);
  return half_as_wide(result);
}

#if defined(VIDEOPOOL_AVX512)
VIDEOPOOL_INLINE Float widen(Uint16 bits, Half) {
  return (Float)_mm512_maskz_cvtph_ps(__mmask16(-1), (__m256i)bits);
}
VIDEOPOOL_INLINE Uint16 narrow_to(Float v, Half) {
  return (Uint16)_mm512_maskz_cvtps_ph(__mmask16(-1), (__m512)v, _MM_FROUND_TO_NEAREST_INT);
}
#elif defined(VIDEOPOOL_AVX2)
VIDEOPOOL_INLINE Float widen(Uint16 bits, Half) {
  return (Float)_mm256_cvtph_ps((__m128i)bits);
}
VIDEOPOOL_INLINE Uint16 narrow_to(Float v, Half) {
  return (Uint16)_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT);
}
#else
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
#endif

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

VIDEOPOOL_INLINE void store(float* p, Float v) {
  std::memcpy(p, &v, sizeof v);
}
VIDEOPOOL_INLINE void store(double* p, Double v) {
  std::memcpy(p, &v, sizeof v);
}
template <class T>
VIDEOPOOL_INLINE void store(T* p, Float v) {
  const Uint16 bits = narrow_to(v, T{});
  std::memcpy(p, &bits, sizeof bits);
}

#if defined(VIDEOPOOL_AVX512)
VIDEOPOOL_INLINE Float load(const float* p, int n) {
  return (Float)_mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p);
}
VIDEOPOOL_INLINE Double load(const double* p, int n) {
  return (Double)_mm512_maskz_loadu_pd(__mmask8((1u << n) - 1), p);
}
template <class T>
VIDEOPOOL_INLINE Float load(const T* p, int n) {
  return widen((Uint16)_mm256_maskz_loadu_epi16(__mmask16((1u << n) - 1), p), T{});
}
VIDEOPOOL_INLINE void store(float* p, Float v, int n) {
  _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1), (__m512)v);
}
VIDEOPOOL_INLINE void store(double* p, Double v, int n) {
  _mm512_mask_storeu_pd(p, __mmask8((1u << n) - 1), (__m512d)v);
}
template <class T>
VIDEOPOOL_INLINE void store(T* p, Float v, int n) {
  _mm256_mask_storeu_epi16(p, __mmask16((1u << n) - 1), (__m256i)narrow_to(v, T{}));
}
#else
template <class T>
VIDEOPOOL_INLINE auto load(const T* p, int n) {
  T buffer[kLanes<T>] = {};
  std::memcpy(buffer, p, n * sizeof(T));
  return load(buffer);
}
template <class T>
VIDEOPOOL_INLINE void store(T* p, typename Types<T>::V v, int n) {
  T buffer[kLanes<T>];
  store(buffer, v);
  std::memcpy(p, buffer, n * sizeof(T));
}
#endif

// Every other element of two vectors that follow each other, from the first or from the second on.
template <int first, class V, int... I>
VIDEOPOOL_INLINE V every_other(V a, V b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (2 * I + first)...);
}
template <class V>
VIDEOPOOL_INLINE V even_of(V a, V b) {
  return every_other<0>(a, b, std::make_integer_sequence<int, int(sizeof(V) / sizeof(a[0]))>{});
}
template <class V>
VIDEOPOOL_INLINE V odd_of(V a, V b) {
  return every_other<1>(a, b, std::make_integer_sequence<int, int(sizeof(V) / sizeof(a[0]))>{});
}

// Every other one of the 2 * lanes elements from p on.
template <class A>
VIDEOPOOL_INLINE auto load_even(const A* p) {
  return even_of(load(p), load(p + kLanes<A>));
}

// a0 b0 a1 b1 ... from the halves of two vectors that begin at `first`.
template <int first, class V, int... I>
VIDEOPOOL_INLINE V zip(V a, V b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (first + I / 2 + I % 2 * int(sizeof...(I)))...);
}
template <class V>
VIDEOPOOL_INLINE V zip_low(V a, V b) {
  return zip<0>(a, b, std::make_integer_sequence<int, int(sizeof(V) / sizeof(a[0]))>{});
}
template <class V>
VIDEOPOOL_INLINE V zip_high(V a, V b) {
  constexpr int lanes = sizeof(V) / sizeof(a[0]);
  return zip<lanes / 2>(a, b, std::make_integer_sequence<int, lanes>{});
}

// Whether the comparison `mask` (all bits set where true) holds in all lanes.
template <class Mask>
VIDEOPOOL_INLINE bool all_of(Mask mask) {
  constexpr int lanes = VIDEOPOOL_VECTOR_BYTES / int(sizeof(mask[0]));
  unsigned bits = 0;
#if defined(VIDEOPOOL_AVX512)
  if constexpr (sizeof(mask[0]) == 4) {
    bits = _mm512_movepi32_mask((__m512i)mask);
  } else {
    bits = _mm512_movepi64_mask((__m512i)mask);
  }
#elif defined(VIDEOPOOL_AVX2)
  if constexpr (sizeof(mask[0]) == 4) {
    bits = unsigned(_mm256_movemask_ps((__m256)mask));
  } else {
    bits = unsigned(_mm256_movemask_pd((__m256d)mask));
  }
#else
  for (int i = 0; i < lanes; ++i) bits |= unsigned(mask[i] != 0) << i;
#endif
  return bits == (1u << lanes) - 1;
}

// The first n lanes of a, the others of b.
template <class V>
VIDEOPOOL_INLINE V first_lanes(V a, V b, int n) {
  for (int i = n; i < int(sizeof(V) / sizeof(a[0])); ++i) a[i] = b[i];
  return a;
}

// ---- powers of two ----

template <class V>
struct Power;
template <>
struct Power<Float> {
  using A = float;
  using Int = Int32;
  static constexpr int mantissa = 23, bias = 127;
  static constexpr float unit = 0x1p23f, least = -200;
};
template <>
struct Power<Double> {
  using A = double;
  using Int = Int64;
  static constexpr int mantissa = 52, bias = 1023;
  static constexpr double unit = 0x1p52, least = -1500;
};

// 2^r = 1 + r (c1 + c2 r + ...) for |r| <= 1/2 as precisely as type T can show: the minimax polynomials, within
// 2.8e-6, 2.6e-9 and 1.8e-17 of 2^r. Half types round by 2.4e-4 and more.
template <class T>
struct Series {
  static constexpr float terms[] = {
      0.6931241750717163f, 0.24024099111557007f, 0.055906426161527634f, 0.009582852944731712f};
};
// clang-format off
template <>
struct Series<float> {
  static constexpr float terms[] = {
      0.693147214968027899f, 0.240226527828877374f,   0.0555031055101379717f,
      0.00961769297299306f,  0.00134066439023517592f, 0.000155946781613266193f};
};
template <>
struct Series<double> {
  static constexpr double terms[] = {
      0.693147180559945697,   0.24022650695910098,     0.0555041086647903946,    0.00961812910760700238,
      0.00133335581534399647, 0.000154035304415721303, 0.0000152527273851938682, 1.32154426753298221e-6,
      1.01806476592341389e-7, 7.07257041281442351e-9,  4.07807192958833667e-10};
};
// clang-format on

// a * b + c and a * b - c, with one rounding where the processor has that. A compiler may fuse either product of
// a * b + c * d, and not the same one in two copies of an expression; so where results must not depend on the form of a
// kernel, these decide which.
template <class V>
VIDEOPOOL_INLINE V times_plus(V a, V b, V c) {
#if defined(VIDEOPOOL_AVX512)
  if constexpr (sizeof(a[0]) == 4) return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
  if constexpr (sizeof(a[0]) == 8) return (V)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(VIDEOPOOL_AVX2)
  if constexpr (sizeof(a[0]) == 4) return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
  if constexpr (sizeof(a[0]) == 8) return (V)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#else
  return a * b + c;
#endif
}
template <class V>
VIDEOPOOL_INLINE V times_less(V a, V b, V c) {
#if defined(VIDEOPOOL_AVX512)
  if constexpr (sizeof(a[0]) == 4) return (V)_mm512_fmsub_ps((__m512)a, (__m512)b, (__m512)c);
  if constexpr (sizeof(a[0]) == 8) return (V)_mm512_fmsub_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(VIDEOPOOL_AVX2)
  if constexpr (sizeof(a[0]) == 4) return (V)_mm256_fmsub_ps((__m256)a, (__m256)b, (__m256)c);
  if constexpr (sizeof(a[0]) == 8) return (V)_mm256_fmsub_pd((__m256d)a, (__m256d)b, (__m256d)c);
#else
  return a * b - c;
#endif
}

// v, but at least `low` and at most `high`; NaN for NaN.
template <class V>
VIDEOPOOL_INLINE V between(V v, V low, V high) {
#if defined(VIDEOPOOL_AVX2)
  if constexpr (sizeof(v[0]) == 4) return (V)_mm256_min_ps((__m256)high, _mm256_max_ps((__m256)low, (__m256)v));
  if constexpr (sizeof(v[0]) == 8) return (V)_mm256_min_pd((__m256d)high, _mm256_max_pd((__m256d)low, (__m256d)v));
#else
  v = v < low ? low : v;
  return v > high ? high : v;
#endif
}

// x * factor - n without rounding the product.
template <class V, class A>
VIDEOPOOL_INLINE V product_less(V x, A factor, V n) {
#if defined(VIDEOPOOL_AVX512) || defined(VIDEOPOOL_AVX2)
  return times_less(x, splat<V>(factor), n);
#else
  // Halves of few enough bits that their products are exact.
  using Int = typename Power<V>::Int;
  constexpr auto kept = ~((decltype(Int{}[0] + 0)(1) << (Power<V>::mantissa / 2 + 1)) - 1);
  const V x_high = bits_as<V>(bits_as<Int>(x) & kept), high = bits_as<V>(bits_as<Int>(splat<V>(factor)) & kept);
  const V x_low = x - x_high, low = factor - high;
  return ((x_high * high - n) + x_low * high) + x * low;
#endif
}

// 2^(x * factor) for results of type T: for float and double within 2 ulp while the result is normal, below that 0 or
// nearly so. Where it exceeds the largest number: that, infinity or NaN. For infinite x and for NaN: NaN, infinity or 0.
template <class T, class V, class A>
VIDEOPOOL_INLINE V power_of_two(V x, A factor) {
  using S = Series<T>;
  constexpr int terms = sizeof(S::terms) / sizeof(A);
#if defined(VIDEOPOOL_AVX512)
  V n;
  if constexpr (sizeof(A) == 4) {
    n = (V)_mm512_maskz_roundscale_ps(
        __mmask16(-1), (__m512)(x * factor), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  } else {
    n = (V)_mm512_maskz_roundscale_pd(
        __mmask8(-1), (__m512d)(x * factor), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
#else
  // Numbers from `unit` on have no fraction: the integer n + bias, at least 0, lands in the lowest mantissa bits.
  using P = Power<V>;
  const V least = splat<V>(P::unit), zero = least + P::bias, most = zero + (P::bias + 1);
  const V shifted = between(times_plus(x, splat<V>(factor), zero), least, most);
  const V n = shifted - zero;
#endif
  const V r = product_less(x, factor, n);
  V sum = splat<V>(S::terms[terms - 1]);
#pragma GCC unroll 16
  for (int i = terms - 2; i >= 0; --i) sum = sum * r + S::terms[i];
  sum = sum * r + A(1);
#if defined(VIDEOPOOL_AVX512)
  if constexpr (sizeof(A) == 4) {
    return (V)_mm512_maskz_scalef_ps(__mmask16(-1), (__m512)sum, (__m512)n);
  } else {
    return (V)_mm512_maskz_scalef_pd(__mmask8(-1), (__m512d)sum, (__m512d)n);
  }
#else
  return sum * bits_as<V>(bits_as<typename P::Int>(shifted) << P::mantissa);  // the factor is 0 for n = -bias
#endif
}

constexpr double kLog2E = 1.44269504088896340736;

struct VectorMath {
  // For any x <= 1; NaN for NaN.
  template <class V>
  VIDEOPOOL_INLINE V exp(V x) {
    using P = Power<V>;
    const V least = splat<V>(P::least);
    x = x < least ? least : x;
    return power_of_two<typename P::A>(x, typename P::A(kLog2E));
  }
};

}  // namespace
}  // namespace videopool
