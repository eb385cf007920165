// The instructions that C++ has no name for, as inline PTX; the tensor-core ones are in tensor_core.h. All assembly is
// in these two files: test/gpu/emulator replaces them, and the block and kernel keywords of types.h, to run the kernels
// on a CPU.
#pragma once

#include "abi.h"

#define KERNEL_FN __device__ __forceinline__
// A part that is called more than once and large: its own function, to compile it once.
#define KERNEL_CALL __device__ __noinline__

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 700
#define LLM_GRID_CONSTANT const __grid_constant__
#else
#define LLM_GRID_CONSTANT const
#endif

// --- Programmatic dependent launch (sm_90): a kernel may start while its predecessor runs. Before dependency_wait it may touch only
// what no launch of a step writes (weights), and every block executes it. After dependency_trigger in all blocks the next kernel
// may start; the trigger comes behind the wait, so that when a kernel starts all launches before its predecessor have ended. On
// older targets a launch waits for its predecessors as a whole, and these do nothing.
KERNEL_FN void dependency_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
KERNEL_FN void dependency_trigger() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// LLM_KERNEL(entry, threads, min_blocks, Args, body<types...>); LLM_KERNEL_EARLY for bodies that wait for themselves, whose
// shared memory is aligned as swizzled tensor copies need it.
#define LLM_KERNEL_EARLY(entry, threads, min_blocks, Args, ...)                                               \
  extern "C" __global__ void __launch_bounds__(threads, min_blocks)                               \
      entry(LLM_GRID_CONSTANT Args args) {                                                                    \
    extern __shared__ __align__(1024) char llm_shared[];                                                      \
    __VA_ARGS__(args, Tile{blockIdx.x, blockIdx.y, blockIdx.z, gridDim.x}, llm_shared);                       \
  }
// The same for clusters of `cluster` consecutive blocks, which run at once: grid x is a multiple of it.
#define LLM_KERNEL_CLUSTER(cluster, entry, threads, min_blocks, Args, ...)                                                \
  extern "C" __global__ void __cluster_dims__(cluster, 1, 1) __launch_bounds__(threads, min_blocks)                       \
      entry(LLM_GRID_CONSTANT Args args) {                                                                        \
    extern __shared__ __align__(1024) char llm_shared[];                                                          \
    __VA_ARGS__(args, Tile{blockIdx.x, blockIdx.y, blockIdx.z, gridDim.x}, llm_shared);                           \
  }
#define LLM_KERNEL(entry, threads, min_blocks, Args, ...)                                                     \
  extern "C" __global__ void __launch_bounds__(threads, min_blocks) entry(LLM_GRID_CONSTANT Args args) {      \
    extern __shared__ __align__(128) char llm_shared[];                                                       \
    dependency_wait();                                                                                        \
    dependency_trigger();                                                                                     \
    __VA_ARGS__(args, Tile{blockIdx.x, blockIdx.y, blockIdx.z, gridDim.x}, llm_shared);                       \
  }

// A barrier of some threads of the block; `id` is 1 to 15, `threads` a multiple of 32.
KERNEL_FN void named_barrier_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
// Of the `threads` threads that run a body: all of the block, or the first ones of a kernel that runs several bodies.
KERNEL_FN void body_sync(int threads) { named_barrier_sync(1, threads); }

// One thread counts its block at `counter`, and learns how many came before. What the block's threads wrote ahead of a barrier ahead of it
// is seen by the threads of blocks that come later, behind a barrier behind it. One thread's fence, as each costs a microsecond and more.
KERNEL_FN llm_abi::u32 count_arrival(llm_abi::u32* counter) {
  llm_abi::u32 before;
#if __CUDA_ARCH__ >= 700
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;" : "=r"(before) : "l"(__cvta_generic_to_global(counter)) : "memory");
#else
  __threadfence();
  before = atomicAdd(counter, 1u);
  __threadfence();
#endif
  return before;
}

#define kInfinity __int_as_float(0x7f800000)  // a macro: NVRTC has no constexpr spelling of it

KERNEL_FN float float_of_f16_bits(llm_abi::u16 bits) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(bits));
  return f;
}

// Round to nearest even.
KERNEL_FN llm_abi::u16 f16_bits_of(float v) {
  llm_abi::u16 bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
  return bits;
}
KERNEL_FN llm_abi::u16 bf16_bits_of(float v) {
#if __CUDA_ARCH__ >= 800
  llm_abi::u16 rounded;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded) : "f"(v));
  return rounded;
#else
  const llm_abi::u32 bits = __float_as_uint(v);
  // A NaN keeps a mantissa bit; adding the rounding bias could carry it into infinity.
  return v != v ? 0x7fff : static_cast<llm_abi::u16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
}

// Two values in one word, `low` in the low half.
KERNEL_FN llm_abi::u32 f16_pair_bits_of(float low, float high) {
#if __CUDA_ARCH__ >= 800
  llm_abi::u32 bits;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
#else
  return f16_bits_of(low) | static_cast<llm_abi::u32>(f16_bits_of(high)) << 16;
#endif
}
KERNEL_FN llm_abi::u32 bf16_pair_bits_of(float low, float high) {
#if __CUDA_ARCH__ >= 800
  llm_abi::u32 bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
#else
  return bf16_bits_of(low) | static_cast<llm_abi::u32>(bf16_bits_of(high)) << 16;
#endif
}

// e4m3, to the nearest, ties to even, at most 448; `low` in the low byte.
#if __CUDA_ARCH__ >= 890
KERNEL_FN llm_abi::u32 e4m3_pair_bits_of(float low, float high) {
  llm_abi::u16 bits;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(bits) : "f"(high), "f"(low));
  return bits;
}
// Two codes of e4m3 in fp16, exactly.
KERNEL_FN llm_abi::u32 f16_pair_of_e4m3(llm_abi::u16 codes) {
  llm_abi::u32 bits;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(bits) : "h"(codes));
  return bits;
}
#endif

// sum + the products of four unsigned bytes with four signed ones.
KERNEL_FN llm_abi::i32 dp4a(llm_abi::u32 bytes, llm_abi::u32 signed_bytes, llm_abi::i32 sum) {
#if __CUDA_ARCH__ >= 610
  asm("dp4a.u32.s32 %0, %1, %2, %0;" : "+r"(sum) : "r"(bytes), "r"(signed_bytes));
#else
  for (int i = 0; i < 32; i += 8)
    sum += static_cast<llm_abi::i32>(bytes >> i & 0xffu) * static_cast<signed char>(signed_bytes >> i & 0xffu);
#endif
  return sum;
}

// (a & b) | c and (a & b) ^ c as one instruction, which the compiler does not find where b and c are constants: one of them needs a register.
KERNEL_FN llm_abi::u32 and_or(llm_abi::u32 a, llm_abi::u32 b, llm_abi::u32 c) {
  llm_abi::u32 r;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
  return r;
}
KERNEL_FN llm_abi::u32 and_xor(llm_abi::u32 a, llm_abi::u32 b, llm_abi::u32 c) {
  llm_abi::u32 r;
  asm("lop3.b32 %0, %1, %2, %3, 0x6a;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
  return r;
}

// Arithmetic on both halves of a word, rounded to nearest.
KERNEL_FN llm_abi::u32 f16x2_sub(llm_abi::u32 a, llm_abi::u32 b) {
  llm_abi::u32 r;
  asm("sub.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  return r;
}
KERNEL_FN llm_abi::u32 f16x2_fma(llm_abi::u32 a, llm_abi::u32 b, llm_abi::u32 c) {
  llm_abi::u32 r;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
  return r;
}
KERNEL_FN llm_abi::u32 bf16x2_fma(llm_abi::u32 a, llm_abi::u32 b, llm_abi::u32 c) {
#if __CUDA_ARCH__ >= 800
  llm_abi::u32 r;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(c));
  return r;
#else
  const auto wide = [](llm_abi::u32 word) { return __uint_as_float(word & 0xffff0000u); };
  return bf16_pair_bits_of(fmaf(wide(a << 16), wide(b << 16), wide(c << 16)), fmaf(wide(a), wide(b), wide(c)));
#endif
}

// 16 bytes of read-only data that is used once (weights): kept out of L1, whole 256-byte sectors fetched into L2.
KERNEL_FN uint4 load_streaming(const void* p) {
  uint4 v;
#if __CUDA_ARCH__ >= 800
  asm("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(__cvta_generic_to_global(p)));
#elif __CUDA_ARCH__ >= 700
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(__cvta_generic_to_global(p)));
#else
  asm("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(__cvta_generic_to_global(p)));
#endif
  return v;
}

// 2^x, within 2 ulp; 2^-inf = 0.
KERNEL_FN float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
