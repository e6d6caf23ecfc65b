// The kernels for any processor: 16-byte vectors (SSE2, NEON, or the compiler's choice).
#include <cfloat>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#define VIDEOPOOL_VECTOR_BYTES 16
#define VIDEOPOOL_KERNELS kernels_baseline
#include "table.h"
