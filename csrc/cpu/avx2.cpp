// The kernels for AVX2: the common source, compiled for this target.
#include <cfloat>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
// After the system headers, so that none of their code is compiled for this target.
#pragma GCC target("avx2,fma,f16c")
#define VIDEOPOOL_AVX2 1
#define VIDEOPOOL_VECTOR_BYTES 32
#define VIDEOPOOL_KERNELS kernels_avx2
#include "table.h"
#endif
