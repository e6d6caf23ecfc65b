// The kernels for any processor: 16-byte vectors (SSE2, NEON, or whatever the compiler makes of them).
#include <cfloat>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#define VIDEOPOOL_VECTOR_BYTES 16
#define VIDEOPOOL_KERNELS kernels_baseline
#include "table.h"
