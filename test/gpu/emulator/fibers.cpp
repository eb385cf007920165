#include "test/gpu/emulator/fibers.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <vector>

// Saves the callee-saved registers and the stack pointer to *from, and goes on where `to` was saved. (swapcontext would
// do, but makes a system call each time.)
extern "C" void llm_test_switch_stack(void** from, void* to);
asm(R"(
  .text
  .globl llm_test_switch_stack
llm_test_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");

namespace llm_test {
namespace {

constexpr size_t kStackBytes = 96 * 1024;
constexpr uint32_t kLanes = 32;

struct AsyncCopy {
  char* destination;
  const void* source;
};

struct Fiber {
  void* stack_pointer = nullptr;
  bool done = false;
  // What it waits for: a counter, until it is above `limit`; null: nothing.
  const uint64_t* counter = nullptr;
  uint64_t limit = 0;
  std::vector<AsyncCopy> open_group;
  std::deque<std::vector<AsyncCopy>> groups;
  uint64_t exchanges = 0;  // collectives that this lane has entered
};

// A warp's collectives alternate between two sets of deposits: a lane can be at most one collective ahead of another.
struct Warp {
  alignas(16) char deposits[2][kLanes * kMaxExchangeBytes];
  uint32_t arrived[2] = {0, 0};
  uint64_t completed = 0;
};

struct Phases {
  uint32_t count = 0, pending = 0;
  int64_t bytes = 0;
  uint64_t completed = 0;
};

struct NamedBarrier {
  uint32_t waiting = 0;
  uint64_t completed = 0;
};

struct Block {
  EmulatedBody body;
  const void* args;
  unsigned x, y, z;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  char* shared = nullptr;
  uint32_t threads = 0;
  uint32_t current = 0;
  uint32_t waiting = 0;   // fibers at the block barrier
  uint64_t barriers = 0;  // completed
  uint32_t alive = 0;
  std::map<uint32_t, Phases> phases;
  std::map<int, NamedBarrier> named;
  unsigned grid_x = 1;
  void* scheduler = nullptr;
  std::vector<Block*> cluster;    // all of its blocks, this one too
  uint64_t cluster_arrivals = 0;  // at the cluster's barrier, ever: counted in its first block
};

Block* block = nullptr;
char* stacks = nullptr;
size_t stack_count = 0;

void switch_to_scheduler() { llm_test_switch_stack(&block->fibers[block->current].stack_pointer, block->scheduler); }

void wait_until_above(const uint64_t& counter, uint64_t limit) {
  if (counter > limit) return;
  Fiber& fiber = block->fibers[block->current];
  fiber.counter = &counter;
  fiber.limit = limit;
  switch_to_scheduler();
}

void fiber_main() {
  Block& b = *block;
  b.body(b.args, b.x, b.y, b.z, b.grid_x, b.shared);
  Fiber& fiber = b.fibers[b.current];
  async_wait(0);
  fiber.done = true;
  --b.alive;
  // A thread that has ended no longer takes part in barriers.
  if (b.alive > 0 && b.waiting == b.alive) {
    b.waiting = 0;
    ++b.barriers;
  }
  switch_to_scheduler();
}

// A stack as llm_test_switch_stack leaves one: six registers, then the address to go on at. On entry to a function the
// stack pointer is 8 below a multiple of 16.
void* new_stack(char* base) {
  void** top = reinterpret_cast<void**>(base + kStackBytes) - 1;
  *--top = reinterpret_cast<void*>(fiber_main);
  return top - 6;
}

std::map<std::string, const EmulatedKernel*>& registry() {
  static std::map<std::string, const EmulatedKernel*> kernels;
  return kernels;
}

void begin_block(Block& b, char* block_stacks) {
  b.fibers.assign(b.threads, Fiber());
  b.warps.assign((b.threads + kLanes - 1) / kLanes, Warp());
  b.alive = b.threads;
  b.waiting = 0;
  b.phases.clear();
  b.named.clear();
  for (uint32_t t = 0; t < b.threads; ++t) b.fibers[t].stack_pointer = new_stack(block_stacks + t * kStackBytes);
}

// Runs each fiber that can run until it waits; false: none could.
bool run_fibers(Block& b) {
  block = &b;
  bool ran = false;
  // Backwards, so that code which happens to work when lane 0 runs first does not pass for that reason.
  for (uint32_t t = b.threads; t-- > 0;) {
    Fiber& fiber = b.fibers[t];
    if (fiber.done || (fiber.counter && *fiber.counter <= fiber.limit)) continue;
    fiber.counter = nullptr;
    b.current = t;
    ran = true;
    llm_test_switch_stack(&b.scheduler, fiber.stack_pointer);
  }
  return ran;
}

void run_blocks(std::vector<Block*> blocks) {
  size_t threads = 0;
  for (Block* b : blocks) threads += b->threads;
  if (stack_count < threads) {
    if (stacks) munmap(stacks, stack_count * kStackBytes);
    stacks = static_cast<char*>(
        mmap(nullptr, threads * kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    stack_count = threads;
  }
  char* free_stacks = stacks;
  for (Block* b : blocks) {
    begin_block(*b, free_stacks);
    free_stacks += b->threads * kStackBytes;
  }
  while (!blocks.empty()) {
    bool ran = false;
    for (Block* b : blocks) ran |= run_fibers(*b);
    if (!ran) emulator_fail("deadlock: a barrier or warp collective that not all threads reach");
    std::erase_if(blocks, [](const Block* b) { return b->alive == 0; });
  }
}

}  // namespace

EmulatedKernel::EmulatedKernel(const char* entry, EmulatedBody kernel_body, size_t bytes, unsigned cluster)
    : entry(entry), body(kernel_body), argument_bytes(bytes), cluster(cluster) {
  registry()[entry] = this;
}

const EmulatedKernel* find_emulated(const std::string& entry) {
  const auto found = registry().find(entry);
  return found == registry().end() ? nullptr : found->second;
}

void emulator_fail(const std::string& message) {
  std::fprintf(stderr, "emulator: error: %s\n", message.c_str());
  std::exit(1);
}

void run_emulated(const EmulatedKernel& kernel, const void* args, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                  unsigned threads, size_t shared_bytes, Blocks how) {
  static const bool trace = std::getenv("LLM_EMULATOR_TRACE") != nullptr;
  if (trace) std::fprintf(stderr, "emulator: %s\n", kernel.entry);
  constexpr size_t kGuardBytes = 256;
  constexpr char kGuard = 0x5a;
  struct Memory {
    std::vector<char> storage;
    Block block;
  };
  std::vector<std::unique_ptr<Memory>> together;
  const auto run = [&] {
    std::vector<Block*> blocks;
    for (const auto& m : together) blocks.push_back(&m->block);
    run_blocks(blocks);
    for (const auto& m : together)
      for (size_t i = 0; i < kGuardBytes - 128; ++i)
        if (m->block.shared[shared_bytes + i] != kGuard) emulator_fail("a kernel wrote beyond its shared memory");
  };
  if (grid_x % kernel.cluster != 0) emulator_fail("a grid that is not made of whole clusters");
  for (unsigned i = 0; i < grid_x * grid_y * grid_z; ++i) {
    if (kernel.cluster > 1 && i % kernel.cluster == 0 && how == Blocks::kOneByOne) together.clear();
    if (together.empty() || how == Blocks::kTogether || kernel.cluster > 1) {
      together.push_back(std::make_unique<Memory>());
      together.back()->storage.resize(shared_bytes + kGuardBytes + 128);
    }
    Memory& m = *together.back();
    Block& b = m.block;
    b.body = kernel.body;
    b.args = args;
    b.threads = threads;
    b.x = i % grid_x, b.y = i / grid_x % grid_y, b.z = i / (grid_x * grid_y);
    b.grid_x = grid_x;
    b.shared = m.storage.data() + (128 - reinterpret_cast<uintptr_t>(m.storage.data()) % 128);
    std::memset(b.shared, 0xff, shared_bytes);  // NaN: what a block does not write it must not use
    std::memset(b.shared + shared_bytes, kGuard, kGuardBytes - 128);
    b.cluster.clear(), b.cluster_arrivals = 0;
    if (i % kernel.cluster + 1 < kernel.cluster) continue;
    const auto first = together.end() - kernel.cluster;
    for (auto of = first; of != together.end(); ++of)
      for (auto other = first; other != together.end(); ++other) (*of)->block.cluster.push_back(&(*other)->block);
    if (how == Blocks::kOneByOne) run();
  }
  if (how == Blocks::kTogether) run();
}

void let_others_run() { switch_to_scheduler(); }

uint32_t cluster_rank() { return static_cast<uint32_t>(block->x % block->cluster.size()); }

void cluster_barrier() {
  uint64_t& arrivals = block->cluster[0]->cluster_arrivals;
  const uint64_t all = block->threads * block->cluster.size(), goal = (arrivals / all + 1) * all;
  ++arrivals;
  wait_until_above(arrivals, goal - 1);
}

void in_block_of_cluster(uint32_t rank, const std::function<void()>& run) {
  Block* const own = block;
  block = own->cluster.at(rank);
  run();
  block = own;
}

uint32_t current_thread() { return block->current; }
uint32_t block_threads() { return block->threads; }
char* block_shared() { return block->shared; }

void block_barrier() {
  Block& b = *block;
  const uint64_t generation = b.barriers;
  if (++b.waiting == b.alive) {
    b.waiting = 0;
    ++b.barriers;
  }
  wait_until_above(b.barriers, generation);
}

void named_barrier(int id, uint32_t threads) {
  NamedBarrier& barrier = block->named[id];
  const uint64_t generation = barrier.completed;
  if (++barrier.waiting == threads) {
    barrier.waiting = 0;
    ++barrier.completed;
  }
  wait_until_above(barrier.completed, generation);
}

void phase_init(uint32_t at, uint32_t count) { block->phases[at] = {count, count, 0, 0}; }

void phase_update(uint32_t at, uint32_t arrivals, int64_t announced_bytes) {
  const auto found = block->phases.find(at);
  if (found == block->phases.end()) emulator_fail("an mbarrier that was never initialized");
  Phases& phases = found->second;
  if (arrivals > phases.pending) emulator_fail("more arrivals at an mbarrier than it expects");
  phases.pending -= arrivals;
  phases.bytes += announced_bytes;
  if (phases.pending > 0 || phases.bytes != 0) return;
  phases.pending = phases.count;
  ++phases.completed;
}

void phase_wait(uint32_t at, uint32_t parity) {
  const Phases& phases = block->phases[at];
  if (phases.completed % 2 == parity) wait_until_above(phases.completed, phases.completed);
}

void warp_barrier() {
  const char nothing = 0;
  warp_exchange(&nothing, 1);
}

const void* warp_exchange(const void* value, size_t bytes) {
  Block& b = *block;
  Fiber& fiber = b.fibers[b.current];
  Warp& warp = b.warps[b.current / kLanes];
  const uint64_t number = fiber.exchanges++;
  const size_t set = number % 2;
  std::memcpy(warp.deposits[set] + b.current % kLanes * bytes, value, bytes);
  if (++warp.arrived[set] == kLanes) {
    warp.arrived[set] = 0;
    ++warp.completed;
  }
  wait_until_above(warp.completed, number);
  return warp.deposits[set];
}

void async_copy(char* destination, const void* source) {
  block->fibers[block->current].open_group.push_back({destination, source});
}

void async_commit() {
  Fiber& fiber = block->fibers[block->current];
  fiber.groups.push_back(std::move(fiber.open_group));
  fiber.open_group.clear();
}

void async_wait(int pending) {
  Fiber& fiber = block->fibers[block->current];
  while (fiber.groups.size() > static_cast<size_t>(pending)) {
    for (const AsyncCopy& copy : fiber.groups.front()) {
      if (copy.source) {
        std::memcpy(copy.destination, copy.source, 16);
      } else {
        std::memset(copy.destination, 0, 16);
      }
    }
    fiber.groups.pop_front();
  }
}

}  // namespace llm_test
