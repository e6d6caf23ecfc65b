// The ops on the CPU: select the kernels of the processor's instruction set, divide the work into units, and run them.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <new>
#include <string>
#include <thread>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "../ops.h"
#include "kernels.h"

namespace videopool {
namespace {

enum InstructionSet : int64_t { kBaseline = 0, kAvx2 = 1, kAvx512 = 2 };

// The best of the processor, or the one of VIDEOPOOL_ISA if the processor has it.
InstructionSet choose_instruction_set() {
  InstructionSet best = kBaseline;
#ifdef VIDEOPOOL_X86_KERNELS
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) best = kAvx2;
  if (best == kAvx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    best = kAvx512;
#endif
  const char* named = std::getenv("VIDEOPOOL_ISA");
  if (named == nullptr || *named == '\0') return best;
  const std::string name = named;
  STD_TORCH_CHECK(
      name == "baseline" || name == "avx2" || name == "avx512",
      "VIDEOPOOL_ISA=",
      name,
      " is not an instruction set; give baseline, avx2 or avx512");
  const InstructionSet wanted = name == "avx512" ? kAvx512 : name == "avx2" ? kAvx2 : kBaseline;
  STD_TORCH_CHECK(wanted <= best, "VIDEOPOOL_ISA=", name, " is more than this processor has");
  return wanted;
}

int64_t instruction_set() {
  static const InstructionSet chosen = choose_instruction_set();
  return chosen;
}

const TypedKernels& kernels_for(ScalarType type) {
  const int at = type == ScalarType::Double ? 0 : type == ScalarType::Float ? 1 : type == ScalarType::Half ? 2 : 3;
#ifdef VIDEOPOOL_X86_KERNELS
  if (instruction_set() == kAvx512) return kernels_avx512.types[at];
  if (instruction_set() == kAvx2) return kernels_avx2.types[at];
#endif
  return kernels_baseline.types[at];
}

// The largest number of windows over one cell, counted from the first to the last.
int64_t overlap(const Axis<int64_t>& axis) {
  if (axis.adaptive) return axis.out / axis.in + 2;
  return (axis.kernel - 1) * axis.dilation / axis.stride + 1;
}

constexpr int64_t kRowElements = 16384;           // of a buffered row: the row buffers stay in the second-level cache
constexpr int64_t kKeptElements = 65536;          // of the weights that a block keeps: likewise
constexpr int64_t kFewRows = 3;                   // rows of windows, for each that shares cells with its neighbor
constexpr int64_t kShortestBlock = 8;             // rows; neighbors compute what is between two blocks twice
constexpr int64_t kNarrowRow = 8;                 // elements; shorter rows are better computed several at once
constexpr int64_t kBatchElements = 2048;          // of rows in one step: what it stores is in the cache for the next
constexpr int64_t kElementsWorthAThread = 16384;  // some 10 microseconds

int64_t at_most(int64_t value, int64_t limit) {
  return value < limit ? value : limit;
}

int64_t at_least(int64_t value, int64_t limit) {
  return value > limit ? value : limit;
}

// Enough units for all threads of the machine to finish together. The number of threads of the call does not matter,
// because it must not change results.
int64_t wanted_units() {
  static const int64_t processors = std::thread::hardware_concurrency();
  return 4 * at_least(processors, 2);
}

// The channels of a plane: all, or as many as keep its rows in the cache; at least 16, to use whole memory transfers.
int64_t channels_in_group(const Problem<int64_t>& p, int64_t elements) {
  if (!p.channels_last) return 1;
  const int64_t longest = p.w.in > p.w.out ? p.w.in : p.w.out, fitting = elements / longest / 16 * 16;
  const int64_t group = fitting < 16 ? 16 : fitting;
  return group < p.channels ? group : p.channels;
}

int64_t round_to_16(int64_t n) {
  return ceil_div(n, int64_t(16)) * 16;
}

void set_group(Plan& plan, const Problem<int64_t>& p, int64_t elements) {
  plan.group = channels_in_group(p, elements);
  // If one window covers D and H, only channels can be divided among threads.
  const int64_t parts = p.d.out * p.h.out > 1 ? 1 : at_most(wanted_units() / at_least(p.batch, 1), p.channels / 16);
  if (p.channels_last && parts > 1) plan.group = at_most(plan.group, round_to_16(ceil_div(p.channels, parts)));
  plan.groups = p.channels_last ? ceil_div(p.channels, plan.group) : 1;
  plan.planes = p.channels_last ? p.batch * plan.groups : p.batch * p.channels;
}

// Rows of cells that so many rows of windows along H cover, padding included.
int64_t rows_under(const Axis<int64_t>& h, int64_t windows) {
  return h.adaptive ? h.in : at_most(h.in, (windows - 1) * h.stride + (h.kernel - 1) * h.dilation + 1);
}

// The most rows of windows whose cells a block can keep; 0 if not even one row's.
int64_t windows_to_keep(const Problem<int64_t>& p, const Plan& plan) {
  const int64_t depths = at_most(p.d.in, (p.d.kernel - 1) * p.d.dilation + 1);
  const int64_t rows = kKeptElements / (depths * p.w.in * plan.group);
  if (rows >= p.h.in) return p.h.out;
  const int64_t spare = rows - rows_under(p.h, 1);
  return p.h.adaptive || spare < 0 ? 0 : spare / p.h.stride + 1;
}

// Cuts the axes of a plane into blocks of at most block_h rows, some steps of h, and along D and then H as far as the
// threads need it.
void cut(Plan& plan, int64_t w_in, int64_t size_d, int64_t size_h, int64_t block_h, int64_t step_d, int64_t step_h) {
  plan.blocks_h = ceil_div(size_h, at_least(block_h, 1));
  plan.block_h = ceil_div(ceil_div(size_h, plan.blocks_h), step_h) * step_h;
  plan.blocks_h = ceil_div(size_h, plan.block_h);
  const int64_t parts = at_most(ceil_div(wanted_units(), plan.planes * plan.blocks_h), ceil_div(size_d, step_d));
  plan.block_d = ceil_div(ceil_div(size_d, parts), step_d) * step_d;
  plan.blocks_d = ceil_div(size_d, plan.block_d);
  const int64_t few = wanted_units() / 2;
  if (plan.planes * plan.blocks_d * plan.blocks_h < few) {
    const int64_t rows = at_least(ceil_div(size_h, few / (plan.planes * plan.blocks_d)), kShortestBlock);
    plan.block_h = at_most(plan.block_h, ceil_div(rows, step_h) * step_h);
    plan.blocks_h = ceil_div(size_h, plan.block_h);
  }
  plan.units = plan.planes * plan.blocks_d * plan.blocks_h;
  plan.batch = at_least(1, at_most(plan.block_h, kBatchElements / (w_in * plan.group)));
}

// Keeps the weights of the cells of a block if it then still has many rows of windows; -> how many, 0 to not keep them.
int64_t keep_weights(Plan& plan, const Problem<int64_t>& p) {
  set_group(plan, p, kRowElements);
  int64_t windows = windows_to_keep(p, plan);
  if (windows < kFewRows * overlap(p.h) && overlap(p.d) * overlap(p.h) > 4) {
    // So many windows share a cell that smaller pieces of rows are worthwhile.
    const int64_t depths = at_most(p.d.in, (p.d.kernel - 1) * p.d.dilation + 1);
    set_group(plan, p, kKeptElements / (depths * rows_under(p.h, 2 * kFewRows * overlap(p.h))));
    windows = windows_to_keep(p, plan);
    plan.keep_weights = windows > 0;
  } else {
    plan.keep_weights = windows >= at_most(p.h.out, kFewRows * overlap(p.h));
  }
  if (!plan.keep_weights) set_group(plan, p, kRowElements);
  return plan.keep_weights ? windows : 0;
}

Plan forward_plan(const Problem<int64_t>& p) {
  Plan plan{};
  // A cell's weight is needed by every row of windows over it.
  const bool shared = overlap(p.d) * overlap(p.h) > 4;
  const bool narrow = p.w.in * (p.channels_last ? p.channels : 1) < kNarrowRow;
  const int64_t windows = shared || narrow ? keep_weights(plan, p) : 0;
  if (windows == 0) set_group(plan, p, kRowElements);
  plan.keep_weights = windows > 0;
  cut(plan,
      p.w.in,
      p.d.out,
      p.h.out,
      windows > 0 ? windows : p.h.out,
      windows > 0 && shared ? at_most(p.d.out, 4) : 1,
      1);
  return plan;
}

Plan backward_plan(const Problem<int64_t>& p) {
  Plan plan{};
  int64_t windows = keep_weights(plan, p);
  if (windows == 0) windows = at_least(1, kKeptElements / (2 * p.w.out * plan.group * overlap(p.d)));
  // Rows of windows over the border of two blocks are computed for both.
  const int64_t height = windows >= p.h.out ? p.h.in : at_least(1, windows - overlap(p.h) + 1) * p.h.stride;
  cut(plan, p.w.in, p.d.in, p.h.in, height, at_most(p.d.in, (overlap(p.d) > 1 ? 4 : 1) * p.d.stride), p.h.stride);
  return plan;
}

constexpr int64_t kTurnedPlanes = 16;         // transposed at a time (turned.h): the lanes of the widest vectors
constexpr int64_t kTurnedElements = 1 << 19;  // of them at most: some MiB of scratch memory
constexpr int64_t kShortRow = 24;             // cells; transposing pays for shorter rows and all windows,
constexpr int64_t kRowOfMany = 64;            // and for these with windows that take the cells of a row one at a time

int64_t turned_groups(const Problem<int64_t>& p) {
  return ceil_div(p.channels, kTurnedPlanes);
}

bool is_worth_turning(const Problem<int64_t>& p) {
  if (p.channels_last || p.channels < kTurnedPlanes || p.batch * turned_groups(p) < wanted_units() / 4) return false;
  if (p.h.out == 1 && p.w.out == 1 && p.h.kernel == p.h.in && p.w.kernel == p.w.in) return false;  // long runs anyway
  const bool easy = (p.w.kernel <= 2 && p.w.kernel == p.w.stride) || p.w.out == 1;
  const int64_t cells = p.d.in * p.h.in * p.w.in;
  return p.w.in <= (easy ? kShortRow : kRowOfMany) && cells >= kTurnedPlanes &&
         cells * kTurnedPlanes <= kTurnedElements;
}

// All units of a call, after transposing.
Problem<int64_t> turned(Problem<int64_t> p) {
  p.batch *= turned_groups(p);
  p.channels = kTurnedPlanes;
  p.channels_last = true;
  return p;
}

// The plan of the units, from the one of turned(p), of which each runs its share.
Plan turned_plan(const Problem<int64_t>& p, Plan& inner) {
  inner.units = inner.blocks_d * inner.blocks_h;
  Plan plan{};
  plan.group = kTurnedPlanes;
  plan.groups = turned_groups(p);
  plan.planes = plan.units = p.batch * plan.groups;
  plan.turned = &inner;
  return plan;
}

// Blocks of scratch memory, by index, that belong to one thread.
struct ScratchBlock {
  std::unique_ptr<void, decltype(&std::free)> memory{nullptr, &std::free};
  size_t bytes = 0;
};

template <class Call, class Kernel>
void run(const Call& call, Plan (*make_plan)(const Problem<int64_t>&), Kernel kernel) {
  const bool turn = is_worth_turning(call.problem);
  Plan inner = make_plan(turn ? turned(call.problem) : call.problem);
  const Plan plan = turn ? turned_plan(call.problem, inner) : inner;
  const int64_t per_unit = cells_of(call.problem) / plan.units + 1;
  torch::stable::parallel_for(0, plan.units, kElementsWorthAThread / per_unit + 1, [&](int64_t begin, int64_t end) {
    kernel(call, plan, begin, end);
  });
}

// Whether this is a virtual machine that hands free memory back to its host: by the virtio balloon (device 5) with free
// page reporting (feature 5). There the host takes milliseconds to return a huge page that was free for a while, which
// makes a training step slower than small pages do.
bool gives_free_pages_back() {
  std::error_code none;
  for (const auto& device : std::filesystem::directory_iterator("/sys/bus/virtio/devices", none)) {
    std::string id, features;
    std::ifstream(device.path() / "device") >> id;
    std::ifstream(device.path() / "features") >> features;
    if (id == "0x0005" && features.size() > 5 && features[5] == '1') return true;
  }
  return false;
}

bool wants_huge_pages() {
  const char* named = std::getenv("VIDEOPOOL_HUGE_PAGES");
  if (named == nullptr || *named == '\0') return !gives_free_pages_back();
  const std::string value = named;
  STD_TORCH_CHECK(value == "0" || value == "1", "VIDEOPOOL_HUGE_PAGES=", value, " is neither 0 nor 1");
  return value == "1";
}

// Large results start as untouched pages, and the first write to each costs more than all arithmetic here. Huge pages,
// if the system lets programs choose them, reduce that to a small part.
void advise_huge_pages(void* data, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t page = uintptr_t(1) << 21;
  static const bool wanted = wants_huge_pages();
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + page - 1) & ~(page - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) & ~(page - 1);
  if (wanted && bytes >= 2 * page && begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data;
  (void)bytes;
#endif
}

template <class Call>
Form form_of(const Call& call) {
  if (call.logits != nullptr) return kGeneral;
  return call.relu ? kReluSoft : kSoft;
}

struct Cpu {
  static void fresh(Tensor& t) { advise_huge_pages(t.mutable_data_ptr(), size_t(t.numel()) * t.element_size()); }

  static void forward(const ForwardCall& call, ScalarType type, int32_t /*device*/) {
    run(call, forward_plan, kernels_for(type).forward[form_of(call)]);
  }

  static void backward(const BackwardCall& call, ScalarType type, int32_t /*device*/) {
    run(call, backward_plan, kernels_for(type).backward[form_of(call)]);
  }
};

}  // namespace

void* scratch_block(int index, size_t bytes) {
  constexpr int kBlocks = 64;
  constexpr size_t kLine = 64;
  thread_local ScratchBlock blocks[kBlocks];
  STD_TORCH_CHECK(index < kBlocks, "videopool: a kernel asks for more than ", kBlocks, " blocks of scratch memory");
  ScratchBlock& block = blocks[index];
#ifdef __SANITIZE_ADDRESS__
  void* exact = nullptr;  // a block of exactly this size, so that an access beyond it is detected
  if (posix_memalign(&exact, kLine, bytes) != 0) throw std::bad_alloc();
  block.memory.reset(exact);
  return exact;
#endif
  if (block.bytes < bytes) {
    block.bytes = (bytes + kLine - 1) / kLine * kLine;
    block.memory.reset(std::aligned_alloc(kLine, block.bytes));
    if (block.memory == nullptr) throw std::bad_alloc();
  }
  return block.memory.get();
}

}  // namespace videopool

STABLE_TORCH_LIBRARY_IMPL(videopool, CPU, m) {
  videopool::Ops<videopool::Cpu>::register_all(m);
}

STABLE_TORCH_LIBRARY_IMPL(videopool, CompositeExplicitAutograd, m) {
  m.impl("cpu_instruction_set", TORCH_BOX(&videopool::instruction_set));
}
