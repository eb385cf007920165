// Step bookkeeping and the row kernels that only move data: prepare, advance, embed, gather_rows, gather_columns.
#pragma once

#include "x86/simd.h"

KERNEL_FN void prepare(const PrepareArgs& a, Tile tile) {
  const i64 s = tile.y;
  if (s == 0) {
    for (i32 i = 0; i < a.counts->block_updates; ++i) {
      const BlockUpdate& u = a.block_updates[i];
      a.block_table[(static_cast<i64>(u.group) * a.max_slots + u.slot) * a.table_stride + u.index] = u.block;
    }
  }
  if (s >= a.counts->rows[kRowsSeqs]) return;
  u32* counts = a.penalty_counts + static_cast<i64>(a.seq_slot[s]) * a.vocab;
  if (a.seq_flags[s] & kSeqReset)
    for (i64 i = 0; i < a.vocab; ++i) counts[i] = 0;
  for (i32 t = a.query_start[s]; t < a.query_start[s + 1]; ++t) {
    const i32 id = a.tokens[t];
    a.ids[t] = id >= 0 ? id : a.prev[-1 - id];
    if (id >= 0 && id < a.vocab) counts[id] |= kInPrompt;
  }
}

KERNEL_FN void advance(const AdvanceArgs& a, Tile) {
  if (!(a.counts->flags & kStepAdvance)) return;
  const i32 rows = a.counts->rows[kRowsSeqs];
  for (i32 i = 0; i < rows; ++i) {
    a.tokens[i] = -1 - i;
    a.positions[i] += 1;
    a.kv_index[i] += 1;
    a.kv_len[i] += 1;
    a.seq_flags[i] = 0;
    a.params[i].position += 1;
  }
  a.counts->block_updates = 0;
  a.counts->step += 1;
}

template <typename W>
KERNEL_FN void embed(const EmbedArgs& a, Tile tile) {
  const i64 t = tile.y;
  if (t >= a.counts->rows[kRowsTokens]) return;
  const i64 id = min_of(max_of(static_cast<i64>(a.ids[t]), i64{0}), a.vocab - 1);
  const W* row = static_cast<const W*>(a.table) + id * a.width;
  float* out = static_cast<float*>(a.out) + t * a.width;
  for (i64 i = 0; i < a.width; ++i) out[i] = to_float(row[i]);
}

KERNEL_FN void gather_rows(const GatherRowsArgs& a, Tile tile) {
  const i64 r = tile.y;
  if (r >= a.counts->rows[kRowsLogits]) return;
  const float* row = a.x + static_cast<i64>(a.rows[r]) * a.width;
  for (i64 i = 0; i < a.width; ++i) a.out[r * a.width + i] = row[i];
}

KERNEL_FN void gather_columns(const GatherColumnsArgs& a, Tile tile) {
  const i64 r = tile.y;
  if (r >= a.counts->rows[a.row_count]) return;
  const float* x = static_cast<const float*>(a.x) + r * a.x_stride;
  float* out = static_cast<float*>(a.out) + r * a.width;
  for (i64 i = 0; i < a.width; ++i) out[i] = x[a.order[i]];
}
