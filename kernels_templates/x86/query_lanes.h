// The queries of a tile of attention, by sequence: those of all heads that share a KV head stand side by side.
#pragma once

#include "x86/attention.h"

// Queries of one sequence and one KV head.
template <i64 kMost>
struct QueryLanes {
  i64 count = 0, first = 0, last = -1;  // entries that any of them sees
  i64 row[kMost];                       // of q and out
  i32 lane_first[kMost], lane_last[kMost];
};

// Calls attend(lanes, slot, kv_head) for kMost queries at most at a time. Tile: x = query head, of which the first of
// each KV head does the work of all; y = `rows` tokens.
template <i64 kMost, typename Attend>
KERNEL_FN void for_each_sequence(const AttentionArgs& a, Tile tile, i64 rows, const Attend& attend) {
  const i64 group = a.heads / a.kv.kv_heads, head = tile.x;
  if (head % group != 0) return;
  const i64 begin = static_cast<i64>(tile.y) * rows, end = min_of(begin + rows, a.counts->rows[kRowsTokens]);
  QueryLanes<kMost> lanes;
  i64 slot = -1;
  for (i64 i = 0; i < (end - begin) * group; ++i) {
    const i64 t = begin + i / group, token_slot = a.seq_slot[a.token_seq[t]], last = a.kv_index[t];
    const i64 first = a.window > 0 ? max_of(0, last - a.window + 1) : 0;
    if (lanes.count == kMost || (lanes.count > 0 && token_slot != slot)) {
      attend(lanes, slot, head / group);
      lanes.count = 0;
    }
    if (lanes.count == 0) slot = token_slot, lanes.first = first, lanes.last = last;
    lanes.first = min_of(lanes.first, first), lanes.last = max_of(lanes.last, last);
    lanes.row[lanes.count] = t * a.heads + head + i % group;
    lanes.lane_first[lanes.count] = static_cast<i32>(first), lanes.lane_last[lanes.count] = static_cast<i32>(last);
    ++lanes.count;
  }
  if (lanes.count > 0) attend(lanes, slot, head / group);
}
