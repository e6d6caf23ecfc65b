// Crop, scale, convert to RGB and mirror decoded frames in one pass.
//
// A decoder gives three planes, of which two usually have half the rows and columns. Instead of converting, scaling and
// cropping the whole frame, every plane is resampled to the pixels of the crop, and only those are converted. Rows are
// resampled along W first, each once, since enlarging needs them several times. Sums have one order and no contracted
// multiply-adds, so that every instruction set gives the same bytes.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3", "fp-contract=off")
#if defined(__x86_64__) && defined(__gnu_linux__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // of GCC 12 about its own header
#include <immintrin.h>
#define VIDEOPOOL_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define VIDEOPOOL_PERMUTED 1
#endif
#endif
#ifndef VIDEOPOOL_EACH_PROCESSOR
#define VIDEOPOOL_EACH_PROCESSOR
#endif

namespace videopool {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// One axis of the grid: `cells` of the frame; the center of result i of `count` is offset + (i + 0.5) * step, in cells.
struct Span {
  int64_t cells, count;
  double offset, step;
  bool mirrored;
  bool operator==(const Span&) const = default;
};

// The weights of the cells of one axis: result i is the sum of weights[i * taps + k] * cell[first[i] + k]. All cells
// that are read exist, also those of weight 0.
struct Taps {
  int64_t taps = 0;
  std::vector<int32_t> first;
  std::vector<float> weights;
  int64_t low = 0, high = 0;  // the cells that are read
  // The same for kLanes results at a time, if their cells are close enough: from cell base[block] on, tap k of lane i
  // is cell places[(block * taps + k) * kLanes + i], and its weight has the same index in `turned`.
  std::vector<int32_t> base, places;
  std::vector<float> turned;
};

constexpr int64_t kLanes = 16;
constexpr double kNothing = 1e-7;  // weights below it are rounding errors

#ifdef VIDEOPOOL_PERMUTED
// As for the pooling kernels, VIDEOPOOL_ISA may name a smaller instruction set.
bool may_use_avx512() {
  const char* named = std::getenv("VIDEOPOOL_ISA");
  return __builtin_cpu_supports("avx512f") && (named == nullptr || *named == '\0' || std::string(named) == "avx512");
}
#endif

// Adds the tables of along_permuted, if it can be used.
void permute_taps(Taps& t, int64_t count) {
#ifdef VIDEOPOOL_PERMUTED
  static const bool usable = may_use_avx512();
  if (!usable || count < kLanes) return;
  const int64_t blocks = (count + kLanes - 1) / kLanes;
  std::vector<int32_t> places(blocks * t.taps * kLanes);
  std::vector<float> turned(places.size());
  t.base.resize(blocks);
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t begin = std::min(b * kLanes, count - kLanes);  // the last block ends with the last result
    const int32_t* first = &t.first[begin];
    t.base[b] = *std::min_element(first, first + kLanes);
    for (int64_t k = 0; k < t.taps; ++k) {
      for (int64_t i = 0; i < kLanes; ++i) {
        const int64_t place = first[i] + k - t.base[b];
        if (place >= 2 * kLanes) return;
        places[(b * t.taps + k) * kLanes + i] = int32_t(place);
        turned[(b * t.taps + k) * kLanes + i] = t.weights[(begin + i) * t.taps + k];
      }
    }
  }
  t.places = std::move(places);
  t.turned = std::move(turned);
#endif
}

// A triangle as wide as the step for reducing, and two cells wide for enlarging; cells that do not exist have no
// weight.
Taps make_taps(const Span& s) {
  const double reach = std::max(1.0, s.step);
  const int64_t most = std::min<int64_t>(s.cells, int64_t(std::ceil(2 * reach)) + 1);
  std::vector<double> found(s.count * most);
  std::vector<int64_t> begin(s.count);
  Taps t;
  for (int64_t i = 0; i < s.count; ++i) {
    const int64_t at = s.mirrored ? s.count - 1 - i : i;
    const double center = std::min(std::max(s.offset + (at + 0.5) * s.step, 0.5), s.cells - 0.5);
    begin[i] = std::clamp<int64_t>(int64_t(std::ceil(center - reach - 0.5)), 0, s.cells - most);
    double* weights = found.data() + i * most;
    double sum = 0;
    for (int64_t k = 0; k < most; ++k) {
      weights[k] = std::max(0.0, 1.0 - std::abs(begin[i] + k + 0.5 - center) / reach);
      sum += weights[k];
    }
    int64_t used = 0;
    for (int64_t k = 0; k < most; ++k) {
      weights[k] /= sum;
      if (weights[k] > kNothing) used = k + 1;
    }
    // Weights move to the front, so that few taps are enough for all.
    int64_t idle = 0;
    while (idle + 1 < used && weights[idle] <= kNothing) ++idle;
    std::rotate(weights, weights + idle, weights + most);
    begin[i] += idle;
    t.taps = std::max(t.taps, used - idle);
  }
  t.first.resize(s.count);
  t.weights.assign(s.count * t.taps, 0.0f);
  for (int64_t i = 0; i < s.count; ++i) {
    const int64_t shift = std::max<int64_t>(0, begin[i] + t.taps - s.cells);
    t.first[i] = int32_t(begin[i] - shift);
    for (int64_t k = 0; k + shift < t.taps; ++k) t.weights[i * t.taps + shift + k] = float(found[i * most + k]);
  }
  t.low = *std::min_element(t.first.begin(), t.first.end());
  t.high = *std::max_element(t.first.begin(), t.first.end()) + t.taps;
  permute_taps(t, s.count);
  return t;
}

// The taps of a span, kept for the next frames of the same clip.
std::shared_ptr<const Taps> taps_of(const Span& span) {
  constexpr size_t kKept = 8;
  thread_local std::pair<Span, std::shared_ptr<const Taps>> kept[kKept];
  thread_local size_t next = 0;
  for (const auto& one : kept) {
    if (one.second != nullptr && one.first == span) return one.second;
  }
  auto& one = kept[next++ % kKept];
  one = {span, std::make_shared<const Taps>(make_taps(span))};
  return one.second;
}

struct Plane {
  const uint8_t* data;
  int64_t rows, columns, row_stride, column_stride;
};

VIDEOPOOL_EACH_PROCESSOR
void widen(const uint8_t* from, int64_t stride, float* to, int64_t count) {
  if (stride == 1) {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i];
  } else if (stride == 3) {
    for (int64_t i = 0; i < count; ++i) to[i] = from[3 * i];
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i * stride];
  }
}

// Resample one row along W with kTaps taps (0: any number). Scalar code: gathers are not faster as vectors.
#if defined(__GNUC__) && !defined(__clang__)
#define VIDEOPOOL_SCALAR __attribute__((optimize("no-tree-vectorize")))
#else
#define VIDEOPOOL_SCALAR
#endif

template <int kTaps>
VIDEOPOOL_SCALAR void along(const float* row, const Taps& t, float* to, int64_t count) {
  const int64_t taps = kTaps ? kTaps : t.taps;
  const int32_t* first = t.first.data();
  const float* weights = t.weights.data();
  for (int64_t i = 0; i < count; ++i) {
    const float *w = weights + i * taps, *cell = row + first[i];
    float sum = w[0] * cell[0];
    for (int64_t k = 1; k < taps; ++k) sum += w[k] * cell[k];
    to[i] = sum;
  }
}

void along_scalar(const float* row, const Taps& t, float* to, int64_t count) {
  using Along = void (*)(const float*, const Taps&, float*, int64_t);
  constexpr Along kAlong[] = {along<0>, along<1>, along<2>, along<3>, along<4>};
  kAlong[t.taps <= 4 ? t.taps : 0](row, t, to, count);
}

#ifdef VIDEOPOOL_PERMUTED
__attribute__((target("avx512f"), always_inline)) inline __m512 sixteen(const float* cells) {
  return _mm512_loadu_ps(cells);
}

__attribute__((target("avx512f"), always_inline)) inline __m512 sixteen(const uint8_t* cells) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(cells))));
}

// Neighboring results use a short part of the row: the cells of sixteen results are in two vectors, and one permutation
// fetches one tap of all of them. The row has kLanes * 2 readable cells after its end.
template <class Cell>
__attribute__((target("avx512f"))) void along_permuted(const Cell* row, const Taps& t, float* to, int64_t count) {
  const int64_t taps = t.taps;
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t block = std::min(i, count - kLanes);  // the last one may overlap the one before
    const int64_t at = (block == i ? i / kLanes : t.base.size() - 1);
    const __m512 low = sixteen(row + t.base[at]), high = sixteen(row + t.base[at] + kLanes);
    const int32_t* places = &t.places[at * taps * kLanes];
    const float* weights = &t.turned[at * taps * kLanes];
    __m512 sum = _mm512_setzero_ps();
    for (int64_t k = 0; k < taps; ++k) {
      const __m512 cell = _mm512_permutex2var_ps(low, _mm512_loadu_si512(places + k * kLanes), high);
      const __m512 part = _mm512_mul_ps(_mm512_loadu_ps(weights + k * kLanes), cell);
      sum = k == 0 ? part : _mm512_add_ps(sum, part);  // two instructions, because a fused one would round only once
    }
    _mm512_storeu_ps(to + block, sum);
  }
}
#endif

// A value, rounded.
inline uint8_t rounded(float value) {
  return uint8_t(int32_t(std::min(std::max(value, 0.0f), 255.0f)));
}

// One row of results from kTaps rows of each plane, `columns` cells apart, weighted and converted: m[0] p0 + m[1] p1
// + m[2] p2 + m[3] for each row of the matrix.
#define VIDEOPOOL_MIX(kTaps)                                                                               \
  VIDEOPOOL_EACH_PROCESSOR void mix##kTaps(                                                                \
      const float* __restrict a,                                                                           \
      const float* __restrict b,                                                                           \
      const float* __restrict c,                                                                           \
      const float* wa,                                                                                     \
      const float* wb,                                                                                     \
      const float* wc,                                                                                     \
      const float* m,                                                                                      \
      uint8_t* __restrict red,                                                                             \
      uint8_t* __restrict green,                                                                           \
      uint8_t* __restrict blue,                                                                            \
      int64_t columns) {                                                                                   \
    const float r0 = m[0], r1 = m[1], r2 = m[2], r3 = m[3] + 0.5f;                                         \
    const float g0 = m[4], g1 = m[5], g2 = m[6], g3 = m[7] + 0.5f;                                         \
    const float b0 = m[8], b1 = m[9], b2 = m[10], b3 = m[11] + 0.5f;                                       \
    for (int64_t x = 0; x < columns; ++x) {                                                                \
      const float first = weighed<kTaps>(a + x, wa, columns), second = weighed<kTaps>(b + x, wb, columns), \
                  third = weighed<kTaps>(c + x, wc, columns);                                              \
      red[x] = rounded(r0 * first + r1 * second + r2 * third + r3);                                        \
      green[x] = rounded(g0 * first + g1 * second + g2 * third + g3);                                      \
      blue[x] = rounded(b0 * first + b1 * second + b2 * third + b3);                                       \
    }                                                                                                      \
  }

template <int kTaps>
__attribute__((always_inline)) inline float weighed(const float* cell, const float* weights, int64_t columns) {
  float sum = weights[0] * cell[0];
  if constexpr (kTaps > 1) sum += weights[1] * cell[columns];
  if constexpr (kTaps > 2) sum += weights[2] * cell[2 * columns];
  if constexpr (kTaps > 3) sum += weights[3] * cell[3 * columns];
  return sum;
}

VIDEOPOOL_MIX(1)
VIDEOPOOL_MIX(2)
VIDEOPOOL_MIX(3)
VIDEOPOOL_MIX(4)

constexpr int64_t kMostMixed = 4;
constexpr decltype(&mix1) kMix[] = {nullptr, mix1, mix2, mix3, mix4};

// The weighted sum of rows [first, first + taps).
VIDEOPOOL_EACH_PROCESSOR
void across(const float* rows, int64_t columns, const float* weights, int64_t taps, float* __restrict to) {
  for (int64_t x = 0; x < columns; ++x) to[x] = weights[0] * rows[x];
  for (int64_t k = 1; k < taps; ++k) {
    for (int64_t x = 0; x < columns; ++x) to[x] += weights[k] * rows[k * columns + x];
  }
}

// The scratch memory of a thread, kept between calls.
float* scratch(size_t index, size_t floats) {
  thread_local std::vector<float> blocks[5];
#ifdef __SANITIZE_ADDRESS__
  blocks[index] = std::vector<float>();  // a block of just this size, so that an access beyond it is found
#endif
  if (blocks[index].size() < floats) blocks[index].resize(floats);
  return blocks[index].data();
}

// Resample `plane` along its rows: all rows that `down` reads, from down.low on, and `more` rows of any content after
// them.
const float* resample_rows(
    const Plane& plane, const Taps& down, const Taps& right, int64_t columns, int64_t more, size_t index) {
  const int64_t rows = down.high - down.low, read = right.high - right.low;
  float* result = scratch(index, size_t((rows + more) * columns));
  float* wide = scratch(4, size_t(plane.columns + 2 * kLanes));
  for (int64_t r = 0; r < rows; ++r) {
    const uint8_t* row = plane.data + (down.low + r) * plane.row_stride;
    float* to = result + r * columns;
#ifdef VIDEOPOOL_PERMUTED
    // A read past a row ends in the next row; the last row is copied.
    const bool long_enough = plane.columns >= 2 * kLanes && plane.row_stride >= plane.columns;
    const bool readable = long_enough && down.low + r + 1 < plane.rows;
    if (!right.places.empty() && plane.column_stride == 1 && readable) {
      along_permuted(row, right, to, columns);
      continue;
    }
#endif
    widen(row + right.low * plane.column_stride, plane.column_stride, wide + right.low, read);
#ifdef VIDEOPOOL_PERMUTED
    if (!right.places.empty()) {
      along_permuted<float>(wide, right, to, columns);
      continue;
    }
#endif
    along_scalar(wide, right, to, columns);
  }
  return result;
}

Plane plane_of(const Tensor& t) {
  STD_TORCH_CHECK(t.dim() == 2 && t.scalar_type() == ScalarType::Byte, "videopool: a plane must be uint8 [H,W]");
  STD_TORCH_CHECK(t.size(0) > 0 && t.size(1) > 0, "videopool: a plane is empty");
  return {static_cast<const uint8_t*>(t.data_ptr()), t.size(0), t.size(1), t.stride(0), t.stride(1)};
}

// grid: top, left, height of a result, its width (all in cells of the first plane), rows and columns of the first plane
// for one of the others, by how many of their columns those are further left. matrix: 3 x 4.
void resample_frame(
    Tensor out,
    const Tensor& first,
    const Tensor& second,
    const Tensor& third,
    const Tensor& grid,
    const Tensor& matrix,
    bool mirrored) {
  STD_TORCH_CHECK(
      out.dim() == 3 && out.size(0) == 3 && out.stride(2) == 1 && out.scalar_type() == ScalarType::Byte,
      "videopool: the result must be uint8 [3,H,W] with adjacent columns");
  STD_TORCH_CHECK(
      grid.numel() == 7 && grid.scalar_type() == ScalarType::Double && grid.is_contiguous() && matrix.numel() == 12 &&
          matrix.scalar_type() == ScalarType::Double && matrix.is_contiguous(),
      "videopool: grid must be float64 [7], matrix float64 [3,4]");
  const double* g = static_cast<const double*>(grid.data_ptr());
  STD_TORCH_CHECK(g[2] > 0 && g[3] > 0 && g[4] > 0 && g[5] > 0, "videopool: steps must be positive");
  const Plane planes[3] = {plane_of(first), plane_of(second), plane_of(third)};
  const int64_t rows = out.size(1), columns = out.size(2);
  if (rows == 0 || columns == 0) return;
  float m[12];
  for (int i = 0; i < 12; ++i) m[i] = float(static_cast<const double*>(matrix.data_ptr())[i]);

  std::shared_ptr<const Taps> down[3], right[3];
  int64_t taps = 1;
  for (int p = 0; p < 3; ++p) {
    const double v = p ? g[4] : 1.0, h = p ? g[5] : 1.0, shift = p ? g[6] : 0.0;
    down[p] = taps_of({planes[p].rows, rows, g[0] / v, g[2] / v, false});
    right[p] = taps_of({planes[p].columns, columns, g[1] / h + shift, g[3] / h, mirrored});
    taps = std::max(taps, down[p]->taps);
  }
  const float* plane_rows[3];
  for (int p = 0; p < 3; ++p) plane_rows[p] = resample_rows(planes[p], *down[p], *right[p], columns, taps, size_t(p));
  const bool mixed = taps <= kMostMixed;
  const float one = 1.0f;
  float padded[3][kMostMixed];
  float* row = scratch(3, size_t(3 * columns));
  uint8_t* to = static_cast<uint8_t*>(out.mutable_data_ptr());
  for (int64_t y = 0; y < rows; ++y) {
    const float *cells[3], *weights[3];
    for (int p = 0; p < 3; ++p) {
      const Taps& d = *down[p];
      cells[p] = plane_rows[p] + (d.first[y] - d.low) * columns;
      weights[p] = &d.weights[y * d.taps];
      if (mixed) {
        // A plane with fewer taps gives the others weight 0; their rows exist.
        for (int64_t k = 0; k < taps; ++k) padded[p][k] = k < d.taps ? weights[p][k] : 0.0f;
        weights[p] = padded[p];
      } else {
        across(cells[p], columns, weights[p], d.taps, row + p * columns);
        cells[p] = row + p * columns;
        weights[p] = &one;
      }
    }
    uint8_t *red = to + y * out.stride(1), *green = red + out.stride(0), *blue = green + out.stride(0);
    kMix[mixed ? taps : 1](
        cells[0], cells[1], cells[2], weights[0], weights[1], weights[2], m, red, green, blue, columns);
  }
}

}  // namespace
}  // namespace videopool

STABLE_TORCH_LIBRARY_IMPL(videopool, CPU, m) {
  m.impl("resample_frame_", TORCH_BOX(&videopool::resample_frame));
}
