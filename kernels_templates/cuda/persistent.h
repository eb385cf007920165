// A whole decode step as one kernel, a block per SM: sm_90, weights, operands and cache of one 16-bit type. See PersistentArgs.
//
// The launches of the program are its phases; all blocks finish one before any begins the next. What a chain of kernels loses at every
// boundary, the time in which no weights are on their way, this does not: each block goes on fetching the weights of coming phases
// into its ring of shared memory while a phase ends, the blocks wait for each other, and the next begins.
#pragma once

#include "cuda/attention_decode_mma.h"
#include "cuda/embed.h"
#include "cuda/gather_rows.h"
#include "cuda/persistent_fetch.h"
#include "cuda/prepare.h"
#include "cuda/rms_norm.h"
#include "cuda/rope.h"

// Where the entries of the step's tokens stand. That changes with the KV group only: not on the way between a sum and the cache.
template <typename Shared>
KERNEL_FN void find_places(const LinearRopeArgs& args, const Shared& shared, int rows) {
  constexpr int kThreads = kStreamWarps * kWarp;
  if (*shared.places_table == args.kv.block_table) return;
  body_sync(kThreads);
  if (threadIdx.x < static_cast<u32>(rows)) shared.places[threadIdx.x] = KvPlace::of(args.kv, args, threadIdx.x);
  if (threadIdx.x == 0) *shared.places_table = args.kv.block_table;
  body_sync(kThreads);
}

// The units of a linear phase that this block takes, up to the stage that ends it.
template <typename W, typename A, typename KV, Epilogue Kind, typename Args, typename Shared>
KERNEL_FN void persistent_linear(const Args& args, const Shared& shared, const StepRows& step_rows, u32 scale_parity,
                                 typename Shared::Position& at) {
  using Stream = typename Shared::Stream;
  constexpr int kThreads = kStreamWarps * kWarp;
  const FusedLinearArgs& linear = linear_of(args);
  const int rows = step_rows.of(linear.row_count);
  if constexpr (Kind == Epilogue::kRope) find_places(args, shared, rows);
  float* partial = reinterpret_cast<float*>(shared.scratch);
  Stream sums;
  while (true) {
    shared.wait_for(at);
    const StagePurpose tile = shared.purposes[at.stage];
    if (!tile.has_units()) break;
    const auto inputs = Stream::template load_inputs<W, Kind>(args, 0, rows, tile.first, tile.end);
    sums.clear();
    while (true) {
      const bool last = shared.purposes[at.stage].is_last;
      sums.template multiply<W>(shared.ring + at.stage * Stream::kStageBytes, shared.empty + at.stage * 8);
      at.advance();
      if (last) break;
      shared.wait_for(at);
    }
    sums.leave_sums(partial);
    body_sync(kThreads);
    mbarrier_wait(shared.scaled, scale_parity);
    Stream::template finish<W, A, KV, Kind>(args, inputs, partial, shared.scale, 0, rows, tile.first, tile.end, shared.places);
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

struct PhaseLink {
  static constexpr bool kEarly = true, kExchange = false;
  u32 open, parity;
  KERNEL_FN void wait() const { mbarrier_wait(open, parity); }
};

// In the stages of the ring that are set aside for it. Entries of earlier steps are fetched before the phase may begin.
template <typename A, typename KV, int HeadDim, typename Shared>
KERNEL_FN void persistent_attention(const Phase& phase, const Shared& shared, Tile block, u32 open_parity, typename Shared::Position& at) {
  constexpr int kThreads = 128;
  char* scratch = nullptr;
  for (int found = 0; found < Shared::kAttentionRingStages; at.advance()) {
    mbarrier_wait(shared.claimed + at.stage * 8, at.parity);
    if (shared.purposes[at.stage].ends_phase()) return;  // no tile for this block
    if (!shared.purposes[at.stage].is_set_aside()) continue;
    if (found++ == 0) scratch = shared.ring + at.stage * Shared::Stream::kStageBytes;
  }
  if (threadIdx.x >= kThreads) return;
  const DecodeTiles tiles(phase, block.nx);
  for_each_tile(block, tiles.nx, tiles.ny, tiles.splits, kThreads, [&](Tile t) {
    attention_decode_mma_after<A, KV, HeadDim, kPersistentAttentionStages>(phase_args<AttentionArgs>(phase), t, scratch,
                                                                           static_cast<int>(tiles.splits), DecodeTiles::kMinEntries,
                                                                           PhaseLink{shared.open, open_parity});
  });
}

template <typename W, typename A, typename KV>
KERNEL_FN void persistent_rows(const Phase& phase, Tile block, char* scratch) {
  const auto by_rows = [&](auto run) { for_each_tile(block, phase.grid[0], phase.grid[1], phase.grid[2], kRowThreads, run); };
  const auto by_heads = [&](auto run) {
    constexpr int kThreads = kHeadsPerBlock * kWarp;
    if (threadIdx.x < kThreads) for_each_tile(block, phase.grid[0], phase.grid[1], phase.grid[2], kThreads, run);
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
      return by_heads([&](Tile t) { rope_table(phase_args<RopeTableArgs>(phase), t, scratch); });
    case kPhaseRopeKvWrite:
      return by_heads([&](Tile t) { rope_kv_write<W, KV>(phase_args<RopeKvWriteArgs>(phase), t, scratch); });
    default:
      return;
  }
}

// 384 threads; PersistentShared::kBytes of shared memory. Warps 0-7 run the bodies.
template <typename W, typename A, typename KV, int HeadDim, int Units, int TokenTiles, int Stages, int InFlight>
KERNEL_FN void persistent(const PersistentArgs& args, Tile tile, char* memory) {
  using Shared = PersistentShared<HeadDim, Units, TokenTiles, Stages, InFlight>;
  constexpr int kThreads = kStreamWarps * kWarp;
  const Shared shared(memory);
  const int warp = threadIdx.x / kWarp;
  if (threadIdx.x == 0) shared.initialize();
  __syncthreads();
  dependency_wait();
  dependency_trigger();
  const StepRows rows(*args.counts);
  switch (warp - kStreamWarps) {
    case 0:
      return persistent_plan<Units>(args, shared, rows, tile);
    case 1:
      return persistent_fetch_weights<Units>(args, shared);
    case 2:
      return persistent_fetch_tokens(args, shared, tile);
    case 3:
      return persistent_scale(args, shared, rows);
    default:
      break;
  }
  const i32 count = static_cast<i32>(args.count);
  typename Shared::Position at;
  for (i32 p = 0; p < count; ++p) {
    mbarrier_wait(shared.claimed + at.stage * 8, at.parity);  // the phase's arguments are here
    const Phase& phase = shared.phase(p);
    typename Shared::Position held = at;  // stages from here on are released when the phase is finished
    if (phase.body != kPhaseAttention) mbarrier_wait(shared.open, p & 1);
    switch (phase.body) {
      case kPhaseAttention:
        persistent_attention<A, KV, HeadDim>(phase, shared, tile, p & 1, at);
        mbarrier_wait(shared.open, p & 1);
        fence_shared_async();  // its stages are filled by tensor copies again
        break;
      case kPhaseLinear:
        persistent_linear<W, A, KV, Epilogue::kPlain>(linear_args(phase), shared, rows, p & 1, at);
        held = at;
        break;
      case kPhaseLinearGlu:
        persistent_linear<W, A, KV, Epilogue::kGlu>(linear_args(phase), shared, rows, p & 1, at);
        held = at;
        break;
      case kPhaseLinearAdd:
        persistent_linear<W, A, KV, Epilogue::kAdd>(linear_args(phase), shared, rows, p & 1, at);
        held = at;
        break;
      case kPhaseLinearRope:
        persistent_linear<W, A, KV, Epilogue::kRope>(phase_args<LinearRopeArgs>(phase), shared, rows, p & 1, at);
        held = at;
        break;
      default:
        persistent_rows<W, A, KV>(phase, tile, shared.scratch);
    }
    mbarrier_wait(shared.scaled, p & 1);
    shared.wait_for(at);  // no other role has to do with these stages any more
    named_barrier_sync(2, kThreads);                       // this block has finished the phase
    if (threadIdx.x == 0 && p + 1 < count) {
      fence_global_async();  // its results are read by tensor copies
      grid_arrive(args.sync + p);
    }
    at.advance();
    for (; held.stage != at.stage || held.parity != at.parity; held.advance())
      mbarrier_arrive_warp(shared.empty + held.stage * 8);
  }
  if (threadIdx.x != 0) return;
  // The last block to end clears what block 0 has not.
  u32* ended = args.sync + 2 * count;
  if (atomicAdd(ended, 1u) + 1 < tile.nx) return;
  for (i32 p = max_of(count - 2, 0); p < count; ++p) args.sync[p] = args.sync[count + p] = 0;
  *ended = 0;
  args.times[count] = device_time();
}
