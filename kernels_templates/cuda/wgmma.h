// Hopper's warpgroup matrix products and tensor copies as inline PTX (sm_90a). Shapes and layouts: PTX ISA,
// "Asynchronous warpgroup level matrix instructions" and "Tensors".
#pragma once

#include "cuda/hopper.h"

#if __CUDA_ARCH__ >= 900

// --- Registers: each warpgroup (4 warps, the first divisible by 4) asks for its share; all of its warps execute it.

template <int Registers>
KERNEL_FN void registers_grow() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}
template <int Registers>
KERNEL_FN void registers_shrink() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}

// --- Tensor copies: a box of a matrix whose map lies in device memory; `column` and `row` are those of the box's first
// element. What lies outside of the matrix arrives as zeros, and counts as copied.

// Caching of what is copied: what createpolicy.fractional.L2::evict_*.b64 gives for 1.0.
constexpr u64 kCacheNormal = 0x1000000000000000ull, kCacheFirstOut = 0x12F0000000000000ull;

// A map that the host has copied to the device becomes visible to tensor copies of this thread.
KERNEL_FN void tensor_map_acquire(const void* map) {
  asm volatile("fence.proxy.tensormap::generic.acquire.sys [%0], 128;" ::"l"(map) : "memory");
}
KERNEL_FN void tensor_map_prefetch(const void* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
// Announces bytes that will be copied, without arriving at the barrier.
KERNEL_FN void tensor_copy_announce(u32 bar, u32 bytes) {
  asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
}
KERNEL_FN void tensor_copy(u32 shared_destination, const void* map, u32 column, u32 row, u32 bar, u64 cache) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%2, %3}], [%4], %5;" ::"r"(shared_destination),
      "l"(map), "r"(column), "r"(row), "r"(bar), "l"(cache)
      : "memory");
}
// The same of an array of three dimensions; `at` counts elements, innermost dimension first.
struct BoxPlace {
  u32 at[3];
};
KERNEL_FN void tensor_copy(u32 shared_destination, const void* map, BoxPlace place, u32 bar, u64 cache) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%2, %3, %4}], [%5], %6;" ::"r"(shared_destination),
      "l"(map), "r"(place.at[0]), "r"(place.at[1]), "r"(place.at[2]), "r"(bar), "l"(cache)
      : "memory");
}
// --- Clusters of blocks: what has the same shared address in each of them

// The block's number in its cluster.
KERNEL_FN u32 cluster_rank() {
  u32 rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
// All threads of all blocks of the cluster.
KERNEL_FN void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}
// The warp arrives at the barrier of each block of the cluster, when its products have read what the barrier guards. It orders nothing
// else: release semantics in the cluster's scope cost a fence of all memory, about 1 us.
template <int Cluster>
KERNEL_FN void mbarrier_arrive_warp_everywhere(u32 bar) {
  __syncwarp();
#ifdef LLM_EVERY_LANE_ARRIVES
  for (u32 rank = 0; rank < Cluster; ++rank) {
#else
  const u32 rank = threadIdx.x % kWarp;
  if (rank < Cluster) {
#endif
    asm volatile(
        "{\n"
        ".reg .b32 there;\n"
        "mapa.shared::cluster.u32 there, %0, %1;\n"
        "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
        "}" ::"r"(bar),
        "r"(rank)
        : "memory");
  }
}
// Where block `rank` of the cluster has what this one has at a shared address, and a float there.
KERNEL_FN u32 cluster_address(u32 shared_source, u32 rank) {
  u32 there;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_source), "r"(rank));
  return there;
}
KERNEL_FN float load_cluster(u32 there) {
  float v;
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(v) : "r"(there) : "memory");
  return v;
}
// A tensor copy into the shared memory of all blocks of the cluster, each of whose barriers counts the bytes.
template <int Cluster>
KERNEL_FN void tensor_copy_everywhere(u32 shared_destination, const void* map, u32 column, u32 row, u32 bar, u64 cache) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint "
      "[%0], [%1, {%2, %3}], [%4], %5, %6;" ::"r"(shared_destination),
      "l"(map), "r"(column), "r"(row), "r"(bar), "h"(static_cast<u16>((1 << Cluster) - 1)), "l"(cache)
      : "memory");
}

template <int Cluster>
KERNEL_FN void tensor_copy_everywhere(u32 shared_destination, const void* map, BoxPlace place, u32 bar, u64 cache) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint "
      "[%0], [%1, {%2, %3, %4}], [%5], %6, %7;" ::"r"(shared_destination),
      "l"(map), "r"(place.at[0]), "r"(place.at[1]), "r"(place.at[2]), "r"(bar), "h"(static_cast<u16>((1 << Cluster) - 1)), "l"(cache)
      : "memory");
}

// --- wgmma m64nNk16, fp32 accumulate: D[64, N] += A[64, 16] . B[N, 16]^T, both operands in shared memory with 128-byte
// rows of 64 values under the 128-byte swizzle. Lane l = 4 * g + t of warp w holds
// d[4 * j + i] = D[16 * w + g + i / 2 * 8, 8 * j + 2 * t + i % 2].

// Rows of 128 bytes, groups of 8 rows 1024 bytes apart, 128-byte swizzle (layout type 1 in bits 62-63).
KERNEL_FN u64 wgmma_operand(u32 shared_source) {
  constexpr u64 kLayout = 1ull << 62 | (1024ull >> 4) << 32 | 1ull << 16;
  return kLayout | (shared_source & 0x3ffff) >> 4;
}
// Rows of 64 bytes, groups of 8 rows 512 bytes apart, 64-byte swizzle (layout type 2).
KERNEL_FN u64 wgmma_operand64(u32 shared_source) {
  constexpr u64 kLayout = 2ull << 62 | (512ull >> 4) << 32 | 1ull << 16;
  return kLayout | (shared_source & 0x3ffff) >> 4;
}
// The second operand B[N, 16] lying the other way round: one row of 128 bytes holds 64 values of n for one k, panels of 64 n
// are `panel_bytes` apart, 16 of k are 2048 bytes.
KERNEL_FN u64 wgmma_operand_by_k(u32 shared_source, u32 panel_bytes) {
  constexpr u64 kLayout = 1ull << 62 | (1024ull >> 4) << 32;
  return kLayout | static_cast<u64>(panel_bytes >> 4) << 16 | (shared_source & 0x3ffff) >> 4;
}
// Ahead of the first wgmma after registers that it uses were written.
KERNEL_FN void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
KERNEL_FN void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int Pending>
KERNEL_FN void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}
// Behind wgmma_wait<0>: keeps the compiler from reading the sums any earlier.
template <int Count>
KERNEL_FN void wgmma_finished(float (&d)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
// The same for operands in registers: they may be written again.
template <int Count>
KERNEL_FN void wgmma_used(u32 (&a)[Count][4]) {
#pragma unroll
  for (int i = 0; i < Count; ++i)
    asm volatile("" : "+r"(a[i][0]), "+r"(a[i][1]), "+r"(a[i][2]), "+r"(a[i][3])::"memory");
}

// Sums start from zero where `accumulate` is 0.
template <typename T, int N>
KERNEL_FN void wgmma(float (&d)[N / 2], u64 a, u64 b, u32 accumulate);
// D += A . B with A in registers, as mma_16816 has it for the 16 rows of each warp, and B from wgmma_operand_by_k.
template <typename T, int N>
KERNEL_FN void wgmma_by_k(float (&d)[N / 2], const u32 (&a)[4], u64 b);
// The same with B from wgmma_operand. Sums start from zero where `accumulate` is 0.
template <typename T, int N>
KERNEL_FN void wgmma_registers(float (&d)[N / 2], const u32 (&a)[4], u64 b, u32 accumulate);

// m64nNk32 of e4m3 values, both operands in shared memory. The hardware keeps 14 bits or so of a sum (DeepSeek-V3, section 3.3.2):
// sums of many products have to be added up elsewhere.
template <int N>
KERNEL_FN void wgmma_e4m3(float (&d)[N / 2], u64 a, u64 b, u32 accumulate);

#define LLM_WGMMA_E4M3(N, SUMS, A, B, ACCUMULATE, ...)                                                                \
  template <>                                                                                                        \
  KERNEL_FN void wgmma_e4m3<N>(float (&d)[N / 2], u64 a, u64 b, u32 accumulate) {                                    \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " ACCUMULATE ", 0;\n"                                             \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k32.f32.e4m3.e4m3 {" SUMS "}, " A ", " B ", p, 1, 1;\n}"     \
                 : __VA_ARGS__                                                                                       \
                 : "l"(a), "l"(b), "r"(accumulate));                                                                 \
  }
#define LLM_WGMMA(T, TYPE, N, SUMS, A, B, ACCUMULATE, ...)                                                             \
  template <>                                                                                                        \
  KERNEL_FN void wgmma<T, N>(float (&d)[N / 2], u64 a, u64 b, u32 accumulate) {                                       \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " ACCUMULATE ", 0;\n"                                              \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" SUMS "}, " A ", " B             \
                 ", p, 1, 1, 0, 0;\n}"                                                                               \
                 : __VA_ARGS__                                                                                       \
                 : "l"(a), "l"(b), "r"(accumulate));                                                                 \
  }
#define LLM_WGMMA_BY_K(T, TYPE, N, SUMS, A, B, ...)                                                                  \
  template <>                                                                                                        \
  KERNEL_FN void wgmma_by_k<T, N>(float (&d)[N / 2], const u32 (&a)[4], u64 b) {                                     \
    asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, 0, 0;\n"                                                          \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" SUMS "}, {" A "}, " B          \
                 ", p, 1, 1, 1;\n}"                                                                                  \
                 : __VA_ARGS__                                                                                       \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                              \
  }
#define LLM_WGMMA_REGISTERS(T, TYPE, N, SUMS, A, B, ACCUMULATE, ...)                                                 \
  template <>                                                                                                        \
  KERNEL_FN void wgmma_registers<T, N>(float (&d)[N / 2], const u32 (&a)[4], u64 b, u32 accumulate) {                \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " ACCUMULATE ", 0;\n"                                             \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {" SUMS "}, {" A "}, " B          \
                 ", p, 1, 1, 0;\n}"                                                                                  \
                 : __VA_ARGS__                                                                                       \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));                             \
  }
#define LLM_WGMMA_REGISTERS_TYPES(N, ...)           \
  LLM_WGMMA_REGISTERS(bf16, "bf16", N, __VA_ARGS__) \
  LLM_WGMMA_REGISTERS(f16, "f16", N, __VA_ARGS__)
#define LLM_WGMMA_BY_K_TYPES(N, ...)           \
  LLM_WGMMA_BY_K(bf16, "bf16", N, __VA_ARGS__) \
  LLM_WGMMA_BY_K(f16, "f16", N, __VA_ARGS__)
#define LLM_WGMMA_TYPES(N, ...)           \
  LLM_WGMMA(bf16, "bf16", N, __VA_ARGS__) \
  LLM_WGMMA(f16, "f16", N, __VA_ARGS__)

// The first n sums as text, and as operands.
#define LLM_SUMS16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define LLM_SUMS32 LLM_SUMS16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define LLM_SUMS48 LLM_SUMS32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define LLM_SUMS56 LLM_SUMS48 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define LLM_SUMS64 LLM_SUMS48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define LLM_SUMS80 LLM_SUMS64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define LLM_SUMS96 LLM_SUMS80 ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define LLM_SUMS112 \
  LLM_SUMS96 ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define LLM_SUMS128 \
  LLM_SUMS112 ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define LLM_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define LLM_D8(i) LLM_D4(i), LLM_D4(i + 4)
#define LLM_D16(i) LLM_D4(i), LLM_D4(i + 4), LLM_D4(i + 8), LLM_D4(i + 12)
#define LLM_D32(i) LLM_D16(i), LLM_D16(i + 16)
#define LLM_D64(i) LLM_D32(i), LLM_D32(i + 32)

LLM_WGMMA_TYPES(32, LLM_SUMS16, "%16", "%17", "%18", LLM_D16(0))
LLM_WGMMA_TYPES(64, LLM_SUMS32, "%32", "%33", "%34", LLM_D32(0))
LLM_WGMMA_TYPES(112, LLM_SUMS56, "%56", "%57", "%58", LLM_D32(0), LLM_D16(32), LLM_D8(48))
LLM_WGMMA_TYPES(128, LLM_SUMS64, "%64", "%65", "%66", LLM_D64(0))
LLM_WGMMA_TYPES(192, LLM_SUMS96, "%96", "%97", "%98", LLM_D64(0), LLM_D32(64))
LLM_WGMMA_TYPES(224, LLM_SUMS112, "%112", "%113", "%114", LLM_D64(0), LLM_D32(64), LLM_D16(96))
LLM_WGMMA_TYPES(256, LLM_SUMS128, "%128", "%129", "%130", LLM_D64(0), LLM_D64(64))
LLM_WGMMA_E4M3(128, LLM_SUMS64, "%64", "%65", "%66", LLM_D64(0))
LLM_WGMMA_E4M3(192, LLM_SUMS96, "%96", "%97", "%98", LLM_D64(0), LLM_D32(64))
LLM_WGMMA_BY_K_TYPES(32, LLM_SUMS16, "%16, %17, %18, %19", "%20", LLM_D16(0))
LLM_WGMMA_BY_K_TYPES(64, LLM_SUMS32, "%32, %33, %34, %35", "%36", LLM_D32(0))
LLM_WGMMA_BY_K_TYPES(128, LLM_SUMS64, "%64, %65, %66, %67", "%68", LLM_D64(0))
LLM_WGMMA_BY_K_TYPES(256, LLM_SUMS128, "%128, %129, %130, %131", "%132", LLM_D64(0), LLM_D64(64))
LLM_WGMMA_REGISTERS_TYPES(32, LLM_SUMS16, "%16, %17, %18, %19", "%20", "%21", LLM_D16(0))
LLM_WGMMA_REGISTERS_TYPES(64, LLM_SUMS32, "%32, %33, %34, %35", "%36", "%37", LLM_D32(0))
LLM_WGMMA_REGISTERS_TYPES(128, LLM_SUMS64, "%64, %65, %66, %67", "%68", "%69", LLM_D64(0))

#endif  // sm_90
