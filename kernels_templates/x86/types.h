// Storage types of the x86 kernels and their scalar conversions. Plain C++, so that llmc itself can run the recipe kernels
// (x86/pack.h) when it embeds weights.
#pragma once

#include "abi.h"

#define KERNEL_FN static inline __attribute__((always_inline))

using namespace llm_abi;

// Storage types. bf16 is a bit pattern; widening it is a shift.
struct bf16 {
  u16 bits;
};
struct bf16_panels {  // bf16 in the order of x86/operand.h
  u16 bits;
};
typedef _Float16 f16;
struct int8_kv {  // of a KV cache: times the scale of its entry
  signed char code;
};

struct Tile {
  u32 x, y, z;
};

// The entry point of a kernel: the worker calls it once per tile with the launch's argument block.
#define LLM_KERNEL(name, Args, ...)                                                                         \
  extern "C" __attribute__((visibility("default"))) void name(const void* args, u32 x, u32 y, u32 z) {      \
    __VA_ARGS__(*static_cast<const Args*>(args), Tile{x, y, z});                                            \
  }

KERNEL_FN float float_of_bits(u32 bits) { return __builtin_bit_cast(float, bits); }
KERNEL_FN u32 float_bits(float v) { return __builtin_bit_cast(u32, v); }
KERNEL_FN f16 f16_of_bits(u16 bits) { return __builtin_bit_cast(f16, bits); }

KERNEL_FN float to_float(float v) { return v; }
KERNEL_FN float to_float(int8_kv v) { return static_cast<float>(v.code); }
KERNEL_FN float to_float(f16 v) { return static_cast<float>(v); }
KERNEL_FN float to_float(bf16 v) { return __builtin_bit_cast(float, static_cast<u32>(v.bits) << 16); }

template <typename T>
KERNEL_FN T from_float(float v);
template <>
inline __attribute__((always_inline)) float from_float<float>(float v) {
  return v;
}
template <>
inline __attribute__((always_inline)) f16 from_float<f16>(float v) {
  return static_cast<f16>(v);
}
template <>
inline __attribute__((always_inline)) bf16 from_float<bf16>(float v) {  // round to nearest even; NaN stays NaN
  u32 bits = __builtin_bit_cast(u32, v);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return bf16{static_cast<u16>((bits >> 16) | 0x40)};
  bits += 0x7fffu + ((bits >> 16) & 1u);
  return bf16{static_cast<u16>(bits >> 16)};
}

// Ties to even; |v| < 2^22.
KERNEL_FN float nearest_integer(float v) {
#if defined(__SSE4_1__)
  return __builtin_rintf(v);
#else
  return v + 12582912.0f - 12582912.0f;
#endif
}

KERNEL_FN i64 min_of(i64 a, i64 b) { return a < b ? a : b; }
KERNEL_FN i64 max_of(i64 a, i64 b) { return a > b ? a : b; }
