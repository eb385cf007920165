// What every CUDA kernel shares: storage types and their conversions, 16-byte loads, reductions in a fixed order.
//
// No CUDA header is included, on purpose: cuda_fp16.h alone takes NVRTC longer than a kernel. Conversions are inline
// PTX (ptx.h) or bit operations.
#pragma once

#include "cuda/ptx.h"

using namespace llm_abi;

// The part of the grid that one block computes: x counts columns (or heads), y rows, z splits. Bodies get it as a value
// and never read blockIdx or gridDim, so that a persistent kernel can call them in a loop.
struct Tile {
  u32 x, y, z;
  u32 nx;  // width of the grid, for blocks that loop over columns
};

constexpr float kLog2E = 1.4426950408889634f;

// 1 / sqrt(mean square + eps) of `width` values, from the sum of their squares.
KERNEL_FN float inverse_rms(float squares, i64 width, double eps) {
  return 1.0f / sqrtf(squares / static_cast<float>(width) + static_cast<float>(eps));
}

// --- Storage types
// ----------------------------------------------------------------------------------------------------

struct f16 {
  u16 bits;
};
struct bf16 {
  u16 bits;
};

template <typename A, typename B>
struct SameType {
  static constexpr bool value = false;
};
template <typename A>
struct SameType<A, A> {
  static constexpr bool value = true;
};
template <bool First, typename A, typename B>
struct Choose {
  using Type = A;
};
template <typename A, typename B>
struct Choose<false, A, B> {
  using Type = B;
};

KERNEL_FN float float_of_bits(u32 bits) { return __uint_as_float(bits); }
KERNEL_FN u32 float_bits(float v) { return __float_as_uint(v); }
KERNEL_FN f16 f16_of_bits(u16 bits) { return {bits}; }

KERNEL_FN float to_float(float v) { return v; }
KERNEL_FN float to_float(f16 v) { return float_of_f16_bits(v.bits); }
KERNEL_FN float to_float(bf16 v) { return __uint_as_float(static_cast<u32>(v.bits) << 16); }

// Round to nearest even.
template <typename T>
KERNEL_FN T from_float(float v);
template <>
KERNEL_FN float from_float<float>(float v) {
  return v;
}
template <>
KERNEL_FN f16 from_float<f16>(float v) {
  return {f16_bits_of(v)};
}
template <>
KERNEL_FN bf16 from_float<bf16>(float v) {
  return {bf16_bits_of(v)};
}

// The two 16-bit values of a word, low half first.
template <typename T>
KERNEL_FN void unpack2(u32 word, float& low, float& high);
template <>
KERNEL_FN void unpack2<f16>(u32 word, float& low, float& high) {
  low = to_float(f16{static_cast<u16>(word)});
  high = to_float(f16{static_cast<u16>(word >> 16)});
}
template <>
KERNEL_FN void unpack2<bf16>(u32 word, float& low, float& high) {
  low = __uint_as_float(word << 16);
  high = __uint_as_float(word & 0xffff0000u);
}

template <typename T>
KERNEL_FN u32 pack2(float low, float high);
template <>
KERNEL_FN u32 pack2<f16>(float low, float high) {
  return f16_pair_bits_of(low, high);
}
template <>
KERNEL_FN u32 pack2<bf16>(float low, float high) {
  return bf16_pair_bits_of(low, high);
}

// --- 16-byte accesses
// -------------------------------------------------------------------------------------------------

// Eight consecutive values, as loaded; one 16-byte word for 16-bit types, two for float. p is 16-byte aligned.
template <typename T>
struct Packed8 {
  static constexpr int kWords = sizeof(T) / 2;
  uint4 word[kWords];
};

template <typename T>
KERNEL_FN Packed8<T> load8(const T* p) {
  Packed8<T> v;
#pragma unroll
  for (int i = 0; i < Packed8<T>::kWords; ++i) v.word[i] = reinterpret_cast<const uint4*>(p)[i];
  return v;
}

// Four consecutive values, aligned to their size.
template <typename T>
KERNEL_FN void load4(const T* p, float (&f)[4]) {
  const u32* words = reinterpret_cast<const u32*>(p);
  unpack2<T>(words[0], f[0], f[1]);
  unpack2<T>(words[1], f[2], f[3]);
}
template <>
KERNEL_FN void load4<float>(const float* p, float (&f)[4]) {
  const float4 v = *reinterpret_cast<const float4*>(p);
  f[0] = v.x, f[1] = v.y, f[2] = v.z, f[3] = v.w;
}

template <typename T>
KERNEL_FN Packed8<T> load8_streaming(const T* p) {
  Packed8<T> v;
#pragma unroll
  for (int i = 0; i < Packed8<T>::kWords; ++i) v.word[i] = load_streaming(reinterpret_cast<const uint4*>(p) + i);
  return v;
}

template <typename T>
KERNEL_FN void unpack8(const Packed8<T>& v, float (&f)[8]) {
  unpack2<T>(v.word[0].x, f[0], f[1]);
  unpack2<T>(v.word[0].y, f[2], f[3]);
  unpack2<T>(v.word[0].z, f[4], f[5]);
  unpack2<T>(v.word[0].w, f[6], f[7]);
}
template <>
KERNEL_FN void unpack8<float>(const Packed8<float>& v, float (&f)[8]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    f[4 * i + 0] = __uint_as_float(v.word[i].x);
    f[4 * i + 1] = __uint_as_float(v.word[i].y);
    f[4 * i + 2] = __uint_as_float(v.word[i].z);
    f[4 * i + 3] = __uint_as_float(v.word[i].w);
  }
}

template <typename T>
KERNEL_FN void store8(T* p, const float (&f)[8]) {
  uint4 word;
  word.x = pack2<T>(f[0], f[1]);
  word.y = pack2<T>(f[2], f[3]);
  word.z = pack2<T>(f[4], f[5]);
  word.w = pack2<T>(f[6], f[7]);
  *reinterpret_cast<uint4*>(p) = word;
}
template <>
KERNEL_FN void store8<float>(float* p, const float (&f)[8]) {
  reinterpret_cast<float4*>(p)[0] = make_float4(f[0], f[1], f[2], f[3]);
  reinterpret_cast<float4*>(p)[1] = make_float4(f[4], f[5], f[6], f[7]);
}

// Whether 16-byte accesses at p, and at rows `stride` floats apart, are aligned: a slice of a merged projection may not
// be.
KERNEL_FN bool aligned16(const float* p, i64 stride) { return (reinterpret_cast<u64>(p) & 15) == 0 && stride % 4 == 0; }

// --- Arithmetic
// -------------------------------------------------------------------------------------------------------

KERNEL_FN float nearest_integer(float v) { return rintf(v); }  // ties to even

KERNEL_FN i64 min_of(i64 a, i64 b) { return a < b ? a : b; }
KERNEL_FN i64 max_of(i64 a, i64 b) { return a > b ? a : b; }
KERNEL_FN int min_of(int a, int b) { return a < b ? a : b; }
KERNEL_FN int max_of(int a, int b) { return a > b ? a : b; }

// --- Reductions: the order depends on the block size alone, so results repeat bit for bit
// --------------------------------

constexpr u32 kAllLanes = 0xffffffffu;
constexpr int kWarp = 32;
constexpr int kRowThreads = 256;  // of the bodies that take a row a block

// Every lane gets the sum (or maximum) over its group of `Lanes` consecutive lanes.
template <int Lanes = kWarp>
KERNEL_FN float warp_sum(float v) {
#pragma unroll
  for (int offset = Lanes / 2; offset > 0; offset /= 2) v += __shfl_xor_sync(kAllLanes, v, offset);
  return v;
}
template <int Lanes = kWarp>
KERNEL_FN float warp_max(float v) {
#pragma unroll
  for (int offset = Lanes / 2; offset > 0; offset /= 2) v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, offset));
  return v;
}

struct SumOf {
  template <typename T>
  KERNEL_FN T operator()(T a, T b) const {
    return a + b;
  }
};
struct MaxOf {
  template <typename T>
  KERNEL_FN T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};

// Every thread gets the reduction over the block of `Threads`. `scratch` holds Threads / 32 values in shared memory; it
// may be used again by the next call at once.
template <int Threads, typename T, typename Combine>
KERNEL_FN T block_reduce(T v, T* scratch, Combine combine) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) v = combine(v, __shfl_xor_sync(kAllLanes, v, offset));
  body_sync(Threads);  // the readers of an earlier reduction are done
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = v;
  body_sync(Threads);
  T total = scratch[0];
#pragma unroll
  for (int i = 1; i < Threads / kWarp; ++i) total = combine(total, scratch[i]);
  return total;
}

// --- Paged KV cache
// -----------------------------------------------------------------------------------------------------

// Address of K (or V) of one entry: `table` is the sequence's row of the block table.
template <typename KV>
KERNEL_FN KV* kv_entry(const KvView& kv, const i32* table, i64 entry, i64 head, bool value) {
  const u32 block_tokens = static_cast<u32>(kv.block_tokens);
  const u32 block = static_cast<u32>(entry) / block_tokens;
  const u32 row = static_cast<u32>(entry) % block_tokens;
  const i64 plane = head + (value ? kv.kv_heads : 0);
  return reinterpret_cast<KV*>(static_cast<char*>(kv.base) + table[block] * kv.block_bytes) +
         (plane * block_tokens + row) * kv.head_dim;
}
