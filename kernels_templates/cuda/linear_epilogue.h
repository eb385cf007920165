// What follows the sums of a fused linear layer: the row scale of an RMS norm, and the three forms of output. See FusedLinearArgs.
#pragma once

#include "cuda/types.h"

enum class Epilogue { kPlain, kGlu, kAdd, kRope };

KERNEL_FN const FusedLinearArgs& linear_of(const FusedLinearArgs& args) { return args; }
KERNEL_FN const FusedLinearArgs& linear_of(const LinearRopeArgs& args) { return args.linear; }
KERNEL_FN const FusedLinearArgs& linear_of(const QuantizedFusedArgs& args) { return args.linear; }
KERNEL_FN const FusedLinearArgs& linear_of(const QuantizedRopeArgs& args) { return args.rope.linear; }

// What load_unit and finish_unit take: the block without what only the product needs.
template <typename Args>
KERNEL_FN const Args& epilogue_of(const Args& args) {
  return args;
}
KERNEL_FN const FusedLinearArgs& epilogue_of(const QuantizedFusedArgs& args) { return args.linear; }
KERNEL_FN const LinearRopeArgs& epilogue_of(const QuantizedRopeArgs& args) { return args.rope; }

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

// Eight consecutive weight rows: half 0 or 1 of a unit of 16. The first of them, and where the matrix that they are of ends.
struct HalfUnit {
  i64 first, end;
};
template <Epilogue Kind, typename Args>
KERNEL_FN HalfUnit half_unit(const Args& all, i64 unit, int half) {
  const i64 n = linear_of(all).n;
  if constexpr (Kind == Epilogue::kGlu) return {unit * 8 + half * (n / 2), (half + 1) * (n / 2)};
  if constexpr (Kind == Epilogue::kRope) {
    const RopeUnit u(all, unit);
    return {u.head * all.kv.head_dim + u.dim + half * (u.rotated ? all.half : 8), n};
  }
  return {unit * 16 + half * 8, n};
}
// Row r of the eight; those beyond the matrix repeat its last one.
template <Epilogue Kind, typename Args>
KERNEL_FN i64 unit_row(const Args& all, i64 unit, int half, int r) {
  const HalfUnit rows = half_unit<Kind>(all, unit, half);
  return min_of(rows.first + r, rows.end - 1);
}

// 1 / sqrt(mean square + eps) of the row that x was made from; 1 without an RMS norm. Every lane of a warp calls it and gets it.
KERNEL_FN float row_scale_of(const FusedLinearArgs& args, i64 row, int lane) {
  if (!args.squares) return 1.0f;
  float sum = 0.0f;
  for (i64 part = lane; part < args.square_parts; part += kWarp) sum += args.squares[part * args.square_stride + row];
  return inverse_rms(warp_sum(sum), args.k, args.eps);
}

KERNEL_FN float silu_times(float gate, float up) { return gate / (1.0f + exp2_fast(-gate * kLog2E)) * up; }

// 16 consecutive lanes finish a unit of one row: 16 output columns, or for glu 8 columns of gate (lanes 0-7) and their 8 of up. What a
// lane needs for it from memory, apart from the product: it may be loaded long before. Nothing is computed from it until then, as that
// would wait for the loads.
template <typename W>
struct UnitInputs {
  W bias = {}, weight = {};          // weight: kAdd
  float residual = 0.0f;             // kAdd
  float cosine = 1.0f, sine = 0.0f;  // kRope
};

// Where the entries of a step's tokens stand in every layer of a KV group: block and row within it.
struct KvPlace {
  i32 block;
  u32 row;

  KERNEL_FN static KvPlace of(const KvView& kv, const LinearRopeArgs& args, i64 token) {
    const i32* blocks = kv.block_table + args.seq_slot[args.token_seq[token]] * kv.table_stride;
    const u32 entry = static_cast<u32>(args.kv_index[token]), block_tokens = static_cast<u32>(kv.block_tokens);
    return {blocks[entry / block_tokens], entry % block_tokens};
  }
};

template <Epilogue Kind>
KERNEL_FN i64 unit_column(i64 unit, int lane) {
  return Kind == Epilogue::kGlu ? unit * 8 + lane % 8 : unit * 16 + lane;
}
template <Epilogue Kind>
KERNEL_FN bool column_exists(const FusedLinearArgs& args, i64 column) {
  return column < (Kind == Epilogue::kGlu ? args.n / 2 : args.n);
}

template <typename W, Epilogue Kind>
KERNEL_FN UnitInputs<W> load_unit(const FusedLinearArgs& args, i64 row, i64 unit, bool exists, int lane) {
  UnitInputs<W> in;
  const i64 column = unit_column<Kind>(unit, lane);
  if (!exists || !column_exists<Kind>(args, column)) return in;
  if (const W* bias = static_cast<const W*>(args.bias))
    in.bias = bias[Kind == Epilogue::kGlu && lane >= 8 ? args.n / 2 + column : column];
  if constexpr (Kind == Epilogue::kAdd) {
    in.residual = args.residual[row * args.n + column];
    if (args.norm_weight) in.weight = static_cast<const W*>(args.norm_weight)[column];
  }
  return in;
}

// Who gets a unit's results beside the argument block's buffers: nobody; ExchangeSink (exchange.h).
struct NoSink {
  template <typename T>
  KERNEL_FN u32 pair(float) const {
    return 0;
  }
  KERNEL_FN void pair(ExchangePart, i64, bool, u32) const {}
  KERNEL_FN void value(ExchangePart, i64, float) const {}
};

// All lanes of a warp call it, whether or not their unit exists. `value` is the scaled product; `places`: of all tokens of the launch, if
// they are known.
template <typename W, typename A, typename KV, Epilogue Kind, typename Sink = NoSink>
KERNEL_FN void finish_unit(const FusedLinearArgs& args, const UnitInputs<W>& in, float value, i64 row, i64 unit, bool exists, int lane,
                           const KvPlace*, const Sink& sink = {}) {
  const i64 column = unit_column<Kind>(unit, lane);
  const bool valid = exists && column_exists<Kind>(args, column);
  value += to_float(in.bias);
  if constexpr (Kind == Epilogue::kPlain) {
    if (valid) static_cast<float*>(args.out)[row * args.n + column] = value;
  } else if constexpr (Kind == Epilogue::kGlu) {
    const float up = __shfl_xor_sync(kAllLanes, value, 8), gated = silu_times(value, up);
    sink.pair(kExchangeGated, row * (args.n / 2) + column, valid && lane < 8, sink.template pair<A>(gated));
    if (valid && lane < 8) static_cast<A*>(args.out)[row * (args.n / 2) + column] = from_float<A>(gated);
  } else {
    const float sum = valid ? in.residual + value : 0.0f, scaled = sum * to_float(in.weight);
    sink.pair(kExchangeScaled, row * args.n + column, valid, sink.template pair<A>(scaled));
    if (valid) sink.value(kExchangeResidual, row * args.n + column, sum);
    if (valid) static_cast<float*>(args.out)[row * args.n + column] = sum;
    if (!args.norm_weight) return;
    if (valid) static_cast<A*>(args.scaled)[row * args.n + column] = from_float<A>(scaled);
    const float square = warp_sum<16>(sum * sum);
    if (exists && lane == 0) sink.value(kExchangeSquares, row * ((args.n + 15) / 16) + unit, square);
    if (exists && lane == 0) args.squares_out[unit * args.square_stride + row] = square;
  }
}

// The same for q, k and v: lanes 0-7 have the first of the dims that are rotated together, lanes 8-15 the second.
KERNEL_FN i64 rope_dim(const LinearRopeArgs& args, const RopeUnit& u, int lane) {
  return u.rotated ? u.dim + lane % 8 + (lane >= 8 ? args.half : 0) : u.dim + lane;
}

template <typename W, Epilogue Kind>
KERNEL_FN UnitInputs<W> load_unit(const LinearRopeArgs& args, i64 row, i64 unit, bool exists, int lane) {
  UnitInputs<W> in;
  if (!exists) return in;
  const RopeUnit u(args, unit);
  if (args.linear.bias) in.bias = static_cast<const W*>(args.linear.bias)[u.head * args.kv.head_dim + rope_dim(args, u, lane)];
  if (u.rotated) {
    const float* table = args.table + row * 2 * args.half + u.dim + lane % 8;
    in.cosine = table[0], in.sine = table[args.half];
  }
  return in;
}

template <typename W, typename A, typename KV, Epilogue Kind, typename Sink = NoSink>
KERNEL_FN void finish_unit(const LinearRopeArgs& args, const UnitInputs<W>& in, float value, i64 row, i64 unit, bool exists, int lane,
                           const KvPlace* places, const Sink& sink = {}) {
  value += to_float(in.bias);
  const float other = __shfl_xor_sync(kAllLanes, value, 8);
  value = lane < 8 ? value * in.cosine - other * in.sine : value * in.cosine + other * in.sine;
  const u32 pair = sink.template pair<KV>(value);
  if (!exists) return;
  const RopeUnit u(args, unit);
  const i64 head_dim = args.kv.head_dim, dim = rope_dim(args, u, lane), kv_head = u.head - args.heads;
  if (kv_head < 0) {
    sink.pair(kExchangeQueries, (row * args.heads + u.head) * head_dim + dim, true, pair);
    static_cast<float*>(args.linear.out)[(row * args.heads + u.head) * head_dim + dim] = value;
    return;
  }
  sink.pair(kExchangeEntries, (row * 2 * args.kv.kv_heads + kv_head) * head_dim + dim, true, pair);
  const KvPlace place = places ? places[row] : KvPlace::of(args.kv, args, row);
  char* block = static_cast<char*>(args.kv.base) + place.block * args.kv.block_bytes;
  // K of all heads, then V: kv_head counts on into the values.
  reinterpret_cast<KV*>(block)[(kv_head * args.kv.block_tokens + place.row) * head_dim + dim] = from_float<KV>(value);
}

// Both at once.
template <typename W, typename A, typename KV, Epilogue Kind, typename Args>
KERNEL_FN void load_and_finish_unit(const Args& args, float value, i64 row, i64 unit, bool exists, int lane) {
  finish_unit<W, A, KV, Kind>(args, load_unit<W, Kind>(args, row, unit, exists, lane), value, row, unit, exists, lane, nullptr);
}
