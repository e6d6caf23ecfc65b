// Lets a C++ compiler take CUDA device code unchanged, and runs it on the host, thread by thread: every thread of a
// block is a coroutine that runs until it waits at a barrier. While it runs, every access is checked, and the first
// mistake is kept in `failure`:
//   - accesses outside of the tensors of the call, or not aligned to their size; reads of what nothing wrote
//   - two threads that write one element in one launch; results that stay unwritten
//   - barriers that not all threads of a block reach, or that they reach at different places; the same for shuffles and
//     votes of a warp
//   - shared memory: reads of what nothing wrote, and accesses of two threads that no barrier separates
//
// It does not know launch limits.
#pragma once
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#define __global__ __attribute__((noinline))  // with a symbol, by which recorded launches name it
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

namespace host_cuda {

struct Index {
  unsigned x = 0;
};

struct Thread {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  bool done = false;
  const char* barrier = nullptr;  // where it waits
  bool for_warp = false;          // whether it waits for its warp, or for its block
  unsigned exchanges = 0;         // with its warp, so far
};

inline constexpr unsigned kWarpThreads = 32;

inline constexpr size_t kStackBytes = 1 << 16;

inline Index thread, block, block_size, grid_size;
inline std::vector<Thread> threads;
inline Thread* running = nullptr;
inline ucontext_t scheduler;
inline std::function<void()> body;
inline unsigned launches = 0, epoch = 0;  // epoch: barriers passed, over all blocks
inline int votes = 0, counted = 0;        // of __syncthreads_or
inline std::string failure;

// Ends the thread that made a mistake; the rest of the launch is left out.
inline void fail(const std::string& message) {
  if (failure.empty())
    failure = message + " (block " + std::to_string(block.x) + ", thread " + std::to_string(thread.x) + ")";
  running->done = true;
  swapcontext(&running->context, &scheduler);
}

// ---- global memory ----

// A tensor of the call. owners: per element, who wrote it in which launch.
struct Tensor {
  struct Owner {
    unsigned launch = 0, block = 0, thread = 0;
  };
  std::string name;
  const char* data;
  size_t count, element;
  bool is_written;  // by the kernels; otherwise an input
  std::vector<Owner> owners;
};
inline std::vector<Tensor> tensors;

inline void add_tensor(const char* name, const void* data, size_t count, size_t element, bool is_written) {
  if (data == nullptr) return;
  tensors.push_back({name, static_cast<const char*>(data), count, element, is_written, {}});
  if (is_written) tensors.back().owners.resize(count);
}

inline Tensor* tensor_at(const void* address, size_t bytes, const char* what) {
  const char* at = static_cast<const char*>(address);
  for (Tensor& tensor : tensors) {
    if (at < tensor.data || at + bytes > tensor.data + tensor.count * tensor.element) continue;
    if (bytes <= 16 && (bytes & (bytes - 1)) == 0 && reinterpret_cast<uintptr_t>(at) % bytes != 0)
      fail(std::string(what) + " of " + std::to_string(bytes) + " bytes in " + tensor.name + " is not aligned");
    return &tensor;
  }
  fail(std::string(what) + " of " + std::to_string(bytes) + " bytes outside of all tensors");
  return nullptr;
}

inline void read(const void* address, size_t bytes) {
  const Tensor* tensor = tensor_at(address, bytes, "a read");
  if (!tensor->is_written) return;
  const size_t first = size_t(static_cast<const char*>(address) - tensor->data) / tensor->element;
  for (size_t i = first; i < first + bytes / tensor->element; ++i)
    if (tensor->owners[i].launch == 0) fail("a read of " + tensor->name + " where nothing was written");
}

inline void write(const void* address, size_t bytes) {
  Tensor* tensor = tensor_at(address, bytes, "a write");
  if (!tensor->is_written) fail("a write to the input " + tensor->name);
  const size_t first = size_t(static_cast<const char*>(address) - tensor->data) / tensor->element;
  for (size_t i = first; i < first + bytes / tensor->element; ++i) {
    Tensor::Owner& owner = tensor->owners[i];
    if (owner.launch == launches && (owner.block != block.x || owner.thread != thread.x))
      fail("two threads write element " + std::to_string(i) + " of " + tensor->name);
    owner = {launches, block.x, thread.x};
  }
}

inline void check_all_written() {
  for (const Tensor& tensor : tensors)
    for (size_t i = 0; i < tensor.owners.size() && failure.empty(); ++i)
      if (tensor.owners[i].launch == 0)
        failure = "element " + std::to_string(i) + " of " + tensor.name + " was never written";
}

// ---- shared memory ----

// An array in shared memory, a new one for every block.
template <class T>
class Shared {
  struct Cell {
    T value;
    unsigned block = ~0u, launch = 0;     // in which it was written
    unsigned writer = 0, write_epoch = 0;
    unsigned reader = 0, read_epoch = 0;
    bool many_readers = false;
  };

 public:
  explicit Shared(size_t count) : cells_(count) {}

  class Reference {
   public:
    Reference(Shared& array, size_t index) : cell_(array.cells_[index]) {}
    operator T() const {
      if (cell_.launch != launches || cell_.block != block.x) fail("a read of shared memory where nothing was written");
      if (cell_.write_epoch == epoch && cell_.writer != thread.x) fail("shared memory read before a barrier");
      cell_.many_readers = cell_.read_epoch == epoch && (cell_.many_readers || cell_.reader != thread.x);
      cell_.read_epoch = epoch;
      cell_.reader = thread.x;
      return cell_.value;
    }
    void operator=(T value) {
      const bool fresh = cell_.launch != launches || cell_.block != block.x;
      if (!fresh && cell_.read_epoch == epoch && (cell_.many_readers || cell_.reader != thread.x))
        fail("shared memory written before a barrier after a read");
      if (!fresh && cell_.write_epoch == epoch && cell_.writer != thread.x) fail("two threads write shared memory");
      cell_.value = value;
      cell_.launch = launches;
      cell_.block = block.x;
      cell_.writer = thread.x;
      cell_.write_epoch = epoch;
      if (fresh) cell_.read_epoch = ~0u;
    }
    void operator=(const Reference& other) { *this = T(other); }

   private:
    Cell& cell_;
  };

  Reference operator[](int64_t index) {
    if (index < 0 || index >= int64_t(cells_.size())) fail("shared memory accessed out of bounds");
    return Reference(*this, size_t(index));
  }

 private:
  std::vector<Cell> cells_;
};

// ---- running ----

inline void wait(const char* place, bool for_warp = false) {
  running->barrier = place;
  running->for_warp = for_warp;
  swapcontext(&running->context, &scheduler);
}

inline int vote(const char* place, int value) {
  votes |= value != 0;
  wait(place);
  return counted;
}

// The values of all threads of a warp, by their numbers in the block. The two buffers take turns, because some threads
// may be an exchange ahead.
template <class V>
const std::vector<V>& exchange(const char* place, V value) {
  static std::vector<V> exchanged[2];
  std::vector<V>& own = exchanged[running->exchanges++ % 2];
  own.resize(threads.size());
  own[thread.x] = value;
  wait(place, true);
  return own;
}

// The value of the thread `from`, or the own one where the warp ends.
template <class V>
V shuffle(const char* place, V value, unsigned from) {
  const std::vector<V>& all = exchange(place, value);
  return from < all.size() && from / kWarpThreads == thread.x / kWarpThreads ? all[from] : value;
}

inline int vote_of_warp(const char* place, int value) {
  const std::vector<int>& all = exchange(place, value);
  int found = 0;
  const unsigned first = thread.x / kWarpThreads * kWarpThreads;
  for (unsigned i = first; i < first + kWarpThreads && i < all.size(); ++i) found |= all[i] != 0;
  return found;
}

inline void enter() {
  body();
  running->done = true;
  swapcontext(&running->context, &scheduler);
}

inline void resume(unsigned i) {
  thread.x = i;
  running = &threads[i];
  swapcontext(&scheduler, &running->context);
}

// Lets the threads from `first` to before `end` go on if all wait at the same place.
inline bool release(unsigned first, unsigned end, bool for_warp) {
  end = std::min(end, unsigned(threads.size()));
  for (unsigned i = first; i < end; ++i) {
    if (threads[i].done || threads[i].for_warp != for_warp) return false;
    if (std::strcmp(threads[i].barrier, threads[first].barrier) != 0) return false;
  }
  for (unsigned i = first; i < end; ++i) threads[i].barrier = nullptr;
  return true;
}

inline void run_block() {
  for (Thread& one : threads) {
    if (!one.stack) one.stack.reset(new char[kStackBytes]);
    getcontext(&one.context);
    one.context.uc_stack.ss_sp = one.stack.get();
    one.context.uc_stack.ss_size = kStackBytes;
    one.context.uc_link = nullptr;
    makecontext(&one.context, enter, 0);
    one.done = false;
    one.barrier = nullptr;
    one.exchanges = 0;
  }
  while (failure.empty()) {
    for (unsigned i = 0; i < threads.size() && failure.empty(); ++i)
      if (!threads[i].done && threads[i].barrier == nullptr) resume(i);
    if (!failure.empty()) return;
    bool moved = false;
    for (unsigned i = 0; i < threads.size(); i += kWarpThreads) moved = release(i, i + kWarpThreads, true) || moved;
    if (moved) continue;
    if (!release(0, unsigned(threads.size()), false)) {
      if (std::any_of(threads.begin(), threads.end(), [](const Thread& one) { return !one.done; }))
        failure = "threads wait at different barriers, or at one that not all threads reach";
      return;
    }
    ++epoch;
    counted = votes;
    votes = 0;
  }
}

// A launch that was recorded instead of run: its parameters as the GPU gets them, each aligned to its size.
struct Recorded {
  const void* kernel;
  unsigned blocks, threads;
  std::vector<char> parameters;
};
inline bool recording = false;
inline std::vector<Recorded> recorded;

template <class Parameter>
void append(std::vector<char>& bytes, const Parameter& parameter) {
  bytes.resize((bytes.size() + alignof(Parameter) - 1) / alignof(Parameter) * alignof(Parameter));
  const char* data = reinterpret_cast<const char*>(&parameter);
  bytes.insert(bytes.end(), data, data + sizeof(Parameter));
}

template <class... Parameters>
void launch(unsigned blocks, unsigned block_threads, void (*kernel)(Parameters...), Parameters... parameters) {
  if (recording) {
    recorded.push_back({reinterpret_cast<const void*>(kernel), blocks, block_threads, {}});
    (append(recorded.back().parameters, parameters), ...);
    return;
  }
  if (!failure.empty()) return;
  ++launches;
  grid_size.x = blocks;
  block_size.x = block_threads;
  body = [&] { kernel(parameters...); };
  if (threads.size() != block_threads) {
    threads.clear();
    threads.resize(block_threads);
  }
  for (block.x = 0; block.x < blocks && failure.empty(); ++block.x) run_block();
}

// ---- what the special-function unit returns, as far off as it may be (PTX ISA, ex2.approx.ftz and rcp.approx.ftz)
// ----

inline float off_by(double exact, float x, double most) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  const double sign = ((bits * 2654435761u) >> 31) != 0 ? 1.0 : -1.0;
  const float rounded = float(exact * (1.0 + sign * most));
  return std::fabs(rounded) < 0x1p-126f ? 0.0f : rounded;
}

inline float exp2(float x) { return x == 0.0f ? 1.0f : off_by(std::exp2(double(x)), x, 0x1p-22); }

inline float reciprocal(float x) { return off_by(1.0 / double(x), x, 0x1p-24); }

}  // namespace host_cuda

#define threadIdx host_cuda::thread
#define blockIdx host_cuda::block
#define blockDim host_cuda::block_size
#define gridDim host_cuda::grid_size

#define HOST_CUDA_TEXT(x) #x
#define HOST_CUDA_LINE(file, line) file ":" HOST_CUDA_TEXT(line)
#define __syncthreads() host_cuda::wait(HOST_CUDA_LINE(__FILE__, __LINE__))
#define __syncthreads_or(value) host_cuda::vote(HOST_CUDA_LINE(__FILE__, __LINE__), value)

#define HOST_CUDA_SHUFFLE(value, from) host_cuda::shuffle(HOST_CUDA_LINE(__FILE__, __LINE__), value, from)
#define __shfl_xor_sync(mask, value, offset) HOST_CUDA_SHUFFLE(value, host_cuda::thread.x ^ unsigned(offset))
#define __shfl_up_sync(mask, value, offset) HOST_CUDA_SHUFFLE(value, host_cuda::thread.x - unsigned(offset))
#define __shfl_down_sync(mask, value, offset) HOST_CUDA_SHUFFLE(value, host_cuda::thread.x + unsigned(offset))
#define __shfl_sync(mask, value, lane) \
  HOST_CUDA_SHUFFLE(value, host_cuda::thread.x / 32 * 32 + unsigned(lane) % 32)
#define __syncwarp() host_cuda::vote_of_warp(HOST_CUDA_LINE(__FILE__, __LINE__), 0)
#define __any_sync(mask, value) host_cuda::vote_of_warp(HOST_CUDA_LINE(__FILE__, __LINE__), value)

#define VIDEOPOOL_READS(address, bytes) host_cuda::read(address, bytes)
#define VIDEOPOOL_WRITES(address, bytes) host_cuda::write(address, bytes)
#define VIDEOPOOL_SHARED(type, name, count) static host_cuda::Shared<type> name(count)

inline uint32_t __umulhi(uint32_t a, uint32_t b) { return uint32_t((uint64_t(a) * b) >> 32); }
