#include "test/gpu/emulator/fibers.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <vector>

namespace llm_test {
namespace {

constexpr size_t kStackBytes = 96 * 1024;
constexpr uint32_t kLanes = 32;

struct AsyncCopy {
  char* destination;
  const void* source;
};

struct Fiber {
  ucontext_t context;
  bool done = false;
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
  uint64_t progress = 0;  // changes whenever a fiber may go on
  ucontext_t scheduler;
};

Block* block = nullptr;
char* stacks = nullptr;
size_t stack_count = 0;

void yield() { swapcontext(&block->fibers[block->current].context, &block->scheduler); }

void fiber_main() {
  Block& b = *block;
  b.body(b.args, b.x, b.y, b.z, b.shared);
  Fiber& fiber = b.fibers[b.current];
  async_wait(0);
  fiber.done = true;
  --b.alive;
  ++b.progress;
  // A thread that has ended no longer takes part in barriers.
  if (b.alive > 0 && b.waiting == b.alive) {
    b.waiting = 0;
    ++b.barriers;
  }
  swapcontext(&fiber.context, &b.scheduler);
}

std::map<std::string, EmulatedBody>& registry() {
  static std::map<std::string, EmulatedBody> kernels;
  return kernels;
}

void run_block(Block& b) {
  block = &b;
  if (stack_count < b.threads) {
    if (stacks) munmap(stacks, stack_count * kStackBytes);
    stacks = static_cast<char*>(
        mmap(nullptr, b.threads * kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    stack_count = b.threads;
  }
  b.fibers.assign(b.threads, Fiber());
  b.warps.assign((b.threads + kLanes - 1) / kLanes, Warp());
  b.alive = b.threads;
  b.waiting = 0;
  for (uint32_t t = 0; t < b.threads; ++t) {
    getcontext(&b.fibers[t].context);
    b.fibers[t].context.uc_stack.ss_sp = stacks + t * kStackBytes;
    b.fibers[t].context.uc_stack.ss_size = kStackBytes;
    b.fibers[t].context.uc_link = nullptr;
    makecontext(&b.fibers[t].context, fiber_main, 0);
  }
  while (b.alive > 0) {
    const uint64_t before = b.progress;
    // Backwards, so that code which happens to work when lane 0 runs first does not pass for that reason.
    for (uint32_t t = b.threads; t-- > 0;) {
      if (b.fibers[t].done) continue;
      b.current = t;
      swapcontext(&b.scheduler, &b.fibers[t].context);
    }
    if (b.progress == before) emulator_fail("deadlock: a barrier or warp collective that not all threads reach");
  }
}

}  // namespace

EmulatedKernel::EmulatedKernel(const char* entry, EmulatedBody body) { registry()[entry] = body; }

EmulatedBody find_emulated(const std::string& entry) {
  const auto found = registry().find(entry);
  return found == registry().end() ? nullptr : found->second;
}

void emulator_fail(const std::string& message) {
  std::fprintf(stderr, "emulator: error: %s\n", message.c_str());
  std::exit(1);
}

void run_emulated(EmulatedBody body, const void* args, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned threads,
                  size_t shared_bytes) {
  constexpr size_t kGuardBytes = 256;
  constexpr char kGuard = 0x5a;
  std::vector<char> storage(shared_bytes + kGuardBytes + 128);
  Block b;
  b.body = body;
  b.args = args;
  b.threads = threads;
  b.shared = storage.data() + (128 - reinterpret_cast<uintptr_t>(storage.data()) % 128);
  for (b.z = 0; b.z < grid_z; ++b.z) {
    for (b.y = 0; b.y < grid_y; ++b.y) {
      for (b.x = 0; b.x < grid_x; ++b.x) {
        std::memset(b.shared, 0xff, shared_bytes);  // NaN: what a block does not write it must not use
        std::memset(b.shared + shared_bytes, kGuard, kGuardBytes - 128);
        run_block(b);
        for (size_t i = 0; i < kGuardBytes - 128; ++i) {
          if (b.shared[shared_bytes + i] != kGuard) emulator_fail("a kernel wrote beyond its shared memory");
        }
      }
    }
  }
}

uint32_t current_thread() { return block->current; }
uint32_t block_threads() { return block->threads; }
char* block_shared() { return block->shared; }

void block_barrier() {
  Block& b = *block;
  const uint64_t generation = b.barriers;
  ++b.progress;
  if (++b.waiting == b.alive) {
    b.waiting = 0;
    ++b.barriers;
    return;
  }
  while (b.barriers == generation) yield();
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
  ++b.progress;
  if (++warp.arrived[set] == kLanes) {
    warp.arrived[set] = 0;
    ++warp.completed;
  }
  while (warp.completed <= number) yield();
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
