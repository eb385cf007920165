// Last launch of `sample` in a device-driven decode loop: see AdvanceArgs.
#pragma once

#include "cuda/types.h"

// One block of 256 threads.
KERNEL_FN void advance(const AdvanceArgs& args, Tile, char*) {
  if (!(args.counts->flags & kStepAdvance)) return;
  const int rows = args.counts->rows[kRowsTokens];
  for (int i = threadIdx.x; i < rows; i += blockDim.x) {
    args.tokens[i] = -1 - i;
    args.positions[i] += 1;
    args.kv_index[i] += 1;
    args.kv_len[i] += 1;
    args.seq_flags[i] = 0;
    args.params[i].position += 1;
  }
  if (threadIdx.x == 0) {
    args.counts->step += 1;
    args.counts->block_updates = 0;
  }
}
