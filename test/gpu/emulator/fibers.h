// Runs a CUDA block on one host thread: each CUDA thread is a fiber, and barriers and warp collectives switch between
// fibers.
//
// What it catches on a machine without a GPU: wrong indices, missing barriers that matter for the order of fibers,
// collectives that not all lanes reach (reported as a deadlock), accesses to shared memory beyond what the variant
// declares, unaligned vector accesses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

namespace llm_test {

using EmulatedBody = void (*)(const void* args, unsigned x, unsigned y, unsigned z, unsigned nx, char* shared);

// Registers itself under its entry name; static.
struct EmulatedKernel {
  const char* entry;
  EmulatedBody body;
  size_t argument_bytes;
  unsigned cluster;  // consecutive blocks along x that run at once and reach each other's shared memory

  EmulatedKernel(const char* entry, EmulatedBody body, size_t argument_bytes, unsigned cluster = 1);
};
const EmulatedKernel* find_emulated(const std::string& entry);  // null: not compiled in

// Runs all blocks of a launch, and names it on stderr if LLM_EMULATOR_TRACE is set: one after the other, or all at
// once, so that they may wait for each other.
enum class Blocks { kOneByOne, kTogether };
void run_emulated(const EmulatedKernel& kernel, const void* args, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                  unsigned threads, size_t shared_bytes, Blocks blocks = Blocks::kOneByOne);

[[noreturn]] void emulator_fail(const std::string& message);

// --- What the running fiber sees
// ----------------------------------------------------------------------------------------

// The part of a block that is read at every turn.
struct RunningBlock {
  uint32_t current = 0;  // the thread whose fiber runs
  uint32_t threads = 0;
  char* shared = nullptr;
};
extern RunningBlock* running;

inline uint32_t current_thread() { return running->current; }
inline uint32_t block_threads() { return running->threads; }
inline char* block_shared() { return running->shared; }
void block_barrier();
void let_others_run();  // in a loop that waits for another block

constexpr uint32_t kLanes = 32;
constexpr size_t kMaxExchangeBytes = 64;
// A collective of the warp's 32 lanes: each leaves a value in its place of the deposits, then arrives, and goes on when
// all have. The deposits are valid until the lane's next collective.
char* warp_deposits();
bool last_of_warp();  // whether the others have arrived
void warp_arrive();

inline void warp_barrier() { warp_arrive(); }

// 32 values of type T, by lane.
template <typename T>
const T* warp_share(const T& value) {
  static_assert(sizeof(T) <= kMaxExchangeBytes);
  T* lanes = reinterpret_cast<T*>(warp_deposits());
  lanes[current_thread() % kLanes] = value;
  warp_arrive();
  return lanes;
}
template <typename T>
T warp_read(const T& value, uint32_t lane) {
  return warp_share(value)[lane];
}
// The same after the last lane has called compute(lanes) for all of them: this lane's value, which compute may have
// changed.
template <typename T, typename Compute>
T warp_compute(const T& value, Compute compute) {
  static_assert(sizeof(T) <= kMaxExchangeBytes);
  T* lanes = reinterpret_cast<T*>(warp_deposits());
  T& own = lanes[current_thread() % kLanes];
  own = value;
  if (last_of_warp()) compute(lanes);
  warp_arrive();
  return own;
}

// The lane's asynchronous copies of 16 bytes (null source: zeros), in groups; performed at the wait.
void async_copy(char* destination, const void* source);
void async_commit();
void async_wait(int pending);

// Blocks of a cluster.
uint32_t cluster_rank();
void cluster_barrier();
void in_block_of_cluster(uint32_t rank,
                         const std::function<void()>& run);  // what the running fiber sees is then that block's

// Barriers of a part of the block's threads.
void named_barrier(int id, uint32_t threads);

// Phased barriers at offsets of shared memory: a phase ends when `count` arrivals came and all announced bytes were
// copied.
void phase_init(uint32_t at, uint32_t count);
void phase_update(uint32_t at, uint32_t arrivals, int64_t announced_bytes);  // negative bytes: so many were copied
void phase_wait(uint32_t at, uint32_t parity);

}  // namespace llm_test
