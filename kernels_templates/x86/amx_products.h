// Products of many rows on AMX: operands in bf16, sums in float32.
//
// K advances in steps of kDepth. For each, the activations stay in the L2 while all pairs of 16 outputs pass by, and
// the weights of a pair stay in the L1 meanwhile; each product of 32 x 32 outputs keeps its sums in tiles over kDepth.
// What is to be done with the sums of a product (adding them to those of earlier steps of K, or what the layer does
// with its outputs) happens in small portions during the next one, beside the matrix unit.
#pragma once

#include "x86/amx_weights.h"
#include "x86/operand.h"
#include "x86/output_tile.h"

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

// The sums of a product of 32 x 32 that are not yet where they belong. Finish is called for each row with 16 outputs
// of the first block and 16 of the second.
template <typename Finish>
struct PendingSums {
  const Finish* finish;
  const float* fresh;   // of the last step of K
  const float* before;  // of the steps before it, or null
  float* after;         // where they wait for further steps, or null: they are complete
  i64 row, rows, block;
  i64 next, end;  // rows of the product
  inline __attribute__((always_inline)) void advance(i64 count) {
    for (const i64 stop = min_of(next + count, end); next < stop; ++next) {
      const i64 at = next / kTileRows * 2 * kTileRows * kTileRows + next % kTileRows * kTileRows;
      const i64 other = at + kTileRows * kTileRows;
      f32x16 first = load16(fresh + at), second = load16(fresh + other);
      if (before) first += load16(before + at), second += load16(before + other);
      if (after)
        store16(after + at, first), store16(after + other, second);
      else
        (*finish)(row + next, block, first, second);
    }
  }
};

// The products of `rows` rows, from row `row` on, and the outputs of `count` blocks from `first` on, of `blocks` in
// all. kept: [steps of blocks][row blocks][kBlockSums].
template <typename Pairing, i64 kDepth, typename Rows, typename Panels, typename Finish>
KERNEL_FN void amx_products(Rows& x, i64 k_all, i64 row, i64 rows, Panels& panels, i64 first, i64 count, i64 blocks,
                            float* kept, const Finish& finish) {
  const i64 row_blocks = (rows + kBlockRows - 1) / kBlockRows;
  alignas(64) float fresh[kBlockSums];
  PendingSums<Finish> pending{&finish, fresh, nullptr, nullptr, row, rows, first, 0, 0};
  const auto place = [&](i64 k, i64 b) {
    const bool alone = Pairing::kPerStep == 2 && b + 1 == count;
    const i64 block = first + b;
    return PanelPlace{{block, alone ? block : Pairing::second(block, blocks)}, k, min_of(kDepth, k_all - k) / kTileK};
  };
  panels.begin(place(0, 0), 1);
  panels.finish();
  for (i64 k = 0; k < k_all; k += kDepth) {
    const i64 steps = min_of(kDepth, k_all - k) / kTileK;
    const bool last = k + kDepth >= k_all;
    const i64 portion = (kBlockRows + steps - 1) / steps;
    x.select(k, steps);
    float* sums = kept;
    for (i64 b = 0; b < count; b += Pairing::kPerStep) {
      const char *column0 = panels.panel(0), *column1 = panels.panel(1);
      const bool same_k = b + Pairing::kPerStep < count;
      if (same_k || !last)
        panels.begin(same_k ? place(k, b + Pairing::kPerStep) : place(k + kDepth, 0), row_blocks * steps);
      for (i64 m = 0; m < row_blocks; ++m, sums += kBlockSums) {
        const char* rows0 = reinterpret_cast<const char*>(x.block(m));
        zero_sums();
        for (i64 s = 0; s < steps; ++s) {
          const char* row_tiles = rows0 + s * 2 * kTileBytes;
          multiply_bf16(row_tiles, row_tiles + kTileBytes, column0 + s * kTileBytes, column1 + s * kTileBytes);
          panels.advance();
          pending.advance(portion);
        }
        pending.advance(kBlockRows);
        if (k == 0 && !last) {
          store_sums(sums);
          continue;
        }
        store_sums(fresh);
        pending.before = k == 0 ? nullptr : sums, pending.after = last ? nullptr : sums;
        pending.row = row + m * kBlockRows, pending.block = first + b;
        pending.next = 0, pending.end = last ? min_of(kBlockRows, rows - m * kBlockRows) : kBlockRows;
      }
      panels.finish();
    }
  }
  pending.advance(kBlockRows);
}
