// Quantized weights, for both kinds of target: what codes mean, where they lie in memory, and how checkpoints pack
// them. Included behind the types.h of a side. The formulas are those of docs/quantization.md.
#pragma once

#include "abi.h"

// --- Codes
// ------------------------------------------------------------------------------------------------------------

struct U2 {
  static constexpr int kBits = 2;
  static constexpr bool kInteger = true;
};
struct U4 {
  static constexpr int kBits = 4;
  static constexpr bool kInteger = true;
};
struct U8 {
  static constexpr int kBits = 8;
  static constexpr bool kInteger = true;
};
struct E4m3 {
  static constexpr int kBits = 8;
  static constexpr bool kInteger = false;
};
struct Nf4 {
  static constexpr int kBits = 4;
  static constexpr bool kInteger = false;
};
struct Fp4 {
  static constexpr int kBits = 4;
  static constexpr bool kInteger = false;
};

KERNEL_FN float code_value(U2, u32 code) { return static_cast<float>(static_cast<i32>(code)); }
KERNEL_FN float code_value(U4, u32 code) { return static_cast<float>(static_cast<i32>(code)); }
KERNEL_FN float code_value(U8, u32 code) { return static_cast<float>(static_cast<i32>(code)); }

// float8_e4m3fn: exponent and fraction move to those of a float, whose exponent is 120 more. The smallest binade has no
// leading one: it is read as part of the next one, and that part taken off. (Multiplying a subnormal float by 2^120
// costs a CPU a trap for each.)
KERNEL_FN float code_value(E4m3, u32 code) {
  const u32 magnitude = code & 0x7fu, sign = (code & 0x80u) << 24;
  if (magnitude == 0x7fu) return float_of_bits(0x7fc00000u);
  const bool smallest = magnitude < 8;
  const float value = float_of_bits((magnitude << 20) + ((smallest ? 121u : 120u) << 23)) - (smallest ? 0x1p-6f : 0.0f);
  return float_of_bits(float_bits(value) | sign);
}

// Table 1 of QLoRA (Dettmers et al. 2023), as bitsandbytes rounds it.
KERNEL_FN float code_value(Nf4, u32 code) {
  constexpr float kTable[16] = {-1.0f,
                                -0.6961928009986877f,
                                -0.5250730514526367f,
                                -0.39491748809814453f,
                                -0.28444138169288635f,
                                -0.18477343022823334f,
                                -0.09105003625154495f,
                                0.0f,
                                0.07958029955625534f,
                                0.16093020141124725f,
                                0.24611230194568634f,
                                0.33791524171829224f,
                                0.44070982933044434f,
                                0.5626170039176941f,
                                0.7229568362236023f,
                                1.0f};
  return kTable[code];
}

// Of bitsandbytes: twelfths of 0, 1/16, 8, 12, 4, 6, 2 and 3, then their negatives.
KERNEL_FN float code_value(Fp4, u32 code) {
  constexpr float kTable[8] = {0.0f, 0.0625f / 12, 8.0f / 12, 1.0f, 4.0f / 12, 6.0f / 12, 2.0f / 12, 3.0f / 12};
  return code & 8u ? -kTable[code & 7u] : kTable[code & 7u];
}

// --- In memory
// --------------------------------------------------------------------------------------------------------

// Three orders, named by the rows that are interleaved: 1, 8 and 16. With 1 and 16 a word holds consecutive codes. 8 is
// that of matrix fragments: tiles of 8 rows x 64 bytes of codes are 32 x 16 bytes, what lane 4 * g + t of a warp reads
// at once: of row g the columns t * 8 .. t * 8 + 7 of each 32.
constexpr i64 kFragmentRows = 8;

// 32-bit words of a row of k codes: a multiple of 16 bytes, and of the tiles of fragments.
KERNEL_FN i64 code_words(i64 k, i64 bits, i64 interleave = 1) {
  return interleave == kFragmentRows ? (k * bits + 511) / 512 * 16 : (k * bits + 127) / 128 * 4;
}

// Index of word (or scale, or zero point) `column` of row n, of `columns` a row, with `interleave` rows interleaved.
KERNEL_FN i64 interleaved_index(i64 n, i64 column, i64 columns, i64 interleave) {
  return (n / interleave * columns + column) * interleave + n % interleave;
}

// Where column k of a row of int8 activations stands. A word of weights unpacks to 8 / bits vectors of bytes by shifts and a mask, the i-th holding
// every (8 / bits)-th code from i on; codes of activations stand in that order.
KERNEL_FN i64 int8_position(i64 k, i64 bits) {
  const i64 per_word = 32 / bits, vectors = 8 / bits, i = k % per_word;
  return k - i + i % vectors * 4 + i / vectors;
}

constexpr i64 kInt8SumColumns = 32;  // whose codes are summed (Int8Rows::sums)
constexpr float kLeastQuantizedMax = 1e-30f;  // below it 127 / max could overflow
constexpr float kGreatestE4m3 = 448.0f;

// Index of the word with codes word * 32 / bits, ... of row n.
KERNEL_FN i64 word_index(i64 n, i64 word, i64 k, i64 bits, i64 interleave) {
  const i64 words = code_words(k, bits, interleave);
  if (interleave != kFragmentRows) return interleaved_index(n, word, words, interleave);
  const i64 per_lane = bits / 4, within = word % 16;  // words of eight codes
  const i64 lane = n % kFragmentRows * 4 + within / per_lane % 4;
  return ((n / kFragmentRows * words + word / 16 * 16) * kFragmentRows) + lane * 4 +
         within / (4 * per_lane) * per_lane + within % per_lane;
}

// Bit of code i of a word. In fragments, codes 2j and 2j + 1 of four bits are 16 bits apart: one mask takes both, each
// in a half word.
KERNEL_FN int code_shift(int i, int bits, bool fragments) {
  return fragments && bits == 4 ? (i % 2 * 4 + i / 2) * 4 : i * bits;
}

// A word of consecutive codes in that order.
KERNEL_FN u32 stored_word(u32 word, i64 bits, i64 interleave) {
  if (interleave != kFragmentRows || bits != 4) return word;
  const auto gathered = [](u32 nibbles) {  // those at bits 0, 8, 16 and 24
    nibbles = (nibbles | nibbles >> 4) & 0x00ff00ffu;
    return (nibbles | nibbles >> 8) & 0xffffu;
  };
  return gathered(word & 0x0f0f0f0fu) | gathered(word >> 4 & 0x0f0f0f0fu) << 16;
}

// The other way.
KERNEL_FN u32 consecutive_codes(u32 word, i64 bits, i64 interleave) {
  if (interleave != kFragmentRows || bits != 4) return word;
  const auto spread = [](u32 nibbles) {
    nibbles = (nibbles | nibbles << 8) & 0x00ff00ffu;
    return (nibbles | nibbles << 4) & 0x0f0f0f0fu;
  };
  return spread(word & 0xffffu) | spread(word >> 16) << 4;
}

// Code k of row n.
KERNEL_FN u32 stored_code(const u32* codes, i64 n, i64 k, i64 row_codes, int bits, i64 interleave) {
  const i64 per_word = 32 / bits;
  const u32 word = codes[word_index(n, k / per_word, row_codes, bits, interleave)];
  return word >> code_shift(static_cast<int>(k % per_word), bits, interleave == kFragmentRows) & ((1u << bits) - 1);
}

KERNEL_FN float bias_at(const LinearQuantizedArgs& a, i64 n) {
  if (!a.bias) return 0.0f;
  if (a.bias_type == 0) return static_cast<const float*>(a.bias)[n];
  return a.bias_type == 1 ? to_float(static_cast<const f16*>(a.bias)[n])
                          : to_float(static_cast<const bf16*>(a.bias)[n]);
}

// --- In a checkpoint
// --------------------------------------------------------------------------------------------------

KERNEL_FN u32 unaligned_word(const void* base, i64 index) {
  const unsigned char* p = static_cast<const unsigned char*>(base) + index * 4;
  return static_cast<u32>(p[0]) | static_cast<u32>(p[1]) << 8 | static_cast<u32>(p[2]) << 16 |
         static_cast<u32>(p[3]) << 24;
}

KERNEL_FN u32 packed_word(const PackedView& v, i64 word, i64 line) {
  const i64 index = word * v.word_stride + line * v.line_stride;
  return v.word_bytes == 1 ? static_cast<const unsigned char*>(v.words)[index] : unaligned_word(v.words, index);
}

KERNEL_FN u32 packed_value(const PackedView& v, i64 row, i64 column) {
  const i64 line = v.by_column ? column : row, i = v.by_column ? row : column;
  const i64 within = i % v.unit_values, word_bits = v.word_bytes * 8;
  const i64 bit = (v.order ? v.order >> (4 * within) & 15 : within) * v.bits;
  const i64 word = i / v.unit_values * v.unit_words + bit / word_bits, shift = bit % word_bits;
  u32 value = packed_word(v, word, line) >> shift;
  if (shift + v.bits > word_bits) value |= packed_word(v, word + 1, line) << (word_bits - shift);
  return (value + static_cast<u32>(v.add)) & ((1u << v.bits) - 1);
}

KERNEL_FN float unaligned_float(const void* base, i64 index) { return float_of_bits(unaligned_word(base, index)); }

// The scale as the scale type S.
template <typename S>
KERNEL_FN S checkpoint_scale(const ScaleView& v, i64 row, i64 group) {
  const i64 i = row / v.row_block * v.row_stride + group * v.group_stride;
  if (v.map) {
    const i64 code = static_cast<const unsigned char*>(v.values)[i];
    // Rounded twice, as by bitsandbytes; a product in float would become part of a fused multiply-add, and give other
    // scales.
    const double product =
        static_cast<double>(unaligned_float(v.map, code)) * unaligned_float(v.map_scales, i / v.map_block);
    return from_float<S>(static_cast<float>(product) + static_cast<float>(v.map_offset));
  }
  const unsigned char* p = static_cast<const unsigned char*>(v.values);
  if (v.type == 0) {
    const float value = unaligned_float(p, i);
    return from_float<S>(v.divisor == 1 ? value : static_cast<float>(static_cast<double>(value) / v.divisor));
  }
  const u16 bits = static_cast<u16>(p[2 * i] | p[2 * i + 1] << 8);
  return from_float<S>(v.type == 1 ? to_float(f16_of_bits(bits)) : to_float(bf16{bits}));
}

// Whether words of the weight are words of the checkpoint, or four of its bytes, but for a change that is the same for
// all.
KERNEL_FN bool takes_whole_words(const RepackArgs& a) {
  const PackedView& v = a.codes;
  if (a.order || v.by_column || v.bits != a.dst_bits) return false;
  if (v.word_bytes == 4) return v.unit_words == 1 && v.unit_values * v.bits == 32 && !v.order && !v.add;
  return v.word_stride == 1 && v.unit_values * v.bits == 8 && (v.add == 0 || v.bits == 8) && a.k * v.bits % 32 == 0;
}

KERNEL_FN u32 whole_word(const PackedView& v, i64 row, i64 word) {
  if (v.word_bytes == 4) return packed_word(v, word, row);
  const u32 bytes = unaligned_word(static_cast<const unsigned char*>(v.words) + row * v.line_stride, word);
  if (v.order)
    return (bytes >> 4 & 0x0f0f0f0fu) | (bytes & 0x0f0f0f0fu) << 4;  // the first of two codes is the upper one
  return bytes ^ (v.add ? 0x80808080u : 0u);                         // v.add is 128
}

KERNEL_FN i64 source_row(const RepackArgs& a, i64 row) { return a.row_order ? a.row_order[row] : row; }

// One 32-bit word of codes, and one group's scale and zero point, of the weight that `a` fills.
KERNEL_FN void repack_word(const RepackArgs& a, i64 row, i64 word) {
  const i64 from = source_row(a, row);
  u32 codes = 0;
  if (takes_whole_words(a)) {
    codes = whole_word(a.codes, from, word);
  } else {
    const i64 per_word = 32 / a.dst_bits;
    for (i64 i = 0; i < per_word && word * per_word + i < a.k; ++i) {
      const i64 p = word * per_word + i;
      codes |= packed_value(a.codes, from, a.order ? a.order[p] : p) << (i * a.dst_bits);
    }
  }
  static_cast<u32*>(a.dst_codes)[word_index(a.dst_row + row, word, a.k, a.dst_bits, a.interleave)] =
      stored_word(codes, a.dst_bits, a.interleave);
}

template <typename S>
KERNEL_FN void repack_group(const RepackArgs& a, i64 row, i64 group) {
  const i64 at = interleaved_index(a.dst_row + row, group, (a.k + a.group - 1) / a.group, a.interleave);
  const i64 from = source_row(a, row);
  static_cast<S*>(a.dst_scales)[at] = checkpoint_scale<S>(a.scales, from, group);
  if (a.dst_zeros) a.dst_zeros[at] = static_cast<unsigned char>(packed_value(a.zeros, from, group));
}

// The columns of one group, in their order. Files that changed since the compiler read them must not make it write
// elsewhere.
KERNEL_FN void order_group(const GroupOrderArgs& a, i64 group) {
  i64 next = group * a.group;
  const i64 end = min_of(next + a.group, a.k);
  for (i64 k = 0; k < a.k && next < end; ++k)
    if (static_cast<i64>(unaligned_word(a.group_of, k)) == group) a.order[next++] = static_cast<i32>(k);
}
