// What follows the sums of a fused linear layer: the row scale of an RMS norm, and the three forms of output. See FusedLinearArgs.
#pragma once

#include "cuda/types.h"

enum class Epilogue { kPlain, kGlu, kAdd };

// 1 / sqrt(mean square + eps) of the row that x was made from; 1 without an RMS norm. Every lane of a warp calls it and gets it.
KERNEL_FN float row_scale_of(const FusedLinearArgs& args, i64 row, int lane) {
  if (!args.squares) return 1.0f;
  float sum = 0.0f;
  for (i64 part = lane; part < args.square_parts; part += kWarp) sum += args.squares[part * args.square_stride + row];
  return 1.0f / sqrtf(warp_sum(sum) / static_cast<float>(args.k) + static_cast<float>(args.eps));
}

KERNEL_FN float silu_times(float gate, float up) { return gate / (1.0f + exp2_fast(-gate * kLog2E)) * up; }

// 16 consecutive lanes finish a unit of one row: 16 output columns, or for glu 8 columns of gate (lanes 0-7) and their 8 of up.
// `value` is the scaled product. All lanes of a warp call it, whether or not their unit exists.
template <typename W, typename A, Epilogue Kind>
KERNEL_FN void finish_unit(const FusedLinearArgs& args, float value, i64 row, i64 unit, bool exists, int lane) {
  const i64 half = args.n / 2;
  const i64 column = Kind == Epilogue::kGlu ? unit * 8 + lane % 8 : unit * 16 + lane;
  const bool valid = exists && column < (Kind == Epilogue::kGlu ? half : args.n);
  const W* bias = static_cast<const W*>(args.bias);
  if (bias && valid) value += to_float(bias[Kind == Epilogue::kGlu && lane >= 8 ? half + column : column]);
  if constexpr (Kind == Epilogue::kPlain) {
    if (valid) static_cast<float*>(args.out)[row * args.n + column] = value;
  } else if constexpr (Kind == Epilogue::kGlu) {
    const float up = __shfl_xor_sync(kAllLanes, value, 8);
    if (valid && lane < 8) static_cast<A*>(args.out)[row * half + column] = from_float<A>(silu_times(value, up));
  } else {
    const float sum = valid ? args.residual[row * args.n + column] + value : 0.0f;
    if (valid) static_cast<float*>(args.out)[row * args.n + column] = sum;
    if (!args.norm_weight) return;
    if (valid) {
      const float weight = to_float(static_cast<const W*>(args.norm_weight)[column]);
      static_cast<A*>(args.scaled)[row * args.n + column] = from_float<A>(sum * weight);
    }
    const float square = warp_sum<16>(sum * sum);
    if (exists && lane == 0) args.squares_out[unit * args.square_stride + row] = square;
  }
}
