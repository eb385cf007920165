// Linear layer on quantized weights for many tokens in fp32 FMA: a tile of weights is dequantized once, on its way to
// shared memory. See LinearQuantizedArgs.
#pragma once

#include "cuda/linear_tiled.h"
#include "cuda/quantized_codes.h"

// K and the groups are multiples of 8. Tile and threads as linear_tiled; kTableBytes more of shared memory, before its
// own.
template <typename Code, typename S, typename A, int Rows, int Columns, int Interleave>
KERNEL_FN void linear_quantized_tiled(const LinearQuantizedArgs& args, Tile tile, char* shared) {
  constexpr int kPerWord = 32 / Code::kBits;
  float* table = reinterpret_cast<float*>(shared);
  fill_table<Code>(table);
  if (kHasTable<Code>) __syncthreads();
  const i64 rows = args.counts->rows[args.row_count], groups = (args.k + args.group - 1) / args.group;
  tiled_product<Rows, Columns>(
      rows, args.n, args.k, tile, shared + kTableBytes,
      [&](i64 row, i64 k0, float(&out)[8]) {
        load_row_chunk(static_cast<const A*>(args.x), row, rows, k0, args.k, out);
      },
      [&](i64 column, i64 k0, float(&out)[8]) {
        if (column >= args.n || k0 >= args.k) {
#pragma unroll
          for (int j = 0; j < 8; ++j) out[j] = 0.0f;
          return;
        }
        const u32* codes =
            static_cast<const u32*>(args.codes) + word_index(column, k0 / kPerWord, args.k, Code::kBits, Interleave);
        const i64 group = interleaved_index(column, k0 / args.group, groups, Interleave);
        const float scale = to_float(static_cast<const S*>(args.scales)[group]);
        const float zero =
            static_cast<float>(args.zeros ? static_cast<i32>(args.zeros[group]) : static_cast<i32>(args.zero));
        const PlaceOffsets<Code> offsets = place_offsets<Code>(Code::kInteger ? zero : 0.0f);
        const u32 shifted = kPerWord == 16 && k0 % 16 ? codes[0] >> 16  // eight codes of 2 bits are half a word
                                                      : consecutive_codes(codes[0], Code::kBits, Interleave);
#pragma unroll
        for (int j = 0; j < 8; ++j) {
          const u32 word = j < kPerWord ? shifted : codes[1];
          out[j] = unpacked<Code>(word, j % kPerWord, offsets, table) * (scale * place_factor<Code>(j % kPlaces<Code>));
        }
      },
      [&](i64 row, i64 column, float sum) { args.out[row * args.n + column] = sum + bias_at(args, column); });
}
