// A pool of threads that run the tiles of one launch at a time. The caller works too. Between launches workers spin briefly, then sleep.
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
  void work();

  std::vector<std::thread> workers_;
  std::atomic<uint32_t> generation_{0};
  std::atomic<int> busy_{0};
  std::atomic<uint64_t> next_{0};
  std::atomic<bool> stop_{false};
  uint64_t tiles_ = 0, chunk_ = 1;
  Run run_ = nullptr;
  const void* context_ = nullptr;
};

}  // namespace llmrt
