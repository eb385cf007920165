// What keeps a persistent kernel's weights on their way: the four warps beside those that run the bodies.
//
// One plans: it divides the units of linear layers among the blocks (a fixed share each; of long phases the rest goes to whom has
// time for it, as some SMs get more bandwidth than others), and says what each stage of the ring is for. One fetches the weights
// of a stage as soon as it is free; one its tokens, as soon as the phase may begin. Every phase ends with a stage of its own, so that
// no role is ever more than the ring's length ahead of another. The fourth computes the row scales.
#pragma once

#include "cuda/attention.h"
#include "cuda/exchange.h"
#include "cuda/persistent_tile.h"

// The step's true counts, read once.
struct StepRows {
  int tokens, sequences, logits;

  KERNEL_FN explicit StepRows(const StepCounts& counts)
      : tokens(counts.rows[kRowsTokens]), sequences(counts.rows[kRowsSeqs]), logits(counts.rows[kRowsLogits]) {}
  KERNEL_FN int of(i64 row_count) const { return row_count == kRowsTokens ? tokens : row_count == kRowsLogits ? logits : sequences; }
};

template <typename Args>
KERNEL_FN const Args& phase_args(const Phase& phase) {
  return *reinterpret_cast<const Args*>(phase.args);
}
KERNEL_FN bool is_linear(const Phase& phase) { return phase.body >= kPhaseLinear; }
// Of a linear phase; the argument block of kPhaseLinearRope begins with it.
KERNEL_FN const FusedLinearArgs& linear_args(const Phase& phase) { return phase_args<FusedLinearArgs>(phase); }

KERNEL_FN i64 units_of(const Phase& phase) {
  const FusedLinearArgs& linear = linear_args(phase);
  return phase.body == kPhaseLinearGlu ? stream_units_of<Epilogue::kGlu>(linear) : stream_units_of<Epilogue::kPlain>(linear);
}
// First of eight weight rows: half 0 or 1 of a unit.
KERNEL_FN i64 half_unit_row(const Phase& phase, i64 unit, int half) {
  switch (phase.body) {
    case kPhaseLinearGlu:
      return half_unit<Epilogue::kGlu>(linear_args(phase), unit, half).first;
    case kPhaseLinearRope:
      return half_unit<Epilogue::kRope>(phase_args<LinearRopeArgs>(phase), unit, half).first;
    default:
      return half_unit<Epilogue::kPlain>(linear_args(phase), unit, half).first;
  }
}

// --- The planning warp

constexpr i32 kLongPhase = 4;  // units a block

// Units that this block takes of a linear phase: take(first, end) for each run of them.
template <int Units, typename Take>
KERNEL_FN void divide_units(i32 total, u32* claims, Tile tile, Take take) {
  const i32 blocks = static_cast<i32>(tile.nx), block = static_cast<i32>(tile.x);
  if (total < kLongPhase * blocks) {
    take(static_cast<i32>(static_cast<i64>(total) * block / blocks), static_cast<i32>(static_cast<i64>(total) * (block + 1) / blocks));
    return;
  }
  // Half is divided beforehand; of the rest whole tiles are claimed, and in the end a unit at a time.
  const i32 share = total / blocks / 2 / Units * Units, shared_out = blocks * share;
  const i32 tiles = max_of(total - shared_out - blocks, 0) / Units;
  const int lane = threadIdx.x % kWarp;
  const auto claim = [&] { return lane == 0 ? static_cast<i32>(atomicAdd(claims, 1u)) : 0; };
  i32 next = claim();  // known long before it is needed
  take(block * share, (block + 1) * share);
  while (true) {
    const i32 number = __shfl_sync(kAllLanes, next, 0);
    const i32 first = shared_out + min_of(number, tiles) * Units + max_of(number - tiles, 0);
    if (first >= total) return;
    next = claim();
    take(first, first + (number < tiles ? Units : 1));
  }
}

// The tiles of an attention phase: a block takes every nx-th. The launch has a block a head; the body needs one for up to 16 heads of a group.
struct DecodeTiles {
  static constexpr int kMinEntries = 128;  // of a split
  u32 nx, ny;
  u32 splits;  // at most: a tile a block, if that is enough, as a second one would wait for the first

  KERNEL_FN DecodeTiles(const Phase& phase, u32 blocks) {
    const AttentionArgs& args = phase_args<AttentionArgs>(phase);
    const u32 group = static_cast<u32>(args.heads / args.kv.kv_heads);
    nx = static_cast<u32>(args.kv.kv_heads) * ((group + 15) / 16), ny = phase.grid[1];
    splits = static_cast<u32>(min_of(static_cast<int>(args.splits), max_of(1, static_cast<int>(blocks / (nx * ny)))));
  }
  // Whether any tile of the block has entries.
  KERNEL_FN bool any(const Phase& phase, const StepRows& rows, Tile block) const {
    const AttentionArgs& args = phase_args<AttentionArgs>(phase);
    for (u32 i = block.x; i < nx * ny * splits; i += block.nx) {
      const int token = static_cast<int>(i / nx % ny), z = static_cast<int>(i / (nx * ny));
      if (token < rows.tokens && z < KvSplit(args, args.kv_index[token], 0, static_cast<int>(splits), kMinEntries).count) return true;
    }
    return false;
  }
};

// Whether phase b takes its input, x or q, as what phase a, right before it, writes: then it comes through the exchange, if there is one.
KERNEL_FN bool hands_on(const Phase& a, const Phase& b) {
  if (b.body == kPhaseAttention) return a.body == kPhaseLinearRope && linear_args(a).out == phase_args<AttentionArgs>(b).q;
  if (!is_linear(b) || linear_args(b).row_count != kRowsTokens) return false;
  const FusedLinearArgs& to = linear_args(b);
  if (a.body == kPhaseAttention) return phase_args<AttentionArgs>(a).out == to.x && !to.squares;
  if (!is_linear(a) || linear_args(a).row_count != kRowsTokens) return false;
  const FusedLinearArgs& from = linear_args(a);
  if (a.body == kPhaseLinearGlu) return from.out == to.x && !to.squares;
  return a.body == kPhaseLinearAdd && from.norm_weight && from.scaled == to.x && from.squares_out == to.squares;
}

// How a phase is tied to others in a kernel with an exchange. Tags: 0 for what is in memory.
struct PhaseLinks {
  u32 input, residual;  // tags of the phases that wrote x or q, and the residual
  u32 waits, arrives;   // whether it begins when all blocks have finished the one before, and the next one so
};

// The links of phase after phase; the one behind has to be known.
struct LinkFinder {
  u32 first_tag;  // of phase 0
  u32 input = 0, residual = 0;
  const void* residual_at = nullptr;

  KERNEL_FN PhaseLinks of(i32 p, const Phase& phase, const Phase* next) {
    PhaseLinks links = {input, 0, p > 0 && !input, 0};
    const u32 tag = tag_of(first_tag, p);
    if (phase.body == kPhaseLinearAdd) {
      if (linear_args(phase).residual == residual_at) links.residual = residual;
      residual = tag, residual_at = linear_args(phase).out;
    }
    input = next && hands_on(phase, *next) ? tag : 0;
    links.arrives = next && !input;
    return links;
  }
  KERNEL_FN static u32 tag_of(u32 first, i32 p) { return (first + static_cast<u32>(p)) | 0x80000000u; }  // never 0, what memory holds at first
};

// The tag of a step's phase 0: a number that no step before had for any.
KERNEL_FN u32 exchange_first_tag(const PersistentArgs& args) { return *reinterpret_cast<const volatile u32*>(args.exchange[kExchangeSteps]); }

template <int Units, typename Shared>
KERNEL_FN void persistent_plan(const PersistentArgs& args, const Shared& shared, const StepRows& rows, Tile tile) {
  constexpr int kWords = sizeof(Phase) / 16;
  static_assert(sizeof(Phase) % 16 == 0 && kWords <= kWarp);
  const int lane = threadIdx.x % kWarp;
  const i32 count = static_cast<i32>(args.count);
  typename Shared::Position at;
  const auto announce = [&](const StagePurpose& purpose) {
    mbarrier_wait(shared.empty + at.stage * 8, at.parity ^ 1);  // all lanes: they write the phases that follow
    if (lane == 0) {
      shared.purposes[at.stage] = purpose;
      mbarrier_arrive(shared.claimed + at.stage * 8);
    }
    at.advance();
  };
  const uint4* source = reinterpret_cast<const uint4*>(args.phases) + min_of(lane, kWords - 1);
  uint4 next = *source;
  const auto copy_phase = [&](i32 p) {
    if (lane < kWords) reinterpret_cast<uint4*>(shared.phases + p % kPhaseCopies)[lane] = next;
    if (p + 1 < count) next = source[(p + 1) * kWords];
  };
  LinkFinder links{Shared::kExchange ? exchange_first_tag(args) : 0};
  copy_phase(0);
  for (i32 p = 0; p < count; ++p) {
    if (p + 1 < count) copy_phase(p + 1);
    __syncwarp();
    const Phase& phase = shared.phase(p);
    const auto number = static_cast<unsigned short>(p);
    if constexpr (Shared::kExchange) {
      const PhaseLinks of_phase = links.of(p, phase, p + 1 < count ? &shared.phase(p + 1) : nullptr);
      if (lane == 0) shared.links[p % kPhaseCopies] = of_phase;
    }
    if (is_linear(phase)) {
      const FusedLinearArgs& linear = linear_args(phase);
      const i64 units = units_of(phase);
      const int chunks = static_cast<int>((linear.k + kStreamDepth - 1) / kStreamDepth);
      divide_units<Units>(rows.of(linear.row_count) > 0 ? static_cast<i32>(units) : 0, args.sync + count + p, tile, [&](i32 first, i32 end) {
        for (; first < end; first += Units) {
          const i32 tile_end = min_of(first + Units, end);
          // A single unit would fill half a stage; a stage keeps the memory busy for as long as it is long.
          const int at_once = Shared::kChunksOfOne > 1 && tile_end - first == 1 && chunks % Shared::kChunksOfOne == 0 ? Shared::kChunksOfOne : 1;
          for (int chunk = 0; chunk < chunks; chunk += at_once)
            announce({first, tile_end, number, static_cast<unsigned short>(chunk), static_cast<unsigned char>(at_once), StageUse::kUnits,
                      chunk + at_once == chunks});
        }
      });
    } else if (Shared::kAttentionRingStages > 0 && phase.body == kPhaseAttention && DecodeTiles(phase, tile.nx).any(phase, rows, tile)) {
      constexpr int kWanted = Shared::kAttentionRingStages;
      while (at.stage + kWanted > Shared::kStages) announce({0, 0, number, 0, 0, StageUse::kNothing, true});
      for (int s = 0; s < kWanted; ++s) announce({0, 0, number, 0, 0, StageUse::kSetAside, true});
    }
    announce({0, 0, number, 0, 0, StageUse::kPhaseEnd, true});
  }
}

// --- The fetching warps

// The box of a chunk of K, and of eight rows from `row` on.
KERNEL_FN BoxPlace box_place(u32 chunk, i64 row) { return {{0, chunk * (kStreamDepth / kBoxRun), static_cast<u32>(row)}}; }

template <int Units, typename Shared>
KERNEL_FN void persistent_fetch_weights(const PersistentArgs& args, const Shared& shared) {
  using Stream = typename Shared::Stream;
  if (threadIdx.x % kWarp != 0) return;
  const i32 count = static_cast<i32>(args.count);
  typename Shared::Position at, landing;  // landing: the oldest stage that may be on its way
  int in_flight = 0;
  const void* map = nullptr;
  i64 row[2 * Units];
  for (i32 ended = 0; ended < count; at.advance()) {
    mbarrier_wait(shared.claimed + at.stage * 8, at.parity);
    const StagePurpose purpose = shared.purposes[at.stage];
    const u32 landed = shared.weights + at.stage * 8;
    if (in_flight == Shared::kInFlight) {
      mbarrier_wait(shared.weights + landing.stage * 8, landing.parity);
      landing.advance();
    } else {
      ++in_flight;
    }
    if (purpose.has_units()) {
      const int boxes = 2 * (purpose.end - purpose.first) * purpose.chunks;
      if (purpose.chunk == 0) {
        const Phase& phase = shared.phase(purpose.phase);
        if (map != linear_args(phase).w_map) {
          map = linear_args(phase).w_map;
          tensor_map_acquire(map);
        }
#pragma unroll
        for (int i = 0; i < 2 * Units; ++i)
          if (i < boxes) row[i] = half_unit_row(phase, purpose.first + (purpose.chunks > 1 ? 0 : i / 2), i % 2);
      }
      mbarrier_expect_tx(landed, boxes * kBoxBytes);
#pragma unroll
      for (int i = 0; i < 2 * Units; ++i)
        if (i < boxes)
          tensor_copy(shared.ring_address + at.stage * Stream::kStageBytes + i * kBoxBytes, map,
                      box_place(purpose.chunk + (purpose.chunks > 1 ? i / 2 : 0), row[i]), landed, kCacheFirstOut);
    } else {
      mbarrier_arrive(landed);
    }
    if (purpose.ends_phase()) ++ended;
  }
}

// This warp also waits for the other blocks, opens each phase for the others, and clears what no block counts any more.
template <typename Shared>
KERNEL_FN void persistent_fetch_tokens(const PersistentArgs& args, const Shared& shared, Tile tile) {
  using Stream = typename Shared::Stream;
  const int lane = threadIdx.x % kWarp;
  const i32 count = static_cast<i32>(args.count);
  typename Shared::Position at;
  i32 current = -1;
  const void* map = nullptr;
  for (i32 ended = 0; ended < count; at.advance()) {
    mbarrier_wait(shared.claimed + at.stage * 8, at.parity);
    const StagePurpose purpose = shared.purposes[at.stage];
    const u32 landed = shared.tokens + at.stage * 8;
    if (purpose.phase != current) {
      current = purpose.phase;
      const Phase& phase = shared.phase(current);
      if (lane == 0) {
        if (is_linear(phase)) {
          map = linear_args(phase).x_map;
          tensor_map_acquire(map);
        }
        if (current > 0) grid_wait(args.sync + current - 1, tile.nx);
        fence_global_async();  // what other blocks have written is seen by tensor copies, too
      }
      mbarrier_arrive_warp(shared.open);
      if (lane == 0 && tile.x == 0) {
        args.times[current] = device_time();
        if (current > 1) args.sync[current - 2] = args.sync[count + current - 2] = 0;
      }
    }
    if (lane == 0) {
      if (purpose.has_units()) {
        const u32 destination = shared.ring_address + at.stage * Stream::kStageBytes + Stream::kWeightBytes;
        mbarrier_expect_tx(landed, Stream::kTokenBytes);
#pragma unroll
        for (int m = 0; m < Stream::kTokenBytes / kBoxBytes; ++m)
          tensor_copy(destination + m * kBoxBytes, map, box_place(purpose.chunk, m * kBoxRows), landed, kCacheNormal);
      } else {
        mbarrier_arrive(landed);
      }
    }
    if (purpose.ends_phase()) ++ended;
  }
}

// 1 / sqrt(mean square + eps) of all tokens at once, as row_scale_of has it of one: their loads are on their way together.
template <int Tokens>
KERNEL_FN void row_scales_of(const FusedLinearArgs& linear, int tokens, float (&scale)[Tokens]) {
  constexpr int kAhead = 32 / Tokens;
  const i64 parts = linear.squares ? linear.square_parts : 0;
  float sum[Tokens] = {};
  for (i64 part = threadIdx.x % kWarp; part < parts; part += kAhead * kWarp) {
    float square[kAhead][Tokens];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
#pragma unroll
      for (int t = 0; t < Tokens; ++t)
        square[i][t] = part + i * kWarp < parts && t < tokens ? linear.squares[(part + i * kWarp) * linear.square_stride + t] : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
#pragma unroll
      for (int t = 0; t < Tokens; ++t) sum[t] += square[i][t];
  }
#pragma unroll
  for (int t = 0; t < Tokens; ++t) {
    const float inverse = inverse_rms(warp_sum(sum[t]), linear.k, linear.eps);
    scale[t] = linear.squares ? inverse : 1.0f;
  }
}

// The row scales of linear phases, which nobody needs before the first sums leave.
template <typename Shared>
KERNEL_FN void persistent_scale(const PersistentArgs& args, const Shared& shared, const StepRows& rows) {
  constexpr int kTokens = Shared::Stream::kTokens, kFewTokens = 4;  // faster one by one, measured
  const i32 count = static_cast<i32>(args.count);
  for (i32 p = 0; p < count; ++p) {
    mbarrier_wait(shared.open, p & 1);
    const Phase& phase = shared.phase(p);
    if (is_linear(phase)) {
      const FusedLinearArgs& linear = linear_args(phase);
      const int lane = threadIdx.x % kWarp, tokens = min_of(rows.of(linear.row_count), kTokens);
      if (tokens <= kFewTokens) {
#pragma unroll 1
        for (int t = 0; t < tokens; ++t) {
          const float scale = row_scale_of(linear, t, lane);
          if (lane == 0) shared.scale[t] = scale;
        }
      } else {
        float scale[kTokens];
        row_scales_of(linear, tokens, scale);
        if (lane == 0) {
#pragma unroll
          for (int t = 0; t < kTokens; ++t) shared.scale[t] = scale[t];
        }
      }
    }
    mbarrier_arrive_warp(shared.scaled);
  }
}
