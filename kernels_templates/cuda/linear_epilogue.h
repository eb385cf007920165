// What follows the sums of a fused linear layer: the row scale of an RMS norm, and the three forms of output. See FusedLinearArgs.
#pragma once

#include "cuda/types.h"

enum class Epilogue { kPlain, kGlu, kAdd, kRope };

KERNEL_FN const FusedLinearArgs& linear_of(const FusedLinearArgs& args) { return args; }
KERNEL_FN const FusedLinearArgs& linear_of(const LinearRopeArgs& args) { return args.linear; }

// A unit of a head of q, k or v: its eight dims and those that they are rotated with, or 16 dims as they are.
struct RopeUnit {
  i64 head, dim;  // dim: of the unit's first row
  bool rotated;

  KERNEL_FN RopeUnit(const LinearRopeArgs& args, i64 unit) {
    const i64 per_head = args.kv.head_dim / 16, within = unit % per_head;
    head = unit / per_head;
    rotated = head < args.heads + args.kv.kv_heads && within < args.half / 8;
    dim = within * (rotated ? 8 : 16);
  }
};

// Eight consecutive weight rows: half 0 or 1 of a unit of 16. Rows beyond the matrix repeat its last one.
template <Epilogue Kind, typename Args>
KERNEL_FN i64 unit_row(const Args& all, i64 unit, int half, int r) {
  const i64 n = linear_of(all).n;
  i64 first = unit * 16 + half * 8, end = n;
  if constexpr (Kind == Epilogue::kGlu) first = unit * 8 + half * (n / 2), end = (half + 1) * (n / 2);
  if constexpr (Kind == Epilogue::kRope) {
    const RopeUnit u(all, unit);
    first = u.head * all.kv.head_dim + u.dim + half * (u.rotated ? all.half : 8);
  }
  return min_of(first + r, end - 1);
}

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
template <typename W, typename A, typename KV, Epilogue Kind>
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

// The same for q, k and v: lanes 0-7 have the first of the dims that are rotated together, lanes 8-15 the second.
template <typename W, typename A, typename KV, Epilogue Kind>
KERNEL_FN void finish_unit(const LinearRopeArgs& args, float value, i64 row, i64 unit, bool exists, int lane) {
  const RopeUnit u(args, exists ? unit : 0);
  const i64 head_dim = args.kv.head_dim, kv_heads = args.kv.kv_heads;
  const i64 dim = u.rotated ? u.dim + lane % 8 + (lane >= 8 ? args.half : 0) : u.dim + lane;
  if (args.linear.bias && exists) value += to_float(static_cast<const W*>(args.linear.bias)[u.head * head_dim + dim]);
  const float other = __shfl_xor_sync(kAllLanes, value, 8);
  if (!exists) return;
  if (u.rotated) {
    const float* table = args.table + row * 2 * args.half + u.dim + lane % 8;
    const float cosine = table[0], sine = table[args.half];
    value = lane < 8 ? value * cosine - other * sine : value * cosine + other * sine;
  }
  if (u.head < args.heads) {
    static_cast<float*>(args.linear.out)[(row * args.heads + u.head) * head_dim + dim] = value;
    return;
  }
  const i64 kv_head = u.head - args.heads;
  const i32* blocks = args.kv.block_table + args.seq_slot[args.token_seq[row]] * args.kv.table_stride;
  const bool is_value = kv_head >= kv_heads;
  kv_entry<KV>(args.kv, blocks, args.kv_index[row], is_value ? kv_head - kv_heads : kv_head, is_value)[dim] = from_float<KV>(value);
}
