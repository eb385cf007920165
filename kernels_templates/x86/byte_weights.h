// Integer codes as bytes for products with activations in int8: 16 outputs at a time, with one scale for each output and
// group of activations. Where that group is one of the weight's too, the bytes are code - zero, exactly. Where it spans
// several, or codes of 8 bits do not fit, they are rounded to 127ths of the largest weight that the codes could stand for.
#pragma once

#include "x86/linear_quantized.h"

typedef signed char s8x64 __attribute__((vector_size(64)));
typedef u16 u16x32 __attribute__((vector_size(64)));

constexpr i64 kByteColumns = 32;  // that are unpacked at once: of one group of the weight

template <typename Code, typename S>
class ByteWeights {
 public:
  // `offset` is added to each byte: 128 makes them unsigned.
  KERNEL_FN ByteWeights of(const LinearQuantizedArgs& a, i32 offset) {
    ByteWeights w;
    w.codes_ = static_cast<const u32*>(a.codes), w.scales_ = static_cast<const S*>(a.scales), w.zeros_ = a.zeros;
    w.words_ = code_words(a.k, kBits), w.groups_ = (a.k + a.group - 1) / a.group, w.group_ = a.group;
    w.part_ = a.int8.group, w.zero_ = static_cast<i32>(a.zero), w.offset_ = offset;
    const bool fits = kBits < 8 || (!a.zeros && a.zero == 128);
    w.exact_ = fits && a.group % a.int8.group == 0;
    return w;
  }

  // Of the bytes of 16 outputs and the group of activations from column k on.
  inline __attribute__((always_inline)) f32x16 scale(i64 block, i64 k) const {
    const i64 first = k / group_, last = (k + part_ - 1) / group_;
    const f32x16 scale = scale16(block, first);
    if (exact_) return scale;
    f32x16 largest = magnitude(scale) * reach(block, first);
    for (i64 g = first + 1; g <= last; ++g) {
      const f32x16 next = magnitude(scale16(block, g)) * reach(block, g);
      largest = next > largest ? next : largest;
    }
    return largest * (1.0f / 127);
  }

  // 16 outputs of kByteColumns columns from k on: [4 columns][16 outputs], bytes in the order of int8_position. `inverse`
  // is 1 / their scale.
  inline __attribute__((always_inline)) void unpack(i64 block, i64 k, f32x16 inverse, u32* out) const {
    if (exact_)
      unpack_exactly(block, k, out);
    else
      unpack_rounded(block, k, inverse, out);
  }

  inline __attribute__((always_inline)) void prefetch(i64 block, i64 k) const {
    const u32* words = codes_ + (block * words_ + k * kBits / 32) * kQuantizedRows;
    for (i64 w = 0; w < kByteColumns * kBits / 32; ++w) __builtin_prefetch(words + w * kQuantizedRows, 0, 2);
  }

 private:
  static constexpr int kBits = Code::kBits;
  static constexpr i32 kMost = (1 << kBits) - 1;
  static constexpr i32 kOne = 256, kHalf = kOne / 2;  // fixed point of 16 bits

  template <typename Bytes>
  inline __attribute__((always_inline)) void unpack_words(i64 block, i64 k, u32* out, const Bytes& bytes) const {
    const u32* words = codes_ + (block * words_ + k * kBits / 32) * kQuantizedRows;
    for (i64 w = 0; w < kByteColumns * kBits / 32; ++w) {
      const u32x16 word = load<u32x16>(words + w * kQuantizedRows);
      for (int v = 0; v < 8 / kBits; ++v, out += 16) store(out, bytes(word, kBits * v));
    }
  }
  inline __attribute__((always_inline)) void unpack_exactly(i64 block, i64 k, u32* out) const {
    const i32x16 zero = zero16(block, k / group_) - offset_;
    const s8x64 zeros = __builtin_bit_cast(s8x64, (zero & 0xff) * 0x01010101);
    unpack_words(block, k, out, [&](u32x16 word, int shift) {
      return __builtin_bit_cast(s8x64, word >> shift & static_cast<u32>(kMost) * 0x01010101u) - zeros;
    });
  }
  // code * (their scale / that of the bytes) in fixed point, whose upper bytes are the result.
  inline __attribute__((always_inline)) void unpack_rounded(i64 block, i64 k, f32x16 inverse, u32* out) const {
    const i64 group = k / group_;
    const i32x16 factor = nearest(scale16(block, group) * inverse * static_cast<float>(kOne));
    const u16x32 factors = halves(factor), starts = halves(kHalf + offset_ * kOne - zero16(block, group) * factor);
    const auto products = [&](u32x16 codes) {
      const u32x16 used = codes & static_cast<u32>(kMost * 0x10001);
      return __builtin_bit_cast(u32x16, __builtin_bit_cast(u16x32, used) * factors + starts);
    };
    unpack_words(block, k, out, [&](u32x16 word, int shift) {
      return (products(word >> shift) >> 8 & 0x00ff00ffu) | (products(word >> (shift + 8)) & 0xff00ff00u);
    });
  }

  KERNEL_FN f32x16 magnitude(f32x16 v) { return v < 0.0f ? -v : v; }
  KERNEL_FN i32x16 nearest(f32x16 v) { return __builtin_convertvector(__builtin_elementwise_rint(v), i32x16); }
  KERNEL_FN u16x32 halves(i32x16 v) { return __builtin_bit_cast(u16x32, (v & 0xffff) | v << 16); }

  inline __attribute__((always_inline)) f32x16 scale16(i64 block, i64 group) const {
    return load16(scales_ + (block * groups_ + group) * kQuantizedRows);
  }
  inline __attribute__((always_inline)) i32x16 zero16(i64 block, i64 group) const {
    return zeros_ ? integer_bytes16(zeros_ + (block * groups_ + group) * kQuantizedRows) : i32x16{} + zero_;
  }
  // The largest |code - zero|.
  inline __attribute__((always_inline)) f32x16 reach(i64 block, i64 group) const {
    const i32x16 below = zero16(block, group), above = kMost - below;
    return __builtin_convertvector(below > above ? below : above, f32x16);
  }

  const u32* codes_;
  const S* scales_;
  const unsigned char* zeros_;
  i64 words_, groups_, group_, part_;
  i32 zero_, offset_;
  bool exact_;
};
