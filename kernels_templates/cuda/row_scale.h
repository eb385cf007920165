// Init program: power-of-two scales of weight rows for fp16 tensor cores: see RowScaleArgs.
#pragma once

#include "cuda/types.h"

// The largest finite fp16 exponent: a value in [2^15, 2^16) with the 8-bit significand of bf16 is below 65504.
constexpr int kHalfTopExponent = 15;

// 2^e with e = exponent(maximum) - 15, so that maximum / 2^e lies in [2^15, 2^16); 1 for a row of zeros. Both 2^e and 2^-e stay
// normal numbers.
KERNEL_FN float power_of_two_scale(float maximum) {
  if (!(maximum > 0.0f)) return 1.0f;
  const int exponent = static_cast<int>(__float_as_uint(maximum) >> 23) - 127 - kHalfTopExponent;
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
  if (threadIdx.x == 0) args.scale[row] = power_of_two_scale(maximum);
}
