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

// Places i = 0 .. N - 1 of `PerPlace` words each, from at(i) on; none where that is null. All are on their way at once.
template <int PerPlace, int N, typename At>
KERNEL_FN void exchange_receive(u64 (&words)[N][PerPlace], u32 tag, At at) {
  const auto arrived = [&](int i) {
    bool all = true;
#pragma unroll
    for (int w = 0; w < PerPlace; ++w) all = all && exchange_tag(words[i][w]) == tag;
    return all;
  };
#pragma unroll
  for (int i = 0; i < N; ++i) {
#pragma unroll
    for (int w = 0; w < PerPlace; ++w) words[i][w] = static_cast<u64>(~tag) << 32;
  }
  while (true) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const u64* place = at(i);
      exchange_load(place, place && !arrived(i), words[i]);
    }
    bool missing = false;
#pragma unroll
    for (int i = 0; i < N; ++i) missing = missing || (at(i) && !arrived(i));
    if (!missing) return;
    exchange_pause();
  }
}

// A warp waits for a word of many that come at about the same time, before it looks at all of them: too many looks at words that are not there
// hold up those who write them.
KERNEL_FN void exchange_await(const u64* word, u32 tag) {
  if (threadIdx.x % kWarp == 0) {
    u64 first[1][1];
    exchange_receive<1>(first, tag, [&](int) { return word; });
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
