// Linear layers of many tokens, of int8 activations on integer codes, with VNNI.
//
// A tile of the grid is kTileColumns outputs of kTileRows rows. K advances in steps of kDepth; for each, the
// activations are brought together and stay in the L2, and the codes of kBlocks blocks of 16 outputs, as bytes, stay in
// the L1 while groups of kRows rows pass by.
#pragma once

#include "x86/linear_quantized_int8.h"

template <i64 kDepth>
struct Int8Panel {
  alignas(64) u32 codes[kDepth / 4 * 16];              // [4 columns][16 outputs], bytes in the order of int8_position
  alignas(64) float scales[kDepth / kInt8Group * 16];  // [group of activations][16 outputs]
  alignas(64) i32 zeros[kDepth / kInt8Group * 16];

  // 16 outputs of `depth` columns from k on. Those of the block `ahead` blocks further are fetched meanwhile.
  template <typename Code, typename S>
  inline __attribute__((always_inline)) void unpack(const LinearQuantizedArgs& a, i64 block, i64 k, i64 depth,
                                                    i64 ahead) {
    constexpr int kBits = Code::kBits, kVectors = 8 / kBits;
    constexpr u32 kMask = kBits == 8 ? 0xffffffffu : kBits == 4 ? 0x0f0f0f0fu : 0x03030303u;
    const i64 row_words = code_words(a.k, kBits);
    const u32* words = static_cast<const u32*>(a.codes) + (block * row_words + k * kBits / 32) * kQuantizedRows;
    for (i64 w = 0; w < depth * kBits / 32; ++w) {
      __builtin_prefetch(words + (ahead * row_words + w) * kQuantizedRows, 0, 2);
      const u32x16 word = load<u32x16>(words + w * kQuantizedRows);
      for (int v = 0; v < kVectors; ++v) store(codes + (w * kVectors + v) * 16, word >> (kBits * v) & kMask);
    }
    const i64 groups = (a.k + a.group - 1) / a.group;
    for (i64 part = 0; part < depth / kInt8Group; ++part) {
      const i64 at = (block * groups + (k + part * kInt8Group) / a.group) * kQuantizedRows;
      store16(scales + part * 16, load16(static_cast<const S*>(a.scales) + at));
      store(zeros + part * 16, a.zeros ? integer_bytes16(a.zeros + at) : i32x16{} + static_cast<i32>(a.zero));
    }
  }
};

// kTileRows rows of `depth` columns from k on; those that fill up are zero.
template <i64 kTileRows, i64 kDepth>
struct Int8Activations {
  static constexpr i64 kParts = kDepth / kInt8Group;
  alignas(64) signed char codes[kTileRows * kDepth];
  float scales[kTileRows * kParts];
  i32 sums[kTileRows * kParts];

  inline __attribute__((always_inline)) void gather(const LinearQuantizedArgs& a, i64 row, i64 rows, i64 padded, i64 k,
                                                    i64 depth) {
    const i64 parts = a.k / kInt8Group;
    for (i64 r = 0; r < padded; ++r) {
      const i64 from = (row + r) * parts + k / kInt8Group;
      for (i64 part = 0; part < depth / kInt8Group; ++part) {
        signed char* to = codes + r * kDepth + part * kInt8Group;
        const bool used = r < rows;
        store(to, used ? load<s8x32>(a.int8.codes + (from + part) * kInt8Group) : s8x32{});
        scales[r * kParts + part] = used ? a.int8.scales[from + part] : 0.0f;
        sums[r * kParts + part] = used ? a.int8.sums[from + part] : 0;
      }
    }
  }
};

// Adds kRows rows, from row r on, times kBlocks panels to sums [kRows][kBlocks * 16], rows `stride` apart.
template <int kRows, int kBlocks, bool kOneZero, i64 kTileRows, i64 kDepth>
KERNEL_FN void multiply_int8(const Int8Panel<kDepth>* panels, const Int8Activations<kTileRows, kDepth>& x, i64 r,
                             i64 parts, i32 zero, float* sums, i64 stride) {
  constexpr i64 kSteps = kInt8Group / 4, kParts = kDepth / kInt8Group;
  using Dot = Int8Dot<8>;
  for (i64 part = 0; part < parts; ++part) {
    Dot dot[kRows][kBlocks];
    for (int i = 0; i < kRows; ++i) {
      const i32 sum = x.sums[(r + i) * kParts + part];
      for (int b = 0; b < kBlocks; ++b)
        dot[i][b] = Dot::from(kOneZero ? i32x16{} + -zero * sum : load<i32x16>(panels[b].zeros + part * 16) * -sum);
    }
    for (i64 step = 0; step < kSteps; ++step) {
      u32x16 weights[kBlocks];
      for (int b = 0; b < kBlocks; ++b) weights[b] = load<u32x16>(panels[b].codes + (part * kSteps + step) * 16);
      for (int i = 0; i < kRows; ++i) {
        i32 four;
        __builtin_memcpy(&four, x.codes + (r + i) * kDepth + part * kInt8Group + step * 4, sizeof four);
        for (int b = 0; b < kBlocks; ++b) Dot::add(dot[i][b], weights[b], four);
      }
    }
    for (int b = 0; b < kBlocks; ++b) {
      const f32x16 scale = load16(panels[b].scales + part * 16);
      for (int i = 0; i < kRows; ++i) {
        const f32x16 v = __builtin_convertvector(Dot::total(dot[i][b]), f32x16) * x.scales[(r + i) * kParts + part];
        float* sum = sums + i * stride + b * 16;
        store16(sum, fma16(v, scale, load16(sum)));
      }
    }
    asm volatile("" : : "r"(sums) : "memory");  // the sums stay in memory: there are no registers for them beside `dot`
  }
}

template <typename Code, typename S, int kRows, int kBlocks, i64 kTileRows, i64 kTileColumns, i64 kDepth>
KERNEL_FN void linear_int8_blocked(const LinearQuantizedArgs& a, Tile tile) {
  static_assert(kTileRows % kRows == 0 && kTileColumns % (kBlocks * 16) == 0);
  const i64 row = static_cast<i64>(tile.y) * kTileRows;
  const i64 first = static_cast<i64>(tile.x) * (kTileColumns / kQuantizedRows);
  const i64 rows = min_of(a.counts->rows[a.row_count] - row, kTileRows), padded = (rows + kRows - 1) / kRows * kRows;
  if (rows <= 0) return;
  const i64 blocks = (a.n + kQuantizedRows - 1) / kQuantizedRows;
  const i64 count = min_of(blocks - first, kTileColumns / kQuantizedRows);
  Int8Panel<kDepth> panels[kBlocks];
  Int8Activations<kTileRows, kDepth> x;
  alignas(64) float sums[kTileRows * kTileColumns];
  for (i64 i = 0; i < padded * kTileColumns; i += 16) store16(sums + i, f32x16{});
  for (i64 k = 0; k < a.k; k += kDepth) {
    const i64 depth = min_of(kDepth, a.k - k), parts = depth / kInt8Group;
    x.gather(a, row, rows, padded, k, depth);
    for (i64 b = 0; b < count; b += kBlocks) {
      for (int i = 0; i < kBlocks; ++i)  // beyond the end the last one again
        panels[i].template unpack<Code, S>(a, first + min_of(b + i, count - 1), k, depth, kBlocks);
      for (i64 r = 0; r < padded; r += kRows) {
        float* to = sums + r * kTileColumns + b * 16;
        const i32 zero = static_cast<i32>(a.zero);
        if (a.zeros)
          multiply_int8<kRows, kBlocks, false>(panels, x, r, parts, zero, to, kTileColumns);
        else
          multiply_int8<kRows, kBlocks, true>(panels, x, r, parts, zero, to, kTileColumns);
      }
    }
  }
  for (i64 r = 0; r < rows; ++r)
    for (i64 b = 0; b < count; ++b)
      store_quantized(a, row + r, (first + b) * kQuantizedRows, load16(sums + r * kTileColumns + b * 16));
}
