#include "runtime/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace llmrt {
namespace {

struct Visits {
  explicit Visits(size_t tiles) : count(tiles) {}
  std::vector<std::atomic<int>> count;
  static void visit(const void* context, uint64_t tile) {
    auto* self = const_cast<Visits*>(static_cast<const Visits*>(context));
    self->count[tile].fetch_add(1, std::memory_order_relaxed);
  }
};

TEST(ThreadPool, RunsEveryTileOnce) {
  for (int threads : {1, 2, 5, 16}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (uint64_t tiles : {0, 1, 2, 3, 7, 64, 1000}) {
      Visits visits(tiles + 1);
      pool.for_each_tile(tiles, Visits::visit, &visits);
      for (uint64_t i = 0; i < tiles; ++i)
        EXPECT_EQ(visits.count[i], 1) << threads << " threads, tile " << i << " of " << tiles;
      EXPECT_EQ(visits.count[tiles], 0);
    }
  }
}

// What one launch writes, the next one reads, in whatever thread.
TEST(ThreadPool, LaunchesAreOrdered) {
  ThreadPool pool(5);
  constexpr uint64_t kTiles = 64;
  struct Buffers {
    std::vector<uint64_t> from, to;
  } buffers{std::vector<uint64_t>(kTiles, 0), std::vector<uint64_t>(kTiles, 0)};
  for (uint64_t round = 1; round <= 2000; ++round) {
    pool.for_each_tile(
        kTiles,
        [](const void* context, uint64_t tile) {
          auto* b = static_cast<Buffers*>(const_cast<void*>(context));
          b->to[tile] = b->from[(tile * 7 + 3) % kTiles] + 1;
        },
        &buffers);
    std::swap(buffers.from, buffers.to);
    for (uint64_t v : buffers.from) ASSERT_EQ(v, round);
  }
}

TEST(ThreadPool, EndsWithoutWork) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(4);
}

}  // namespace
}  // namespace llmrt
