// 16 x 16 words in registers.
#pragma once

#include "x86/simd.h"

template <typename T, T... kIndex>
struct LaneIndices {};

// Exchanges blocks of kSize x kSize off the diagonal of blocks twice that size.
template <int kSize, int... kIndex>
KERNEL_FN void exchange_blocks(u32x16 (&rows)[16], LaneIndices<int, kIndex...>) {
  for (int i = 0; i < 16; ++i) {
    if (i & kSize) continue;
    const u32x16 a = rows[i], b = rows[i | kSize];
    rows[i] = __builtin_shufflevector(a, b, ((kIndex & kSize) ? 16 + (kIndex ^ kSize) : kIndex)...);
    rows[i | kSize] = __builtin_shufflevector(a, b, ((kIndex & kSize) ? 16 + kIndex : (kIndex ^ kSize))...);
  }
}

KERNEL_FN void transpose16(u32x16 (&rows)[16]) {
  constexpr __make_integer_seq<LaneIndices, int, 16> kLanes{};
  exchange_blocks<1>(rows, kLanes);
  exchange_blocks<2>(rows, kLanes);
  exchange_blocks<4>(rows, kLanes);
  exchange_blocks<8>(rows, kLanes);
}
