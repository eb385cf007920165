#include "test/gpu/emulator/fibers.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

// Saves the callee-saved registers and the stack pointer to *from, and goes on where `to` was saved. (swapcontext would
// do, but makes a system call each time; a return would be predicted to go back to the caller.)
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
  popq %rax
  jmpq *%rax
)");

namespace llm_test {
namespace {

// Not a power of two times anything large: or the tops of all stacks would share a few sets of the caches.
constexpr size_t kStackBytes = 96 * 1024 + 17 * 64;

struct AsyncCopy {
  char* destination;
  const void* source;
};

constexpr uint64_t kZero = 0, kOne = 1;

struct Fiber {
  void* stack_pointer = nullptr;
  std::vector<AsyncCopy> copies;   // not yet performed
  std::vector<size_t> group_ends;  // of committed groups, in `copies`
  uint64_t exchanges = 0;          // collectives that this lane has entered
};

// What a fiber waits for: a counter, until it is above `limit`.
struct Wait {
  const uint64_t* counter = &kOne;
  uint64_t limit = 0;

  bool is_over() const { return *counter > limit; }
};
constexpr Wait kForever = {&kZero, 0};

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

struct Block : RunningBlock {
  EmulatedBody body;
  const void* args;
  unsigned x, y, z;
  std::vector<Fiber> fibers;
  std::vector<Wait> waits;
  std::vector<Warp> warps;
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

uint64_t rounds = 0;  // of the scheduler over all blocks
char* stacks = nullptr;
size_t stack_count = 0;

}  // namespace

RunningBlock* running = nullptr;

namespace {

Block* running_block() { return static_cast<Block*>(running); }

// The next lane of a warp that can run: from below `below` downwards, then from the top down to `below`. kNone: none
// can.
constexpr uint32_t kNone = ~0u;
uint32_t next_of_warp(const Block& b, uint32_t warp, uint32_t below) {
  const uint32_t first = warp * kLanes, end = std::min(first + kLanes, b.threads);
  for (uint32_t t = std::min(below, end); t-- > first;)
    if (b.waits[t].is_over()) return t;
  for (uint32_t t = end; t-- > below;)
    if (b.waits[t].is_over()) return t;
  return kNone;
}

void leave_fiber() {
  Block& b = *running_block();
  void** own = &b.fibers[b.current].stack_pointer;
  const uint32_t next = next_of_warp(b, b.current / kLanes, b.current);
  if (next == kNone) return llm_test_switch_stack(own, b.scheduler);
  b.current = next;
  llm_test_switch_stack(own, b.fibers[next].stack_pointer);
}

void wait_until_above(const uint64_t& counter, uint64_t limit) {
  if (counter > limit) return;
  Block& b = *running_block();
  b.waits[b.current] = {&counter, limit};
  leave_fiber();
}

void fiber_main() {
  Block& b = *running_block();
  b.body(b.args, b.x, b.y, b.z, b.grid_x, b.shared);
  async_wait(0);
  b.waits[b.current] = kForever;
  --b.alive;
  // A thread that has ended no longer takes part in barriers.
  if (b.alive > 0 && b.waiting == b.alive) {
    b.waiting = 0;
    ++b.barriers;
  }
  leave_fiber();
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
  b.fibers.resize(b.threads);
  b.waits.assign(b.threads, Wait());
  b.warps.resize((b.threads + kLanes - 1) / kLanes);
  for (Warp& warp : b.warps) warp.arrived[0] = warp.arrived[1] = 0, warp.completed = 0;
  b.alive = b.threads;
  b.waiting = 0;
  b.phases.clear();
  b.named.clear();
  for (uint32_t t = 0; t < b.threads; ++t) {
    Fiber& fiber = b.fibers[t];
    fiber.exchanges = 0;
    fiber.copies.clear();
    fiber.group_ends.clear();
    fiber.stack_pointer = new_stack(block_stacks + t * kStackBytes);
  }
}

// Runs each warp until all of its fibers wait; false: none could run.
bool run_fibers(Block& b) {
  running = &b;
  bool ran = false;
  // Backwards, so that code which happens to work when lane 0 runs first does not pass for that reason.
  for (auto warp = static_cast<uint32_t>(b.warps.size()); warp-- > 0;) {
    const uint32_t next = next_of_warp(b, warp, b.threads);
    if (next == kNone) continue;
    ran = true;
    b.current = next;
    llm_test_switch_stack(&b.scheduler, b.fibers[next].stack_pointer);
  }
  return ran;
}

void run_blocks(std::vector<Block*> blocks) {
  size_t threads = 0;
  for (Block* b : blocks) threads += b->threads;
  if (stack_count < threads) {
    if (stacks) munmap(stacks, stack_count * kStackBytes);
    stacks = static_cast<char*>(mmap(nullptr, threads * kStackBytes, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    stack_count = threads;
  }
  char* free_stacks = stacks;
  for (Block* b : blocks) {
    begin_block(*b, free_stacks);
    free_stacks += b->threads * kStackBytes;
  }
  while (!blocks.empty()) {
    bool ran = false;
    ++rounds;
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

void let_others_run() { wait_until_above(rounds, rounds); }

uint32_t cluster_rank() { return static_cast<uint32_t>(running_block()->x % running_block()->cluster.size()); }

void cluster_barrier() {
  const Block& b = *running_block();
  uint64_t& arrivals = b.cluster[0]->cluster_arrivals;
  const uint64_t all = b.threads * b.cluster.size(), goal = (arrivals / all + 1) * all;
  ++arrivals;
  wait_until_above(arrivals, goal - 1);
}

void in_block_of_cluster(uint32_t rank, const std::function<void()>& run) {
  Block* const own = running_block();
  running = own->cluster.at(rank);
  run();
  running = own;
}

void block_barrier() {
  Block& b = *running_block();
  const uint64_t generation = b.barriers;
  if (++b.waiting == b.alive) {
    b.waiting = 0;
    ++b.barriers;
  }
  wait_until_above(b.barriers, generation);
}

void named_barrier(int id, uint32_t threads) {
  NamedBarrier& barrier = running_block()->named[id];
  const uint64_t generation = barrier.completed;
  if (++barrier.waiting == threads) {
    barrier.waiting = 0;
    ++barrier.completed;
  }
  wait_until_above(barrier.completed, generation);
}

void phase_init(uint32_t at, uint32_t count) { running_block()->phases[at] = {count, count, 0, 0}; }

void phase_update(uint32_t at, uint32_t arrivals, int64_t announced_bytes) {
  const auto found = running_block()->phases.find(at);
  if (found == running_block()->phases.end()) emulator_fail("an mbarrier that was never initialized");
  Phases& phases = found->second;
  if (arrivals > phases.pending) emulator_fail("more arrivals at an mbarrier than it expects");
  phases.pending -= arrivals;
  phases.bytes += announced_bytes;
  if (phases.pending > 0 || phases.bytes != 0) return;
  phases.pending = phases.count;
  ++phases.completed;
}

void phase_wait(uint32_t at, uint32_t parity) {
  const Phases& phases = running_block()->phases[at];
  if (phases.completed % 2 == parity) wait_until_above(phases.completed, phases.completed);
}

namespace {

struct Lane {
  Fiber& fiber;
  Warp& warp;
};
Lane current_lane() {
  Block& b = *running_block();
  return {b.fibers[b.current], b.warps[b.current / kLanes]};
}

}  // namespace

char* warp_deposits() {
  const Lane lane = current_lane();
  return lane.warp.deposits[lane.fiber.exchanges % 2];
}

bool last_of_warp() {
  const Lane lane = current_lane();
  return lane.warp.arrived[lane.fiber.exchanges % 2] == kLanes - 1;
}

void warp_arrive() {
  const Lane lane = current_lane();
  const uint64_t number = lane.fiber.exchanges++;
  uint32_t& arrived = lane.warp.arrived[number % 2];
  if (++arrived == kLanes) {
    arrived = 0;
    ++lane.warp.completed;
  }
  wait_until_above(lane.warp.completed, number);
}

void async_copy(char* destination, const void* source) { current_lane().fiber.copies.push_back({destination, source}); }

void async_commit() {
  Fiber& fiber = current_lane().fiber;
  fiber.group_ends.push_back(fiber.copies.size());
}

void async_wait(int pending) {
  Fiber& fiber = current_lane().fiber;
  if (fiber.group_ends.size() <= static_cast<size_t>(pending)) return;
  const auto kept = fiber.group_ends.end() - pending;
  const size_t count = kept[-1];
  for (size_t i = 0; i < count; ++i) {
    const AsyncCopy& copy = fiber.copies[i];
    if (copy.source) {
      std::memcpy(copy.destination, copy.source, 16);
    } else {
      std::memset(copy.destination, 0, 16);
    }
  }
  fiber.copies.erase(fiber.copies.begin(), fiber.copies.begin() + static_cast<ptrdiff_t>(count));
  fiber.group_ends.erase(fiber.group_ends.begin(), kept);
  for (size_t& end : fiber.group_ends) end -= count;
}

}  // namespace llm_test
