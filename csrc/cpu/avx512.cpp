// The kernels for AVX-512: the same source as everywhere, under another target.
#include <cfloat>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
// After the system headers, so that none of their code is compiled for this target.
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")
#define VIDEOPOOL_VECTOR_BYTES 64
#define VIDEOPOOL_KERNELS kernels_avx512
#include "table.h"
#endif
