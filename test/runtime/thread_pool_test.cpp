#include "runtime/cpu/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <mutex>
#include <set>
#include <vector>

#include "runtime/cpu/topology.h"

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

// Each worker keeps to a core of its own where there are enough; the caller's thread is left alone.
TEST(ThreadPool, PinsWorkersAlone) {
  const std::vector<int> cores = usable_cores();
  ThreadPool pool(static_cast<int>(cores.size()));
  struct Seen {
    std::mutex mutex;
    std::set<std::vector<int>> worker_cores;
    pthread_t caller = pthread_self();
  } seen;
  for (int round = 0; round < 50; ++round)
    pool.for_each_tile(
        64,
        [](const void* context, uint64_t) {
          auto* s = static_cast<Seen*>(const_cast<void*>(context));
          if (pthread_equal(pthread_self(), s->caller)) return;
          const std::lock_guard lock(s->mutex);
          s->worker_cores.insert(usable_cores());
        },
        &seen);
  for (const std::vector<int>& of_worker : seen.worker_cores) EXPECT_EQ(of_worker.size(), 1u);
  EXPECT_LT(seen.worker_cores.size(), cores.size());
  EXPECT_EQ(usable_cores(), cores);
}

TEST(Topology, ReadsListsOfIds) {
  EXPECT_EQ(parse_id_list("0\n"), std::vector<int>({0}));
  EXPECT_EQ(parse_id_list("0-2,7,9-10\n"), std::vector<int>({0, 1, 2, 7, 9, 10}));
  EXPECT_EQ(parse_id_list(""), std::vector<int>());
  EXPECT_EQ(parse_id_list("x"), std::vector<int>());
}

TEST(Topology, InterleavedPagesHoldTheirContents) {
  std::vector<char> memory(1 << 20, 5);
  interleave_pages(memory.data(), memory.size());
  EXPECT_EQ(memory.back(), 5);
}

TEST(ThreadPool, EndsWithoutWork) {
  for (int i = 0; i < 50; ++i) ThreadPool pool(4);
}

}  // namespace
}  // namespace llmrt
