// Activations in e4m3, bound by reading them: sm_89 and later. See Fp8RowsArgs.
#pragma once

#include "cuda/types.h"
#include "quantized_weights.h"

// A thread takes 16 columns of a row at a time: those that stand together in the order of codes. Tile: y = row. 256
// threads; 32 bytes of shared memory.
template <typename A>
KERNEL_FN void fp8_rows(const Fp8RowsArgs& a, Tile tile, char* shared) {
  constexpr int kChunk = 16, kTile = 64;
  const i64 row = tile.y;
  if (row >= a.counts->rows[a.row_count]) return;
  const A* x = static_cast<const A*>(a.x) + row * a.width;
  const auto load = [&](i64 chunk, float(&v)[kChunk]) {
    const A* first = x + chunk * kChunk / kTile * kTile + chunk * kChunk % kTile / 2;
    unpack8<A>(load8(first), reinterpret_cast<float(&)[8]>(v[0]));
    unpack8<A>(load8(first + kTile / 2), reinterpret_cast<float(&)[8]>(v[8]));
  };
  float maximum = 0.0f, v[kChunk];
  for (i64 chunk = threadIdx.x; chunk < a.width / kChunk; chunk += kRowThreads) {
    load(chunk, v);
#pragma unroll
    for (int i = 0; i < kChunk; ++i) maximum = fmaxf(maximum, fabsf(v[i]));
  }
  maximum = block_reduce<kRowThreads>(maximum, reinterpret_cast<float*>(shared), MaxOf());
  const bool zero = !(maximum > kLeastQuantizedMax);
  const float inverse = zero ? 0.0f : kGreatestE4m3 / maximum;
  for (i64 chunk = threadIdx.x; chunk < a.width / kChunk; chunk += kRowThreads) {
    load(chunk, v);
    u32 words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      words[i] = e4m3_pair_bits_of(v[4 * i] * inverse, v[4 * i + 1] * inverse) |
                 e4m3_pair_bits_of(v[4 * i + 2] * inverse, v[4 * i + 3] * inverse) << 16;
    static_cast<uint4*>(a.codes)[row * (a.width / kChunk) + chunk] = make_uint4(words[0], words[1], words[2], words[3]);
  }
  if (threadIdx.x == 0) a.scales[row] = zero ? 0.0f : maximum / kGreatestE4m3;
}
