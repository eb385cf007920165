// A quantized weight as a dense one, before a product of many tokens: bound by writing it. See DequantizeArgs.
#pragma once

#include "cuda/quantized_codes.h"

// A thread makes 16 bytes of a row, from 8 codes; K and the groups are multiples of 8. Tile: y = 8 rows, x = 2048
// columns. 256 threads; kTableBytes of shared memory.
template <typename Code, typename S, typename A, int Interleave>
KERNEL_FN void dequantize(const DequantizeArgs& args, Tile tile, char* shared) {
  constexpr int kPerWord = 32 / Code::kBits, kRows = 8, kValues = 8;
  float* table = reinterpret_cast<float*>(shared);
  fill_table<Code>(table);
  if (kHasTable<Code>) __syncthreads();
  const QuantizedGroups& q = args.groups;
  const i64 k0 = (static_cast<i64>(tile.x) * blockDim.x + threadIdx.x) * kValues,
            groups = (args.k + q.group - 1) / q.group;
  if (k0 >= args.k) return;
  const u32 half = kPerWord == 16 ? static_cast<u32>(k0) % 16 : 0;  // eight codes of 2 bits are half a word
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const i64 row = static_cast<i64>(tile.y) * kRows + r;
    if (row >= args.rows) return;
    const u32* codes =
        static_cast<const u32*>(args.codes) + word_index(row, k0 / kPerWord, args.k, Code::kBits, Interleave);
    const i64 group = interleaved_index(row, k0 / q.group, groups, Interleave);
    const float scale = to_float(static_cast<const S*>(q.scales)[group]);
    const PlaceOffsets<Code> offsets = place_offsets<Code>(
        Code::kInteger ? static_cast<float>(q.zeros ? static_cast<i32>(q.zeros[group]) : static_cast<i32>(q.zero))
                       : 0.0f);
    const u32 first = consecutive_codes(codes[0], Code::kBits, Interleave) >> (half * Code::kBits);
    float values[kValues];
#pragma unroll
    for (int j = 0; j < kValues; ++j) {
      const u32 word = j < kPerWord ? first : codes[1];
      values[j] = unpacked<Code>(word, j % kPerWord, offsets, table) * (scale * place_factor<Code>(j % kPlaces<Code>));
    }
    store8(static_cast<A*>(args.out) + row * args.k + k0, values);
  }
}
