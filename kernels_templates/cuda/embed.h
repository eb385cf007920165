// Token embedding: see EmbedArgs. The hidden states are fp32.
#pragma once

#include "cuda/types.h"

// Reference: one value at a time. Tile: y = token. 256 threads.
template <typename W>
KERNEL_FN void embed_naive(const EmbedArgs& args, Tile tile, char*) {
  const i64 row = tile.y;
  if (row >= args.counts->rows[kRowsTokens]) return;
  const i64 id = args.ids[row];
  const bool known = id >= 0 && id < args.vocab;
  const W* table = static_cast<const W*>(args.table);
  float* out = static_cast<float*>(args.out) + row * args.width;
  for (i64 i = threadIdx.x; i < args.width; i += kRowThreads)
    out[i] = known ? to_float(table[id * args.width + i]) : 0.0f;
}

// 16-byte accesses. Tile: y = token. 256 threads.
template <typename W>
KERNEL_FN void embed(const EmbedArgs& args, Tile tile, char* shared) {
  if (args.width % 8 != 0) return embed_naive<W>(args, tile, shared);
  const i64 row = tile.y;
  if (row >= args.counts->rows[kRowsTokens]) return;
  const i64 id = args.ids[row];
  const bool known = id >= 0 && id < args.vocab;
  const W* table = static_cast<const W*>(args.table) + (known ? id : 0) * args.width;
  float* out = static_cast<float*>(args.out) + row * args.width;
  for (i64 i = threadIdx.x * 8; i < args.width; i += kRowThreads * 8) {
    float values[8] = {};
    if (known) unpack8(load8(table + i), values);
    store8(out + i, values);
  }
}
