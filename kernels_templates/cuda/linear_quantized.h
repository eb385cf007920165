// Linear layer on quantized weights, the reference: one thread an output, products summed in order of k. See
// LinearQuantizedArgs.
#pragma once

#include "cuda/types.h"
#include "quantized_weights.h"

// Tile: x = 256 columns, y = row. 256 threads.
template <typename Code, typename S, typename A, int Interleave>
KERNEL_FN void linear_quantized_naive(const LinearQuantizedArgs& a, Tile tile, char*) {
  const i64 row = tile.y;
  const i64 n = tile.x * 256ll + threadIdx.x;
  if (row >= a.counts->rows[a.row_count] || n >= a.n) return;
  const A* x = static_cast<const A*>(a.x) + row * a.k;
  const i64 groups = (a.k + a.group - 1) / a.group;
  float sum = 0.0f;
  for (i64 k = 0; k < a.k; ++k) {
    const u32 code = stored_code(static_cast<const u32*>(a.codes), n, k, a.k, Code::kBits, Interleave);
    const i64 at = interleaved_index(n, k / a.group, groups, Interleave);
    const float zero = Code::kInteger ? static_cast<float>(a.zeros ? a.zeros[at] : a.zero) : 0.0f;
    sum = fmaf((code_value(Code{}, code) - zero) * to_float(static_cast<const S*>(a.scales)[at]), to_float(x[k]), sum);
  }
  a.out[row * a.n + n] = sum + bias_at(a, n);
}
