// Linear layers on quantized weights, 16 rows interleaved: word w of a block of 16 rows holds the codes of 32 / bits
// columns, of one row in each of 16 consecutive words, lowest bits first. A vector of these words unpacks to 16
// outputs' weights of one column, which a broadcast activation multiplies. Accumulation is fp32.
#pragma once

#include "x86/quantized.h"
#include "x86/simd.h"

constexpr i64 kQuantizedRows = 16;

// An integer below 2^23 put into the fraction of 2^23 is a float that much larger than it.
constexpr u32 kMagicBits = 0x4b000000u;
constexpr float kMagic = 8388608.0f;

// Code i of every word of `half` (the upper 16 bits are ignored), minus zero, times 2^(bits * i): left where it stands,
// one operation cheaper than shifted down. `offset` is kMagic + zero * 2^(bits * i).
template <typename Code>
KERNEL_FN f32x16 integers16(u32x16 half, int i, f32x16 offset) {
  const u32 mask = ((1u << Code::kBits) - 1) << (Code::kBits * i);
  return __builtin_bit_cast(f32x16, (half & mask) | kMagicBits) - offset;
}

KERNEL_FN f32x16 float16_of(u32x16 bits) { return __builtin_bit_cast(f32x16, bits); }

// Entries of a table of 16. The one place that names an instruction: vector extensions have no permutation by a
// variable.
KERNEL_FN f32x16 lookup16(f32x16 table, u32x16 index) {
#if defined(__AVX512F__)
  return __builtin_ia32_permvarsf512(table, __builtin_bit_cast(i32x16, index));
#else
  typedef float f32x8 __attribute__((vector_size(32)));
  typedef i32 i32x8 __attribute__((vector_size(32)));
  const auto part = [&](i32x8 i) {
    const f32x8 low = __builtin_ia32_permvarsf256(__builtin_shufflevector(table, table, 0, 1, 2, 3, 4, 5, 6, 7), i);
    const f32x8 high =
        __builtin_ia32_permvarsf256(__builtin_shufflevector(table, table, 8, 9, 10, 11, 12, 13, 14, 15), i);
    return i > 7 ? high : low;
  };
  const i32x16 i = __builtin_bit_cast(i32x16, index);
  const f32x8 first = part(__builtin_shufflevector(i, i, 0, 1, 2, 3, 4, 5, 6, 7));
  const f32x8 second = part(__builtin_shufflevector(i, i, 8, 9, 10, 11, 12, 13, 14, 15));
  return __builtin_shufflevector(first, second, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#endif
}

template <typename Code>
KERNEL_FN f32x16 table16() {
  f32x16 table;
  for (u32 i = 0; i < 16; ++i) table[i] = code_value(Code{}, i);
  return table;
}

// code_value of 16 codes.
template <typename Code>
KERNEL_FN f32x16 values16(Code, u32x16 codes, f32x16 table) {
  return lookup16(table, codes);
}
// Exponent and fraction are those of an fp16 that is smaller by 2^(15 - 7); its conversion knows subnormal numbers.
KERNEL_FN f32x16 values16(E4m3, u32x16 codes, f32x16) {
  const u32x16 magnitude = codes & 0x7fu, half = magnitude << 7 | (codes & 0x80u) << 8;
  const f32x16 value =
      __builtin_convertvector(__builtin_bit_cast(f16x16, __builtin_convertvector(half, u16x16)), f32x16) * 256.0f;
  return magnitude == 0x7fu ? float16_of(u32x16{} + 0x7fc00000u) : value;
}

KERNEL_FN i32x16 integer_bytes16(const unsigned char* p) {
  typedef unsigned char u8x16 __attribute__((vector_size(16)));
  return __builtin_convertvector(load<u8x16>(p), i32x16);
}
KERNEL_FN f32x16 bytes16(const unsigned char* p) { return __builtin_convertvector(integer_bytes16(p), f32x16); }

KERNEL_FN void store_quantized(const LinearQuantizedArgs& a, i64 row, i64 n, f32x16 acc) {
  float* out = a.out + row * a.n + n;
  if (n + kQuantizedRows <= a.n && !a.bias) return store16(out, acc);
  for (i64 i = 0; i < min_of(kQuantizedRows, a.n - n); ++i) out[i] = acc[i] + bias_at(a, n + i);
}

// kRows activation rows times kBlocks blocks of 16 outputs. K and the groups are whole words. One row alone leaves the
// scale to the end of a group, and sums the codes of each place in a half word apart; for several rows a weight is
// dequantized once.
template <typename Code, typename S, typename X, int kRows, int kBlocks>
KERNEL_FN void quantized_tile(const LinearQuantizedArgs& a, i64 row, i64 block) {
  constexpr int kPerWord = 32 / Code::kBits, kPlaces = 16 / Code::kBits;
  constexpr bool kLate = kRows == 1;
  constexpr int kChains = kLate ? kPlaces : 1;
  const i64 words = code_words(a.k, Code::kBits), groups = (a.k + a.group - 1) / a.group;
  const u32* codes = static_cast<const u32*>(a.codes) + block * words * kQuantizedRows;
  const S* scales = static_cast<const S*>(a.scales) + block * groups * kQuantizedRows;
  const unsigned char* zeros = a.zeros + block * groups * kQuantizedRows;
  const X* x = static_cast<const X*>(a.x) + row * a.k;
  const f32x16 table = Code::kBits == 4 && !Code::kInteger ? table16<Code>() : f32x16{};
  f32x16 total[kRows][kBlocks] = {};
  for (i64 g = 0; g < groups; ++g) {
    const i64 end = min_of((g + 1) * a.group, a.k);
    f32x16 scale[kBlocks], offset[kBlocks][kPlaces], factor[kBlocks][kPlaces], part[kRows][kBlocks][kChains] = {};
    for (int b = 0; b < kBlocks; ++b) {
      const i64 at = (b * groups + g) * kQuantizedRows;
      scale[b] = load16(scales + at);
      const f32x16 zero = a.zeros ? bytes16(zeros + at) : splat(static_cast<float>(a.zero));
      for (int i = 0; i < kPlaces; ++i) {
        offset[b][i] = kMagic + zero * static_cast<float>(1 << (Code::kBits * i));
        factor[b][i] = Code::kInteger ? scale[b] * (1.0f / static_cast<float>(1 << (Code::kBits * i))) : scale[b];
      }
    }
    for (i64 k = g * a.group; k < end; k += kPerWord) {
      for (int b = 0; b < kBlocks; ++b) {
        const u32x16 word = load<u32x16>(codes + (b * words + k / kPerWord) * kQuantizedRows);
        for (int j = 0; j < kPerWord; ++j) {
          const int i = j % kPlaces;
          const u32x16 half = j < kPlaces ? word : word >> 16;
          f32x16 w;
          if constexpr (Code::kInteger) {
            w = integers16<Code>(half, i, offset[b][i]);
          } else {
            w = values16(Code{}, word >> (Code::kBits * j) & ((1u << Code::kBits) - 1), table);
          }
          if (!kLate) w *= factor[b][i];
          for (int r = 0; r < kRows; ++r)
            part[r][b][i % kChains] = fma16(w, splat(to_float(x[r * a.k + k + j])), part[r][b][i % kChains]);
        }
      }
    }
    for (int r = 0; r < kRows; ++r)
      for (int b = 0; b < kBlocks; ++b)
        for (int i = 0; i < kChains; ++i)
          total[r][b] = kLate ? fma16(part[r][b][i], factor[b][i], total[r][b]) : total[r][b] + part[r][b][i];
  }
  for (int r = 0; r < kRows; ++r)
    for (int b = 0; b < kBlocks; ++b) store_quantized(a, row + r, (block + b) * kQuantizedRows, total[r][b]);
}

// A tile of kRows rows and kBlocks * 16 columns, with narrower forms for what is left at the edges.
template <typename Code, typename S, typename X, int kRows, int kBlocks>
KERNEL_FN void linear_quantized_rows(const LinearQuantizedArgs& a, Tile tile) {
  const i64 rows = a.counts->rows[a.row_count], row = static_cast<i64>(tile.y) * kRows;
  if (row >= rows) return;
  const i64 blocks = (a.n + kQuantizedRows - 1) / kQuantizedRows, block = static_cast<i64>(tile.x) * kBlocks;
  if (row + kRows <= rows && block + kBlocks <= blocks) {
    quantized_tile<Code, S, X, kRows, kBlocks>(a, row, block);
    return;
  }
  for (i64 r = row; r < min_of(row + kRows, rows); ++r)
    for (i64 b = block; b < min_of(block + kBlocks, blocks); ++b) quantized_tile<Code, S, X, 1, 1>(a, r, b);
}

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
