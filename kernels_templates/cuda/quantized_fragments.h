// Quantized weights as operands of mma m16n8k16: sm_80 and later, and sm_75 with fp16. The codes lie in the order of
// fragments (quantized_weights.h): 16 bytes of lane 4 * g + t are codes of row g, columns t * 8 .. t * 8 + 7 of
// each 32.
#pragma once

// clang-format off: the types come first
#include "cuda/tensor_core.h"
#include "quantized_weights.h"
// clang-format on

// What is taken off codes as they unpack, each constant in both halves of a word.
struct FragmentZero {
  u32 near, far;
};

// Small integers stand in the fraction of a power of two: 1024 + code in fp16, 128 + code in bf16, whose fraction holds
// no more than four bits of code.
template <typename Code, typename A>
struct FragmentCodes;

KERNEL_FN u32 both_halves(u32 half) { return half * 0x00010001u; }

template <>
struct FragmentCodes<U4, f16> {
  static constexpr float kScale = 1.0f;
  // 1024 + zero; and -(64 + zero), for codes that stand four bits higher and are divided by 16.
  KERNEL_FN static FragmentZero zero(u32 z) { return {both_halves(0x6400u + z), both_halves(0xd400u + z * 16)}; }
  KERNEL_FN static void unpack(const u32* words, const FragmentZero& z, u32 (&out)[4]) {
    constexpr u32 kSixteenth = 0x2c002c00u;
    const u32 upper = words[0] >> 8;
    out[0] = f16x2_sub(and_or(words[0], 0x000f000fu, 0x64006400u), z.near);
    out[1] = f16x2_fma(and_or(words[0], 0x00f000f0u, 0x64006400u), kSixteenth, z.far);
    out[2] = f16x2_sub(and_or(upper, 0x000f000fu, 0x64006400u), z.near);
    out[3] = f16x2_fma(and_or(upper, 0x00f000f0u, 0x64006400u), kSixteenth, z.far);
  }
};

template <>
struct FragmentCodes<U4, bf16> {
  static constexpr float kScale = 1.0f;
  KERNEL_FN static FragmentZero zero(u32 z) { return {both_halves(0xc300u + z), 0}; }  // -(128 + zero)
  KERNEL_FN static void unpack(const u32* words, const FragmentZero& z, u32 (&out)[4]) {
    constexpr u32 kOne = 0x3f803f80u;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      out[i] = bf16x2_fma(and_or(words[0] >> (4 * i), 0x000f000fu, 0x43004300u), kOne, z.near);
  }
};

// Bytes j and j + 1 of a word, in the lower or the upper half of each half word.
KERNEL_FN u32 bytes_low(u32 word, int j, u32 rest) { return __byte_perm(word, rest, j ? 0x4342 : 0x4140); }
KERNEL_FN u32 bytes_high(u32 word, int j) { return __byte_perm(word, 0, j ? 0x3424 : 0x1404); }

template <>
struct FragmentCodes<U8, f16> {
  static constexpr float kScale = 1.0f;
  KERNEL_FN static FragmentZero zero(u32 z) { return {both_halves(0x6400u + z), 0}; }
  KERNEL_FN static void unpack(const u32* words, const FragmentZero& z, u32 (&out)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = f16x2_sub(bytes_low(words[i / 2], i % 2, 0x64646464u), z.near);
  }
};

// Seven bits of a code stand in the fraction of 128. The eighth says whether 128 or 256 is taken off, which leaves code
// - 128; and 128 - zero goes on top. All of these are integers of at most eight bits.
template <>
struct FragmentCodes<U8, bf16> {
  static constexpr float kScale = 1.0f;
  KERNEL_FN static FragmentZero zero(u32 z) {
    return {both_halves(bf16_bits_of(128.0f - static_cast<float>(static_cast<i32>(z)))), 0};
  }
  KERNEL_FN static void unpack(const u32* words, const FragmentZero& z, u32 (&out)[4]) {
    constexpr u32 kOne = 0x3f803f80u, kMinusOne = 0xbf80bf80u;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const u32 pair = bytes_low(words[i / 2], i % 2, 0);
      const u32 low = and_or(pair, 0x007f007fu, 0x43004300u), off = and_xor(pair, 0x00800080u, 0x43804380u);
      out[i] = bf16x2_fma(bf16x2_fma(off, kMinusOne, low), kOne, z.near);
    }
  }
};

// Exponent and fraction are those of an fp16 that is smaller by 2^8, or of a bf16 smaller by 2^120, subnormal ones
// included. A code that is no number (0x7f, which no writer uses) counts as 480.
template <>
struct FragmentCodes<E4m3, f16> {
  static constexpr float kScale = 256.0f;
  KERNEL_FN static FragmentZero zero(u32) { return {0, 0}; }
  KERNEL_FN static void unpack(const u32* words, const FragmentZero&, u32 (&out)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const u32 pair = bytes_high(words[i / 2], i % 2);
      out[i] = and_or(pair, 0x80008000u, pair >> 1 & 0x3f803f80u);
    }
  }
};
template <>
struct FragmentCodes<E4m3, bf16> {
  static constexpr float kScale = 1.0f;
  KERNEL_FN static FragmentZero zero(u32) { return {0, 0}; }
  KERNEL_FN static void unpack(const u32* words, const FragmentZero&, u32 (&out)[4]) {
    constexpr u32 kTwoToThe120 = 0x7b807b80u, kMinusZero = 0x80008000u;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const u32 pair = bytes_high(words[i / 2], i % 2);
      out[i] = bf16x2_fma(and_or(pair, 0x80008000u, pair >> 4 & 0x07f007f0u), kTwoToThe120, kMinusZero);
    }
  }
};

// The values of nf4, rounded to the type; those of fp4 in twelfths, which both types hold.
template <typename Code>
KERNEL_FN constexpr float table_unit() {
  return SameType<Code, Fp4>::value ? 1.0f / 12 : 1.0f;
}
// A scale, for products with the values as they are unpacked.
template <typename Code, typename S>
KERNEL_FN float scale_of(Code, S scale) {
  return to_float(scale);
}
template <typename S>
KERNEL_FN float scale_of(Fp4, S scale) {
  return to_float(scale) * table_unit<Fp4>();
}
template <typename Code, typename A>
struct FragmentTable;
template <>
struct FragmentTable<Nf4, f16> {
  KERNEL_FN static constexpr u32 value(int code) {
    constexpr u16 kValues[16] = {0xbc00, 0xb992, 0xb833, 0xb652, 0xb48d, 0xb1ea, 0xadd4, 0x0000,
                                 0x2d18, 0x3126, 0x33e0, 0x3568, 0x370d, 0x3880, 0x39c9, 0x3c00};
    return kValues[code];
  }
};
template <>
struct FragmentTable<Nf4, bf16> {
  KERNEL_FN static constexpr u32 value(int code) {
    constexpr u16 kValues[16] = {0xbf80, 0xbf32, 0xbf06, 0xbeca, 0xbe92, 0xbe3d, 0xbdba, 0x0000,
                                 0x3da3, 0x3e25, 0x3e7c, 0x3ead, 0x3ee2, 0x3f10, 0x3f39, 0x3f80};
    return kValues[code];
  }
};
template <>
struct FragmentTable<Fp4, f16> {
  KERNEL_FN static constexpr u32 value(int code) {
    constexpr u16 kValues[16] = {0x0000, 0x2c00, 0x4800, 0x4a00, 0x4400, 0x4600, 0x4000, 0x4200,
                                 0x0000, 0xac00, 0xc800, 0xca00, 0xc400, 0xc600, 0xc000, 0xc200};
    return kValues[code];
  }
};
template <>
struct FragmentTable<Fp4, bf16> {
  KERNEL_FN static constexpr u32 value(int code) {
    constexpr u16 kValues[16] = {0x0000, 0x3d80, 0x4100, 0x4140, 0x4080, 0x40c0, 0x4000, 0x4040,
                                 0x0000, 0xbd80, 0xc100, 0xc140, 0xc080, 0xc0c0, 0xc000, 0xc040};
    return kValues[code];
  }
};

// Codes that are indices: the bytes of four values at a time are picked from eight of the table's, by three bits of
// their codes, and from the other eight; the fourth bit decides.
template <typename Code, typename A>
struct TableCodes {
  using Table = FragmentTable<Code, A>;
  static constexpr float kScale = table_unit<Code>();
  KERNEL_FN static FragmentZero zero(u32) { return {0, 0}; }
  KERNEL_FN static void unpack(const u32* words, const FragmentZero&, u32 (&out)[4]) {
    u32 pairs[2][2];  // [codes 0 2 4 6 or 1 3 5 7, the first or the last two of them]
#pragma unroll
    for (int odd = 0; odd < 2; ++odd) {
      const u32 codes = odd ? words[0] >> 16 : words[0];
      const u32 upper = __byte_perm(0x0000ff00u, 0, codes >> 3 & 0x1111u);  // bytes of codes from 8 on
      const u32 low = picked<0>(codes, upper), high = picked<8>(codes, upper);
      pairs[odd][0] = __byte_perm(low, high, 0x5140);
      pairs[odd][1] = __byte_perm(low, high, 0x7362);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = __byte_perm(pairs[0][i / 2], pairs[1][i / 2], i % 2 ? 0x7632 : 0x5410);
  }

 private:
  // Byte Shift / 8 of values 4 * Word to 4 * Word + 3.
  template <int Word, int Shift>
  KERNEL_FN static constexpr u32 bytes() {
    u32 word = 0;
    for (int i = 0; i < 4; ++i) word |= (Table::value(4 * Word + i) >> Shift & 0xffu) << (8 * i);
    return word;
  }
  template <int Shift>
  KERNEL_FN static u32 picked(u32 codes, u32 upper) {
    constexpr u32 kBytes[4] = {bytes<0, Shift>(), bytes<1, Shift>(), bytes<2, Shift>(), bytes<3, Shift>()};
    const u32 select = codes & 0x7777u;
    return (__byte_perm(kBytes[0], kBytes[1], select) & ~upper) | (__byte_perm(kBytes[2], kBytes[3], select) & upper);
  }
};
template <typename A>
struct FragmentCodes<Nf4, A> : TableCodes<Nf4, A> {};
template <typename A>
struct FragmentCodes<Fp4, A> : TableCodes<Fp4, A> {};

// Columns of a tile of fragments, and blocks of 32 in it; words of a lane in a block.
template <typename Code>
struct FragmentTile {
  static constexpr int kBlocks = 16 / Code::kBits, kDepth = 32 * kBlocks, kBytes = 512, kBlockWords = 4 / kBlocks;
  static_assert(kBlocks * kBlockWords == 4, "16 bytes a lane");
};

// Group of a block of 32 columns, without a division: exact while blocks times the group's blocks stay below 2^32.
struct BlockGroups {
  u32 group_blocks, reciprocal;

  KERNEL_FN explicit BlockGroups(i64 group)
      : group_blocks(static_cast<u32>(group / 32)), reciprocal(0xffffffffu / group_blocks + 1) {}
  KERNEL_FN u32 of(u32 block) const { return group_blocks == 1 ? block : __umulhi(block, reciprocal); }
};

// The products of a tile of 8 + 8 rows with token fragments, a group's sums apart until its scale is known to end.
template <typename Code, typename A, int TokenTiles>
struct FragmentSums {
  float part[TokenTiles][4];
  float scale[2];
  FragmentZero zero[2];

  KERNEL_FN void begin_group(float low_scale, float high_scale, u32 low_zero, u32 high_zero) {
    using Codes = FragmentCodes<Code, A>;
    scale[0] = low_scale * Codes::kScale, scale[1] = high_scale * Codes::kScale;
    zero[0] = Codes::zero(low_zero), zero[1] = Codes::zero(high_zero);
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m)
#pragma unroll
      for (int j = 0; j < 4; ++j) part[m][j] = 0.0f;
  }
  KERNEL_FN void end_group(float (&sum)[TokenTiles][4]) const {
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m)
#pragma unroll
      for (int j = 0; j < 4; ++j) sum[m][j] = fmaf(part[m][j], scale[j / 2], sum[m][j]);
  }
  // One block of 32 columns: this lane's words of rows g and g + 8, and eight values of each token tile's row g.
  KERNEL_FN void multiply(const u32* low, const u32* high, const uint4 (&token)[TokenTiles]) {
    u32 a[4], b[4];
    FragmentCodes<Code, A>::unpack(low, zero[0], a);
    FragmentCodes<Code, A>::unpack(high, zero[1], b);
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m) {
      mma_16816<A>(part[m], a[0], b[0], a[1], b[1], token[m].x, token[m].y);
      mma_16816<A>(part[m], a[2], b[2], a[3], b[3], token[m].z, token[m].w);
    }
  }
};

KERNEL_FN void words_of(const uint4& v, u32 (&words)[4]) {
  words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w;
}
