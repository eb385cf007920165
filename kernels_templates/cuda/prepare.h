// First launch of a step: see PrepareArgs.
#pragma once

#include "cuda/types.h"

// Tile: y = sequence. 256 threads.
KERNEL_FN void prepare(const PrepareArgs& args, Tile tile, char*) {
  const i64 sequence = tile.y;
  if (sequence == 0) {
    const int updates = args.counts->block_updates;
    for (int i = threadIdx.x; i < updates; i += kRowThreads) {
      const BlockUpdate update = args.block_updates[i];
      args.block_table[(update.group * args.max_slots + update.slot) * args.table_stride + update.index] = update.block;
    }
  }
  if (sequence >= args.counts->rows[kRowsSeqs]) return;

  u32* counts = args.penalty_counts ? args.penalty_counts + args.seq_slot[sequence] * args.vocab : nullptr;
  if (counts && (args.seq_flags[sequence] & kSeqReset)) {
    for (i64 i = threadIdx.x; i < args.vocab; i += kRowThreads) counts[i] = 0;
    body_sync(kRowThreads);  // marks below must come after the clearing
  }
  const int end = args.query_start[sequence + 1];
  for (int t = args.query_start[sequence] + threadIdx.x; t < end; t += kRowThreads) {
    const int token = args.tokens[t];
    const int id = token >= 0 ? token : args.prev[-1 - token];
    args.ids[t] = id;
    // A sampled id was counted by `sample`; an id from the host is marked. An output id that the host sends back gets
    // both, which changes nothing: the repetition penalty asks for either.
    if (counts && token >= 0 && token < args.vocab) atomicOr(&counts[token], kInPrompt);
  }
}
