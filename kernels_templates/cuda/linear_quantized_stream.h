// Linear layers on quantized weights for few tokens: linear_stream.h with codes in its ring. sm_90, 16-bit operands.
// See QuantizedFusedArgs.
#pragma once

#include "cuda/linear_stream.h"
#include "cuda/quantized_fragments.h"

// The weights of a stage: of each half unit a tile of codes for every warp of K, and the scales and zeros of its
// groups. With eight such warps and codes of 4 bits it is 1024 columns deep, with 8 bits 512. K and the groups are
// multiples of 32, the rows of w of 8.
template <typename Code, typename S, int Units, int KWarps>
struct QuantizedStage {
  using Fragments = FragmentTile<Code>;
  static constexpr int kDepth = KWarps * Fragments::kDepth, kMaxGroups = kDepth / 32;
  static constexpr int kCodeBytes = KWarps * Fragments::kBytes;
  static constexpr int kScaleBytes = kMaxGroups * kFragmentRows * static_cast<int>(sizeof(S)),
                       kZeroBytes = kMaxGroups * kFragmentRows;
  static constexpr int kHalfBytes = kCodeBytes + kScaleBytes + kZeroBytes;
  static constexpr int kWeightBytes = 2 * Units * kHalfBytes;

  const QuantizedGroups& groups;
  BlockGroups group_of;
  u32 blocks;  // of 32 columns

  KERNEL_FN QuantizedStage(const QuantizedGroups& g, i64 k)
      : groups(g), group_of(g.group), blocks(static_cast<u32>(k / 32)) {}

  struct GroupRange {
    u32 first, count;
  };
  // Groups that a chunk of K touches.
  KERNEL_FN GroupRange groups_of(u32 chunk) const {
    const u32 begin = chunk * kMaxGroups, end = begin + kMaxGroups < blocks ? begin + kMaxGroups : blocks;
    const u32 first = group_of.of(begin);
    return {first, group_of.of(end - 1) - first + 1};
  }

  template <Epilogue Kind, typename Args>
  KERNEL_FN static void copy(const Args& all, i64 unit, int half, u32 chunk, u32 stage) {
    const FusedLinearArgs& args = linear_of(all);
    const u32 lane = threadIdx.x % kWarp,
              tiles = static_cast<u32>((args.k + Fragments::kDepth - 1) / Fragments::kDepth);
    const i64 eight = unit_row<Kind>(epilogue_of(all), unit, half % 2, 0) / kFragmentRows;
    const char* codes = static_cast<const char*>(args.w) + eight * tiles * Fragments::kBytes + lane * 16;
    const u32 destination = stage + half * kHalfBytes;
#pragma unroll
    for (int warp = 0; warp < KWarps; ++warp) {
      const u32 tile = chunk * KWarps + warp;
      const bool valid = tile < tiles;
      copy_async16_streaming(destination + warp * Fragments::kBytes + lane * 16,
                             codes + (valid ? tile * i64{Fragments::kBytes} : 0), valid);
    }
    const auto [first, count] = QuantizedStage(all.groups, args.k).groups_of(chunk);
    const i64 at = (eight * ((args.k + all.groups.group - 1) / all.groups.group) + first) * kFragmentRows;
    const char* scales = reinterpret_cast<const char*>(static_cast<const S*>(all.groups.scales) + at);
    for (u32 i = lane; i < count * (kFragmentRows * sizeof(S) / 16); i += kWarp)
      copy_async16(destination + kCodeBytes + i * 16, scales + i * 16, true);
    if (all.groups.zeros && lane < count)
      copy_async8(destination + kCodeBytes + kScaleBytes + lane * kFragmentRows,
                  all.groups.zeros + at + lane * kFragmentRows);
  }

  // Of a half unit's part of a stage; `at`: of a row in a group.
  KERNEL_FN static float scale(const char* half, u32 at) {
    return to_float(reinterpret_cast<const S*>(half + kCodeBytes)[at]);
  }
  KERNEL_FN u32 zero(const char* half, u32 at) const {
    return groups.zeros ? static_cast<u32>(reinterpret_cast<const unsigned char*>(half + kCodeBytes + kScaleBytes)[at])
                        : static_cast<u32>(groups.zero);
  }
};

// Such a stage, and behind it the tokens. 288 + 64 * Units threads. Shared memory: Stages * kStageBytes instead of that
// of linear_stream.h.
template <typename Code, typename S, typename A, int Units, int TokenTiles, int KWarps>
struct QuantizedStream : StreamSums<Units, TokenTiles, KWarps> {
  using Sums = StreamSums<Units, TokenTiles, KWarps>;
  using Sums::kTokens, Sums::kWarpUnits, Sums::sum;
  using Stage = QuantizedStage<Code, S, Units, KWarps>;
  using Fragments = FragmentTile<Code>;
  static constexpr int kDepth = Stage::kDepth, kHalfBytes = Stage::kHalfBytes, kWeightBytes = Stage::kWeightBytes;
  static constexpr int kTokenRowBytes = kDepth * 2 + 64, kStageBytes = kWeightBytes + kTokens * kTokenRowBytes;

  const Stage weights;
  u32 token_at[TokenTiles];  // of this lane's tokens in a stage

  template <typename Args>
  KERNEL_FN QuantizedStream(const Args& all, i64, i64 rows, char*) : weights(all.groups, linear_of(all).k) {
    const int warp = Sums::k_warp(), lane = threadIdx.x % kWarp;
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m)
      token_at[m] = kWeightBytes + static_cast<u32>(min_of(i64{m * 8 + lane / 4}, rows - 1)) * kTokenRowBytes +
                    warp * Fragments::kDepth * 2 + lane % 4 * 16;
    this->clear();
  }

  template <Epilogue Kind, typename Args>
  KERNEL_FN static void copy_weights(const Args& all, i64 unit, int half, u32 chunk, u32 stage) {
    Stage::template copy<Kind>(all, unit, half, chunk, stage);
  }

  template <int Stages, Epilogue Kind, typename Args, typename ScaleRows>
  KERNEL_FN static void fill(const Args& all, const StreamRing<QuantizedStream, Stages, Kind>& ring, int filler,
                             i64 row0, i64 rows, const ScaleRows&) {
    fill_with_tokens(all, ring, filler, row0, rows);
  }
  KERNEL_FN void begin_chunk(u32, u32) {}
  KERNEL_FN void multiply_chunk(const char* stage, u32 empty, u32 chunk) {
    const u32 warp = static_cast<u32>(Sums::k_warp()), lane = threadIdx.x % kWarp, g = lane / 4;
    const char* units = stage + 2 * Sums::first_unit() * kHalfBytes;
    const u32 begin = chunk * Stage::kMaxGroups + warp * Fragments::kBlocks,
              first_group = weights.group_of.of(chunk * Stage::kMaxGroups);
    if (begin < weights.blocks) {
      u32 low[kWarpUnits][4], high[kWarpUnits][4], current = 0;
      FragmentSums<Code, A, TokenTiles> products[kWarpUnits];
#pragma unroll
      for (int u = 0; u < kWarpUnits; ++u) {
        const char* codes = units + 2 * u * kHalfBytes + warp * Fragments::kBytes + lane * 16;
        words_of(*reinterpret_cast<const uint4*>(codes), low[u]);
        words_of(*reinterpret_cast<const uint4*>(codes + kHalfBytes), high[u]);
      }
#pragma unroll
      for (int b = 0; b < Fragments::kBlocks; ++b) {
        if (begin + b >= weights.blocks) break;
        const u32 group = weights.group_of.of(begin + b) - first_group;
        if (b == 0 || group != current) {
#pragma unroll
          for (int u = 0; u < kWarpUnits; ++u) {
            if (b > 0) products[u].end_group(sum[u]);
            begin_group(products[u], units + 2 * u * kHalfBytes, group * kFragmentRows + g);
          }
          current = group;
        }
        uint4 token[TokenTiles];
#pragma unroll
        for (int m = 0; m < TokenTiles; ++m) token[m] = *reinterpret_cast<const uint4*>(stage + token_at[m] + b * 64);
#pragma unroll
        for (int u = 0; u < kWarpUnits; ++u)
          products[u].multiply(low[u] + b * Fragments::kBlockWords, high[u] + b * Fragments::kBlockWords, token);
      }
#pragma unroll
      for (int u = 0; u < kWarpUnits; ++u) products[u].end_group(sum[u]);
    }
    mbarrier_arrive_warp(empty);
  }

 private:
  // `unit`: its part of a stage; `at`: of this lane's row in a group.
  KERNEL_FN void begin_group(FragmentSums<Code, A, TokenTiles>& products, const char* unit, u32 at) const {
    products.begin_group(Stage::scale(unit, at), Stage::scale(unit + kHalfBytes, at), weights.zero(unit, at),
                         weights.zero(unit + kHalfBytes, at));
  }
};

template <typename Code, typename S, typename A, int Units, int TokenTiles, int KWarps, int Stages, Epilogue Kind>
KERNEL_FN void linear_quantized_stream(const QuantizedFusedArgs& args, Tile tile, char* shared) {
  stream_units<QuantizedStream<Code, S, A, Units, TokenTiles, KWarps>, A, A, float, Stages, Kind>(args, tile, shared);
}

template <typename Code, typename S, typename A, typename KV, int Units, int TokenTiles, int KWarps, int Stages>
KERNEL_FN void linear_quantized_stream_rope(const QuantizedRopeArgs& args, Tile tile, char* shared) {
  stream_units<QuantizedStream<Code, S, A, Units, TokenTiles, KWarps>, A, A, KV, Stages, Epilogue::kRope>(args, tile,
                                                                                                          shared);
}
