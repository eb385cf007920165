// Linear layers of many tokens on vector units: float32 sums, weights as they are or dequantized to float32.
//
// A tile of the grid is kTileColumns outputs of kTileRows rows. K advances in steps of kDepth; for each, the
// activations are brought together as float32 and stay in the L2, and the weights of kBlocks blocks of 16 outputs stay
// in the L1 while groups of kRows rows pass by. Rows alone would read all weights from memory for each group.
#pragma once

#include "x86/linear.h"
#include "x86/linear_quantized.h"

// What amounts to the packed layout of float weights (x86/pack.h), from codes: 16 outputs of `depth` columns from k on.
template <typename Code, typename S>
KERNEL_FN void unpack_floats(const LinearQuantizedArgs& a, i64 block, i64 k, i64 depth, float* out) {
  constexpr int kPerWord = 32 / Code::kBits, kPlaces = 16 / Code::kBits;
  const i64 words = code_words(a.k, Code::kBits), groups = (a.k + a.group - 1) / a.group;
  const f32x16 table = Code::kBits == 4 && !Code::kInteger ? table16<Code>() : f32x16{};
  for (const i64 end = k + depth; k < end;) {
    const i64 group = k / a.group, group_end = min_of((group + 1) * a.group, end);
    const i64 at = (block * groups + group) * kQuantizedRows;
    const f32x16 scale = load16(static_cast<const S*>(a.scales) + at);
    const f32x16 zero = a.zeros ? bytes16(a.zeros + at) : splat(static_cast<float>(a.zero));
    f32x16 offset[kPlaces], factor[kPlaces];
    for (int i = 0; i < kPlaces; ++i) {
      offset[i] = kMagic + zero * static_cast<float>(1 << (Code::kBits * i));
      factor[i] = scale * (1.0f / static_cast<float>(1 << (Code::kBits * i)));
    }
    for (; k < group_end; k += kPerWord) {
      const u32x16 word =
          load<u32x16>(static_cast<const u32*>(a.codes) + (block * words + k / kPerWord) * kQuantizedRows);
      for (int j = 0; j < kPerWord; ++j, out += 16) {
        if constexpr (Code::kInteger) {
          const int i = j % kPlaces;
          store16(out, integers16<Code>(j < kPlaces ? word : word >> 16, i, offset[i]) * factor[i]);
        } else {
          store16(out, values16(Code{}, word >> (Code::kBits * j) & ((1u << Code::kBits) - 1), table) * scale);
        }
      }
    }
  }
}

// Adds kRows rows of x times kBlocks blocks of weights to sums [kRows][kBlocks * 16], which begin at zero in the first
// step of K.
template <typename W, int kRows, int kBlocks, i64 kDepth>
KERNEL_FN void multiply_blocks(const W* const (&w)[kBlocks], const float* x, i64 depth, float* sums, i64 sums_stride,
                               bool first) {
  constexpr i64 kGroup = kPackGroup<W>;
  f32x16 acc[kRows][kBlocks];
  for (int r = 0; r < kRows; ++r)
    for (int b = 0; b < kBlocks; ++b) acc[r][b] = first ? f32x16{} : load16(sums + r * sums_stride + b * 16);
  for (i64 k = 0; k < depth; k += kGroup) {
    WeightGroup<W> group[kBlocks];
    for (int b = 0; b < kBlocks; ++b) group[b] = WeightGroup<W>::load(w[b] + k * kPackRows);
    for (int g = 0; g < kGroup; ++g)
      for (int r = 0; r < kRows; ++r) {
        const f32x16 v = splat(x[r * kDepth + k + g]);
        for (int b = 0; b < kBlocks; ++b) acc[r][b] = fma16(group[b].w[g], v, acc[r][b]);
      }
  }
  for (int r = 0; r < kRows; ++r)
    for (int b = 0; b < kBlocks; ++b) store16(sums + r * sums_stride + b * 16, acc[r][b]);
}

// panel(block, k, depth, slot) gives 16 outputs of `depth` columns from k on in the packed layout of W; finish(row,
// block, sums) takes the sums of 16 outputs. Columns of K beyond its end, up to a group of the layout, are zero.
template <typename W, typename X, int kRows, int kBlocks, i64 kTileRows, i64 kTileColumns, i64 kDepth, typename Panel,
          typename Finish>
KERNEL_FN void blocked_products(const X* x, i64 rows, i64 k_all, i64 count, const Panel& panel, const Finish& finish) {
  static_assert(kTileRows % kRows == 0 && kTileColumns % (kBlocks * 16) == 0);
  alignas(64) float activations[kTileRows * kDepth], sums[kTileRows * kTileColumns];
  const i64 padded = (rows + kRows - 1) / kRows * kRows;
  for (i64 k = 0; k < k_all; k += kDepth) {
    const i64 columns = min_of(kDepth, k_all - k),
              depth = (columns + kPackGroup<W> - 1) / kPackGroup<W> * kPackGroup<W>;
    for (i64 r = 0; r < padded; ++r) {
      float* to = activations + r * kDepth;
      i64 i = 0;
      if (r < rows) {
        const X* from = x + r * k_all + k;
        for (; i + 16 <= columns; i += 16) store16(to + i, load16(from + i));
        for (; i < columns; ++i) to[i] = to_float(from[i]);
      }
      for (; i < depth; ++i) to[i] = 0.0f;
    }
    for (i64 b = 0; b < count; b += kBlocks) {
      const W* w[kBlocks];
      for (int i = 0; i < kBlocks; ++i)
        w[i] = b + i < count ? panel(b + i, k, columns, i) : w[0];  // the last one twice
      for (i64 r = 0; r < padded; r += kRows)
        multiply_blocks<W, kRows, kBlocks, kDepth>(w, activations + r * kDepth, depth, sums + r * kTileColumns + b * 16,
                                                   kTileColumns, k == 0);
    }
  }
  for (i64 r = 0; r < rows; ++r)
    for (i64 b = 0; b < count; ++b) finish(r, b, load16(sums + r * kTileColumns + b * 16));
}

template <typename W, typename X, int kRows, int kBlocks, i64 kTileRows, i64 kTileColumns, i64 kDepth>
KERNEL_FN void linear_blocked(const LinearArgs& a, Tile tile) {
  const i64 row = static_cast<i64>(tile.y) * kTileRows, first = static_cast<i64>(tile.x) * (kTileColumns / kPackRows);
  const i64 rows = min_of(a.counts->rows[a.row_count] - row, kTileRows);
  if (rows <= 0) return;
  const i64 blocks = (a.n + kPackRows - 1) / kPackRows, count = min_of(blocks - first, kTileColumns / kPackRows);
  const i64 kp = packed_k<W>(a.k);
  blocked_products<W, X, kRows, kBlocks, kTileRows, kTileColumns, kDepth>(
      static_cast<const X*>(a.x) + row * a.k, rows, a.k, count,
      [&](i64 b, i64 k, i64, i64) { return static_cast<const W*>(a.w) + ((first + b) * kp + k) * kPackRows; },
      [&](i64 r, i64 b, f32x16 sums) { store_outputs<W>(a, row + r, (first + b) * kPackRows, sums); });
}

template <typename Code, typename S, typename X, int kRows, int kBlocks, i64 kTileRows, i64 kTileColumns, i64 kDepth>
KERNEL_FN void linear_quantized_blocked(const LinearQuantizedArgs& a, Tile tile) {
  const i64 row = static_cast<i64>(tile.y) * kTileRows;
  const i64 first = static_cast<i64>(tile.x) * (kTileColumns / kQuantizedRows);
  const i64 rows = min_of(a.counts->rows[a.row_count] - row, kTileRows);
  if (rows <= 0) return;
  const i64 blocks = (a.n + kQuantizedRows - 1) / kQuantizedRows;
  const i64 count = min_of(blocks - first, kTileColumns / kQuantizedRows);
  alignas(64) float panels[kBlocks][kDepth * kQuantizedRows];
  blocked_products<float, X, kRows, kBlocks, kTileRows, kTileColumns, kDepth>(
      static_cast<const X*>(a.x) + row * a.k, rows, a.k, count,
      [&](i64 b, i64 k, i64 depth, i64 slot) {
        unpack_floats<Code, S>(a, first + b, k, depth, panels[slot]);
        return static_cast<const float*>(panels[slot]);
      },
      [&](i64 r, i64 b, f32x16 sums) { store_quantized(a, row + r, (first + b) * kQuantizedRows, sums); });
}
