// The ring of a persistent kernel: what a stage holds, what it is for, and the shared memory of all roles.
#pragma once

#include "cuda/linear_stream.h"
#include "cuda/wgmma.h"

// Weights and tokens come in boxes of 8 rows x 256 columns (tensor maps of three dimensions: 64 columns, runs of 64, rows), which lie
// as [row][4 runs of 128 bytes] under the 128-byte swizzle: pieces of 16 bytes change places by the run and the lowest bit of the row.
// The sixteen rows of a unit are two boxes, as its halves may lie far from each other.
constexpr int kBoxRows = 8, kBoxRun = 64, kBoxRowBytes = kStreamDepth * 2, kBoxBytes = kBoxRows * kBoxRowBytes;

// Of a lane's eight values within a box: warp w has columns 32 * w to 32 * w + 31; eight lanes read two rows of them without a bank conflict.
KERNEL_FN u32 box_offset() {
  const u32 lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, row = lane / 4, run = warp / 2;
  return row * kBoxRowBytes + run * 128 + ((warp % 2 * 4 + lane % 4) ^ (row % 2 * 4 + run)) * 16;
}

template <int Units, int TokenTiles>
struct BoxTile : StreamSums<Units, TokenTiles> {
  using Sums = StreamSums<Units, TokenTiles>;
  using Sums::sum;
  static constexpr int kWeightBytes = 2 * Units * kBoxBytes, kTokenBytes = TokenTiles * kBoxBytes;
  static constexpr int kStageBytes = kWeightBytes + kTokenBytes;

  u32 offset;  // of this lane's eight values within a box

  KERNEL_FN BoxTile() : offset(box_offset()) { this->clear(); }

  // Adds the products of a stage, and arrives at `empty` when it is read. Tokens that do not exist give sums that nobody reads.
  template <typename W>
  KERNEL_FN void multiply(const char* stage, u32 empty) {
    const auto load = [&](int box) { return *reinterpret_cast<const uint4*>(stage + box * kBoxBytes + offset); };
    uint4 weight[2 * Units], token[TokenTiles];
#pragma unroll
    for (int i = 0; i < 2 * Units; ++i) weight[i] = load(i);
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m) token[m] = load(2 * Units + m);
    mbarrier_arrive_warp(empty);
#pragma unroll
    for (int u = 0; u < Units; ++u) {
      const uint4 low = weight[2 * u], high = weight[2 * u + 1];
#pragma unroll
      for (int m = 0; m < TokenTiles; ++m) {
        mma_16816<W>(sum[u][m], low.x, high.x, low.y, high.y, token[m].x, token[m].y);
        mma_16816<W>(sum[u][m], low.z, high.z, low.w, high.w, token[m].z, token[m].w);
      }
    }
  }
};

// What a stage of the ring is for: a chunk of K of the units `first` .. `end` - 1, or `chunks` of one unit; nothing; memory for the phase's body; or the phase ends.
enum class StageUse : unsigned char { kUnits, kNothing, kSetAside, kPhaseEnd };

struct StagePurpose {
  i32 first, end;
  unsigned short phase, chunk;
  unsigned char chunks;
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

constexpr int kPersistentAttentionStages = 2, kPhaseCopies = 16;

// `InFlight`: stages whose weights are on their way at once. More would not come any faster, but wait in the queues of the memory system,
// and there hold up what the blocks wait for: tokens, arrivals and the results of a phase.
template <int HeadDim, int Units, int TokenTiles, int Stages, int InFlight>
struct PersistentShared {
  using Stream = BoxTile<Units, TokenTiles>;
  using Position = RingPosition<Stages>;
  static constexpr int kStages = Stages, kInFlight = InFlight;
  static constexpr bool kExchange = false;
  static constexpr int kChunksOfOne = 1;  // of K in a stage of one unit
  static constexpr int kAttentionBytes = 256 * (kPersistentAttentionStages * 128 / HeadDim) * (HeadDim + 8);
  static constexpr int kAttentionRingStages = (kAttentionBytes + Stream::kStageBytes - 1) / Stream::kStageBytes;
  static constexpr int kScratchAt = Stages * Stream::kStageBytes;
  static constexpr int kPhasesAt = kScratchAt + (Stream::kPartialBytes + 127) / 128 * 128;
  static constexpr int kPurposesAt = kPhasesAt + kPhaseCopies * static_cast<int>(sizeof(Phase));
  static constexpr int kScaleAt = kPurposesAt + Stages * static_cast<int>(sizeof(StagePurpose));
  static constexpr int kPlacesAt = kScaleAt + Stream::kTokens * 4;
  static constexpr int kBarriersAt = kPlacesAt + Stream::kTokens * static_cast<int>(sizeof(KvPlace)) + 8;
  static constexpr int kBytes = kBarriersAt + (4 * Stages + 2) * 8;
  static_assert(kBytes <= 232448 && kPhaseCopies > Stages + 2 && kAttentionRingStages < Stages && InFlight <= Stages && kBarriersAt % 8 == 0);

  char* ring;
  char* scratch;           // of bodies; attention takes stages of the ring
  Phase* phases;           // [kPhaseCopies]: phase p is at p % kPhaseCopies
  StagePurpose* purposes;  // [Stages]
  float* scale;            // [kTokens]
  KvPlace* places;         // [kTokens]
  const i32** places_table;  // the block table that they are from
  u32 ring_address;
  u32 claimed, weights, tokens, empty;  // mbarriers a stage: its purpose is known; its weights, its tokens are there; it is read
  u32 open, scaled;                     // mbarriers of phases: it may begin; its row scales are there

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
        weights(claimed + Stages * 8),
        tokens(weights + Stages * 8),
        empty(tokens + Stages * 8),
        open(empty + Stages * 8),
        scaled(open + 8) {}

  KERNEL_FN void initialize() const {
    for (int s = 0; s < Stages; ++s) {
      mbarrier_init(claimed + s * 8, 1);
      mbarrier_init(weights + s * 8, 1);
      mbarrier_init(tokens + s * 8, 1);
      mbarrier_init(empty + s * 8, kStreamWarps * kWarpArrivals);
    }
    mbarrier_init(open, kWarpArrivals);
    mbarrier_init(scaled, kWarpArrivals);
    *places_table = nullptr;
    fence_barrier_init();
  }
  KERNEL_FN void wait_for(Position at) const {
    mbarrier_wait(weights + at.stage * 8, at.parity);
    mbarrier_wait(tokens + at.stage * 8, at.parity);
  }
  KERNEL_FN const Phase& phase(i32 p) const { return phases[p % kPhaseCopies]; }
};
