// Init program: quantized weights from the forms of checkpoints to the layout of x86/linear_quantized.h, 16 rows
// interleaved. Plain C++, so that llmc itself can run it, for every target, when it embeds weights.
#pragma once

#include "x86/quantized.h"

constexpr i64 kRepackRows = 16;

// Tile: y = block of 16 destination rows, from that of dst_row on.
template <typename S>
KERNEL_FN void repack(const RepackArgs& a, Tile tile) {
  const i64 block = a.dst_row / kRepackRows + tile.y;
  const i64 first = max_of(block * kRepackRows, a.dst_row) - a.dst_row;
  const i64 last = min_of((block + 1) * kRepackRows - a.dst_row, a.rows);
  const i64 words = (a.k * a.dst_bits + 31) / 32, groups = (a.k + a.group - 1) / a.group;
  for (i64 word = 0; word < words; ++word)
    for (i64 row = first; row < last; ++row) repack_word(a, row, word);
  for (i64 group = 0; group < groups; ++group)
    for (i64 row = first; row < last; ++row) repack_group<S>(a, row, group);
}

// One tile.
KERNEL_FN void group_order(const GroupOrderArgs& a, Tile) {
  for (i64 group = 0; group * a.group < a.k; ++group) order_group(a, group);
}
