// quantize_rows: activations in int8. See QuantizeRowsArgs.
#pragma once

#include "cuda/types.h"
#include "quantized_weights.h"

// A warp takes a group after the other. Tile: y = row. 256 threads.
KERNEL_FN void quantize_rows(const QuantizeRowsArgs& a, Tile tile, char*) {
  const i64 row = tile.y, groups = a.width / a.group;
  if (row >= a.counts->rows[a.row_count]) return;
  const int lane = threadIdx.x % kWarp;
  for (i64 g = threadIdx.x / kWarp; g < groups; g += blockDim.x / kWarp) {
    const float* x = a.x + row * a.x_stride + g * a.group;
    signed char* codes = a.codes + row * a.width + g * a.group;
    float maximum = 0.0f;
    for (i64 i = lane; i < a.group; i += kWarp) maximum = fmaxf(maximum, fabsf(x[i]));
    maximum = warp_max(maximum);
    const bool zero = !(maximum > kLeastQuantizedMax);
    const float inverse = zero ? 0.0f : 127.0f / maximum;
    i32 sum = 0;
    for (i64 i = lane; i < a.group; i += kWarp) {
      const i32 code = static_cast<i32>(rintf(x[i] * inverse));
      sum += code;
      codes[int8_position(i, a.bits)] = static_cast<signed char>(code);
    }
#pragma unroll
    for (int offset = kWarp / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
    if (lane == 0) {
      a.scales[row * groups + g] = zero ? 0.0f : maximum / 127.0f;
      a.sums[row * groups + g] = sum;
    }
  }
}
