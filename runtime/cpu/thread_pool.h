// A pool of threads that run the tiles of one launch at a time. The caller works too, and waits for tiles, not for threads: a worker that is
// slow to wake up holds nobody back. Between launches workers spin briefly, then sleep.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace llmrt {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls run(context, tile) for every tile < tiles, and returns when all are done.
  using Run = void (*)(const void* context, uint64_t tile);
  void for_each_tile(uint64_t tiles, Run run, const void* context);

 private:
  void worker();
  void work(uint32_t generation);

  std::vector<std::thread> workers_;
  std::atomic<uint32_t> generation_{0};  // of the current launch; what workers wait on
  // The launch's generation (high bits) and the next tile that nobody has taken (low bits): a worker that wakes up late sees another
  // generation and takes nothing.
  std::atomic<uint64_t> next_{0};
  std::atomic<uint64_t> done_{0};  // finished tiles of the launch
  std::atomic<bool> stop_{false};
  // The launch. Written only when no tile of it is unfinished; read before taking tiles, which fails if they have changed.
  std::atomic<uint64_t> tiles_{0}, chunk_{1};
  std::atomic<Run> run_{nullptr};
  std::atomic<const void*> context_{nullptr};
};

}  // namespace llmrt
