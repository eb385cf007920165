// The interleaved layout of linear weights on x86, one per element type, the same for every x86 variant (and the order in which
// AMX reads tiles): blocks of 16 rows; within a block K advances in groups of 4 bytes (1 float, or 2 of a 16-bit type); within a group, row by
// row. Element (n, k) of W [N, K] lies at
//     ((n / 16) * (Kp / G) + k / G) * 16 * G + (n % 16) * G + k % G      with G = 4 / sizeof(W), Kp = K rounded up to G.
// Rows are padded to 16 and K to G with zeros.
#pragma once

#include "x86/types.h"

constexpr i64 kPackRows = 16;

template <typename W>
constexpr i64 kPackGroup = 4 / static_cast<i64>(sizeof(W));

template <typename W>
KERNEL_FN i64 packed_k(i64 k) {
  return (k + kPackGroup<W> - 1) / kPackGroup<W> * kPackGroup<W>;
}

// Init program: packs 16 destination rows per tile (tile.y counts blocks of 16 rows from dst_row down to a multiple of 16).
// Parts may begin and end inside a block; the padding rows of the buffer are zero because buffers start zeroed.
template <typename W>
KERNEL_FN void pack(const PackArgs& a, Tile tile) {
  const i64 group = kPackGroup<W>, kp = packed_k<W>(a.k);
  const i64 block = a.dst_row / kPackRows + tile.y;
  const i64 first = max_of(block * kPackRows, a.dst_row), last = min_of((block + 1) * kPackRows, a.dst_row + a.rows);
  W* dst = static_cast<W*>(a.dst) + block * kPackRows * kp;
  for (i64 n = first; n < last; ++n) {
    const char* row = static_cast<const char*>(a.src) + (n - a.dst_row) * a.src_stride * static_cast<i64>(sizeof(W));
    W* lane = dst + (n % kPackRows) * group;
    for (i64 k = 0; k < a.k; ++k) {
      W v;
      __builtin_memcpy(&v, row + k * static_cast<i64>(sizeof(W)), sizeof v);  // checkpoints do not promise alignment
      lane[k / group * kPackRows * group + k % group] = v;
    }
  }
}
