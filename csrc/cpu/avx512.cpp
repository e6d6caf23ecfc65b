// The kernels for AVX-512: the common source, compiled for this target.
#include <cfloat>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
// After the system headers, so that none of their code is compiled for this target.
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,prefer-vector-width=512")
#define VIDEOPOOL_AVX512 1
#define VIDEOPOOL_VECTOR_BYTES 64
#define VIDEOPOOL_KERNELS kernels_avx512
#include "table.h"
#endif
