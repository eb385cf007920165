// Hopper's barriers and bulk copies as inline PTX: sm_90 and later.
#pragma once

#include "cuda/tensor_core.h"

#if __CUDA_ARCH__ >= 900

// --- mbarrier: `bar` is the shared address of 8 aligned bytes. A phase ends when `count` threads have arrived and all bytes that were
// announced have been copied.

KERNEL_FN void mbarrier_init(u32 bar, u32 count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(count) : "memory");
}
// Makes initialized barriers visible to asynchronous copies; a barrier of the block must follow.
KERNEL_FN void fence_barrier_init() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
// Announces bytes and arrives.
KERNEL_FN void mbarrier_expect_tx(u32 bar, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
}
KERNEL_FN void mbarrier_arrive(u32 bar) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}
// A warp arrives when all of its lanes have read what the barrier guards: kWarpArrivals of the barrier's count. compute-sanitizer's
// racecheck does not see that __syncwarp orders the lanes' reads ahead of one lane's arrival; for it, every lane arrives.
#ifdef LLM_EVERY_LANE_ARRIVES
constexpr u32 kWarpArrivals = kWarp;
KERNEL_FN void mbarrier_arrive_warp(u32 bar) { mbarrier_arrive(bar); }
#else
constexpr u32 kWarpArrivals = 1;
KERNEL_FN void mbarrier_arrive_warp(u32 bar) {
  __syncwarp();
  if (threadIdx.x % kWarp == 0) mbarrier_arrive(bar);
}
#endif
KERNEL_FN bool mbarrier_try_wait(u32 bar, u32 parity) {
  u32 done;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}"
      : "=r"(done)
      : "r"(bar), "r"(parity)
      : "memory");
  return done != 0;
}
// Waits until the phase of that parity has ended: 0 for the first, 1 for the second, 0 for the third, ...
KERNEL_FN void mbarrier_wait(u32 bar, u32 parity) {
  while (!mbarrier_try_wait(bar, parity)) {
  }
}

// --- Copies into shared memory that arrive at an mbarrier

constexpr u64 kEvictFirst = 0x12F0000000000000ull;  // what createpolicy.fractional.L2::evict_first.b64 gives for 1.0
// 16 bytes of data that is used once: first to leave the L2; zeros when `valid` is false (the source is not read then).
KERNEL_FN void copy_async16_streaming(u32 shared_destination, const void* source, bool valid) {
  asm volatile("cp.async.cg.shared.global.L2::cache_hint.L2::256B [%0], [%1], 16, %2, %3;" ::"r"(shared_destination),
               "l"(__cvta_generic_to_global(source)), "r"(valid ? 16 : 0), "l"(kEvictFirst)
               : "memory");
}
// Arrives at `bar` when all earlier asynchronous copies of this thread have landed.
KERNEL_FN void copy_async_arrive(u32 bar) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(bar) : "memory");
}
// A multiple of 16 bytes between 16-byte aligned addresses, announced to `bar` beforehand; data that is used once, as above. A thread issues
// one in about 40 ns on an H200: below 2 KB each they are slower than copy_async16.
KERNEL_FN void bulk_copy_streaming(u32 shared_destination, const void* source, u32 bytes, u32 bar) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(shared_destination),
      "l"(__cvta_generic_to_global(source)), "r"(bytes), "r"(bar), "l"(kEvictFirst)
      : "memory");
}
KERNEL_FN void copy_async_wait_all() { asm volatile("cp.async.wait_all;" ::: "memory"); }
// What this thread wrote into shared memory, or has seen written by asynchronous copies of 16 bytes, is seen by wgmma and
// by bulk copies behind it.
KERNEL_FN void fence_shared_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// The same of device memory, and of what this thread knows to be written by others.
KERNEL_FN void fence_global_async() { asm volatile("fence.proxy.async.global;" ::: "memory"); }

// Nanoseconds, the same on all SMs.
KERNEL_FN u64 device_time() {
  u64 now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

// --- Blocks that wait for each other, all of them running: `counter` counts the blocks that have come.

// What this thread, and those that it has synchronized with, wrote before is seen behind the waits.
KERNEL_FN void grid_arrive(u32* counter) {
  asm volatile("fence.acq_rel.gpu;\nred.relaxed.gpu.global.add.u32 [%0], 1;" ::"l"(__cvta_generic_to_global(counter)) : "memory");
}
KERNEL_FN void grid_wait(const u32* counter, u32 blocks) {
  u32 come;
  do {
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(come) : "l"(__cvta_generic_to_global(counter)) : "memory");
  } while (come < blocks);
}

// --- Words of 64 bits through which blocks hand values to each other: a value, and above it the tag that says whose it is. A word is
// written and read as a whole, so that no fence is needed: whoever sees the tag has the value. (A fence takes a microsecond and more while
// weights are on their way.)

KERNEL_FN void exchange_store(u64* word, u32 value, u32 tag) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(__cvta_generic_to_global(word)), "l"(static_cast<u64>(tag) << 32 | value));
}
// Two neighbours, at a multiple of 16 bytes; or none, where not `wanted`.
KERNEL_FN void exchange_load(const u64* words, bool wanted, u64 (&value)[2]) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.u32 p, %3, 0;\n"
      "@p ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];\n"
      "}"
      : "+l"(value[0]), "+l"(value[1])
      : "l"(__cvta_generic_to_global(words)), "r"(static_cast<u32>(wanted)));
}
KERNEL_FN void exchange_load(const u64* word, bool wanted, u64 (&value)[1]) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.u32 p, %2, 0;\n"
      "@p ld.relaxed.gpu.global.u64 %0, [%1];\n"
      "}"
      : "+l"(value[0])
      : "l"(__cvta_generic_to_global(word)), "r"(static_cast<u32>(wanted)));
}
KERNEL_FN void exchange_pause() {}  // between two looks at words that have not arrived

#endif  // sm_90
