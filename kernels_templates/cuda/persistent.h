// A whole decode step as one kernel, a block per SM: sm_90, weights, operands and cache of one 16-bit type. See PersistentArgs.
//
// The launches of the program are its phases; all blocks finish one before any begins the next. What a chain of kernels loses at every
// boundary, the time in which no weights are on their way, this does not: each block goes on fetching the weights of coming phases
// into its ring of shared memory while a phase ends, the blocks wait for each other, and the next begins.
//
// Warps 0-7 run the bodies. Behind them one warp plans: it claims tiles of linear layers (the first statically, the rest from a counter,
// so that SMs which get more bandwidth take more) and says what each stage of the ring is for; 2 * Units fetch the weights of a
// stage, as soon as it is free; two fetch its tokens, as soon as the phase may begin; one computes the row scales. Every phase ends
// with an empty stage: no role is ever more than the ring's length ahead of another.
#pragma once

#include "cuda/attention_decode_mma.h"
#include "cuda/embed.h"
#include "cuda/gather_rows.h"
#include "cuda/linear_stream.h"
#include "cuda/prepare.h"
#include "cuda/rms_norm.h"
#include "cuda/rope.h"
#include "cuda/wgmma.h"

constexpr int kPersistentAttentionStages = 2, kPhaseCopies = 16;

// What a stage of the ring is for; tile -1: nothing, the phase ends.
struct StagePurpose {
  i32 phase, tile;
  u32 chunk;
  u32 last;  // of the tile
};

// A role's place in the ring.
template <int Stages>
struct RingPosition {
  u32 stage = 0, parity = 0;

  KERNEL_FN void advance() {
    if (++stage == Stages) stage = 0, parity ^= 1;
  }
};

template <int HeadDim, int Units, int TokenTiles, int Stages>
struct PersistentShared {
  using Stream = StreamTile<Units, TokenTiles>;
  static constexpr int kAttentionBytes = 256 * kPersistentAttentionStages * 128 / HeadDim * (HeadDim + 8);
  static constexpr int kScratchBytes = kAttentionBytes > Stream::kPartialBytes ? kAttentionBytes : Stream::kPartialBytes;
  static constexpr int kScratchAt = Stages * Stream::kStageBytes;
  static constexpr int kPhasesAt = kScratchAt + (kScratchBytes + 127) / 128 * 128;
  static constexpr int kPurposesAt = kPhasesAt + kPhaseCopies * static_cast<int>(sizeof(Phase));
  static constexpr int kScaleAt = kPurposesAt + Stages * static_cast<int>(sizeof(StagePurpose));
  static constexpr int kBarriersAt = kScaleAt + Stream::kTokens * 4;
  static constexpr int kBytes = kBarriersAt + (3 * Stages + 2) * 8;
  static_assert(kBytes <= 232448 && kPhaseCopies > Stages + 1);

  char* ring;
  char* scratch;
  Phase* phases;           // [kPhaseCopies]: phase p is at p % kPhaseCopies
  StagePurpose* purposes;  // [Stages]
  float* scale;            // [kTokens]
  u32 ring_address, claimed, full, empty, open, scaled;

  KERNEL_FN explicit PersistentShared(char* shared)
      : ring(shared),
        scratch(shared + kScratchAt),
        phases(reinterpret_cast<Phase*>(shared + kPhasesAt)),
        purposes(reinterpret_cast<StagePurpose*>(shared + kPurposesAt)),
        scale(reinterpret_cast<float*>(shared + kScaleAt)),
        ring_address(shared_address(shared)),
        claimed(ring_address + kBarriersAt),
        full(claimed + Stages * 8),
        empty(full + Stages * 8),
        open(empty + Stages * 8),
        scaled(open + 8) {}

  KERNEL_FN const Phase& phase(i32 p) const { return phases[p % kPhaseCopies]; }
};

template <typename Args>
KERNEL_FN const Args& phase_args(const Phase& phase) {
  return *reinterpret_cast<const Args*>(phase.args);
}
KERNEL_FN bool is_linear(const Phase& phase) { return phase.body >= kPhaseLinear; }
// Of a linear phase; the argument block of kPhaseLinearRope begins with it.
KERNEL_FN const FusedLinearArgs& linear_args(const Phase& phase) { return phase_args<FusedLinearArgs>(phase); }

// --- The planning warp

template <typename Shared, int Units, int Stages>
KERNEL_FN void persistent_plan(const PersistentArgs& args, const Shared& shared, Tile tile) {
  constexpr int kWords = sizeof(Phase) / 16;
  static_assert(sizeof(Phase) % 16 == 0 && kWords <= kWarp);
  const int lane = threadIdx.x % kWarp;
  const i32 count = static_cast<i32>(args.count);
  u32* claims = args.sync + count;
  RingPosition<Stages> at;
  const auto announce = [&](i32 phase, i32 claimed, u32 chunk, u32 last) {
    if (lane == 0) {
      mbarrier_wait(shared.empty + at.stage * 8, at.parity ^ 1);
      shared.purposes[at.stage] = {phase, claimed, chunk, last};
      mbarrier_arrive(shared.claimed + at.stage * 8);
    }
    at.advance();
  };
  const uint4* source = reinterpret_cast<const uint4*>(args.phases) + min_of(lane, kWords - 1);
  uint4 next = *source;
  for (i32 p = 0; p < count; ++p) {
    if (lane < kWords) reinterpret_cast<uint4*>(shared.phases + p % kPhaseCopies)[lane] = next;
    if (p + 1 < count) next = source[(p + 1) * kWords];
    __syncwarp();
    const Phase& phase = shared.phase(p);
    if (is_linear(phase)) {
      const FusedLinearArgs& linear = linear_args(phase);
      const bool any_rows = args.counts->rows[linear.row_count] > 0;
      const i64 units = phase.body == kPhaseLinearGlu ? stream_units_of<Epilogue::kGlu>(linear) : stream_units_of<Epilogue::kPlain>(linear);
      const u32 tiles = any_rows ? static_cast<u32>((units + Units - 1) / Units) : 0;
      const u32 chunks = static_cast<u32>((linear.k + kStreamDepth - 1) / kStreamDepth);
      u32 claimed = tile.x;
      while (claimed < tiles) {
        u32 following = 0;
        if (lane == 0) following = tile.nx + atomicAdd(claims + p, 1u);
        for (u32 chunk = 0; chunk < chunks; ++chunk) announce(p, static_cast<i32>(claimed), chunk, chunk + 1 == chunks);
        claimed = __shfl_sync(kAllLanes, following, 0);
      }
    }
    announce(p, -1, 0, 1);
  }
}

// --- The fetching warps

KERNEL_FN StreamRows persistent_rows(const Phase& phase, i64 unit, int half) {
  switch (phase.body) {
    case kPhaseLinearGlu:
      return stream_rows<Epilogue::kGlu>(linear_args(phase), unit, half);
    case kPhaseLinearRope:
      return stream_rows<Epilogue::kRope>(phase_args<LinearRopeArgs>(phase), unit, half);
    default:
      return stream_rows<Epilogue::kPlain>(linear_args(phase), unit, half);
  }
}

template <typename Shared, int Units, int Stages>
KERNEL_FN void persistent_fetch_weights(const PersistentArgs& args, const Shared& shared, int filler) {
  using Stream = typename Shared::Stream;
  const i32 count = static_cast<i32>(args.count);
  const u32 destination = shared.ring_address + filler * 8 * kStreamRowBytes + threadIdx.x % kWarp * 16;
  RingPosition<Stages> at;
  StreamRows rows = {nullptr, 0};
  bool exists = false;
  i64 k = 0;
  for (i32 ended = 0; ended < count; at.advance()) {
    mbarrier_wait(shared.claimed + at.stage * 8, at.parity);
    const StagePurpose purpose = shared.purposes[at.stage];
    if (purpose.tile < 0) {
      ++ended;
    } else {
      if (purpose.chunk == 0) {
        const Phase& phase = shared.phase(purpose.phase);
        const FusedLinearArgs& linear = linear_args(phase);
        const i64 unit = static_cast<i64>(purpose.tile) * Units + filler / 2;
        const i64 units = phase.body == kPhaseLinearGlu ? stream_units_of<Epilogue::kGlu>(linear) : stream_units_of<Epilogue::kPlain>(linear);
        exists = unit < units;
        if (exists) rows = persistent_rows(phase, unit, filler % 2);
        k = linear.k;
      }
      if (exists) stream_weights(rows, k, purpose.chunk, destination + at.stage * Stream::kStageBytes);
    }
    copy_async_arrive(shared.full + at.stage * 8);
  }
  copy_async_wait_all();
}

// Warp 0 of the two also waits for the other blocks, opens each phase for the others, and clears what no block counts any more.
template <typename Shared, int Stages>
KERNEL_FN void persistent_fetch_tokens(const PersistentArgs& args, const Shared& shared, Tile tile, int half) {
  using Stream = typename Shared::Stream;
  const int lane = threadIdx.x % kWarp;
  const i32 count = static_cast<i32>(args.count);
  const u32 destination = shared.ring_address + Stream::kRows * kStreamRowBytes + lane * 16;
  RingPosition<Stages> at;
  i32 current = -1;
  int tokens = 0;
  const char* x = nullptr;
  i64 k = 0;
  for (i32 ended = 0; ended < count; at.advance()) {
    mbarrier_wait(shared.claimed + at.stage * 8, at.parity);
    const StagePurpose purpose = shared.purposes[at.stage];
    if (purpose.phase != current) {
      current = purpose.phase;
      if (half == 0) {
        if (lane == 0 && current > 0) grid_wait(args.sync + current - 1, tile.nx);
        if (lane == 0 && current > 1 && tile.x == 0) args.sync[current - 2] = args.sync[count + current - 2] = 0;
        __syncwarp();
        if (lane == 0) mbarrier_arrive(shared.open);
      } else {
        mbarrier_wait(shared.open, current & 1);
      }
      const Phase& phase = shared.phase(current);
      if (is_linear(phase)) {
        const FusedLinearArgs& linear = linear_args(phase);
        tokens = min_of(args.counts->rows[linear.row_count], Stream::kTokens);
        x = static_cast<const char*>(linear.x);
        k = linear.k;
      }
    }
    if (purpose.tile < 0) {
      ++ended;
    } else {
      stream_tokens(x, k, purpose.chunk, destination + at.stage * Stream::kStageBytes, half, 2, tokens);
    }
    copy_async_arrive(shared.full + at.stage * 8);
  }
  copy_async_wait_all();
}

template <typename Shared>
KERNEL_FN void persistent_scale(const PersistentArgs& args, const Shared& shared) {
  const int lane = threadIdx.x % kWarp;
  for (i32 p = 0; p < static_cast<i32>(args.count); ++p) {
    mbarrier_wait(shared.open, p & 1);
    const Phase& phase = shared.phase(p);
    if (is_linear(phase)) {
      const FusedLinearArgs& linear = linear_args(phase);
      const int rows = args.counts->rows[linear.row_count];
      for (int token = 0; token < Shared::Stream::kTokens && token < rows; ++token) {
        const float s = row_scale_of(linear, token, lane);
        if (lane == 0) shared.scale[token] = s;
      }
    }
    __syncwarp();
    if (lane == 0) mbarrier_arrive(shared.scaled);
  }
}

// --- The warps that run the bodies

// The tiles of a linear phase that this block claimed, up to the stage that ends it. `scaled_parity`: of the phase.
template <typename W, typename A, typename KV, Epilogue Kind, int Units, int Stages, typename Args, typename Shared>
KERNEL_FN void persistent_linear(const Args& args, const Shared& shared, RingPosition<Stages>& at, u32 scaled_parity) {
  using Stream = typename Shared::Stream;
  constexpr int kThreads = kStreamWarps * kWarp;
  const FusedLinearArgs& linear = linear_of(args);
  const i64 units = stream_units_of<Kind>(linear), rows = linear.counts->rows[linear.row_count];
  float* partial = reinterpret_cast<float*>(shared.scratch);
  Stream sums(rows);
  while (true) {
    mbarrier_wait(shared.full + at.stage * 8, at.parity);
    const i32 tile = shared.purposes[at.stage].tile;
    if (tile < 0) break;
    const bool last = shared.purposes[at.stage].last != 0;
    sums.template multiply<W>(shared.ring + at.stage * Stream::kStageBytes, shared.empty + at.stage * 8);
    at.advance();
    if (!last) continue;
    sums.leave_sums(partial);
    body_sync(kThreads);
    mbarrier_wait(shared.scaled, scaled_parity);
    Stream::template finish<W, A, KV, Kind>(args, partial, shared.scale, 0, rows, static_cast<i64>(tile) * Units, units);
    sums.clear();
    body_sync(kThreads);
  }
}

// Calls run(tile) for this block's share of a grid.
template <typename Run>
KERNEL_FN void for_each_tile(Tile block, u32 nx, u32 ny, u32 nz, int threads, Run run) {
  for (u32 i = block.x; i < nx * ny * nz; i += block.nx) {
    run(Tile{i % nx, i / nx % ny, i / (nx * ny), nx});
    body_sync(threads);  // the tile's shared memory is used again
  }
}

template <typename W, typename A, typename KV, int HeadDim>
KERNEL_FN void persistent_rows_body(const Phase& phase, Tile block, char* scratch) {
  const auto by_rows = [&](auto run) { for_each_tile(block, phase.grid[0], phase.grid[1], phase.grid[2], kRowThreads, run); };
  const auto by_heads = [&](u32 nx, auto run) {
    constexpr int kThreads = kHeadsPerBlock * kWarp;
    if (threadIdx.x < kThreads) for_each_tile(block, nx, phase.grid[1], phase.grid[2], kThreads, run);
  };
  switch (phase.body) {
    case kPhasePrepare:
      return by_rows([&](Tile t) { prepare(phase_args<PrepareArgs>(phase), t, scratch); });
    case kPhaseEmbed:
      return by_rows([&](Tile t) { embed<W>(phase_args<EmbedArgs>(phase), t, scratch); });
    case kPhaseGatherRows:
      return by_rows([&](Tile t) { gather_rows(phase_args<GatherRowsArgs>(phase), t, scratch); });
    case kPhaseRmsNorm:
      return by_rows([&](Tile t) { rms_norm<W, A>(phase_args<RmsNormArgs>(phase), t, scratch); });
    case kPhaseRopeTable:
      return by_heads(phase.grid[0], [&](Tile t) { rope_table(phase_args<RopeTableArgs>(phase), t, scratch); });
    case kPhaseRopeKvWrite:
      return by_heads(phase.grid[0], [&](Tile t) { rope_kv_write<W, KV>(phase_args<RopeKvWriteArgs>(phase), t, scratch); });
    case kPhaseAttention: {
      // The launch has a block a head; the body needs one for up to 16 heads of a group.
      const AttentionArgs& args = phase_args<AttentionArgs>(phase);
      const u32 group = static_cast<u32>(args.heads / args.kv.kv_heads);
      return by_heads(static_cast<u32>(args.kv.kv_heads) * ((group + 15) / 16),
                      [&](Tile t) { attention_decode_mma<A, KV, HeadDim, kPersistentAttentionStages>(args, t, scratch); });
    }
    default:
      return;
  }
}

// 384 + 64 * Units threads; PersistentShared::kBytes of shared memory.
template <typename W, typename A, typename KV, int HeadDim, int Units, int TokenTiles, int Stages>
KERNEL_FN void persistent(const PersistentArgs& args, Tile tile, char* memory) {
  using Shared = PersistentShared<HeadDim, Units, TokenTiles, Stages>;
  constexpr int kFillers = 2 * Units, kTokenWarps = 2, kThreads = kStreamWarps * kWarp;
  constexpr int kPlanner = kStreamWarps, kFirstFiller = kPlanner + 1, kFirstToken = kFirstFiller + kFillers;
  const Shared shared(memory);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if (threadIdx.x == 0) {
    for (int s = 0; s < Stages; ++s) {
      mbarrier_init(shared.claimed + s * 8, 1);
      mbarrier_init(shared.full + s * 8, (kFillers + kTokenWarps) * kWarp);
      mbarrier_init(shared.empty + s * 8, kStreamWarps);
    }
    mbarrier_init(shared.open, 1);
    mbarrier_init(shared.scaled, 1);
    fence_barrier_init();
  }
  __syncthreads();
  dependency_wait();
  dependency_trigger();
  if (warp >= kStreamWarps) {
    registers_shrink<88>();
    if (warp == kPlanner) {
      persistent_plan<Shared, Units, Stages>(args, shared, tile);
    } else if (warp < kFirstToken) {
      persistent_fetch_weights<Shared, Units, Stages>(args, shared, warp - kFirstFiller);
    } else if (warp < kFirstToken + kTokenWarps) {
      persistent_fetch_tokens<Shared, Stages>(args, shared, tile, warp - kFirstToken);
    } else {
      persistent_scale(args, shared);
    }
    return;
  }
  registers_grow<168>();
  const i32 count = static_cast<i32>(args.count);
  RingPosition<Stages> at;
  for (i32 p = 0; p < count; ++p) {
    mbarrier_wait(shared.full + at.stage * 8, at.parity);  // the phase is open, and its arguments are here
    const Phase& phase = shared.phase(p);
    switch (phase.body) {
      case kPhaseLinear:
        persistent_linear<W, A, KV, Epilogue::kPlain, Units>(linear_args(phase), shared, at, p & 1);
        break;
      case kPhaseLinearGlu:
        persistent_linear<W, A, KV, Epilogue::kGlu, Units>(linear_args(phase), shared, at, p & 1);
        break;
      case kPhaseLinearAdd:
        persistent_linear<W, A, KV, Epilogue::kAdd, Units>(linear_args(phase), shared, at, p & 1);
        break;
      case kPhaseLinearRope:
        persistent_linear<W, A, KV, Epilogue::kRope, Units>(phase_args<LinearRopeArgs>(phase), shared, at, p & 1);
        break;
      default:
        persistent_rows_body<W, A, KV, HeadDim>(phase, tile, shared.scratch);
    }
    mbarrier_wait(shared.scaled, p & 1);
    named_barrier_sync(2, kThreads);  // this block has finished the phase
    if (threadIdx.x == 0 && p + 1 < count) grid_arrive(args.sync + p);
    if (lane == 0) mbarrier_arrive(shared.empty + at.stage * 8);
    at.advance();
  }
  if (threadIdx.x != 0) return;
  // The last block to end clears what block 0 has not.
  u32* ended = args.sync + 2 * count;
  if (atomicAdd(ended, 1u) + 1 < tile.nx) return;
  for (i32 p = max_of(count - 2, 0); p < count; ++p) args.sync[p] = args.sync[count + p] = 0;
  *ended = 0;
}
