// Stands in for kernels_templates/cuda/ptx.h: the block, warp and instruction names that kernels use, on a CPU. A
// block's threads are fibers of one host thread (see ../fibers.h), so that barriers and warp collectives are switches
// between them.
#pragma once

#include <algorithm>
#include <numeric>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "abi.h"
#include "test/gpu/emulator/fibers.h"
#include "test/gpu/float16.h"

#define KERNEL_FN inline __attribute__((always_inline))
#define KERNEL_CALL inline

#define LLM_KERNEL(entry, threads, min_blocks, Args, ...)                                      \
  namespace {                                                                      \
  void entry(const void* args, unsigned x, unsigned y, unsigned z, unsigned nx, char* shared) { \
    __VA_ARGS__(*static_cast<const Args*>(args), Tile{x, y, z, nx}, shared);           \
  }                                                                                \
  const llm_test::EmulatedKernel kRegister_##entry(#entry, entry, sizeof(Args));   \
  }

#define LLM_KERNEL_EARLY LLM_KERNEL
#define LLM_KERNEL_CLUSTER(cluster, entry, threads, min_blocks, Args, ...)                          \
  namespace {                                                                                  \
  void entry(const void* args, unsigned x, unsigned y, unsigned z, unsigned nx, char* shared) { \
    __VA_ARGS__(*static_cast<const Args*>(args), Tile{x, y, z, nx}, shared);                   \
  }                                                                                            \
  const llm_test::EmulatedKernel kRegister_##entry(#entry, entry, sizeof(Args), cluster);      \
  }

inline void dependency_wait() {}
inline void dependency_trigger() {}

#define kInfinity __builtin_huge_valf()

using llm_abi::i32;
using llm_abi::u16;
using llm_abi::u32;
using llm_abi::u64;

struct alignas(8) uint2 {
  u32 x, y;
};
struct uint4 {
  u32 x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
inline uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }

struct EmulatedIndex {
  u32 x;
};
#define threadIdx (EmulatedIndex{llm_test::current_thread()})
#define blockDim (EmulatedIndex{llm_test::block_threads()})

inline void __syncthreads() { llm_test::block_barrier(); }
inline void named_barrier_sync(int id, int threads) { llm_test::named_barrier(id, static_cast<u32>(threads)); }
inline void body_sync(int threads) { named_barrier_sync(1, threads); }
inline void __syncwarp() { llm_test::warp_barrier(); }
inline u32 count_arrival(u32* counter) { return (*counter)++; }
inline void __threadfence_system() {}

template <typename T>
T __shfl_xor_sync(u32, T value, int lanes) {
  return llm_test::warp_read(value, llm_test::current_thread() % 32 ^ static_cast<u32>(lanes));
}
template <typename T>
T __shfl_sync(u32, T value, int lane) {
  return llm_test::warp_read(value, static_cast<u32>(lane));
}
template <typename T>
T __shfl_up_sync(u32, T value, int lanes) {
  const u32 lane = llm_test::current_thread() % 32;
  return llm_test::warp_read(value, lane >= static_cast<u32>(lanes) ? lane - static_cast<u32>(lanes) : lane);
}
inline u32 __ballot_sync(u32, bool vote) {
  const u32* votes = llm_test::warp_share<u32>(vote);
  u32 bits = 0;
  for (int i = 0; i < 32; ++i) bits |= votes[i] << i;
  return bits;
}

template <typename T>
T bits_as(const auto& value) {
  T out;
  static_assert(sizeof(out) == sizeof(value));
  std::memcpy(&out, &value, sizeof(out));
  return out;
}
inline float __uint_as_float(u32 v) { return bits_as<float>(v); }
inline u32 __float_as_uint(float v) { return bits_as<u32>(v); }
inline int __popc(u32 v) { return __builtin_popcount(v); }
inline int __ffs(u32 v) { return __builtin_ffs(static_cast<int>(v)); }
inline int __clz(u32 v) { return v ? __builtin_clz(v) : 32; }
inline u32 __umulhi(u32 a, u32 b) { return static_cast<u32>(static_cast<u64>(a) * b >> 32); }
inline u64 __umul64hi(u64 a, u64 b) { return static_cast<u64>(static_cast<unsigned __int128>(a) * b >> 64); }
inline float __fmul_rn(float a, float b) { return a * b; }
template <typename T>
T __ldg(const T* p) {
  return *p;
}
template <typename T>
T __ldcg(const T* p) {
  return *p;
}
// Fibers switch at barriers only, so that plain accesses are atomic.
template <typename T, typename V>
T atomicAdd(T* p, V v) {
  const T old = *p;
  *p += static_cast<T>(v);
  return old;
}
inline u32 atomicOr(u32* p, u32 v) {
  const u32 old = *p;
  *p |= v;
  return old;
}

inline float float_of_f16_bits(u16 bits) { return llm_test::float_of_f16(bits); }
inline u16 f16_bits_of(float v) { return llm_test::f16_of_float(v); }
inline u16 bf16_bits_of(float v) {
  const u32 bits = __float_as_uint(v);
  return v != v ? 0x7fff : static_cast<u16>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
inline u32 e4m3_bits_of(float v) {
  constexpr int kFractionBits = 3, kLeastExponent = -6;
  const float magnitude = std::fmin(std::fabs(v), 448.0f);
  int exponent = kLeastExponent;
  if (magnitude > 0) std::frexp(magnitude, &exponent);  // of a fraction from 0.5 on
  const int ulp = (exponent - 1 > kLeastExponent ? exponent - 1 : kLeastExponent) - kFractionBits;
  const auto units = static_cast<u32>(std::nearbyint(std::ldexp(magnitude, -ulp)));  // to even; 8 to 16, below 8 in the smallest binade
  return (units + static_cast<u32>(ulp - (kLeastExponent - kFractionBits)) * 8) | (std::signbit(v) ? 0x80u : 0u);
}
inline u32 e4m3_pair_bits_of(float low, float high) { return e4m3_bits_of(low) | e4m3_bits_of(high) << 8; }
inline u32 f16_pair_of_e4m3(u16 codes) {
  const auto half = [](u32 code) {  // exponent and fraction of an fp16 smaller by 2^8
    const u32 bits = (code & 0x80u) << 8 | (code & 0x7fu) << 7;
    return f16_bits_of(float_of_f16_bits(static_cast<u16>(bits)) * 256.0f);
  };
  return half(codes & 0xffu) | static_cast<u32>(half(codes >> 8u)) << 16;
}
inline u32 f16_pair_bits_of(float low, float high) { return f16_bits_of(low) | static_cast<u32>(f16_bits_of(high)) << 16; }
inline u32 bf16_pair_bits_of(float low, float high) {
  return bf16_bits_of(low) | static_cast<u32>(bf16_bits_of(high)) << 16;
}
inline u32 and_or(u32 a, u32 b, u32 c) { return (a & b) | c; }
inline u32 and_xor(u32 a, u32 b, u32 c) { return (a & b) ^ c; }
inline i32 dp4a(u32 bytes, u32 signed_bytes, i32 sum) {
  for (int i = 0; i < 32; i += 8) sum += static_cast<i32>(bytes >> i & 0xffu) * static_cast<signed char>(signed_bytes >> i & 0xffu);
  return sum;
}
template <typename Combine>
u32 f16_halves(u32 a, u32 b, u32 c, Combine combine) {
  const auto half = [&](int shift) {
    const auto value = [shift](u32 word) { return float_of_f16_bits(static_cast<u16>(word >> shift)); };
    return static_cast<u32>(f16_bits_of(combine(value(a), value(b), value(c)))) << shift;
  };
  return half(0) | half(16);
}
inline u32 f16x2_sub(u32 a, u32 b) {
  return f16_halves(a, b, 0, [](float x, float y, float) { return x - y; });
}
inline u32 f16x2_fma(u32 a, u32 b, u32 c) {
  return f16_halves(a, b, c, [](float x, float y, float z) { return x * y + z; });
}
inline u32 bf16x2_fma(u32 a, u32 b, u32 c) {
  const auto half = [&](u32 x, u32 y, u32 z) {
    return static_cast<u32>(bf16_bits_of(static_cast<float>(static_cast<double>(__uint_as_float(x)) * __uint_as_float(y) + __uint_as_float(z))));
  };
  return half(a << 16, b << 16, c << 16) | half(a & 0xffff0000u, b & 0xffff0000u, c & 0xffff0000u) << 16;
}
inline u32 __byte_perm(u32 low, u32 high, u32 selector) {
  const u64 bytes = static_cast<u64>(high) << 32 | low;
  u32 out = 0;
  for (u32 i = 0; i < 4; ++i) out |= static_cast<u32>(bytes >> (selector >> (4 * i) & 7) * 8 & 0xff) << (8 * i);
  return out;
}
inline uint4 load_streaming(const void* p) {
  if (reinterpret_cast<uintptr_t>(p) % 16 != 0) llm_test::emulator_fail("a 16-byte load of an unaligned address");
  return *static_cast<const uint4*>(p);
}
inline u32 __reduce_max_sync(u32, u32 value) {
  const u32* lanes = llm_test::warp_share(value);
  return *std::max_element(lanes, lanes + 32);
}
inline i32 __reduce_add_sync(u32, i32 value) {
  const i32* lanes = llm_test::warp_share(value);
  return std::accumulate(lanes, lanes + 32, 0);
}
inline u32 __vmaxu2(u32 a, u32 b) {
  const auto half = [&](u32 mask) { return (a & mask) > (b & mask) ? a & mask : b & mask; };
  return half(0xffffu) | half(0xffff0000u);
}
inline float exp2_fast(float x) { return std::exp2(x); }
