// How the blocks of a persistent kernel hand values to each other without waiting for each other as a whole: words of 64 bits, a value and a
// tag (hopper.h). A reader looks at a word until its tag is that of the phase that it wants. See ExchangePart.
//
// No word needs to be cleared, as a phase's tag is another in every step; and none is overwritten too early. A phase's blocks need all words
// that the one before has written, and finish none of their units before they have read them: so the blocks of the phase behind, which
// need all of those units, find everything read that the first has written.
#pragma once

#include "cuda/hopper.h"

KERNEL_FN u32 exchange_tag(u64 word) { return static_cast<u32>(word >> 32); }
KERNEL_FN u32 exchange_bits(u64 word) { return static_cast<u32>(word); }
KERNEL_FN float exchange_float(u64 word) { return float_of_bits(exchange_bits(word)); }

// Those of N places whose bits are set in `wanted`, of `PerPlace` words from at(i) on. All are on their way at once. A step has it on its way a
// few times a layer, each time with none of its instructions in the cache: it should have few.
template <int PerPlace, int N, typename At>
KERNEL_FN void exchange_receive(u64 (&words)[N][PerPlace], u32 tag, u32 wanted, At at) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
#pragma unroll
    for (int w = 0; w < PerPlace; ++w) words[i][w] = 0;
  }
  while (true) {
#pragma unroll
    for (int i = 0; i < N; ++i) exchange_load(at(i), wanted >> i & 1, words[i]);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      bool arrived = true;
#pragma unroll
      for (int w = 0; w < PerPlace; ++w) arrived = arrived && exchange_tag(words[i][w]) == tag;
      if (arrived) wanted &= ~(1u << i);
    }
    if (!wanted) return;
    exchange_pause();
  }
}
// The lowest `count` bits, none if it is below 0; fewer than 32.
KERNEL_FN u32 lowest_bits(int count) { return (1u << max_of(count, 0)) - 1; }

// A warp waits for a word of many that come at about the same time, before it looks at all of them: too many looks at words that are not there
// hold up those who write them.
KERNEL_FN void exchange_await(const u64* word, u32 tag) {
  if (threadIdx.x % kWarp == 0) {
    u64 first[1][1];
    exchange_receive<1>(first, tag, 1, [&](int) { return word; });
  }
  __syncwarp();
}

// What the phase of that tag hands on: the sink of finish_unit (linear_epilogue.h).
struct ExchangeSink {
  u64* const* parts;  // PersistentArgs::exchange
  u32 tag;

  // For all lanes of a warp: those of even lanes have their value and that of the next one.
  template <typename T>
  KERNEL_FN u32 pair(float value) const {
    return pack2<T>(value, __shfl_xor_sync(kAllLanes, value, 1));
  }
  // Of the pair at an even `at`.
  KERNEL_FN void pair(ExchangePart part, i64 at, bool valid, u32 bits) const {
    if (valid && at % 2 == 0) exchange_store(parts[part] + at / 2, bits, tag);
  }
  KERNEL_FN void value(ExchangePart part, i64 at, float value) const { exchange_store(parts[part] + at, float_bits(value), tag); }
};
