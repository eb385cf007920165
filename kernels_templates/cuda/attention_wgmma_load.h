// What attention_wgmma.h shares with its loads: tiles and rings in shared memory, the gather of pages, and the queries.
#pragma once

#include "cuda/attention_prefill.h"
#include "cuda/wgmma.h"

// In shared memory queries, keys and values lie in panels of 64 values: rows of 128 bytes under the 128-byte swizzle.
template <int HeadDim, int Entries, int Stages>
struct AttentionRing {
  static constexpr int kQueries = 128, kRowBytes = 128;
  static constexpr int kPanels = (HeadDim + 63) / 64, kChunks = HeadDim / 8;  // chunks: 16 bytes of a row
  static constexpr u32 kQueryPanelBytes = kQueries * kRowBytes, kPanelBytes = Entries * kRowBytes;
  static constexpr u32 kStageBytes = kPanels * kPanelBytes;
  u32 queries, keys, values;  // shared addresses
  u32 keys_full, keys_empty, values_full, values_empty;

  KERNEL_FN explicit AttentionRing(char* shared)
      : queries(shared_address(shared)),
        keys(queries + kPanels * kQueryPanelBytes),
        values(keys + Stages * kStageBytes),
        keys_full(values + Stages * kStageBytes),
        keys_empty(keys_full + Stages * 8),
        values_full(keys_empty + Stages * 8),
        values_empty(values_full + Stages * 8) {}

  // Of a chunk of a row, from the start of its panel.
  KERNEL_FN static u32 swizzled(u32 row, u32 chunk) { return row * kRowBytes + ((chunk ^ row) & 7) * 16; }
};

// A stage of a ring, and the parity of its barriers' phase.
template <int Stages>
struct AttentionStage {
  u32 stage = 0, parity = 0;

  KERNEL_FN void advance() {
    if (++stage == Stages) stage = 0, parity ^= 1;
  }
};

// The tiles of a block. Every other round runs backwards, so that the blocks' sums of ever shorter tiles are alike.
struct AttentionTiles {
  u32 row_tiles, heads, first, blocks;

  KERNEL_FN u32 rounds() const { return (row_tiles * heads + blocks - 1) / blocks; }
  // False where the last round has no tile for this block.
  KERNEL_FN bool at(u32 round, int& row0, i64& head) const {
    const u32 index = round % 2 ? (round + 1) * blocks - 1 - first : round * blocks + first;
    if (index >= row_tiles * heads) return false;
    row0 = static_cast<int>(row_tiles - 1 - index / heads) * 128;
    head = index % heads;
    return true;
  }
};

// The entries that a tile's rows of one sequence attend to, in steps from a multiple of 16: whole pages in most
// layouts.
struct AttentionSegment {
  int sequence, end;  // rows from the segment's first to end - 1
  EntryRange range;
  int base;

  KERNEL_FN AttentionSegment(const AttentionArgs& args, int first, int row_end)
      : sequence(args.token_seq[first]), end(min_of(row_end, args.query_start[sequence + 1])) {
    range = entry_range(args, first, end);
    base = range.begin & ~15;
  }
};

// Warpgroup 0: thread = chunk + 8 * row of a pass over 16 entries.
template <typename KV, int HeadDim, int Entries, int Stages>
KERNEL_FN void attention_gather(const AttentionArgs& args, const AttentionTiles& tiles,
                                const AttentionRing<HeadDim, Entries, Stages>& ring, int tokens) {
  using Ring = AttentionRing<HeadDim, Entries, Stages>;
  constexpr int kPasses = Entries / 16;
  const int chunk = threadIdx.x % 8, row = threadIdx.x / 8;
  const u32 destination = Ring::swizzled(row, chunk);
  const u32 group_heads = static_cast<u32>(args.heads) / static_cast<u32>(args.kv.kv_heads);
  AttentionStage<Stages> at;
  for (u32 round = 0; round < tiles.rounds(); ++round) {
    int row0;
    i64 head;
    if (!tiles.at(round, row0, head)) continue;
    const int row_end = min_of(row0 + Ring::kQueries, tokens);
    for (int first = row0; first < row_end;) {
      const AttentionSegment segment(args, first, row_end);
      first = segment.end;
      const KvRows<KV> rows(args.kv, args.seq_slot[segment.sequence], static_cast<u32>(head) / group_heads);
      const EntryRange range = segment.range;
      for (int base = segment.base; base < range.end; base += Entries) {
        const auto copy = [&](u32 to, i64 offset, u32 full, u32 empty) {
          mbarrier_wait(empty + at.stage * 8, at.parity ^ 1);
#pragma unroll(HeadDim > 128 ? 1 : 4)
          for (int p = 0; p < kPasses; ++p) {
            const int entry = base + p * 16 + row;
            const bool valid =
                entry >= range.begin && entry < range.end;  // zeros elsewhere: weights of 0 need finite values
            const KV* source = rows.key(valid ? entry : range.begin) + offset + chunk * 8;
#pragma unroll
            for (int panel = 0; panel < Ring::kPanels; ++panel) {
              if (HeadDim % 64 != 0 && panel * 8 + chunk >= Ring::kChunks) break;
              copy_async16(to + destination + panel * Ring::kPanelBytes + p * 16 * Ring::kRowBytes, source + panel * 64,
                           valid);
            }
          }
          copy_async_arrive(full + at.stage * 8);
        };
        copy(ring.keys + at.stage * Ring::kStageBytes, 0, ring.keys_full, ring.keys_empty);
        copy(ring.values + at.stage * Ring::kStageBytes, rows.value_offset, ring.values_full, ring.values_empty);
        at.advance();
      }
    }
  }
  copy_async_wait_all();
}

// A warpgroup's 64 rows of the tile's queries, times scale * log2(e) so that exp becomes exp2, into shared memory.
template <typename KV, typename Ring>
KERNEL_FN void attention_load_queries(const AttentionArgs& args, char* shared, int group, int row0, int row_end,
                                      i64 head) {
  constexpr int kThreads = 128, kAll = 64 * Ring::kChunks, kAhead = 4;
  static_assert(kAll % (kThreads * kAhead) == 0 || kAll / kThreads == 6, "whole passes");
  constexpr int kPasses = kAll / kThreads % kAhead == 0 ? kAhead : 3;
  const float scale = static_cast<float>(args.scale) * kLog2E;
#pragma unroll 1
  for (int i = threadIdx.x % kThreads; i < kAll; i += kThreads * kPasses) {
    Packed8<float> q[kPasses];
#pragma unroll
    for (int p = 0; p < kPasses; ++p) {
      const int r = group * 64 + (i + p * kThreads) / Ring::kChunks, c = (i + p * kThreads) % Ring::kChunks;
      q[p] = {};
      if (row0 + r < row_end) q[p] = load8(args.q + ((row0 + r) * args.heads + head) * (Ring::kChunks * 8) + c * 8);
    }
#pragma unroll
    for (int p = 0; p < kPasses; ++p) {
      const u32 r = group * 64 + (i + p * kThreads) / Ring::kChunks, c = (i + p * kThreads) % Ring::kChunks;
      float v[8];
      unpack8(q[p], v);
#pragma unroll
      for (int j = 0; j < 8; ++j) v[j] *= scale;
      store8(reinterpret_cast<KV*>(shared + c / 8 * Ring::kQueryPanelBytes + Ring::swizzled(r, c)), v);
    }
  }
}
