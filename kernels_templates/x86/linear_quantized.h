// Linear layers on quantized weights, 16 rows interleaved: word w of a block of 16 rows holds the codes of 32 / bits columns, of one row in
// each of 16 consecutive words, lowest bits first. Accumulation is fp32.
#pragma once

#include "x86/types.h"
#include "quantized.h"

constexpr i64 kQuantizedRows = 16;

// The reference: one output at a time, from the definition of the layout.
template <typename Code, typename S, typename X>
KERNEL_FN void linear_quantized_naive(const LinearQuantizedArgs& a, Tile tile) {
  const i64 row = tile.y, n = tile.x;
  if (row >= a.counts->rows[a.row_count]) return;
  constexpr i64 kPerWord = 32 / Code::kBits;
  const X* x = static_cast<const X*>(a.x) + row * a.k;
  const i64 words = code_words(a.k, Code::kBits), groups = (a.k + a.group - 1) / a.group;
  float acc = 0;
  for (i64 k = 0; k < a.k; ++k) {
    const u32 word = static_cast<const u32*>(a.codes)[interleaved_index(n, k / kPerWord, words, kQuantizedRows)];
    const u32 code = word >> (k % kPerWord * Code::kBits) & ((1u << Code::kBits) - 1);
    const i64 at = interleaved_index(n, k / a.group, groups, kQuantizedRows);
    const float zero = Code::kInteger ? static_cast<float>(a.zeros ? a.zeros[at] : a.zero) : 0.0f;
    acc += (code_value(Code{}, code) - zero) * to_float(static_cast<const S*>(a.scales)[at]) * to_float(x[k]);
  }
  a.out[row * a.n + n] = acc + bias_at(a, n);
}
