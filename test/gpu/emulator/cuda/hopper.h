// Stands in for kernels_templates/cuda/hopper.h: copies land at once, and a launch never overlaps another.
#pragma once

#include "cuda/tensor_core.h"

inline u64 device_time() { return 0; }
inline void grid_arrive(u32* counter) { ++*counter; }
inline void grid_wait(const u32* counter, u32 blocks) {
  while (*counter < blocks) llm_test::let_others_run();
}
inline void exchange_store(u64* word, u32 value, u32 tag) { *word = u64{tag} << 32 | value; }
template <int N>
inline void exchange_load(const u64* words, bool wanted, u64 (&value)[N]) {
  if (wanted && reinterpret_cast<uintptr_t>(words) % (8 * N) != 0) llm_test::emulator_fail("words of an exchange at an unaligned address");
  for (int i = 0; wanted && i < N; ++i) value[i] = words[i];
}
inline void exchange_pause() { llm_test::let_others_run(); }
inline void mbarrier_init(u32 bar, u32 count) { llm_test::phase_init(bar, count); }
inline void fence_barrier_init() {}
inline void fence_shared_async() {}
inline void fence_global_async() {}
inline void mbarrier_expect_tx(u32 bar, u32 bytes) { llm_test::phase_update(bar, 1, bytes); }
inline void mbarrier_arrive(u32 bar) { llm_test::phase_update(bar, 1, 0); }
constexpr u32 kWarpArrivals = 1;
inline void mbarrier_arrive_warp(u32 bar) {
  __syncwarp();
  if (threadIdx.x % kWarp == 0) mbarrier_arrive(bar);
}
inline void mbarrier_wait(u32 bar, u32 parity) { llm_test::phase_wait(bar, parity); }
inline void copy_async16_streaming(u32 shared_destination, const void* source, bool valid) {
  copy_async16(shared_destination, source, valid);
}
inline void bulk_copy_streaming(u32 shared_destination, const void* source, u32 bytes, u32 bar) {
  if (shared_destination % 16 != 0 || reinterpret_cast<uintptr_t>(source) % 16 != 0 || bytes % 16 != 0)
    llm_test::emulator_fail("a bulk copy of unaligned addresses or bytes");
  std::memcpy(llm_test::block_shared() + shared_destination, source, bytes);
  llm_test::phase_update(bar, 0, -static_cast<i64>(bytes));
}
inline void copy_async_wait_all() {
  llm_test::async_commit();
  llm_test::async_wait(0);
}
inline void copy_async_arrive(u32 bar) {
  llm_test::async_commit();
  llm_test::async_wait(0);
  llm_test::phase_update(bar, 1, 0);
}
