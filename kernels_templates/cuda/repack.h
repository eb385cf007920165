// Init program: quantized weights from the forms of checkpoints to the layout of cuda/linear_quantized.h: see
// RepackArgs. Bound by reading the codes, in whatever order they come.
#pragma once

#include "cuda/types.h"
#include "quantized_weights.h"

constexpr i64 kRepackRows = 16;

// Neighbouring threads take neighbouring rows: most checkpoints pack codes along K, with rows next to each other. Tile:
// y = block of 16 destination rows, from that of dst_row on. 256 threads.
template <typename S>
KERNEL_FN void repack(const RepackArgs& a, Tile tile, char*) {
  const i64 block = a.dst_row / kRepackRows + tile.y;
  const i64 row = block * kRepackRows + threadIdx.x % kRepackRows - a.dst_row;
  if (row < 0 || row >= a.rows) return;
  const i64 words = (a.k * a.dst_bits + 31) / 32, groups = (a.k + a.group - 1) / a.group;
  const i64 step = blockDim.x / kRepackRows;
  for (i64 word = threadIdx.x / kRepackRows; word < words; word += step) repack_word(a, row, word);
  for (i64 group = threadIdx.x / kRepackRows; group < groups; group += step) repack_group<S>(a, row, group);
}

// A thread a group. One block of 256 threads.
KERNEL_FN void group_order(const GroupOrderArgs& a, Tile, char*) {
  for (i64 group = threadIdx.x; group * a.group < a.k; group += blockDim.x) order_group(a, group);
}
