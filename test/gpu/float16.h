// float16 as bits, without the calls into libgcc that _Float16 costs on processors without it.
#pragma once

#include <cstdint>
#include <cstring>

namespace llm_test {

namespace float16_bits {
inline uint32_t of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}
inline float value(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
}  // namespace float16_bits

// Exact, subnormal numbers included: the exponents' biases differ by 112.
inline float float_of_f16(uint16_t bits) {
  const uint32_t magnitude = bits & 0x7fffu, sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t not_finite = magnitude >= 0x7c00u ? 0x7f800000u : 0;
  return float16_bits::value(float16_bits::of(float16_bits::value(magnitude << 13) * 0x1p112f) | not_finite | sign);
}

// To nearest even; NaN becomes 0x7fff, as on a GPU.
inline uint16_t f16_of_float(float v) {
  const uint32_t bits = float16_bits::of(v), magnitude = bits & 0x7fffffffu;
  const auto sign = static_cast<uint16_t>((bits ^ magnitude) >> 16);
  if (magnitude > 0x7f800000u) return 0x7fff;
  if (magnitude >= float16_bits::of(0x1p16f)) return sign | 0x7c00;
  // Below the least normal number, the sum with 0.5 has the spacing of subnormal numbers in its last bit.
  if (magnitude < float16_bits::of(0x1p-14f))
    return static_cast<uint16_t>(sign |
                                 (float16_bits::of(float16_bits::value(magnitude) + 0.5f) - float16_bits::of(0.5f)));
  const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
  return static_cast<uint16_t>(sign | (rounded - (112u << 23)) >> 13);
}

}  // namespace llm_test
