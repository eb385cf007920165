// Init program: power-of-two scales of weight rows for fp16 tensor cores: see RowScaleArgs.
#pragma once

#include "cuda/types.h"

// Where a row's largest value is put. bf16: in [2^15, 2^16), which 8 bits of significand keep below fp16's largest
// number, 65504. A wider type could round up to infinity there, and is put one binade lower.
template <typename T>
constexpr int kTopExponent = 14;
template <>
constexpr int kTopExponent<bf16> = 15;

// 2^e with e = exponent(maximum) - kTopExponent; 1 for a row of zeros. Both 2^e and 2^-e stay normal numbers.
template <typename T>
KERNEL_FN float power_of_two_scale(float maximum) {
  if (!(maximum > 0.0f)) return 1.0f;
  const int exponent = static_cast<int>(__float_as_uint(maximum) >> 23) - 127 - kTopExponent<T>;
  const int clamped = max_of(-126, min_of(exponent, 126));
  return __uint_as_float(static_cast<u32>(clamped + 127) << 23);
}

// Tile: x = row of w (there are more of them than a grid has y). 256 threads; 32 bytes of shared memory.
template <typename W>
KERNEL_FN void row_scale(const RowScaleArgs& args, Tile tile, char* shared) {
  const i64 row = tile.x;
  if (row >= args.n) return;
  const W* w = static_cast<const W*>(args.w) + row * args.k;
  float maximum = 0.0f;
  for (i64 i = threadIdx.x; i < args.k; i += blockDim.x) maximum = fmaxf(maximum, fabsf(to_float(w[i])));
  maximum = block_reduce<256>(maximum, reinterpret_cast<float*>(shared), MaxOf{});
  if (threadIdx.x == 0) args.scale[row] = power_of_two_scale<W>(maximum);
}
