#include "runtime/cpu/thread_pool.h"

#include <algorithm>

namespace llmrt {
namespace {

constexpr int kSpins = 4000;              // some 20-50 us of pauses: longer than the gap between two launches of a step
constexpr uint64_t kChunksPerThread = 8;  // tiles are taken in chunks: few enough atomics, small enough tails

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { worker(); });
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& t : workers_) t.join();
}

void ThreadPool::for_each_tile(uint64_t tiles, Run run, const void* context) {
  if (tiles <= 1 || workers_.empty()) {
    for (uint64_t i = 0; i < tiles; ++i) run(context, i);
    return;
  }
  tiles_ = tiles, run_ = run, context_ = context;
  chunk_ = std::max<uint64_t>(1, tiles / (static_cast<uint64_t>(threads()) * kChunksPerThread));
  next_.store(0, std::memory_order_relaxed);
  busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  work();
  // With fewer cores than threads a worker may not be running at all: give it the core instead of spinning on.
  for (int spins = 0; busy_.load(std::memory_order_acquire) != 0; ++spins) spins < kSpins ? pause() : std::this_thread::yield();
}

void ThreadPool::work() {
  for (uint64_t begin; (begin = next_.fetch_add(chunk_, std::memory_order_relaxed)) < tiles_;) {
    const uint64_t end = std::min(begin + chunk_, tiles_);
    for (uint64_t i = begin; i < end; ++i) run_(context_, i);
  }
}

void ThreadPool::worker() {
  uint32_t seen = 0;
  while (true) {
    for (int spins = 0; spins < kSpins && generation_.load(std::memory_order_acquire) == seen; ++spins) pause();
    generation_.wait(seen, std::memory_order_acquire);
    seen = generation_.load(std::memory_order_acquire);
    if (stop_) return;
    work();
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace llmrt
