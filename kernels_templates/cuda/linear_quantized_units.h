// Linear layers on quantized weights for few tokens: linear_stream.h with codes in its ring, unit by unit of 16 rows in
// two blocks on an SM, so that what one waits for the other fills, and the next launch finds room while this one ends.
// sm_90, 16-bit operands. See QuantizedFusedArgs.
#pragma once

#include "cuda/linear_quantized_stream.h"
#include "cuda/quantized_operands.h"

// A stage holds `Tiles` tiles of columns for each warp; the activations of `Slots` stages are kept, from one unit to
// the next where these are all of K. Ten warps, twice on an SM, may have 96 registers each. K and the groups are
// multiples of 32, the rows of w of 8. 320 threads. Shared memory: Stages * kStageBytes + kWorkspaceBytes, and what is
// behind the ring of linear_stream.h, its sums twice.
template <typename Operands, typename Code, typename S, int Tiles, int Slots>
struct QuantizedUnits : StreamOutputs<1, Operands::kTokens> {
  using Outputs = StreamOutputs<1, Operands::kTokens>;
  using Outputs::kPartial, Outputs::kPartialStride;
  using Stage = QuantizedStage<Code, S, 1, kStreamWarps * Tiles>;
  using Fragments = FragmentTile<Code>;
  using Memory = typename Operands::Memory;
  using Part = typename Operands::Part;
  static constexpr int kFillers = 2, kDepth = Stage::kDepth, kHalfBytes = Stage::kHalfBytes, kPartials = 2;
  static constexpr int kBlocks = Fragments::kBlocks, kKept = Slots * Tiles;  // tiles of columns of a warp
  static constexpr int kStageBytes = Stage::kWeightBytes;
  static constexpr int kWorkspaceBytes = kStreamWarps * kKept * (Memory::kBytes + Operands::kInfoBytes);
  static constexpr int kTokenTiles = Operands::kTokens / Operands::kTileTokens;
  static_assert(Slots >= 2 && (Slots & (Slots - 1)) == 0, "one is filled while another is read");

  const Stage weights;
  const u32 chunks;
  const bool whole_tiles;  // each lies within a group
  const Memory x;
  const int rows;
  char *slots, *infos;  // of this warp
  const Operands operands;
  u32 sequence = 0xffffffffu;  // of the chunk at hand, modulo Slots its slot
  u32 codes_at, row;           // of this lane: in a stage, and of its results
  float sum[kTokenTiles][Operands::kResults];

  template <typename Args>
  KERNEL_FN QuantizedUnits(const Args& all, i64 row0, i64 rows_left, char* shared)
      : weights(all.groups, linear_of(all).k),
        chunks((weights.blocks + Stage::kMaxGroups - 1) / Stage::kMaxGroups),
        whole_tiles(weights.group_of.group_blocks % kBlocks == 0),
        x(static_cast<const char*>(linear_of(all).x) + row0 * linear_of(all).k * 2, linear_of(all).k),
        rows(static_cast<int>(min_of(rows_left, i64{Operands::kTokens}))),
        slots(shared + Outputs::k_warp() * kKept * Memory::kBytes),
        infos(shared + kStreamWarps * kKept * Memory::kBytes + Outputs::k_warp() * kKept * Operands::kInfoBytes),
        operands(shared_address(slots), shared_address(infos), rows),
        codes_at(kept(Outputs::k_warp() * Tiles * Fragments::kBytes + threadIdx.x % kWarp * 16)),
        row(kept(threadIdx.x % kWarp / 4)) {
#pragma unroll
    for (u32 chunk = 0; chunk + 1 < Slots; ++chunk) fetch(chunk, chunk);
  }

  KERNEL_FN void clear() {
#pragma unroll
    for (int m = 0; m < kTokenTiles; ++m)
#pragma unroll
      for (int j = 0; j < Operands::kResults; ++j) sum[m][j] = 0.0f;
  }

  // Zeros of an even number of groups lie as bulk copies need it.
  KERNEL_FN static bool copies_zeros_by_lanes(const QuantizedGroups& groups, i64 k) {
    return groups.zeros && (k + groups.group - 1) / groups.group % 2 != 0;
  }
  template <typename Args>
  KERNEL_FN static u32 fill_arrivals(const Args& all) {
    return copies_zeros_by_lanes(all.groups, linear_of(all).k) ? 1 + kWarp : 1;
  }
  // A filling warp copies one of the two halves of each unit. Zeros begin with a group of even number.
  template <int Stages, Epilogue Kind, typename Args, typename ScaleRows>
  KERNEL_FN static void fill(const Args& all, const StreamRing<QuantizedUnits, Stages, Kind>& ring, int half, i64, i64,
                             const ScaleRows& scale_rows) {
    const FusedLinearArgs& args = linear_of(all);
    const QuantizedGroups& groups = all.groups;
    const bool by_lanes = copies_zeros_by_lanes(groups, args.k);
    const u32 lane = threadIdx.x % kWarp, ahead = ring.ahead();
    const Stage stage(groups, args.k);
    const i64 column_tiles = (args.k + Fragments::kDepth - 1) / Fragments::kDepth,
              all_groups = (args.k + groups.group - 1) / groups.group;
    for (u32 step = 0, i = 0; i < ring.tiles; ++i) {
      const i64 eight = unit_row<Kind>(epilogue_of(all), ring.unit_begin + i, half, 0) / kFragmentRows;
      const char* codes = static_cast<const char*>(args.w) + eight * column_tiles * Fragments::kBytes;
      const S* scales = static_cast<const S*>(groups.scales) + eight * all_groups * kFragmentRows;
      const unsigned char* zeros = groups.zeros ? groups.zeros + eight * all_groups * kFragmentRows : nullptr;
      for (u32 chunk = 0; chunk < ring.chunks; ++chunk) {
        if (step >= Stages) ring.wait_empty(step);
        const u32 full = ring.full_barrier(step), destination = ring.stage(step) + half * kHalfBytes;
        const auto [first, count] = stage.groups_of(chunk);
        if (lane == 0) {
          constexpr u32 kTiles = kStreamWarps * Tiles;
          const u32 left = static_cast<u32>(column_tiles) - chunk * kTiles;
          const u32 code_bytes = (left < kTiles ? left : kTiles) * Fragments::kBytes,
                    scale_bytes = count * kFragmentRows * static_cast<u32>(sizeof(S));
          const u32 even = first & ~1u, even_end = (first + count + 1) & ~1u;
          const u32 zero_bytes = zeros && !by_lanes ? (even_end - even) * kFragmentRows : 0;
          mbarrier_expect_tx(full, code_bytes + scale_bytes + zero_bytes);
          bulk_copy_streaming(destination, codes + chunk * i64{Stage::kCodeBytes}, code_bytes, full);
          bulk_copy_streaming(destination + Stage::kCodeBytes, scales + first * kFragmentRows, scale_bytes, full);
          if (zero_bytes)
            bulk_copy_streaming(destination + Stage::kCodeBytes + Stage::kScaleBytes, zeros + even * kFragmentRows,
                                zero_bytes, full);
        }
        if (by_lanes) {
          for (u32 g = lane; g < count; g += kWarp)
            copy_async8(destination + Stage::kCodeBytes + Stage::kScaleBytes + ((first & 1) + g) * kFragmentRows,
                        zeros + (first + g) * kFragmentRows);
          copy_async_arrive(full);
        }
        if (++step != ahead) continue;
        dependency_wait();
        if (half == kFillers - 1) scale_rows();
      }
    }
    if (ring.steps() == 0) dependency_wait();
    dependency_trigger();
    copy_async_wait_all();
  }

  KERNEL_FN void begin_chunk(u32 tile, u32 chunk) {
    const bool all_fit = chunks <= Slots;
    sequence = all_fit ? chunk : sequence + 1;
    if (tile > 0 && all_fit) return;
    copy_async_wait<Slots - 2>();
    __syncwarp();  // all lanes' copies have landed, and the slot that is filled next has been read
    const u32 next = chunk + Slots - 1;
    fetch(sequence + Slots - 1, next < chunks || all_fit ? next : next - chunks);
    const u32 slot = sequence % Slots * Tiles;
#pragma unroll
    for (int i = 0; i < Tiles; ++i)
      if (first_block(chunk, i) < weights.blocks)
        operands.prepare(slots + (slot + i) * Memory::kBytes, infos + (slot + i) * Operands::kInfoBytes, rows);
    __syncwarp();
  }

  KERNEL_FN void multiply_chunk(const char* stage, u32 empty, u32 chunk) {
    const u32 at = shared_address(stage), slot = sequence % Slots * Tiles;
    const u32 first_group = weights.group_of.of(chunk * Stage::kMaxGroups);
#pragma unroll
    for (int i = 0; i < Tiles; ++i) {
      const u32 begin = first_block(chunk, i);
      if (begin >= weights.blocks) break;
      u32 low[4], high[4];
      words_of(load_shared16(at + codes_at + i * Fragments::kBytes), low);
      words_of(load_shared16(at + codes_at + i * Fragments::kBytes + kHalfBytes), high);
      if (whole_tiles) {  // x is 0 beyond K
        Part part;
#pragma unroll
        for (int b = 0; b < kBlocks; ++b) multiply_block<true>(part, low, high, slot + i, b);
        end_group<true>(part, slot + i, at, weights.group_of.of(begin), first_group);
        continue;
      }
      Part part;
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        if (begin + b >= weights.blocks) break;
        const u32 group = weights.group_of.of(begin + b);
        multiply_block<false>(part, low, high, slot + i, b);
        const bool more = b + 1 < kBlocks && begin + b + 1 < weights.blocks;
        if (more && weights.group_of.of(begin + b + 1) == group) continue;
        end_group<false>(part, slot + i, at, group, first_group);
        part = Part();
      }
    }
    mbarrier_arrive_warp(empty);
  }

  KERNEL_FN static void drain() { copy_async_wait_all(); }

  // This warp's sums to shared memory.
  KERNEL_FN void leave_sums(float* partial) const {
    float* warp_sums = partial + Outputs::k_warp() * kPartial + row;
#pragma unroll
    for (int m = 0; m < kTokenTiles; ++m)
#pragma unroll
      for (int j = 0; j < Operands::kResults; ++j)
        warp_sums[Operands::token_of(m, j) * kPartialStride + Operands::row_of(j)] = sum[m][j];
  }

 private:
  KERNEL_FN static u32 first_block(u32 chunk, int i) {
    return chunk * Stage::kMaxGroups + (Outputs::k_warp() * Tiles + i) * kBlocks;
  }
  // Starts the copies of a chunk's activations, as far as there are any, as one group.
  KERNEL_FN void fetch(u32 into, u32 chunk) const {
    const u32 slot = shared_address(slots) + into % Slots * Tiles * Memory::kBytes;
    for (int i = 0; i < Tiles; ++i)
      if (first_block(chunk, i) < weights.blocks) x.fetch(slot + i * Memory::kBytes, rows, first_block(chunk, i) * 32);
    copy_async_commit();
  }

  template <bool Whole>
  KERNEL_FN void multiply_block(Part& part, const u32 (&low)[4], const u32 (&high)[4], u32 slot, int b) const {
    operands.template multiply<Whole>(part, low + b * Fragments::kBlockWords, high + b * Fragments::kBlockWords, slot,
                                      b);
  }

  template <bool Whole>
  KERNEL_FN void end_group(const Part& part, u32 slot, u32 stage, u32 group, u32 first_group) {
    static_assert(sizeof(S) == 2, "scales of 16 bits");
    const u32 at = stage + Stage::kCodeBytes;
    const u32 scale_at = at + ((group - first_group) * kFragmentRows + row) * 2,
              zero_at = at + Stage::kScaleBytes + (group - (first_group & ~1u)) * kFragmentRows + row;
    float scale[2];
    u32 zero[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      scale[h] = scale_of(Code{}, S{load_shared2(scale_at + h * kHalfBytes)});
      zero[h] = weights.groups.zeros ? load_shared1(zero_at + h * kHalfBytes) : static_cast<u32>(weights.groups.zero);
    }
    operands.template add<Whole>(sum, part, slot, scale, zero);
  }
};

// Operands: FloatOperands or Int16Operands.
template <typename Code, typename S, typename A, template <typename, typename, int> class Operands, int TokenTiles,
          int Tiles, int Slots, int Stages, Epilogue Kind>
KERNEL_FN void linear_quantized_units(const QuantizedFusedArgs& args, Tile tile, char* shared) {
  using Units = QuantizedUnits<Operands<Code, A, TokenTiles>, Code, S, Tiles, Slots>;
  stream_units<Units, A, A, float, Stages, Kind>(args, tile, shared);
}

template <typename Code, typename S, typename A, typename KV, template <typename, typename, int> class Operands,
          int TokenTiles, int Tiles, int Slots, int Stages>
KERNEL_FN void linear_quantized_units_rope(const QuantizedRopeArgs& args, Tile tile, char* shared) {
  using Units = QuantizedUnits<Operands<Code, A, TokenTiles>, Code, S, Tiles, Slots>;
  stream_units<Units, A, A, KV, Stages, Epilogue::kRope>(args, tile, shared);
}
