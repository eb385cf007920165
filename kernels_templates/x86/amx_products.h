// Products of many rows on AMX: operands in bf16 and sums in float32, or (x86/amx_int8.h) in int8 and int32.
//
// K advances in steps of kDepth. For each, the activations stay in the L2 while all pairs of 16 outputs pass by, and
// the weights of a pair stay in the L1 meanwhile; each product of 32 x 32 outputs keeps its sums in tiles over kDepth, or
// as many columns of it as share their scales.
// What is to be done with the sums of a product (adding them to those of earlier steps of K, or what the layer does
// with its outputs) happens in small portions during the next one, beside the matrix unit.
#pragma once

#include "x86/amx_weights.h"
#include "x86/operand.h"

constexpr i64 kBlockRows = kPanelRows;                 // rows of x whose products are computed at once
constexpr i64 kBlockSums = 4 * kTileRows * kTileRows;  // of a product of 32 x 32, in four tiles
static_assert(kPanelRows == 2 * kTileRows && kPanelColumns == kTileK);

// The activations of kRows rows from row `row` on, a step of K at a time: those of block m and step s of K are a panel.
template <typename X, i64 kRows, i64 kDepth>
class RowPanels {
 public:
  inline __attribute__((always_inline)) RowPanels(const void* x, i64 k, i64 row, i64 rows)
      : x_(static_cast<const X*>(x) + row * k), stride_(k), rows_(rows) {}
  // Rows that fill up a block are zero.
  inline __attribute__((always_inline)) void select(i64 k, i64 steps) {
    steps_ = steps;
    const i64 padded = (rows_ + kBlockRows - 1) / kBlockRows * kBlockRows;
    for (i64 r = 0; r < padded; ++r) {
      bf16* row = packed_ + (r / kBlockRows * steps * kBlockRows + r % kBlockRows) * kTileK;
      for (i64 s = 0; s < steps; ++s, row += kBlockRows * kTileK) {
        if (r >= rows_)
          store(row, u32x16{});
        else
          store_bf16_32(row, x_ + r * stride_ + k + s * kTileK);
      }
    }
  }
  inline __attribute__((always_inline)) const bf16* block(i64 m) const {
    return packed_ + m * steps_ * kBlockRows * kTileK;
  }

 private:
  const X* x_;
  i64 stride_, rows_, steps_ = 0;
  alignas(64) bf16 packed_[kRows * kDepth];
};

template <i64 kRows, i64 kDepth>
class RowPanels<bf16_panels, kRows, kDepth> {
 public:
  inline __attribute__((always_inline)) RowPanels(const void* x, i64 k, i64 row, i64)
      : x_(static_cast<const bf16*>(x) + row * k), stride_(k) {}
  inline __attribute__((always_inline)) void select(i64 k, i64) { k_ = k; }
  inline __attribute__((always_inline)) const bf16* block(i64 m) const { return x_ + (m * stride_ + k_) * kBlockRows; }

 private:
  const bf16* x_;
  i64 stride_, k_ = 0;
};

// What amx_products needs to know of bf16: sums of all columns are those of the product.
struct Bf16Product {
  static constexpr i64 kColumns = kTileK;  // of K in a tile
  static constexpr bool kScaled = false;
  struct Scales {
    inline __attribute__((always_inline)) f32x16 apply(const float* sums, i64, int) const { return load16(sums); }
  };
  struct ColumnScales {};
  KERNEL_FN ColumnScales column_scales(const auto&) { return {}; }
  KERNEL_FN Scales scales(const auto&, ColumnScales, i64, i64) { return {}; }
  KERNEL_FN i64 steps(const auto&, i64 steps) { return steps; }
  KERNEL_FN void multiply(const void* row0, const void* row1, const void* column0, const void* column1) {
    multiply_bf16(row0, row1, column0, column1);
  }
};

// The sums of a product of 32 x 32 that are not yet where they belong: with those of earlier columns of K, or, when these
// are all, in Finish, which is called for each row with 16 outputs of the first block and 16 of the second.
template <typename Product, typename Finish>
struct PendingSums {
  const Finish* finish;
  const float* fresh;  // of the last product
  float* sums;         // of the columns up to it
  bool begins, ends;   // it has the first columns, or the last ones
  i64 row, block;
  i64 next, end;  // rows of the product
  typename Product::Scales scales = {};

  inline __attribute__((always_inline)) void advance(i64 count) {
    const i64 stop = min_of(next + count, end);
    if (begins && ends)
      move<true, true>(stop);
    else if (begins)
      move<true, false>(stop);
    else if (ends)
      move<false, true>(stop);
    else
      move<false, false>(stop);
  }

 private:
  template <bool kBegins, bool kEnds>
  inline __attribute__((always_inline)) void move(i64 stop) {
    const auto scale = scales;
    const float* const from = fresh;
    float* const to = sums;
    for (i64 n = next; n < stop; ++n) {
      const i64 at = (n + (n & kTileRows)) * kTileRows, other = at + kTileRows * kTileRows;  // rows 16 to 31: the third tile
      f32x16 first = scale.apply(from + at, n, 0), second = scale.apply(from + other, n, 1);
      if (!kBegins) first += load16(to + at), second += load16(to + other);
      if (kEnds)
        (*finish)(row + n, block, first, second);
      else
        store16(to + at, first), store16(to + other, second);
    }
    next = max_of(next, stop);
  }
};

// The products of `rows` rows, from row `row` on, and the outputs of `count` blocks from `first` on, of `blocks` in
// all. kept: [steps of blocks][row blocks][kBlockSums].
template <typename Pairing, typename Product, i64 kDepth, typename Rows, typename Panels, typename Finish>
KERNEL_FN void amx_products(Rows& x, i64 k_all, i64 row, i64 rows, Panels& panels, i64 first, i64 count, i64 blocks,
                            float* kept, const Finish& finish) {
  const i64 row_blocks = (rows + kBlockRows - 1) / kBlockRows;
  alignas(64) float fresh[kBlockSums];
  PendingSums<Product, Finish> pending{&finish, fresh, nullptr, false, false, row, first, 0, 0};
  const auto place = [&](i64 k, i64 b) {
    const bool alone = Pairing::kPerStep == 2 && b + 1 == count;
    const i64 block = first + b, steps = min_of(kDepth, k_all - k) / Product::kColumns;
    return PanelPlace{{block, alone ? block : Pairing::second(block, blocks)}, k, steps};
  };
  panels.begin(place(0, 0), 1);
  panels.finish();
  for (i64 k = 0; k < k_all; k += kDepth) {
    const i64 all_steps = min_of(kDepth, k_all - k) / Product::kColumns, steps = Product::steps(x, all_steps);
    const bool last_k = k + kDepth >= k_all;
    const i64 portion = (kBlockRows + steps - 1) / steps;
    x.select(k, all_steps);
    float* sums = kept;
    for (i64 b = 0; b < count; b += Pairing::kPerStep) {
      const char *column0 = panels.panel(0), *column1 = panels.panel(1);
      const auto column_scales = Product::column_scales(panels);
      const bool same_k = b + Pairing::kPerStep < count;
      if (same_k || !last_k)
        panels.begin(same_k ? place(k, b + Pairing::kPerStep) : place(k + kDepth, 0), row_blocks * all_steps);
      for (i64 m = 0; m < row_blocks; ++m, sums += kBlockSums) {
        const char* rows0 = reinterpret_cast<const char*>(x.block(m));
        for (i64 begin = 0; begin < all_steps; begin += steps) {
          const bool begins = k == 0 && begin == 0, ends = last_k && begin + steps == all_steps;
          zero_sums();
          for (i64 s = begin; s < begin + steps; ++s) {
            const char* row_tiles = rows0 + s * 2 * kTileBytes;
            Product::multiply(row_tiles, row_tiles + kTileBytes, column0 + s * kTileBytes, column1 + s * kTileBytes);
            panels.advance();
            pending.advance(portion);
          }
          pending.advance(kBlockRows);
          if (!Product::kScaled && begins && !ends) {
            store_sums(sums);
            continue;
          }
          store_sums(fresh);
          pending.sums = sums, pending.begins = begins, pending.ends = ends;
          pending.row = row + m * kBlockRows, pending.block = first + b;
          pending.next = 0, pending.end = ends ? min_of(kBlockRows, rows - m * kBlockRows) : kBlockRows;
          pending.scales = Product::scales(x, column_scales, m, begin);
        }
      }
      panels.finish();
    }
  }
  pending.advance(kBlockRows);
}
