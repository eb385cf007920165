// What keeps a persistent kernel's weights on their way: the shared memory of its roles, and the warps that fill the ring.
//
// One warp plans: it divides the units of linear layers among the blocks (a fixed share each; of long phases the rest goes to whom has
// time for it, as some SMs get more bandwidth than others), and says what each stage of the ring is for. Four warps fetch the weights
// of a stage as soon as it is free; three its tokens, as soon as the phase may begin. Every phase ends with a stage of its own, so that
// no role is ever more than the ring's length ahead of another.
#pragma once

#include "cuda/linear_stream.h"

constexpr int kPersistentAttentionStages = 2, kPhaseCopies = 16, kWeightWarps = 4, kTokenWarps = 3;

// What a stage of the ring is for: a chunk of K of the units `first` .. `end` - 1; nothing; memory for the phase's body; or the phase ends.
enum class StageUse : unsigned char { kUnits, kNothing, kSetAside, kPhaseEnd };

struct StagePurpose {
  i32 phase;
  i32 first, end;
  unsigned short chunk;
  StageUse use;
  bool is_last;  // chunk of its units

  KERNEL_FN bool has_units() const { return use == StageUse::kUnits; }
  KERNEL_FN bool is_set_aside() const { return use == StageUse::kSetAside; }
  KERNEL_FN bool ends_phase() const { return use == StageUse::kPhaseEnd; }
};

// A role's place in the ring.
template <int Stages>
struct RingPosition {
  u32 stage = 0, parity = 0;

  KERNEL_FN void advance() {
    if (++stage == Stages) stage = 0, parity ^= 1;
  }
};

// The step's true counts, read once.
struct StepRows {
  int tokens, sequences, logits;

  KERNEL_FN explicit StepRows(const StepCounts& counts)
      : tokens(counts.rows[kRowsTokens]), sequences(counts.rows[kRowsSeqs]), logits(counts.rows[kRowsLogits]) {}
  KERNEL_FN int of(i64 row_count) const { return row_count == kRowsTokens ? tokens : row_count == kRowsLogits ? logits : sequences; }
};

template <int HeadDim, int Units, int TokenTiles, int Stages>
struct PersistentShared {
  using Stream = StreamTile<Units, TokenTiles>;
  using Position = RingPosition<Stages>;
  static constexpr int kAttentionBytes = 256 * (kPersistentAttentionStages * 128 / HeadDim) * (HeadDim + 8);
  static constexpr int kAttentionRingStages = (kAttentionBytes + Stream::kStageBytes - 1) / Stream::kStageBytes;
  static constexpr int kScratchAt = Stages * Stream::kStageBytes;
  static constexpr int kPhasesAt = kScratchAt + (Stream::kPartialBytes + 127) / 128 * 128;
  static constexpr int kPurposesAt = kPhasesAt + kPhaseCopies * static_cast<int>(sizeof(Phase));
  static constexpr int kScaleAt = kPurposesAt + Stages * static_cast<int>(sizeof(StagePurpose));
  static constexpr int kPlacesAt = kScaleAt + Stream::kTokens * 4;
  static constexpr int kBarriersAt = kPlacesAt + Stream::kTokens * static_cast<int>(sizeof(KvPlace)) + 8;
  static constexpr int kBytes = kBarriersAt + (3 * Stages + 1) * 8;
  static_assert(kBytes <= 232448 && kPhaseCopies > Stages + 1 && kAttentionRingStages < Stages && kBarriersAt % 8 == 0);

  char* ring;
  char* scratch;           // of bodies; attention takes stages of the ring
  Phase* phases;           // [kPhaseCopies]: phase p is at p % kPhaseCopies
  StagePurpose* purposes;  // [Stages]
  float* scale;            // [kTokens]
  KvPlace* places;         // [kTokens]
  const i32** places_table;  // the block table that they are from
  u32 ring_address, claimed, full, empty, open;

  KERNEL_FN explicit PersistentShared(char* shared)
      : ring(shared),
        scratch(shared + kScratchAt),
        phases(reinterpret_cast<Phase*>(shared + kPhasesAt)),
        purposes(reinterpret_cast<StagePurpose*>(shared + kPurposesAt)),
        scale(reinterpret_cast<float*>(shared + kScaleAt)),
        places(reinterpret_cast<KvPlace*>(shared + kPlacesAt)),
        places_table(reinterpret_cast<const i32**>(shared + kBarriersAt - 8)),
        ring_address(shared_address(shared)),
        claimed(ring_address + kBarriersAt),
        full(claimed + Stages * 8),
        empty(full + Stages * 8),
        open(empty + Stages * 8) {}

  KERNEL_FN void initialize() const {
    for (int s = 0; s < Stages; ++s) {
      mbarrier_init(claimed + s * 8, 1);
      mbarrier_init(full + s * 8, (kWeightWarps + kTokenWarps) * kWarp);
      mbarrier_init(empty + s * 8, kStreamWarps * kWarpArrivals);
    }
    mbarrier_init(open, kWarpArrivals);
    *places_table = nullptr;
    fence_barrier_init();
  }
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

constexpr i32 kLongPhase = 4;  // units a block

// While attention keeps the memory waiting, this block's weights of the linear layer behind it come into the L2.
KERNEL_FN void prefetch_ahead(const Phase& phase, const StepRows& rows, Tile tile) {
  if (phase.body != kPhaseLinear && phase.body != kPhaseLinearAdd) return;
  const FusedLinearArgs& linear = linear_args(phase);
  const i64 units = stream_units_of<Epilogue::kPlain>(linear), row_bytes = linear.k * 2;
  if (units >= kLongPhase * tile.nx || rows.of(linear.row_count) <= 0) return;
  constexpr i64 kBytes = 16384;  // a prefetch
  const i64 begin = units * tile.x / tile.nx * 16 * row_bytes, end = min_of(units * (tile.x + 1) / tile.nx * 16, linear.n) * row_bytes;
  const char* w = static_cast<const char*>(linear.w);
  for (i64 at = begin + threadIdx.x % kWarp * kBytes; at < end; at += kWarp * kBytes)
    bulk_prefetch(w + at, static_cast<u32>(min_of(kBytes, end - at)));
}

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
  for (i32 p = 0; p < count; ++p) {
    if (lane < kWords) reinterpret_cast<uint4*>(shared.phases + p % kPhaseCopies)[lane] = next;
    if (p + 1 < count) next = source[(p + 1) * kWords];
    __syncwarp();
    const Phase& phase = shared.phase(p);
    if (is_linear(phase)) {
      const FusedLinearArgs& linear = linear_args(phase);
      const i64 units = phase.body == kPhaseLinearGlu ? stream_units_of<Epilogue::kGlu>(linear) : stream_units_of<Epilogue::kPlain>(linear);
      const int chunks = static_cast<int>((linear.k + kStreamDepth - 1) / kStreamDepth);
      divide_units<Units>(rows.of(linear.row_count) > 0 ? static_cast<i32>(units) : 0, args.sync + count + p, tile, [&](i32 first, i32 end) {
        for (; first < end; first += Units) {
          const i32 tile_end = min_of(first + Units, end);
          for (int chunk = 0; chunk < chunks; ++chunk)
            announce({p, first, tile_end, static_cast<unsigned short>(chunk), StageUse::kUnits, chunk + 1 == chunks});
        }
      });
    } else if (phase.body == kPhaseAttention) {
      constexpr int kWanted = Shared::kAttentionRingStages, kStages = Shared::kScratchAt / Shared::Stream::kStageBytes;
      while (at.stage + kWanted > kStages) announce({p, 0, 0, 0, StageUse::kNothing, true});
      for (int s = 0; s < kWanted; ++s) announce({p, 0, 0, 0, StageUse::kSetAside, true});
      if (p + 1 < count) prefetch_ahead(reinterpret_cast<const Phase*>(args.phases)[p + 1], rows, tile);
    }
    announce({p, 0, 0, 0, StageUse::kPhaseEnd, true});
  }
}

// --- The fetching warps

constexpr int kFetchRows = 4;

// Four rows of a unit in memory, of quarter 0 to 3; the last one of the matrix repeated beyond it.
template <Epilogue Kind, typename Args>
KERNEL_FN StreamRows quarter_rows(const Args& args, i64 unit, int quarter) {
  const int half = quarter / 2, begin = quarter % 2 * kFetchRows;
  const i64 first = unit_row<Kind>(args, unit, half, begin);
  return {static_cast<const char*>(linear_of(args).w) + first * linear_of(args).k * 2,
          static_cast<int>(unit_row<Kind>(args, unit, half, begin + kFetchRows - 1) - first)};
}
KERNEL_FN StreamRows quarter_rows_of(const Phase& phase, i64 unit, int quarter) {
  switch (phase.body) {
    case kPhaseLinearGlu:
      return quarter_rows<Epilogue::kGlu>(linear_args(phase), unit, quarter);
    case kPhaseLinearRope:
      return quarter_rows<Epilogue::kRope>(phase_args<LinearRopeArgs>(phase), unit, quarter);
    default:
      return quarter_rows<Epilogue::kPlain>(linear_args(phase), unit, quarter);
  }
}

// Each of the four warps fetches a quarter of every unit.
template <int Units, typename Shared>
KERNEL_FN void persistent_fetch_weights(const PersistentArgs& args, const Shared& shared, int quarter) {
  using Stream = typename Shared::Stream;
  const i32 count = static_cast<i32>(args.count);
  const u32 destination = shared.ring_address + quarter * kFetchRows * kStreamRowBytes + threadIdx.x % kWarp * 16;
  typename Shared::Position at;
  StreamRows rows[Units];
  int units = 0;
  i64 k = 0;
  for (i32 ended = 0; ended < count; at.advance()) {
    mbarrier_wait(shared.claimed + at.stage * 8, at.parity);
    const StagePurpose purpose = shared.purposes[at.stage];
    if (purpose.has_units()) {
      if (purpose.chunk == 0) {
        const Phase& phase = shared.phase(purpose.phase);
        units = purpose.end - purpose.first;
#pragma unroll
        for (int u = 0; u < Units; ++u)
          if (u < units) rows[u] = quarter_rows_of(phase, purpose.first + u, quarter);
        k = linear_args(phase).k;
      }
#pragma unroll
      for (int u = 0; u < Units; ++u)
        if (u < units)
          stream_weights<kFetchRows>(rows[u], k, purpose.chunk, destination + at.stage * Stream::kStageBytes + u * 16 * kStreamRowBytes);
    }
    copy_async_arrive(shared.full + at.stage * 8);
    if (purpose.ends_phase()) ++ended;
  }
  copy_async_wait_all();
}

// Warp 0 of the three also waits for the other blocks, opens each phase for the others, and clears what no block counts any more.
template <typename Shared>
KERNEL_FN void persistent_fetch_tokens(const PersistentArgs& args, const Shared& shared, const StepRows& rows, Tile tile, int part) {
  using Stream = typename Shared::Stream;
  const int lane = threadIdx.x % kWarp;
  const i32 count = static_cast<i32>(args.count);
  const u32 destination = shared.ring_address + Stream::kRows * kStreamRowBytes + lane * 16;
  typename Shared::Position at;
  i32 current = -1;
  int tokens = 0;
  const char* x = nullptr;
  i64 k = 0;
  for (i32 ended = 0; ended < count; at.advance()) {
    mbarrier_wait(shared.claimed + at.stage * 8, at.parity);
    const StagePurpose purpose = shared.purposes[at.stage];
    if (purpose.phase != current) {
      current = purpose.phase;
      const Phase& phase = shared.phase(current);
      if (is_linear(phase)) {
        const FusedLinearArgs& linear = linear_args(phase);
        tokens = min_of(rows.of(linear.row_count), Stream::kTokens);
        x = static_cast<const char*>(linear.x);
        k = linear.k;
      }
      if (part == 0) {
        if (lane == 0 && current > 0) grid_wait(args.sync + current - 1, tile.nx);
        mbarrier_arrive_warp(shared.open);
        if (lane == 0 && tile.x == 0) {
          args.times[current] = device_time();
          if (current > 1) args.sync[current - 2] = args.sync[count + current - 2] = 0;
        }
      } else {
        mbarrier_wait(shared.open, current & 1);
      }
    }
    if (purpose.has_units())
      stream_tokens(x, k, purpose.chunk, destination + at.stage * Stream::kStageBytes, part, kTokenWarps, tokens);
    copy_async_arrive(shared.full + at.stage * 8);
    if (purpose.ends_phase()) ++ended;
  }
  copy_async_wait_all();
}
