// Linear layers of many tokens, of int8 activations on integer codes, with VNNI.
//
// A tile of the grid is kTileColumns outputs of kTileRows rows. K advances in steps of kDepth, whole groups of
// activations; for each, the codes of kBlocks blocks of 16 outputs, as bytes, stay in the L1 while groups of kRows rows
// pass by.
#pragma once

#include "x86/byte_weights.h"
#include "x86/elementwise.h"
#include "x86/int8_panels.h"
#include "x86/output_tile.h"

// vpdpbusd multiplies unsigned bytes with signed ones: those of the weights are greater by it.
constexpr i32 kUnsignedOffset = 128;

template <int kBlocks, i64 kDepth>
struct UnsignedPanels {
  alignas(64) u32 codes[kBlocks][kDepth / 4 * 16];                        // [4 columns][16 outputs]
  alignas(64) float scales[kBlocks][kDepth / kInt8PanelColumns * 16];     // [group of activations][16 outputs]

  // `depth` columns from k on of 16 outputs; `next` is the block that comes to this place after it.
  template <typename Weights>
  inline __attribute__((always_inline)) void unpack(const Weights& w, int i, i64 block, i64 next, i64 k, i64 depth,
                                                    i64 group) {
    for (i64 part = 0; part < depth / group; ++part) {
      const f32x16 scale = w.scale(block, k + part * group);
      const f32x16 inverse = 1.0f / scale;
      store16(scales[i] + part * 16, scale);
      for (i64 c = part * group; c < (part + 1) * group; c += kByteColumns) {
        w.prefetch(next, k + c);
        w.unpack(block, k + c, inverse, codes[i] + c / 4 * 16);
      }
    }
  }
};

// Adds kRows rows, from row r on, times kBlocks panels of `depth` columns from k on to sums [kRows][kBlocks * 16], rows
// `stride` apart.
template <int kRows, int kBlocks, i64 kDepth>
KERNEL_FN void multiply_panels(const UnsignedPanels<kBlocks, kDepth>& w, const Int8Panels& x, i64 r, i64 k, i64 depth,
                               float* sums, i64 stride) {
  const i64 group = x.x.group;
  for (i64 c = 0; c < depth; c += group) {
    const float* scales = x.scales(r, k + c);
    const i32* code_sums = x.sums(r, k + c);
    i32x16 dot[kRows][kBlocks];
    for (int i = 0; i < kRows; ++i)
      for (int b = 0; b < kBlocks; ++b) dot[i][b] = i32x16{} + code_sums[i] * -kUnsignedOffset;
    for (i64 p = c; p < c + group; p += kInt8PanelColumns) {
      const signed char* rows = x.codes(r, k + p);
      for (i64 step = 0; step < kInt8PanelColumns / 4; ++step) {
        i32x16 weights[kBlocks];
        for (int b = 0; b < kBlocks; ++b) weights[b] = load<i32x16>(w.codes[b] + (p / 4 + step) * 16);
        for (int i = 0; i < kRows; ++i) {
          i32 four;
          __builtin_memcpy(&four, rows + i * kInt8PanelColumns + step * 4, sizeof four);
          for (int b = 0; b < kBlocks; ++b)
            dot[i][b] = __builtin_ia32_vpdpbusd512(dot[i][b], weights[b], i32x16{} + four);
        }
      }
    }
    for (int b = 0; b < kBlocks; ++b) {
      const f32x16 scale = load16(w.scales[b] + c / group * 16);
      for (int i = 0; i < kRows; ++i) {
        float* sum = sums + i * stride + b * 16;
        store16(sum, fma16(__builtin_convertvector(dot[i][b], f32x16) * scales[i], scale, load16(sum)));
      }
    }
    asm volatile("" : : "r"(sums) : "memory");  // the sums stay in memory: there are no registers for them beside `dot`
  }
}

// The products of a tile of the grid, of `count` blocks of the weight: finish(row, i, sums) takes 16 outputs of the i-th
// of them, which is block(i) of the weight.
template <typename Code, typename S, int kRows, int kBlocks, i64 kTileRows, i64 kTileColumns, i64 kDepth>
KERNEL_FN void int8_products(const LinearQuantizedArgs& a, i64 row, i64 rows, i64 count, const auto& block,
                             const auto& finish) {
  static_assert(kPanelRows % kRows == 0 && kTileRows % kPanelRows == 0 && kTileColumns % (kBlocks * 16) == 0);
  const Int8Panels x{a.int8, a.k};
  const auto weights = ByteWeights<Code, S>::of(a, kUnsignedOffset);
  UnsignedPanels<kBlocks, kDepth> panels;
  alignas(64) float sums[kTileRows * kTileColumns];
  const i64 padded = (rows + kRows - 1) / kRows * kRows;
  for (i64 i = 0; i < padded * kTileColumns; i += 16) store16(sums + i, f32x16{});
  const auto at = [&](i64 i) { return block(min_of(i, count - 1)); };  // beyond the end the last one again
  for (i64 k = 0; k < a.k; k += kDepth) {
    const i64 depth = min_of(kDepth, a.k - k);
    for (i64 b = 0; b < count; b += kBlocks) {
      for (int i = 0; i < kBlocks; ++i)
        panels.unpack(weights, i, at(b + i), at(b + i + kBlocks), k, depth, a.int8.group);
      for (i64 r = 0; r < padded; r += kRows)
        multiply_panels<kRows>(panels, x, row + r, k, depth, sums + r * kTileColumns + b * 16, kTileColumns);
    }
  }
  for (i64 r = 0; r < rows; ++r)
    for (i64 i = 0; i < count; ++i) finish(row + r, i, sums + r * kTileColumns + i * 16);
}

template <typename Code, typename S, int kRows, int kBlocks, i64 kTileRows, i64 kTileColumns, i64 kDepth>
KERNEL_FN void linear_int8_blocked(const LinearQuantizedArgs& a, Tile tile) {
  const OutputTile t = OutputTile::of(a, tile, a.n, kTileRows, kTileColumns);
  if (t.rows <= 0) return;
  int8_products<Code, S, kRows, kBlocks, kTileRows, kTileColumns, kDepth>(
      a, t.row, t.rows, t.count, [&](i64 i) { return t.first + i; },
      [&](i64 row, i64 i, const float* sums) {
        store_quantized(a, row, (t.first + i) * kQuantizedRows, load16(sums));
      });
}

// linear_int8_glu: silu(gate) * up behind the projection that holds both, gate above up, each a whole number of blocks.
// A tile has kTileColumns / 2 outputs.
template <typename Code, typename S, int kRows, int kBlocks, i64 kTileRows, i64 kTileColumns, i64 kDepth>
KERNEL_FN void linear_int8_glu_blocked(const LinearQuantizedArgs& a, Tile tile) {
  const i64 half = a.n / 2;
  const OutputTile t = OutputTile::of(a, tile, half, kTileRows, kTileColumns / 2);
  if (t.rows <= 0) return;
  int8_products<Code, S, kRows, kBlocks, kTileRows, kTileColumns, kDepth>(
      a, t.row, t.rows, 2 * t.count, [&](i64 i) { return t.first + i / 2 + i % 2 * t.blocks; },
      [&](i64 row, i64 i, const float* sums) {
        if (i % 2 == 0)
          store16(a.out + row * half + (t.first + i / 2) * kQuantizedRows, silu16(load16(sums)) * load16(sums + 16));
      });
}
