#include "runtime/cpu/thread_pool.h"

#include <algorithm>

#include "runtime/cpu/topology.h"

namespace llmrt {
namespace {

constexpr int kSpins = 4000;              // some 20-50 us of pauses: longer than the gap between two launches of a step
constexpr int kTileBits = 40;             // of next_; the generation takes the other 24
constexpr uint64_t kTileMask = (uint64_t{1} << kTileBits) - 1;
constexpr uint32_t kGenerationMask = (1u << (64 - kTileBits)) - 1;
constexpr uint64_t kChunksPerThread = 8;  // tiles are taken in chunks: few enough atomics, small enough tails

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

// With a core for each thread, workers keep to theirs: they find what the last launch left in its caches. The caller's thread is not the pool's
// to move; the scheduler gives it the core that is left.
ThreadPool::ThreadPool(int threads) {
  const std::vector<int> cores = usable_cores();
  const bool pinned = static_cast<size_t>(threads) <= cores.size();
  for (int i = 1; i < threads; ++i)
    workers_.emplace_back([this, core = pinned ? cores[static_cast<size_t>(i)] : -1] {
      if (core >= 0) pin_to_core(core);
      worker();
    });
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  generation_.store((generation_.load(std::memory_order_relaxed) + 1) & kGenerationMask, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& t : workers_) t.join();
}

void ThreadPool::for_each_tile(uint64_t tiles, Run run, const void* context) {
  if (tiles <= 1 || workers_.empty()) {
    for (uint64_t i = 0; i < tiles; ++i) run(context, i);
    return;
  }
  const uint32_t generation = (generation_.load(std::memory_order_relaxed) + 1) & kGenerationMask;
  // Closed first: a late worker of the last launch that sees any of the new values finds that its next_ has changed.
  next_.store(uint64_t{generation} << kTileBits | kTileMask, std::memory_order_relaxed);
  tiles_.store(tiles, std::memory_order_release);
  chunk_.store(std::max<uint64_t>(1, tiles / (static_cast<uint64_t>(threads()) * kChunksPerThread)), std::memory_order_release);
  run_.store(run, std::memory_order_release);
  context_.store(context, std::memory_order_release);
  done_.store(0, std::memory_order_relaxed);
  next_.store(uint64_t{generation} << kTileBits, std::memory_order_release);
  generation_.store(generation, std::memory_order_release);
  generation_.notify_all();
  work(generation);
  // With fewer cores than threads a worker in the middle of a tile may not be running: give it the core instead of spinning on.
  for (int spins = 0; done_.load(std::memory_order_acquire) != tiles; ++spins) spins < kSpins ? pause() : std::this_thread::yield();
}

// Takes and runs tiles of the launch until none is left.
void ThreadPool::work(uint32_t generation) {
  uint64_t next = next_.load(std::memory_order_acquire);
  while (next >> kTileBits == generation) {
    const uint64_t begin = next & kTileMask, tiles = tiles_.load(std::memory_order_acquire);
    if (begin >= tiles) return;
    const uint64_t end = std::min(begin + chunk_.load(std::memory_order_acquire), tiles);
    const Run run = run_.load(std::memory_order_acquire);
    const void* context = context_.load(std::memory_order_acquire);
    // Success means that next_ has not changed since it was loaded, so what was read in between belongs to this launch.
    if (!next_.compare_exchange_weak(next, (next & ~kTileMask) | end, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
    for (uint64_t i = begin; i < end; ++i) run(context, i);
    done_.fetch_add(end - begin, std::memory_order_release);
    next = next_.load(std::memory_order_acquire);
  }
}

void ThreadPool::worker() {
  uint32_t seen = 0;
  while (true) {
    for (int spins = 0; spins < kSpins && generation_.load(std::memory_order_acquire) == seen; ++spins) pause();
    generation_.wait(seen, std::memory_order_acquire);
    seen = generation_.load(std::memory_order_acquire);
    if (stop_) return;
    work(seen);
  }
}

}  // namespace llmrt
