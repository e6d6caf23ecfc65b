// Memory access of several elements at once, and index arithmetic that is fast on a GPU.
#pragma once
#include "../window.h"

// The emulation of CUDA on the host (tests/ops/cuda_host_shim.h) has its own, which check every access.
#ifdef __CUDACC__
#define VIDEOPOOL_READS(address, bytes)
#define VIDEOPOOL_WRITES(address, bytes)
#define VIDEOPOOL_SHARED(type, name, count) __shared__ type name[count]
#endif

namespace videopool {

// Neighbors in memory that one access moves.
template <class T, int n>
struct alignas(sizeof(T) * n) Pack {
  T lanes[n];
};

template <int n, class T>
__device__ __forceinline__ Pack<T, n> load(const T* from) {
  VIDEOPOOL_READS(from, sizeof(Pack<T, n>));
  return *reinterpret_cast<const Pack<T, n>*>(from);
}

template <class T>
__device__ __forceinline__ T load(const T* from) {
  VIDEOPOOL_READS(from, sizeof(T));
  return *from;
}

template <class T, int n>
__device__ __forceinline__ void store(T* to, const Pack<T, n>& pack) {
  VIDEOPOOL_WRITES(to, sizeof(pack));
#ifdef __CUDACC__
  // Written out, because the compiler may split the store of a struct.
  const size_t address = __cvta_generic_to_global(to);
  if constexpr (sizeof(pack) == 16) {
    const uint4& v = reinterpret_cast<const uint4&>(pack);
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(address), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
    return;
  } else if constexpr (sizeof(pack) == 8) {
    const uint2& v = reinterpret_cast<const uint2&>(pack);
    asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(address), "r"(v.x), "r"(v.y) : "memory");
    return;
  } else if constexpr (sizeof(pack) == 4) {
    const unsigned& v = reinterpret_cast<const unsigned&>(pack);
    asm volatile("st.global.b32 [%0], %1;" ::"l"(address), "r"(v) : "memory");
    return;
  }
#endif
  *reinterpret_cast<Pack<T, n>*>(to) = pack;
}

template <class T>
__device__ __forceinline__ void store(T* to, T value) {
  VIDEOPOOL_WRITES(to, sizeof(T));
  *to = value;
}

// Division of numbers below 2^31 by a number that the host knows: one multiplication and a shift (T. Granlund and
// P. L. Montgomery, "Division by invariant integers using multiplication", PLDI 1994).
struct Divider {
  uint32_t divisor, multiplier, shift;

  explicit Divider(int64_t by) : divisor(uint32_t(by)), multiplier(0), shift(0) {
    while ((uint64_t(1) << shift) < divisor) ++shift;
    multiplier = uint32_t(((uint64_t(1) << 32) * ((uint64_t(1) << shift) - divisor)) / divisor + 1);
  }

  // n / divisor; n becomes the remainder
  __device__ __forceinline__ int split(int& n) const {
    const uint32_t quotient = (__umulhi(uint32_t(n), multiplier) + uint32_t(n)) >> shift;
    n -= int(quotient * divisor);
    return int(quotient);
  }
};

// Elements from one cell (or window) of a dense tensor to its neighbors; a plane is one batch entry (channels
// innermost), or one channel of it. Within a plane, offsets are of type I.
template <class I>
struct Strides {
  int64_t plane;
  I d, h, w;
};

template <class I>
__host__ __device__ __forceinline__ Strides<I> strides_of(const Problem<I>& p, I depth, I height, I width) {
  const I w = p.channels_last ? p.channels : I(1);
  return {int64_t(depth) * height * width * w, height * width * w, width * w, w};
}

template <class I>
__host__ __device__ __forceinline__ Strides<I> cell_strides(const Problem<I>& p) {
  return strides_of(p, p.d.in, p.h.in, p.w.in);
}

template <class I>
__host__ __device__ __forceinline__ Strides<I> window_strides(const Problem<I>& p) {
  return strides_of(p, p.d.out, p.h.out, p.w.out);
}

}  // namespace videopool
