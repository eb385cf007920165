// Codes of quantized weights in registers: how a word unpacks to floats. See docs/quantization.md.
#pragma once

#include "cuda/types.h"
#include "quantized_weights.h"

// A table for each lane of a warp, so that lanes that look up different entries use different banks.
template <typename Code>
constexpr bool kHasTable = Code::kBits == 4 && !Code::kInteger;
constexpr int kTableBytes = 16 * kWarp * static_cast<int>(sizeof(float));

// Fills it; the block has to wait before it is used.
template <typename Code>
KERNEL_FN void fill_table(float* table) {
  if (kHasTable<Code>)
    for (int i = threadIdx.x; i < 16 * kWarp; i += blockDim.x)
      table[i] = code_value(Code{}, static_cast<u32>(i / kWarp));
}

template <typename Code>
KERNEL_FN float lookup(Code, u32 code, const float* table) {
  return table[code * kWarp + threadIdx.x % kWarp];
}
// Exponent and fraction are those of an fp16 that is smaller by 2^(15 - 7); its conversion knows subnormal numbers.
KERNEL_FN float lookup(E4m3, u32 code, const float*) {
  const u32 magnitude = code & 0x7fu;
  const float value = to_float(f16{static_cast<u16>(magnitude << 7 | (code & 0x80u) << 8)}) * 256.0f;
  return magnitude == 0x7fu ? __uint_as_float(0x7fc00000u) : value;
}

// Places of codes in 16 bits. Code j of a word stands at place j % kPlaces of its half; integers are taken as they
// stand there, 2^(bits * place) times as large, which saves the shift: put into the fraction of 2^23, an integer below
// that is a float that much larger than it.
template <typename Code>
constexpr int kPlaces = 16 / Code::kBits;
constexpr float kMagic = 8388608.0f;

template <typename Code>
KERNEL_FN float place_factor(int place) {
  return Code::kInteger ? 1.0f / static_cast<float>(1 << (Code::kBits * place)) : 1.0f;
}

// What stands for zero at each place.
template <typename Code>
struct PlaceOffsets {
  float value[kPlaces<Code>];
};
template <typename Code>
KERNEL_FN PlaceOffsets<Code> place_offsets(float zero) {
  PlaceOffsets<Code> offsets;
#pragma unroll
  for (int i = 0; i < kPlaces<Code>; ++i)
    offsets.value[i] = fmaf(zero, static_cast<float>(1 << (Code::kBits * i)), kMagic);
  return offsets;
}

// Code j of a word, less its zero, times 2^(bits * place) for integers. Exact.
template <typename Code>
KERNEL_FN float unpacked(u32 word, int j, const PlaceOffsets<Code>& offsets, const float* table) {
  constexpr u32 kMask = (1u << Code::kBits) - 1;
  if constexpr (Code::kInteger) {
    const int place = j % kPlaces<Code>;
    const u32 half = j < kPlaces<Code> ? word : word >> 16;
    return __uint_as_float((half & kMask << (Code::kBits * place)) | 0x4b000000u) - offsets.value[place];
  } else {
    return lookup(Code{}, word >> (Code::kBits * j) & kMask, table);
  }
}
