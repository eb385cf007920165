// quantize_rows: activations in int8. See QuantizeRowsArgs.
#pragma once

#include "cuda/types.h"
#include "quantized_weights.h"

// Eight lanes take a group. Tile: x = 1024 columns, which are whole groups; y = row. 256 threads.
KERNEL_FN void quantize_rows(const QuantizeRowsArgs& a, Tile tile, char*) {
  constexpr int kColumns = 1024, kLanes = 8;
  const i64 row = tile.y, groups = a.width / a.group;
  if (row >= a.counts->rows[a.row_count]) return;
  const i64 first = tile.x * i64{kColumns} / a.group, end = min_of((tile.x + 1) * i64{kColumns} / a.group, groups);
  const int lane = threadIdx.x % kLanes;
  for (i64 base = first; base < end; base += blockDim.x / kLanes) {
    const i64 g = base + threadIdx.x / kLanes;
    const i64 count = g < end ? a.group : 0;  // all lanes of a warp meet at the shuffles
    const float* x = a.x + row * a.x_stride + g * a.group;
    signed char* codes = a.codes + row * a.width + g * a.group;
    float maximum = 0.0f;
    for (i64 i = lane; i < count; i += kLanes) maximum = fmaxf(maximum, fabsf(x[i]));
    maximum = warp_max<kLanes>(maximum);
    const bool zero = !(maximum > kLeastQuantizedMax);
    const float inverse = zero ? 0.0f : 127.0f / maximum;
    i32 sum = 0;
    for (i64 i = lane; i < count; i += kLanes) {
      const i32 code = static_cast<i32>(rintf(x[i] * inverse));
      sum += code;
      codes[int8_position(i, a.bits)] = static_cast<signed char>(code);
    }
#pragma unroll
    for (int offset = kLanes / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
    if (lane == 0 && count > 0) {
      a.scales[row * groups + g] = zero ? 0.0f : maximum / 127.0f;
      a.sums[row * groups + g] = sum;
    }
  }
}
