// Paged causal attention of many tokens on AMX. Scores and outputs are computed transposed, with 16 queries in the
// columns of a tile: S^T = K Q^T takes K as it lies in the cache, the softmax runs down the rows of S^T, one query a
// lane, and pairs of its rows, rounded to bf16, are the operand of O^T = V^T P^T. Keys come in chunks with a running
// maximum (online softmax); scores are in units of log 2. Codes of a cache in int8 are bf16 without rounding; the
// scales of keys multiply the scores, those of values the weights.
#pragma once

#include "x86/amx.h"
#include "x86/query_lanes.h"
#include "x86/transpose.h"

constexpr i64 kAmxQueries = 256, kAmxKeys = 128;  // queries whose K and V are brought into order once; keys in a chunk

// 2^x for x <= 0, at least 2^-100, so that times a scale it is no subnormal number, which would cost a trap: n the
// nearest integer, the Taylor series of 2^r to r^5 (error below 2^-18).
KERNEL_FN f32x16 exp2_negative16(f32x16 x) {
  constexpr float kMagicNumber = 12582912.0f;  // 1.5 * 2^23: the sum's low bits are n
  x = x > -100.0f ? x : splat(-100.0f);
  const f32x16 shifted = x + kMagicNumber, r = x - (shifted - kMagicNumber);
  f32x16 p = fma16(r, splat(1.33335581e-3f), splat(9.61812911e-3f));
  p = fma16(p, r, splat(5.55041087e-2f));
  p = fma16(p, r, splat(0.240226507f));
  p = fma16(p, r, splat(0.693147181f));
  p = fma16(p, r, splat(1.0f));
  return __builtin_bit_cast(f32x16, __builtin_bit_cast(u32x16, p) + (__builtin_bit_cast(u32x16, shifted) << 23));
}

// 16 queries.
struct AmxLanes {
  f32x16 maximum, total;
  i32x16 first, last;                                // entries that a lane sees
  i64 any_first, any_last, every_first, every_last;  // over the used lanes
  bool started;
};

KERNEL_FN u16x16 bf16_bits16(const bf16* p) { return load<u16x16>(p); }
KERNEL_FN u16x16 bf16_bits16(const int8_kv* p) {
  return __builtin_convertvector(__builtin_bit_cast(u32x16, load16(p)) >> 16, u16x16);
}

template <typename X, typename KV, i64 kHeadDim>
struct AmxAttention {
  static_assert(kHeadDim % 16 == 0);
  static constexpr i64 kSteps = (kHeadDim + kTileK - 1) / kTileK, kDepth = kSteps * kTileK, kValueTiles = kHeadDim / 16;
  static constexpr i64 kTileWords = kTileBytes / 4, kScoreKeys = 64;  // keys whose scores are computed at once

  const AttentionArgs& a;
  AmxLanes lanes[kAmxQueries / 16];
  alignas(64) u32 queries[kAmxQueries / 16 * kSteps * kTileWords];     // [16 queries][step]: Q^T in pairs of columns
  alignas(64) float out[kAmxQueries / 16 * kValueTiles * kTileWords];  // [16 queries][tile]: O^T
  alignas(64) bf16 keys[kAmxKeys * kDepth];
  alignas(64) u32 values[kValueTiles * kAmxKeys / kTileK * kTileWords];  // [tile][32 keys]: V^T
  alignas(64) float scores[kAmxKeys * 16];
  alignas(64) u32 weights[kAmxKeys / 2 * 16];          // P^T in pairs of keys
  float key_factor[kAmxKeys], value_factor[kAmxKeys];  // of a cache whose entries have scales

  inline __attribute__((always_inline)) explicit AmxAttention(const AttentionArgs& args) : a(args) {}

  inline __attribute__((always_inline)) void begin(const QueryLanes<kAmxQueries>& all) {
    const f32x16 factor = splat(static_cast<float>(a.scale * 1.44269504088896341));  // log2 e
    for (i64 b = 0; b * 16 < all.count; ++b) {
      AmxLanes& l = lanes[b];
      l = {splat(-__builtin_inff()), f32x16{}, i32x16{}, i32x16{}, 0x7fffffff, -1, 0, 0x7fffffff, false};
      for (int i = 0; i < 16; ++i) {
        if (b * 16 + i >= all.count) continue;  // zero queries: finite scores that nobody reads
        l.first[i] = all.lane_first[b * 16 + i], l.last[i] = all.lane_last[b * 16 + i];
        l.any_first = min_of(l.any_first, l.first[i]), l.every_first = max_of(l.every_first, l.first[i]);
        l.any_last = max_of(l.any_last, l.last[i]), l.every_last = min_of(l.every_last, l.last[i]);
      }
      for (i64 s = 0; s < kSteps; ++s) {
        u32x16 rows[16];
        for (int i = 0; i < 16; ++i) {
          rows[i] = u32x16{};
          if (b * 16 + i >= all.count) continue;
          const float* q = a.q + all.row[b * 16 + i] * kHeadDim + s * kTileK;
          const f32x16 high = s * kTileK + 16 < kHeadDim ? load16(q + 16) * factor : f32x16{};
          rows[i] = __builtin_bit_cast(u32x16, __builtin_ia32_cvtne2ps2bf16_512(high, load16(q) * factor));
        }
        transpose16(rows);
        for (int i = 0; i < 16; ++i) store(queries + (b * kSteps + s) * kTileWords + i * 16, rows[i]);
      }
    }
  }

  // Of n entries; block by block, for finding one costs divisions.
  inline __attribute__((always_inline)) void load_factors(i64 slot, i64 kv_head, i64 begin, i64 n) {
    for (i64 i = 0; i < n;) {
      const float* key = kv_scale(a.kv, slot, begin + i, kv_head, false);
      const float* value = kv_scale(a.kv, slot, begin + i, kv_head, true);
      const i64 end = min_of(i + a.kv.block_tokens - (begin + i) % a.kv.block_tokens, n);
      for (; i < end; ++i, ++key, ++value) {
        key_factor[i] = *key > 0 ? *key : 1.0f;  // scores may be -inf; codes without a scale are 0
        value_factor[i] = *value;
      }
    }
    for (i64 i = n; i < kAmxKeys; ++i) key_factor[i] = 1.0f, value_factor[i] = 0.0f;
  }

  // n keys and values from entry `begin` on; values behind them, up to a multiple of kScoreKeys, are zero.
  inline __attribute__((always_inline)) void load_chunk(i64 slot, i64 kv_head, i64 begin, i64 n) {
    for (i64 i = 0; i < n; ++i) {
      const KV* row = kv_row<KV>(a.kv, slot, begin + i, kv_head, false);
      for (i64 j = 0; j < kHeadDim; j += 16) store(keys + i * kDepth + j, bf16_bits16(row + j));
      if (kDepth > kHeadDim) store(keys + i * kDepth + kHeadDim, u16x16{});
    }
    if constexpr (kScaledKv<KV>) load_factors(slot, kv_head, begin, n);
    for (i64 step = 0; step * kTileK < (n + kScoreKeys - 1) / kScoreKeys * kScoreKeys; ++step) {
      const KV* row[kTileK];
      for (i64 i = 0; i < kTileK; ++i) {
        const i64 entry = step * kTileK + i;
        row[i] = entry < n ? kv_row<KV>(a.kv, slot, begin + entry, kv_head, true) : nullptr;
      }
      const auto widened = [&](i64 i, i64 column) {
        return row[i] ? __builtin_convertvector(bf16_bits16(row[i] + column), u32x16) : u32x16{};
      };
      for (i64 t = 0; t < kValueTiles; ++t) {
        u32x16 pairs[16];
        for (i64 i = 0; i < 16; ++i) pairs[i] = widened(2 * i, t * 16) | widened(2 * i + 1, t * 16) << 16;
        transpose16(pairs);
        for (i64 i = 0; i < 16; ++i) store(values + (t * (kAmxKeys / kTileK) + step) * kTileWords + i * 16, pairs[i]);
      }
    }
  }

  // S^T of the first `count` keys, a multiple of kScoreKeys.
  inline __attribute__((always_inline)) void multiply_keys(i64 b, i64 count) {
    constexpr i64 kStride = kDepth * 2;
    for (i64 key = 0; key < count; key += kScoreKeys) {
      zero_sums();
      const bf16* k = keys + key * kDepth;
      for (i64 s = 0; s < kSteps; ++s, k += kTileK) {
        __builtin_ia32_tileloadd64(6, queries + (b * kSteps + s) * kTileWords, kTileStride);
        __builtin_ia32_tileloadd64(4, k, kStride);
        __builtin_ia32_tdpbf16ps(0, 4, 6);
        __builtin_ia32_tileloadd64(5, k + 16 * kDepth, kStride);
        __builtin_ia32_tdpbf16ps(1, 5, 6);
        __builtin_ia32_tileloadd64(4, k + 32 * kDepth, kStride);
        __builtin_ia32_tdpbf16ps(2, 4, 6);
        __builtin_ia32_tileloadd64(5, k + 48 * kDepth, kStride);
        __builtin_ia32_tdpbf16ps(3, 5, 6);
      }
      store_sums(scores + key * 16);
    }
  }

  // Scores of `count` keys from entry `begin` on to weights.
  inline __attribute__((always_inline)) void softmax(i64 b, i64 begin, i64 count) {
    AmxLanes& l = lanes[b];
    const auto score_of = [&](i64 key) {
      const f32x16 score = load16(scores + key * 16);
      return kScaledKv<KV> ? score * key_factor[key] : score;
    };
    if (begin < l.every_first || begin + count - 1 > l.every_last) {
      for (i64 key = 0; key < count; ++key) {
        const i32x16 index = i32x16{} + static_cast<i32>(begin + key);
        const f32x16 score = load16(scores + key * 16);
        store16(scores + key * 16, (index < l.first) | (index > l.last) ? splat(-__builtin_inff()) : score);
      }
    }
    f32x16 tops[4] = {l.maximum, l.maximum, l.maximum, l.maximum};
    for (i64 key = 0; key < count; key += 4)
      for (i64 i = 0; i < 4; ++i) {
        const f32x16 score = score_of(key + i);
        tops[i] = score > tops[i] ? score : tops[i];
      }
    const f32x16 top01 = tops[0] > tops[1] ? tops[0] : tops[1], top23 = tops[2] > tops[3] ? tops[2] : tops[3];
    const f32x16 top = top01 > top23 ? top01 : top23;
    const f32x16 base = top == -__builtin_inff() ? f32x16{} : top;  // a lane that has seen nothing yet
    if (l.started && __builtin_reduce_or(top > l.maximum)) {
      const f32x16 rescale = exp2_negative16(l.maximum - base);
      l.total *= rescale;
      float* o = out + b * kValueTiles * kTileWords;
      for (i64 i = 0; i < kValueTiles * kTileWords; i += 16) store16(o + i, load16(o + i) * rescale);
    }
    l.maximum = top;
    f32x16 totals[2] = {};
    const u32x16 half = u32x16{} + 0x8000u;
    for (i64 key = 0; key < count; key += 2) {
      f32x16 even = exp2_negative16(score_of(key) - base);
      f32x16 odd = exp2_negative16(score_of(key + 1) - base);
      totals[0] += even, totals[1] += odd;
      if (kScaledKv<KV>) even *= value_factor[key], odd *= value_factor[key + 1];
      store(weights + key / 2 * 16,
            (__builtin_bit_cast(u32x16, even) + half) >> 16 | ((__builtin_bit_cast(u32x16, odd) + half) & 0xffff0000u));
    }
    l.total += totals[0] + totals[1];
  }

  // O^T += V^T P^T: kCount tiles from `tile` on.
  template <int kCount>
  inline __attribute__((always_inline)) void multiply_values(i64 b, i64 tile, i64 count) {
    float* o = out + (b * kValueTiles + tile) * kTileWords;
    const u32* v = values + tile * (kAmxKeys / kTileK) * kTileWords;
    constexpr i64 kNext = kAmxKeys / kTileK * kTileWords;
    if (lanes[b].started) {
      __builtin_ia32_tileloadd64(0, o, kTileStride);
      if (kCount > 1) __builtin_ia32_tileloadd64(1, o + kTileWords, kTileStride);
      if (kCount > 2) __builtin_ia32_tileloadd64(2, o + 2 * kTileWords, kTileStride);
      if (kCount > 2) __builtin_ia32_tileloadd64(3, o + 3 * kTileWords, kTileStride);
    } else {
      zero_sums();
    }
    for (i64 s = 0; s * kTileK < count; ++s, v += kTileWords) {
      __builtin_ia32_tileloadd64(6, weights + s * kTileWords, kTileStride);
      __builtin_ia32_tileloadd64(4, v, kTileStride);
      __builtin_ia32_tdpbf16ps(0, 4, 6);
      if (kCount > 1) {
        __builtin_ia32_tileloadd64(5, v + kNext, kTileStride);
        __builtin_ia32_tdpbf16ps(1, 5, 6);
      }
      if (kCount > 2) {
        __builtin_ia32_tileloadd64(4, v + 2 * kNext, kTileStride);
        __builtin_ia32_tdpbf16ps(2, 4, 6);
        __builtin_ia32_tileloadd64(5, v + 3 * kNext, kTileStride);
        __builtin_ia32_tdpbf16ps(3, 5, 6);
      }
    }
    __builtin_ia32_tilestored64(0, o, kTileStride);
    if (kCount > 1) __builtin_ia32_tilestored64(1, o + kTileWords, kTileStride);
    if (kCount > 2) __builtin_ia32_tilestored64(2, o + 2 * kTileWords, kTileStride);
    if (kCount > 2) __builtin_ia32_tilestored64(3, o + 3 * kTileWords, kTileStride);
  }

  inline __attribute__((always_inline)) void write(const QueryLanes<kAmxQueries>& all, i64 b) {
    const Operand<X> o = Operand<X>::at(a.out, a.heads * kHeadDim);
    const f32x16 inverse = 1.0f / lanes[b].total;
    for (i64 t = 0; t < kValueTiles; ++t) {
      u32x16 rows[16];
      for (i64 i = 0; i < 16; ++i)
        rows[i] = __builtin_bit_cast(u32x16, load16(out + (b * kValueTiles + t) * kTileWords + i * 16) * inverse);
      transpose16(rows);
      for (i64 i = 0; i < min_of(16, all.count - b * 16); ++i)
        o.store16(all.row[b * 16 + i] / a.heads, all.row[b * 16 + i] % a.heads * kHeadDim + t * 16,
                  __builtin_bit_cast(f32x16, rows[i]));
    }
  }

  inline __attribute__((always_inline)) void run(const QueryLanes<kAmxQueries>& all, i64 slot, i64 kv_head) {
    begin(all);
    for (i64 first = all.first; first <= all.last; first += kAmxKeys) {
      const i64 n = min_of(kAmxKeys, all.last - first + 1);
      load_chunk(slot, kv_head, first, n);
      for (i64 b = 0; b * 16 < all.count; ++b) {
        AmxLanes& l = lanes[b];
        if (first > l.any_last || first + n <= l.any_first) continue;
        const i64 count = (min_of(n, l.any_last - first + 1) + kScoreKeys - 1) / kScoreKeys * kScoreKeys;
        multiply_keys(b, count);
        softmax(b, first, count);
        i64 tile = 0;
        for (; tile + 4 <= kValueTiles; tile += 4) multiply_values<4>(b, tile, count);
        for (; tile < kValueTiles; ++tile) multiply_values<1>(b, tile, count);
        l.started = true;
      }
    }
    for (i64 b = 0; b * 16 < all.count; ++b) write(all, b);
  }
};

// Tile: x = query head, of which the first of each KV head does the work of all; y = kRows tokens.
template <typename X, typename KV, i64 kHeadDim, i64 kRows>
KERNEL_FN void attention_amx(const AttentionArgs& a, Tile tile) {
  configure_tiles();
  AmxAttention<X, KV, kHeadDim> attention(a);
  for_each_sequence<kAmxQueries>(a, tile, kRows, [&](const QueryLanes<kAmxQueries>& lanes, i64 slot, i64 kv_head) {
    attention.run(lanes, slot, kv_head);
  });
  release_tiles();
}
