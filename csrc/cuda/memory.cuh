// Memory access of several elements at once, and index arithmetic that is fast on a GPU.
#pragma once
#include <cstring>

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

// The registers that hold so many bytes.
template <int bytes>
struct Registers {
  uint32_t words[bytes / 4];
};
template <>
struct Registers<2> {
  uint16_t words[1];
};

template <int bytes>
__device__ __forceinline__ Registers<bytes> load_registers(const void* from) {
  Registers<bytes> to;
#ifdef __CUDACC__
  // Written out, because the compiler may not see that the address is in global memory. Kernels only read what they do
  // not write, so that the order of loads does not matter.
  const size_t address = __cvta_generic_to_global(from);
  auto& v = to.words;
  if constexpr (bytes == 16) {
    asm("ld.global.v4.b32 {%0, %1, %2, %3}, [%4];" : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3]) : "l"(address));
  } else if constexpr (bytes == 8) {
    asm("ld.global.v2.b32 {%0, %1}, [%2];" : "=r"(v[0]), "=r"(v[1]) : "l"(address));
  } else if constexpr (bytes == 4) {
    asm("ld.global.b32 %0, [%1];" : "=r"(v[0]) : "l"(address));
  } else {
    asm("ld.global.b16 %0, [%1];" : "=h"(v[0]) : "l"(address));
  }
#else
  memcpy(&to, from, bytes);
#endif
  return to;
}

// Written out, because the compiler may split the store of a struct, or branch around one that is conditional.
template <int bytes>
__device__ __forceinline__ void store_registers(bool wanted, void* to, const Registers<bytes>& from) {
#ifdef __CUDACC__
  // clang-format off
#define VIDEOPOOL_STORE(type, values, ...) \
  asm volatile("{.reg .pred p; setp.ne.b32 p, %0, 0; @p st.global." type " [%1], " values ";}" \
               ::"r"(int(wanted)), "l"(address), __VA_ARGS__ : "memory")
  // clang-format on
  const size_t address = __cvta_generic_to_global(to);
  const auto& v = from.words;
  if constexpr (bytes == 16) {
    VIDEOPOOL_STORE("v4.b32", "{%2, %3, %4, %5}", "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3]));
  } else if constexpr (bytes == 8) {
    VIDEOPOOL_STORE("v2.b32", "{%2, %3}", "r"(v[0]), "r"(v[1]));
  } else if constexpr (bytes == 4) {
    VIDEOPOOL_STORE("b32", "%2", "r"(v[0]));
  } else {
    VIDEOPOOL_STORE("b16", "%2", "h"(v[0]));
  }
#undef VIDEOPOOL_STORE
#else
  if (wanted) memcpy(to, &from, bytes);
#endif
}

template <int n, class T>
__device__ __forceinline__ Pack<T, n> load(const T* from) {
  VIDEOPOOL_READS(from, sizeof(Pack<T, n>));
  const auto registers = load_registers<sizeof(Pack<T, n>)>(from);
  Pack<T, n> pack;
  memcpy(&pack, &registers, sizeof(pack));
  return pack;
}

// Neighbors in memory that stay as they are loaded until their values are needed.
template <class T, int n>
struct Loaded {
  Registers<int(sizeof(T)) * n> registers{};

  // Sets them to 0 unless all bits of the mask are set.
  __device__ __forceinline__ void keep(uint32_t mask) {
    for (auto& word : registers.words) word &= mask;
  }

  __device__ __forceinline__ float operator[](int i) const {
    if constexpr (sizeof(T) == 4) {
      float value;
      memcpy(&value, &registers.words[i], sizeof(value));
      return value;
    } else {
      const uint32_t word = registers.words[n == 1 ? 0 : i / 2];
      const uint16_t bits = uint16_t(i % 2 == 0 ? word : word >> 16);
      T value;
      memcpy(&value, &bits, sizeof(value));
      return static_cast<float>(value);
    }
  }
};

template <int n, class T>
__device__ __forceinline__ Loaded<T, n> load_raw(const T* from) {
  VIDEOPOOL_READS(from, sizeof(T) * n);
  return {load_registers<sizeof(T) * n>(from)};
}

template <class T>
__device__ __forceinline__ T load(const T* from) {
  VIDEOPOOL_READS(from, sizeof(T));
  return *from;
}

template <class T, int n>
__device__ __forceinline__ void store_if(bool wanted, T* to, const Pack<T, n>& pack) {
  if (wanted) VIDEOPOOL_WRITES(to, sizeof(pack));
  Registers<sizeof(pack)> registers;
  memcpy(&registers, &pack, sizeof(pack));
  store_registers(wanted, to, registers);
}

template <class T, int n>
__device__ __forceinline__ void store(T* to, const Pack<T, n>& pack) {
  store_if(true, to, pack);
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
