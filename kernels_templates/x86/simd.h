// Vectors and elementary functions for the x86 kernels. Freestanding: no header but the ABI, no libc, no state.
// Every kernel is written on vectors of 16 floats; clang splits them where the target has 256-bit registers.
#pragma once

#include "x86/types.h"

typedef float f32x16 __attribute__((vector_size(64)));
typedef i32 i32x16 __attribute__((vector_size(64)));
typedef u32 u32x16 __attribute__((vector_size(64)));
typedef u16 u16x16 __attribute__((vector_size(32)));
typedef _Float16 f16x16 __attribute__((vector_size(32)));
typedef signed char s8x16 __attribute__((vector_size(16)));

// Unaligned vector loads and stores.
template <typename V, typename T>
KERNEL_FN V load(const T* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <typename V, typename T>
KERNEL_FN void store(T* p, V v) {
  __builtin_memcpy(p, &v, sizeof v);
}

// 16 consecutive elements, widened.
KERNEL_FN f32x16 load16(const float* p) { return load<f32x16>(p); }
KERNEL_FN f32x16 load16(const f16* p) { return __builtin_convertvector(load<f16x16>(p), f32x16); }
KERNEL_FN f32x16 load16(const bf16* p) {
  return __builtin_bit_cast(f32x16, __builtin_convertvector(load<u16x16>(p), u32x16) << 16);
}
KERNEL_FN f32x16 load16(const int8_kv* p) { return __builtin_convertvector(load<s8x16>(p), f32x16); }
KERNEL_FN void store16(float* p, f32x16 v) { store(p, v); }
KERNEL_FN void store16(f16* p, f32x16 v) { store(p, __builtin_convertvector(v, f16x16)); }
KERNEL_FN void store16(bf16* p, f32x16 v) {  // as from_float<bf16>
  const u32x16 bits = __builtin_bit_cast(u32x16, v), rounded = bits + (0x7fffu + (bits >> 16 & 1u));
  const u32x16 nan = __builtin_bit_cast(u32x16, (bits & 0x7fffffffu) > 0x7f800000u);
  store(p, __builtin_convertvector(((nan & (bits | 0x400000u)) | (~nan & rounded)) >> 16, u16x16));
}

// A difference: v + 0 would be an addition, for -0 + 0 is 0.
KERNEL_FN f32x16 splat(float v) { return v - f32x16{}; }

KERNEL_FN float sum(f32x16 v) {
  float s[8];
  for (int i = 0; i < 8; ++i) s[i] = v[i] + v[i + 8];
  return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

KERNEL_FN float max_of(f32x16 v) {
  float m = v[0];
  for (int i = 1; i < 16; ++i) m = v[i] > m ? v[i] : m;
  return m;
}

KERNEL_FN f32x16 larger_magnitudes(f32x16 maxima, f32x16 v) {
  const f32x16 magnitude = v < 0.0f ? -v : v;
  return magnitude > maxima ? magnitude : maxima;
}

KERNEL_FN f32x16 fma16(f32x16 a, f32x16 b, f32x16 c) { return __builtin_elementwise_fma(a, b, c); }

// exp(x) for x <= 88, to about 1 ulp; below -87.3 it returns 0. x = n ln2 + r, |r| <= ln2 / 2; the polynomial is the Taylor
// series of exp(r) to r^7 (truncation below 2^-26 there).
constexpr float kLog2e = 1.44269504088896341f;
constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;  // sum = ln 2; high has few bits, so n * high is exact
constexpr float kExpUnderflow = -87.33654f;

KERNEL_FN f32x16 exp16(f32x16 x) {
  const i32x16 underflow = x < kExpUnderflow;
  x = underflow ? splat(kExpUnderflow) : x;
  x = x > 88.0f ? splat(88.0f) : x;
  const f32x16 n = __builtin_elementwise_rint(x * kLog2e);
  f32x16 r = fma16(n, splat(-kLn2High), x);
  r = fma16(n, splat(-kLn2Low), r);
  f32x16 p = splat(1.0f / 5040);
  p = fma16(p, r, splat(1.0f / 720));
  p = fma16(p, r, splat(1.0f / 120));
  p = fma16(p, r, splat(1.0f / 24));
  p = fma16(p, r, splat(1.0f / 6));
  p = fma16(p, r, splat(0.5f));
  p = fma16(p, r * r, r) + 1.0f;
  const i32x16 scale = (__builtin_convertvector(n, i32x16) + 127) << 23;
  const f32x16 result = p * __builtin_bit_cast(f32x16, scale);
  return underflow ? f32x16{} : result;
}

KERNEL_FN float exp1(float x) { return exp16(splat(x))[0]; }

// Natural logarithm of x > 0, to about 1 ulp of the result (2 atanh((m-1)/(m+1)) in double).
KERNEL_FN float log1(float x) {
  const u32 bits = __builtin_bit_cast(u32, x);
  i32 e = static_cast<i32>(bits >> 23) - 127;
  double m = static_cast<double>(__builtin_bit_cast(float, (bits & 0x7fffffu) | 0x3f800000u));
  if (m > 1.41421356237) m *= 0.5, ++e;
  const double s = (m - 1) / (m + 1), s2 = s * s;
  double p = 0;
  for (int k = 15; k >= 1; k -= 2) p = p * s2 + 1.0 / k;
  return static_cast<float>(2 * s * p + e * 0.693147180559945309);
}

// sin and cos of a float angle, computed in double: reduced by multiples of pi/2 in two parts, then Taylor series on |r| <= pi/4
// (truncation below 1e-13).
KERNEL_FN void sincos1(float angle, float* sine, float* cosine) {
  const double x = static_cast<double>(angle);
  const double n = __builtin_rint(x * 0.636619772367581343);
  const double r = (x - n * 1.57079632679489656) - n * 6.12323399573676604e-17;
  const double r2 = r * r;
  const double s = r * (1 + r2 * (-1.0 / 6 + r2 * (1.0 / 120 + r2 * (-1.0 / 5040 + r2 * (1.0 / 362880 + r2 * (-1.0 / 39916800 + r2 / 6227020800.0))))));
  const double c = 1 + r2 * (-0.5 + r2 * (1.0 / 24 + r2 * (-1.0 / 720 + r2 * (1.0 / 40320 + r2 * (-1.0 / 3628800 + r2 * (1.0 / 479001600 - r2 / 87178291200.0))))));
  const i64 quadrant = static_cast<i64>(n) & 3;
  const double sq = quadrant & 1 ? c : s, cq = quadrant & 1 ? s : c;
  *sine = static_cast<float>(quadrant & 2 ? -sq : sq);
  *cosine = static_cast<float>((quadrant + 1) & 2 ? -cq : cq);
}
