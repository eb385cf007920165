// Linear layers of int8 activations on integer codes: a vector of weights holds a word of each of 16 rows; a mask takes
// every second, fourth or each code of these words as bytes, and a broadcast word of four activations multiplies them
// into 16 sums in int32. Where a scale of the weight or of the activations ends the sums become float32. Exact in between:
// no sum of a group's products can overflow.
#pragma once

#include "x86/linear_quantized.h"

typedef signed char s8x64 __attribute__((vector_size(64)));
typedef short s16x32 __attribute__((vector_size(64)));
typedef short s16x16 __attribute__((vector_size(32)));
typedef i32 i32x8 __attribute__((vector_size(32)));


// Sums of products of unsigned bytes (weights of kBits bits) and signed bytes (activations), 16 sums of kWords words
// each. Without VNNI: 4-bit codes are multiplied to 16-bit pairs, which hold the sum of a whole group; wider ones could
// saturate there, and are widened before.
template <int kBits>
struct Int8Dot {
#if defined(__AVX512VNNI__)
  i32x16 sums;
  KERNEL_FN Int8Dot from(i32x16 sums) { return {sums}; }
  KERNEL_FN void add(Int8Dot& d, u32x16 weights, i32 x) {
    d.sums = __builtin_ia32_vpdpbusd512(d.sums, __builtin_bit_cast(i32x16, weights), i32x16{} + x);
  }
  KERNEL_FN i32x16 total(const Int8Dot& d) { return d.sums; }
#else
  i32x16 sums;
  s16x32 pairs;
  KERNEL_FN Int8Dot from(i32x16 sums) { return {sums, s16x32{}}; }
  KERNEL_FN s16x32 multiply_bytes(s8x64 w, s8x64 x) {
#if defined(__AVX512BW__)
    return __builtin_ia32_pmaddubsw512(w, x);
#else
    const s16x16 low = __builtin_ia32_pmaddubsw256(
        __builtin_shufflevector(w, w, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
                                23, 24, 25, 26, 27, 28, 29, 30, 31),
        __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
                                23, 24, 25, 26, 27, 28, 29, 30, 31));
    const s16x16 high = __builtin_ia32_pmaddubsw256(
        __builtin_shufflevector(w, w, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51,
                                52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63),
        __builtin_shufflevector(x, x, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51,
                                52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63));
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
                                   21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31);
#endif
  }
  KERNEL_FN i32x16 multiply_pairs(s16x32 w, s16x32 x) {
#if defined(__AVX512BW__)
    return __builtin_ia32_pmaddwd512(w, x);
#else
    const i32x8 low =
        __builtin_ia32_pmaddwd256(__builtin_shufflevector(w, w, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                  __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const i32x8 high = __builtin_ia32_pmaddwd256(
        __builtin_shufflevector(w, w, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31),
        __builtin_shufflevector(x, x, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31));
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#endif
  }
  KERNEL_FN void add(Int8Dot& d, u32x16 weights, i32 x) {
    if constexpr (kBits <= 4) {
      d.pairs += multiply_bytes(__builtin_bit_cast(s8x64, weights), __builtin_bit_cast(s8x64, i32x16{} + x));
    } else {
      const s16x32 four = __builtin_bit_cast(s16x32, i32x16{} + x);
      const s16x32 even = __builtin_bit_cast(s16x32, weights & 0x00ff00ffu);
      typedef u16 u16x32 __attribute__((vector_size(64)));
      const s16x32 odd = __builtin_bit_cast(s16x32, __builtin_bit_cast(u16x32, weights) >> 8);
      d.sums += multiply_pairs(even, four << 8 >> 8);
      d.sums += multiply_pairs(odd, four >> 8);
    }
  }
  KERNEL_FN i32x16 total(const Int8Dot& d) {
    if constexpr (kBits <= 4) return d.sums + multiply_pairs(d.pairs, s16x32{} + static_cast<short>(1));
    return d.sums;
  }
#endif
};

// kRows activation rows times kBlocks blocks of 16 outputs.
template <typename Code, typename S, int kRows, int kBlocks>
KERNEL_FN void int8_tile(const LinearQuantizedArgs& a, i64 row, i64 block) {
  constexpr int kBits = Code::kBits, kVectors = 8 / kBits;  // vectors of bytes in a vector of words
  constexpr i64 kWords = kInt8SumColumns * kBits / 32;      // of a row in the columns of a sum of codes
  constexpr u32 kMask = kBits == 8 ? 0xffffffffu : kBits == 4 ? 0x0f0f0f0fu : 0x03030303u;
  constexpr i64 kAhead = 2048;  // bytes of weights: what must be under way to cover the latency of memory
  using Dot = Int8Dot<kBits>;
  const i64 words = code_words(a.k, kBits), groups = (a.k + a.group - 1) / a.group;
  const i64 x_groups = a.k / a.int8.group, x_sums = a.k / kInt8SumColumns;
  const i64 unit = min_of(a.group, a.int8.group), unit_sums = unit / kInt8SumColumns;  // columns of the same scales
  const u32 group_units = static_cast<u32>(a.group / unit), x_group_units = static_cast<u32>(a.int8.group / unit);
  const u32* codes = static_cast<const u32*>(a.codes) + block * words * kQuantizedRows;
  const S* scales = static_cast<const S*>(a.scales) + block * groups * kQuantizedRows;
  const unsigned char* zeros = a.zeros + block * groups * kQuantizedRows;
  const signed char* x = a.int8.codes + row * a.k;
  f32x16 total[kRows][kBlocks] = {};
  for (i64 u = 0; u * unit < a.k; ++u) {
    const i64 group = static_cast<u32>(u) / group_units, x_group = static_cast<u32>(u) / x_group_units;
    i32x16 dot[kRows][kBlocks];
    for (int r = 0; r < kRows; ++r) {
      const i32* sums = a.int8.sums + (row + r) * x_sums + u * unit_sums;
      i32 sum = 0;
      for (i64 s = 0; s < unit_sums; ++s) sum += sums[s];
      for (int b = 0; b < kBlocks; ++b) {
        const i64 at = (b * groups + group) * kQuantizedRows;
        dot[r][b] = (a.zeros ? integer_bytes16(zeros + at) : i32x16{} + static_cast<i32>(a.zero)) * -sum;
      }
    }
    for (i64 part = u * unit_sums; part < (u + 1) * unit_sums; ++part) {
      for (int b = 0; b < kBlocks; ++b) {
        Dot part_dot[kRows];
        for (int r = 0; r < kRows; ++r) part_dot[r] = Dot::from(dot[r][b]);
        for (i64 w = 0; w < kWords; ++w) {
          const u32* p = codes + (b * words + part * kWords + w) * kQuantizedRows;
          __builtin_prefetch(reinterpret_cast<const char*>(p) + kAhead);
          const u32x16 word = load<u32x16>(p);
          for (int v = 0; v < kVectors; ++v)
            for (int r = 0; r < kRows; ++r) {
              i32 four;
              __builtin_memcpy(&four, x + r * a.k + part * kInt8SumColumns + (w * kVectors + v) * 4, sizeof four);
              Dot::add(part_dot[r], word >> (kBits * v) & kMask, four);
            }
        }
        for (int r = 0; r < kRows; ++r) dot[r][b] = Dot::total(part_dot[r]);
      }
    }
    for (int b = 0; b < kBlocks; ++b) {
      const f32x16 scale = load16(scales + (b * groups + group) * kQuantizedRows);
      for (int r = 0; r < kRows; ++r) {
        const float x_scale = a.int8.scales[(row + r) * x_groups + x_group];
        total[r][b] = fma16(__builtin_convertvector(dot[r][b], f32x16), scale * x_scale, total[r][b]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int b = 0; b < kBlocks; ++b) store_quantized(a, row + r, (block + b) * kQuantizedRows, total[r][b]);
}

// A tile of kRows rows and kBlocks * 16 columns, with narrower forms for what is left at the edges.
template <typename Code, typename S, int kRows, int kBlocks>
KERNEL_FN void linear_int8_rows(const LinearQuantizedArgs& a, Tile tile) {
  const i64 rows = a.counts->rows[a.row_count], row = static_cast<i64>(tile.y) * kRows;
  if (row >= rows) return;
  const i64 blocks = (a.n + kQuantizedRows - 1) / kQuantizedRows, block = static_cast<i64>(tile.x) * kBlocks;
  if (row + kRows <= rows && block + kBlocks <= blocks) {
    int8_tile<Code, S, kRows, kBlocks>(a, row, block);
    return;
  }
  for (i64 r = row; r < min_of(row + kRows, rows); ++r)
    for (i64 b = block; b < min_of(block + kBlocks, blocks); ++b) int8_tile<Code, S, 1, 1>(a, r, b);
}

// The reference: one output at a time, from the definition of the layout.
template <typename Code, typename S>
KERNEL_FN void linear_int8_naive(const LinearQuantizedArgs& a, Tile tile) {
  const i64 row = tile.y, n = tile.x;
  if (row >= a.counts->rows[a.row_count]) return;
  constexpr i64 kPerWord = 32 / Code::kBits;
  const Int8Rows& x = a.int8;
  const i64 words = code_words(a.k, Code::kBits), groups = (a.k + a.group - 1) / a.group;
  const i64 sums = a.k / kInt8SumColumns;
  float acc = 0;
  for (i64 part = 0; part < sums; ++part) {
    const i64 at = interleaved_index(n, part * kInt8SumColumns / a.group, groups, kQuantizedRows);
    const i32 zero = static_cast<i32>(a.zeros ? a.zeros[at] : a.zero);
    i32 dot = -zero * x.sums[row * sums + part];
    for (i64 i = 0; i < kInt8SumColumns; ++i) {
      const i64 k = part * kInt8SumColumns + i;
      const u32 word = static_cast<const u32*>(a.codes)[interleaved_index(n, k / kPerWord, words, kQuantizedRows)];
      const u32 code = word >> (k % kPerWord * Code::kBits) & ((1u << Code::kBits) - 1);
      dot += static_cast<i32>(code) * x.codes[row * a.k + int8_position(k, Code::kBits)];
    }
    const float x_scale = x.scales[row * (a.k / x.group) + part * kInt8SumColumns / x.group];
    acc += static_cast<float>(dot) * to_float(static_cast<const S*>(a.scales)[at]) * x_scale;
  }
  a.out[row * a.n + n] = acc + bias_at(a, n);
}
