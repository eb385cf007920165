// Activations in e4m3, bound by reading them: sm_89 and later. See Fp8RowsArgs.
#pragma once

#include "cuda/types.h"
#include "quantized_weights.h"

constexpr int kFp8Chunk = 16, kFp8Group = 128;

// 16 columns of a row: those that stand together in the order of codes.
template <typename A>
KERNEL_FN void load_fp8_chunk(const A* x, i64 chunk, float (&v)[kFp8Chunk]) {
  constexpr int kTile = 64;
  const A* first = x + chunk * kFp8Chunk / kTile * kTile + chunk * kFp8Chunk % kTile / 2;
  unpack8<A>(load8(first), reinterpret_cast<float(&)[8]>(v[0]));
  unpack8<A>(load8(first + kTile / 2), reinterpret_cast<float(&)[8]>(v[8]));
}

KERNEL_FN float greatest_of(const float (&v)[kFp8Chunk]) {
  float greatest = 0.0f;
#pragma unroll
  for (int i = 0; i < kFp8Chunk; ++i) greatest = fmaxf(greatest, fabsf(v[i]));
  return greatest;
}

// The scale of columns whose largest magnitude is `greatest`, and what they are multiplied by to become codes.
struct Fp8Scale {
  float scale, inverse;

  KERNEL_FN static Fp8Scale of(float greatest) {
    if (!(greatest > kLeastQuantizedMax)) return {0.0f, 0.0f};
    return {greatest / kGreatestE4m3, kGreatestE4m3 / greatest};
  }
};

KERNEL_FN uint4 fp8_codes(const float (&v)[kFp8Chunk], float inverse) {
  u32 words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    words[i] = e4m3_pair_bits_of(v[4 * i] * inverse, v[4 * i + 1] * inverse) |
               e4m3_pair_bits_of(v[4 * i + 2] * inverse, v[4 * i + 3] * inverse) << 16;
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// A scale for each row. Tile: y = row. 256 threads; 32 bytes of shared memory.
template <typename A>
KERNEL_FN void fp8_rows(const Fp8RowsArgs& a, Tile tile, char* shared) {
  const i64 row = tile.y, chunks = a.width / kFp8Chunk;
  if (row >= a.counts->rows[a.row_count]) return;
  const A* x = static_cast<const A*>(a.x) + row * a.width;
  float greatest = 0.0f, v[kFp8Chunk];
  for (i64 chunk = threadIdx.x; chunk < chunks; chunk += kRowThreads) {
    load_fp8_chunk(x, chunk, v);
    greatest = fmaxf(greatest, greatest_of(v));
  }
  const Fp8Scale s = Fp8Scale::of(block_reduce<kRowThreads>(greatest, reinterpret_cast<float*>(shared), MaxOf()));
  for (i64 chunk = threadIdx.x; chunk < chunks; chunk += kRowThreads) {
    load_fp8_chunk(x, chunk, v);
    static_cast<uint4*>(a.codes)[row * chunks + chunk] = fp8_codes(v, s.inverse);
  }
  if (threadIdx.x == 0) a.scales[row] = s.scale;
}

// A scale for each 128 columns, which eight lanes have. Tile: y = row. 256 threads.
template <typename A>
KERNEL_FN void fp8_groups(const Fp8RowsArgs& a, Tile tile, char*) {
  constexpr int kLanes = kFp8Group / kFp8Chunk;
  const i64 row = tile.y, chunks = a.width / kFp8Chunk, groups = (chunks + kLanes - 1) / kLanes;
  if (row >= a.counts->rows[a.row_count]) return;
  const A* x = static_cast<const A*>(a.x) + row * a.width;
  for (i64 first = 0; first < chunks; first += kRowThreads) {
    const i64 chunk = first + threadIdx.x;
    float v[kFp8Chunk] = {};
    if (chunk < chunks) load_fp8_chunk(x, chunk, v);
    float greatest = greatest_of(v);
#pragma unroll
    for (int lanes = 1; lanes < kLanes; lanes *= 2)
      greatest = fmaxf(greatest, __shfl_xor_sync(kAllLanes, greatest, lanes));
    const Fp8Scale s = Fp8Scale::of(greatest);
    if (chunk >= chunks) continue;
    static_cast<uint4*>(a.codes)[row * chunks + chunk] = fp8_codes(v, s.inverse);
    if (threadIdx.x % kLanes == 0) a.scales[row * groups + chunk / kLanes] = s.scale;
  }
}
