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

// Where the groups of 16 entries of a step lie, for blocks of whole groups. Lane i looks group i up, a step ahead, so
// that a copy costs a few instructions and no wait.
template <typename KV, int Entries>
struct AttentionPages {
  static constexpr int kGroups = Entries / 16;
  const KV* group[kGroups];

  KERNEL_FN static i32 block(const KvRows<KV>& rows, int base, int end) { return rows.block_of(entry_of(base, end)); }
  KERNEL_FN AttentionPages(const KvRows<KV>& rows, i32 block, int base, int end) {
    const auto own = reinterpret_cast<unsigned long long>(rows.key_in(block, rows.row_of(entry_of(base, end))));
    __syncwarp();
#pragma unroll
    for (int g = 0; g < kGroups; ++g) group[g] = reinterpret_cast<const KV*>(__shfl_sync(kAllLanes, own, g));
  }

 private:
  // The lane's group, or where it has no entries, the step's first.
  KERNEL_FN static int entry_of(int base, int end) {
    const int entry = base + static_cast<int>(threadIdx.x) % kGroups * 16;
    return entry < end ? entry : base;
  }
};

// The copies of a thread of warpgroup 0: 16 bytes of one row in each group of 16 entries, and of its row in each panel.
template <typename KV, int HeadDim, int Entries, int Stages>
struct AttentionCopies {
  using Ring = AttentionRing<HeadDim, Entries, Stages>;
  using Pages = AttentionPages<KV, Entries>;
  static constexpr int kGroups = Pages::kGroups;
  int chunk = threadIdx.x % 8, row = threadIdx.x / 8;

  KERNEL_FN void copy_row(u32 stage, int group, const KV* source, bool exists) const {
    const u32 to = stage + Ring::swizzled(row, chunk) + group * 16 * Ring::kRowBytes;
#pragma unroll
    for (int panel = 0; panel < Ring::kPanels; ++panel) {
      if (HeadDim % 64 != 0 && panel * 8 + chunk >= Ring::kChunks) break;
      copy_async16(to + panel * Ring::kPanelBytes, source + panel * 64, exists);
    }
  }
  // `part`: values from the keys of the step's rows to what is copied. Rows outside of the range become zeros: weights
  // of 0 need finite values.
  template <bool AllExist>
  KERNEL_FN void copy_groups(u32 stage, const Pages& pages, i64 part, int base, const EntryRange& range) const {
    const i64 offset = part + row * HeadDim + chunk * 8;
#pragma unroll
    for (int g = 0; g < kGroups; ++g)
      copy_row(stage, g, pages.group[g] + offset, AllExist || contains(range, base + g * 16 + row));
  }
  // The same for blocks of any size.
  KERNEL_FN void copy_entries(u32 stage, const KvRows<KV>& rows, i64 part, int base, const EntryRange& range) const {
#pragma unroll 1
    for (int g = 0; g < kGroups; ++g) {
      const int entry = base + g * 16 + row;
      const bool exists = contains(range, entry);
      copy_row(stage, g, rows.key(exists ? entry : range.begin) + part + chunk * 8, exists);
    }
  }
  KERNEL_FN static bool contains(const EntryRange& range, int entry) {
    return entry >= range.begin && entry < range.end;
  }
};

// Warpgroup 0.
template <typename KV, int HeadDim, int Entries, int Stages>
KERNEL_FN void attention_gather(const AttentionArgs& args, const AttentionTiles& tiles,
                                const AttentionRing<HeadDim, Entries, Stages>& ring, int tokens) {
  using Ring = AttentionRing<HeadDim, Entries, Stages>;
  using Pages = AttentionPages<KV, Entries>;
  const AttentionCopies<KV, HeadDim, Entries, Stages> copies;
  const u32 group_heads = static_cast<u32>(args.heads) / static_cast<u32>(args.kv.kv_heads);
  const bool whole_groups = args.kv.block_tokens % 16 == 0;
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
      i32 block = whole_groups ? Pages::block(rows, segment.base, range.end) : 0;
      for (int base = segment.base; base < range.end; base += Entries) {
        const Pages pages(rows, block, base, range.end);
        if (whole_groups && base + Entries < range.end) block = Pages::block(rows, base + Entries, range.end);
        const auto copy = [&](u32 stages, i64 part, u32 full, u32 empty) {
          const u32 stage = stages + at.stage * Ring::kStageBytes;
          mbarrier_wait(empty + at.stage * 8, at.parity ^ 1);
          if (!whole_groups) {
            copies.copy_entries(stage, rows, part, base, range);
          } else if (base >= range.begin && base + Entries <= range.end) {
            copies.template copy_groups<true>(stage, pages, part, base, range);
          } else {
            copies.template copy_groups<false>(stage, pages, part, base, range);
          }
          copy_async_arrive(full + at.stage * 8);
        };
        copy(ring.keys, 0, ring.keys_full, ring.keys_empty);
        copy(ring.values, rows.value_offset, ring.values_full, ring.values_empty);
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
