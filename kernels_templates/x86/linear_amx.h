// Linear layers of many tokens on AMX: operands in bf16, sums in float32.
//
// A tile of the grid is kColumns outputs of kRows rows. K advances in steps of kDepth. For each, the activations are
// packed into tiles of 16 rows (and rounded to bf16 where they are wider), and stay in the L2 while all pairs of 16
// outputs pass by; the weights of a pair, as they lie in memory or unpacked from codes, stay in the L1 meanwhile, and
// each product of 32 x 32 outputs keeps its sums in tiles over kDepth. The next weights are prefetched meanwhile.
#pragma once

#include "x86/amx.h"
#include "x86/linear.h"
#include "x86/linear_quantized.h"

// Weights in bf16 are tiles as they lie.
struct PackedTiles {
  const bf16* w;
  i64 kp;
  i64 blocks;
  template <typename Args>
  KERNEL_FN PackedTiles of(const Args& a) {
    return {static_cast<const bf16*>(a.w), packed_k<bf16>(a.k), (a.n + kPackRows - 1) / kPackRows};
  }
  // Tiles of 16 outputs from column k on.
  KERNEL_FN const void* panel(const PackedTiles& t, i64 block, i64 k, i64, void*) {
    return t.w + (block * t.kp + k) * kPackRows;
  }
  // Reads a line of what the next pair of blocks needs ahead; `step` counts lines.
  KERNEL_FN void prefetch(const PackedTiles& t, i64 block, i64 k, i64 step) {
    if (block < t.blocks)
      __builtin_prefetch(reinterpret_cast<const char*>(t.w + (block * t.kp + k) * kPackRows) + step * 64, 0, 2);
  }
};

// Codes are unpacked to (code - zero) * scale, rounded to bf16 (ties away from zero).
template <typename Code, typename S>
struct UnpackedTiles {
  const u32* codes;
  const S* scales;
  const unsigned char* zeros;
  i64 words, groups, group, zero, blocks;
  KERNEL_FN UnpackedTiles of(const LinearQuantizedArgs& a) {
    return {static_cast<const u32*>(a.codes),
            static_cast<const S*>(a.scales),
            a.zeros,
            code_words(a.k, Code::kBits),
            (a.k + a.group - 1) / a.group,
            a.group,
            a.zero,
            (a.n + kQuantizedRows - 1) / kQuantizedRows};
  }
  KERNEL_FN u32x16 pair(f32x16 even, f32x16 odd) {
    const u32x16 half = u32x16{} + 0x8000u;
    return (__builtin_bit_cast(u32x16, even) + half) >> 16 | ((__builtin_bit_cast(u32x16, odd) + half) & 0xffff0000u);
  }
  KERNEL_FN const void* panel(const UnpackedTiles& t, i64 block, i64 k, i64 steps, void* scratch) {
    constexpr int kPerWord = 32 / Code::kBits, kPlaces = 16 / Code::kBits;
    u32* out = static_cast<u32*>(scratch);
    const f32x16 table = Code::kBits == 4 && !Code::kInteger ? table16<Code>() : f32x16{};
    for (i64 end = k + steps * kTileK; k < end;) {
      const i64 g = k / t.group, group_end = min_of((g + 1) * t.group, end),
                at = (block * t.groups + g) * kQuantizedRows;
      const f32x16 scale = load16(t.scales + at);
      f32x16 offset[kPlaces], factor[kPlaces];
      const f32x16 zero = !Code::kInteger ? f32x16{}
                          : t.zeros       ? bytes16(t.zeros + at)
                                          : splat(static_cast<float>(t.zero));
      for (int i = 0; i < kPlaces; ++i) {
        offset[i] = kMagic + zero * static_cast<float>(1 << (Code::kBits * i));
        factor[i] = scale * (1.0f / static_cast<float>(1 << (Code::kBits * i)));
      }
      for (; k < group_end; k += kPerWord) {
        const u32x16 word = load<u32x16>(t.codes + (block * t.words + k / kPerWord) * kQuantizedRows);
        f32x16 value[kPerWord];
        for (int j = 0; j < kPerWord; ++j) {
          if constexpr (Code::kInteger) {
            const int i = j % kPlaces;
            value[j] = integers16<Code>(j < kPlaces ? word : word >> 16, i, offset[i]) * factor[i];
          } else {
            value[j] = values16(Code{}, word >> (Code::kBits * j) & ((1u << Code::kBits) - 1), table) * scale;
          }
        }
        for (int j = 0; j < kPerWord; j += 2, out += 16) store(out, pair(value[j], value[j + 1]));
      }
    }
    return scratch;
  }
  KERNEL_FN void prefetch(const UnpackedTiles& t, i64 block, i64 k, i64 step) {
    if (block < t.blocks)
      __builtin_prefetch(
          reinterpret_cast<const char*>(t.codes + (block * t.words + k * Code::kBits / 32) * kQuantizedRows) +
              step * 64,
          0, 2);
  }
};

// Activations of `rows` rows from column k on, as tiles [row block][step]. Rows that fill up a pair of blocks are zero.
template <typename X>
KERNEL_FN void pack_rows(const X* x, i64 stride, i64 rows, i64 k, i64 steps, bf16* out) {
  const i64 padded = (rows + 2 * kTileRows - 1) / (2 * kTileRows) * (2 * kTileRows);
  for (i64 r = 0; r < padded; ++r) {
    bf16* tile = out + (r / kTileRows * steps * kTileRows + r % kTileRows) * kTileK;
    for (i64 s = 0; s < steps; ++s) {
      bf16* out_row = tile + s * kTileRows * kTileK;
      if (r >= rows) {
        store(out_row, u32x16{});
        continue;
      }
      store_bf16_32(out_row, x + r * stride + k + s * kTileK);
    }
  }
}

// The blocks of 16 weight rows whose outputs a product of 32 x 32 computes: 2 * i and 2 * i + 1 of the layer, or gate
// and up of block i.
struct Neighbours {
  static constexpr i64 kPerStep = 2;  // blocks of outputs
  KERNEL_FN i64 second(i64 block, i64) { return block + 1; }
};
struct GateAndUp {
  static constexpr i64 kPerStep = 1;
  KERNEL_FN i64 second(i64 block, i64 blocks) { return block + blocks; }
};

// The products of `rows` rows of x and the outputs of `count` blocks from `first` on, of `blocks` in all: sums[row
// pair][step][four tiles of 16 x 16].
template <typename X, typename Tiles, typename Pairing, i64 kDepth, i64 kSteps>
KERNEL_FN void amx_products(const X* x, i64 k_all, i64 rows, const Tiles& tiles, i64 first, i64 count, i64 blocks,
                            bf16* packed, bf16* scratch, float* sums) {
  const i64 row_pairs = (rows + 2 * kTileRows - 1) / (2 * kTileRows);
  for (i64 k = 0; k < k_all; k += kDepth) {
    const i64 steps = min_of(kDepth, k_all - k) / kTileK;
    pack_rows(x, k_all, rows, k, steps, packed);
    for (i64 b = 0; b < count; b += Pairing::kPerStep) {
      const i64 other = Pairing::second(first + b, blocks);
      const char* column0 = static_cast<const char*>(Tiles::panel(tiles, first + b, k, steps, scratch));
      const char* column1 =
          (Pairing::kPerStep == 2 && b + 1 == count)
              ? column0
              : static_cast<const char*>(Tiles::panel(tiles, other, k, steps, scratch + kDepth * kTileRows));
      float* kept = sums + b / Pairing::kPerStep * 1024;
      // What comes next: the next blocks of this step of K, or the first ones of the next.
      const bool same_k = b + Pairing::kPerStep < count;
      const i64 next = same_k ? first + b + Pairing::kPerStep : first, next_other = Pairing::second(next, blocks);
      const i64 next_k = same_k ? k : k + kDepth;
      const i64 lines = next_k < k_all ? steps * 16 : 0;
      i64 line = 0;
      for (i64 m = 0; m < row_pairs; ++m, kept += kSteps * 1024) {
        const char* row0 = reinterpret_cast<const char*>(packed) + 2 * m * steps * kTileBytes;
        const char* row1 = row0 + steps * kTileBytes;
        if (k == 0)
          zero_sums();
        else
          load_sums(kept);
        for (i64 s = 0; s < steps; ++s) {
          multiply_bf16(row0 + s * kTileBytes, row1 + s * kTileBytes, column0 + s * kTileBytes,
                        column1 + s * kTileBytes);
          if (line < lines) {
            Tiles::prefetch(tiles, next, next_k, line);
            Tiles::prefetch(tiles, next_other, next_k, line);
            ++line;
          }
        }
        store_sums(kept);
      }
    }
  }
}

// 16 sums of a row: of the first or the second block of a step.
template <i64 kSteps>
KERNEL_FN f32x16 amx_row(const float* sums, i64 row, i64 step, i64 second) {
  return load16(sums + ((row / 32 * kSteps + step) * 4 + row % 32 / 16 * 2 + second) * 256 + row % 16 * 16);
}

// Blocks of outputs of a tile of the grid.
struct AmxTile {
  i64 row, rows, first, count, blocks;
  template <typename Args>
  KERNEL_FN AmxTile of(const Args& a, Tile tile, i64 outputs, i64 tile_rows, i64 tile_columns) {
    AmxTile t;
    t.row = static_cast<i64>(tile.y) * tile_rows;
    t.rows = min_of(a.counts->rows[a.row_count] - t.row, tile_rows);
    t.blocks = (outputs + kPackRows - 1) / kPackRows;
    t.first = static_cast<i64>(tile.x) * (tile_columns / kPackRows);
    t.count = min_of(t.blocks - t.first, tile_columns / kPackRows);
    return t;
  }
};

template <typename W, typename X, i64 kRows, i64 kColumns, i64 kDepth>
KERNEL_FN void linear_amx(const LinearArgs& a, Tile tile) {
  const AmxTile t = AmxTile::of(a, tile, a.n, kRows, kColumns);
  if (t.rows <= 0) return;
  alignas(64) bf16 packed[kRows * kDepth];
  alignas(64) float sums[kRows * kColumns];
  configure_tiles();
  amx_products<X, PackedTiles, Neighbours, kDepth, kColumns / 32>(static_cast<const X*>(a.x) + t.row * a.k, a.k, t.rows,
                                                                  PackedTiles::of(a), t.first, t.count, t.blocks,
                                                                  packed, nullptr, sums);
  release_tiles();
  for (i64 r = 0; r < t.rows; ++r)
    for (i64 b = 0; b < t.count; ++b)
      store_outputs<W>(a, t.row + r, (t.first + b) * kPackRows, amx_row<kColumns / 32>(sums, r, b / 2, b % 2));
}

template <typename Code, typename S, typename X, i64 kRows, i64 kColumns, i64 kDepth>
KERNEL_FN void linear_quantized_amx(const LinearQuantizedArgs& a, Tile tile) {
  const AmxTile t = AmxTile::of(a, tile, a.n, kRows, kColumns);
  if (t.rows <= 0) return;
  alignas(64) bf16 packed[kRows * kDepth];
  alignas(64) float sums[kRows * kColumns];
  alignas(64) bf16 scratch[2 * kTileRows * kDepth];
  using Tiles = UnpackedTiles<Code, S>;
  configure_tiles();
  amx_products<X, Tiles, Neighbours, kDepth, kColumns / 32>(static_cast<const X*>(a.x) + t.row * a.k, a.k, t.rows,
                                                            Tiles::of(a), t.first, t.count, t.blocks, packed, scratch,
                                                            sums);
  release_tiles();
  for (i64 r = 0; r < t.rows; ++r)
    for (i64 b = 0; b < t.count; ++b)
      store_quantized(a, t.row + r, (t.first + b) * kQuantizedRows, amx_row<kColumns / 32>(sums, r, b / 2, b % 2));
}
