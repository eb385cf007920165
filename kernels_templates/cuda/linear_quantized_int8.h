// Linear layer of int8 activations on integer codes, the reference: one thread an output. See LinearQuantizedArgs.
#pragma once

#include "cuda/types.h"
#include "quantized_weights.h"

// Tile: x = 256 columns, y = row. 256 threads.
template <typename Code, typename S>
KERNEL_FN void linear_int8_naive(const LinearQuantizedArgs& a, Tile tile, char*) {
  const i64 row = tile.y;
  const i64 n = tile.x * 256ll + threadIdx.x;
  if (row >= a.counts->rows[a.row_count] || n >= a.n) return;
  constexpr i64 kPerWord = 32 / Code::kBits;
  const Int8Rows& x = a.int8;
  const i64 groups = (a.k + a.group - 1) / a.group, parts = a.k / x.group;
  const u32* codes = static_cast<const u32*>(a.codes) + n * code_words(a.k, Code::kBits);
  float sum = 0.0f;
  for (i64 part = 0; part < parts; ++part) {
    const i64 at = n * groups + part * x.group / a.group;
    const i32 zero = static_cast<i32>(a.zeros ? a.zeros[at] : a.zero);
    i32 dot = -zero * x.sums[row * parts + part];
    for (i64 i = 0; i < x.group; ++i) {
      const i64 k = part * x.group + i;
      const u32 code = codes[k / kPerWord] >> (k % kPerWord * Code::kBits) & ((1u << Code::kBits) - 1);
      dot += static_cast<i32>(code) * x.codes[row * a.k + int8_position(k, Code::kBits)];
    }
    const float scale = to_float(static_cast<const S*>(a.scales)[at]) * x.scales[row * parts + part];
    sum = fmaf(static_cast<float>(dot), scale, sum);
  }
  a.out[row * a.n + n] = sum + bias_at(a, n);
}
