// Linear layers on integer codes for few tokens, by the tensor cores for integers: linear_stream.h with codes in its
// ring. sm_90, 16-bit operands. See QuantizedFusedArgs.
//
// To bring a code of 4 bits to 16 takes more instructions than a streaming multiprocessor has time for while memory
// brings the next one; to a byte it takes a shift and an and for four. So the activations become integers instead: of
// 15 bits, with a scale of 2^e for each row and tile of columns (128, with codes of 8 bits 64), split into two signed
// bytes, which are two columns of mma m16n8k32: x = 2^e * (256 * high + low), where the largest of a tile is 2^13 to
// 2^14 times 2^e. A bf16 within 2^-6 of that loses nothing, smaller ones are rounded to a multiple of 2^e. Products and
// their sums within a tile and group are exact.
#pragma once

#include "cuda/linear_quantized_stream.h"

// The activations of a warp's tile of columns: 4 * TokenTiles tokens.
template <typename Code, typename A, int TokenTiles>
struct Int16Activations {
  static constexpr int kDepth = FragmentTile<Code>::kDepth, kTokens = 4 * TokenTiles;
  // In shared memory: integers [token, high or low, block, column]; apart from them, [token] scales and sums.
  static constexpr int kBytes = 2 * kTokens * kDepth;
  struct Tile {
    float scale;
    i32 sum;
  };
  static constexpr int kTileBytes = kTokens * static_cast<int>(sizeof(Tile));
  // A lane makes words of four columns, those of a fragment's register: eight columns are two words.
  static constexpr int kWords = kDepth / 4, kAtOnce = kWarp / kWords, kPasses = kTokens / kAtOnce;
  static constexpr bool kNibbles = Code::kBits == 4;  // bytes of a word: columns 0, 4, 1, 5 and 2, 6, 3, 7 of eight

  u32 pairs[kPasses][2];  // of columns, as they come from memory

  KERNEL_FN static int word() { return static_cast<int>(threadIdx.x % kWarp) % kWords; }
  KERNEL_FN static int token_of(int pass) { return pass * kAtOnce + static_cast<int>(threadIdx.x % kWarp) / kWords; }
  // Of the first block of 32 columns of row 2 * token + part; block b is at this ^ 32 * b, against bank conflicts.
  KERNEL_FN static int offset(int row) { return row * kDepth + (kDepth == 128 ? row & 3 : row >> 1 & 1) * 32; }

  // Loads columns `first` to first + kDepth of the rows of x, zeros beyond `k`.
  KERNEL_FN void load(const A* x, int rows, u32 first, i64 k) {
    const i64 column = first + word() / 2 * 8 + word() % 2 * (kNibbles ? 2 : 4);
#pragma unroll
    for (int p = 0; p < kPasses; ++p) {
      const bool valid = token_of(p) < rows && column < k;
      const u32* source = reinterpret_cast<const u32*>(x + token_of(p) * k + column);
      pairs[p][0] = valid ? source[0] : 0;
      pairs[p][1] = valid ? source[kNibbles ? 2 : 1] : 0;
    }
  }

  KERNEL_FN void store(char* shared, Tile* tiles, int rows) const {
    if (rows <= kAtOnce) {
      store_passes<0, 1>(shared, tiles);
    } else if (kPasses > 2 && rows <= 2 * kAtOnce) {
      store_passes < 0, kPasses<2 ? kPasses : 2>(shared, tiles);
    } else {
      store_passes < 0, kPasses<4 ? kPasses : 4>(shared, tiles);
      if constexpr (kPasses > 4) store_passes<4, kPasses - 4>(shared, tiles);
    }
  }

 private:
  // The larger half of `pair` in all lanes of a token. Magnitudes of 16-bit floats are ordered as integers are,
  // infinity and what is no number above all.
  KERNEL_FN static u32 maximum_of(u32 pair) {
    pair = __vmaxu2(pair, pair >> 16) & 0xffffu;
    if constexpr (kWords == kWarp) return __reduce_max_sync(kAllLanes, pair);
#pragma unroll
    for (int lanes = kWords / 2; lanes > 0; lanes /= 2) {
      const u32 other = __shfl_xor_sync(kAllLanes, pair, lanes);
      pair = pair > other ? pair : other;
    }
    return pair;
  }
  // Over all lanes of a token.
  KERNEL_FN static i32 sum_of(i32 v) {
    if constexpr (kWords == kWarp) return __reduce_add_sync(kAllLanes, v);
#pragma unroll
    for (int lanes = kWords / 2; lanes > 0; lanes /= 2) v += __shfl_xor_sync(kAllLanes, v, lanes);
    return v;
  }

  template <int First, int Count>
  KERNEL_FN void store_passes(char* shared, Tile* tiles) const {
    constexpr u32 kExponent = 0x7f800000u, kShift = 13u << 23;
    float maximum[Count], other;
#pragma unroll
    for (int p = 0; p < Count; ++p)
      unpack2<A>(maximum_of(__vmaxu2(pairs[First + p][0] & 0x7fff7fffu, pairs[First + p][1] & 0x7fff7fffu)), maximum[p],
                 other);
#pragma unroll
    for (int p = 0; p < Count; ++p) {
      const bool zero = maximum[p] <= kLeastQuantizedMax;
      const u32 exponent = __float_as_uint(maximum[p]) & kExponent;
      const float inverse = zero ? 0.0f : __uint_as_float((254u << 23) - exponent + kShift);
      float v[4];
      unpack2<A>(pairs[First + p][0], v[0], v[kNibbles ? 2 : 1]);
      unpack2<A>(pairs[First + p][1], v[kNibbles ? 1 : 2], v[3]);
      // The fraction of 1.5 * 2^23 + 128 + v counts in ones: its second byte is the high part, the first is low + 128.
      u32 bits[4];
      i32 sum = 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        bits[i] = __float_as_uint(fmaf(v[i], inverse, 12583040.0f));
        sum += static_cast<i32>(bits[i] - 0x4b400080u);
      }
      sum = sum_of(sum);
      const u32 first = __byte_perm(bits[0], bits[1], 0x5140), second = __byte_perm(bits[2], bits[3], 0x5140);
      const int row = 2 * token_of(First + p), block = word() / 8 * 32, within = word() % 8 * 4;
      *reinterpret_cast<u32*>(shared + (offset(row) ^ block) + within) = __byte_perm(first, second, 0x7632);
      *reinterpret_cast<u32*>(shared + (offset(row + 1) ^ block) + within) =
          __byte_perm(first, second, 0x5410) ^ 0x80808080u;
      if (word() == 0)
        tiles[token_of(First + p)] = {zero                    ? 0.0f
                                      : exponent == kExponent ? maximum[p]
                                                              : __uint_as_float(exponent - kShift),
                                      sum};
    }
  }
};

// Codes of a lane in a block of 32 columns as unsigned bytes, two registers of a fragment.
template <typename Code>
KERNEL_FN void code_bytes(const u32* words, u32& first, u32& second) {
  if constexpr (Code::kBits == 4) {
    first = words[0] & 0x0f0f0f0fu, second = words[0] >> 4 & 0x0f0f0f0fu;
  } else {
    first = words[0], second = words[1];
  }
}

// A stage holds `Tiles` tiles of columns for each warp; the integers of `Cached` stages are kept from one unit to the
// next. 320 threads, two blocks on an SM. Shared memory: Stages * kWeightBytes + kWorkspaceBytes, and what is behind
// the ring of linear_stream.h for units of 16 rows and 4 * TokenTiles tokens, its sums twice.
template <typename Code, typename S, typename A, int TokenTiles, int Tiles, int Cached>
struct QuantizedInt16Stream : StreamOutputs<1, 4 * TokenTiles> {
  using Outputs = StreamOutputs<1, 4 * TokenTiles>;
  using Outputs::kPartial, Outputs::kPartialStride;
  using Stage = QuantizedStage<Code, S, 1, kStreamWarps * Tiles>;
  using Fragments = FragmentTile<Code>;
  using Activations = Int16Activations<Code, A, TokenTiles>;
  using Tile = typename Activations::Tile;
  static constexpr int kFillers = 2, kDepth = Stage::kDepth, kHalfBytes = Stage::kHalfBytes, kPartials = 2;
  static constexpr int kBlocks = Fragments::kBlocks, kKept = Cached * Tiles;  // tiles of columns of a warp
  static constexpr int kStageBytes = Stage::kWeightBytes;
  static constexpr int kWorkspaceBytes = kStreamWarps * kKept * (Activations::kBytes + Activations::kTileBytes);
  static constexpr bool kScaleWarp = false;  // ten warps, twice on an SM, may have 96 registers each, eleven only 80
  using Parts = i32[TokenTiles][4];

  const Stage weights;
  const u32 chunks;
  const bool whole_tiles;  // each lies within a group
  const A* x;
  const int rows;
  char* integers;  // of this warp
  Tile* tiles;
  u32 token_at[TokenTiles], tile_at[TokenTiles], codes_at, row;  // of this lane: shared addresses, and in a stage
  Activations activations[Tiles];
  float sum[TokenTiles][2];  // [token t of the tile, row g or g + 8] of lane 4 * g + t

  template <typename Args>
  KERNEL_FN QuantizedInt16Stream(const Args& all, i64 row0, i64 rows_left, char* shared)
      : weights(all.groups, linear_of(all).k),
        chunks((weights.blocks + Stage::kMaxGroups - 1) / Stage::kMaxGroups),
        whole_tiles(weights.group_of.group_blocks % kBlocks == 0),
        x(static_cast<const A*>(linear_of(all).x) + row0 * linear_of(all).k),
        rows(static_cast<int>(min_of(rows_left, i64{4 * TokenTiles}))),
        integers(shared + Outputs::k_warp() * kKept * Activations::kBytes),
        tiles(reinterpret_cast<Tile*>(shared + kStreamWarps * kKept * Activations::kBytes) +
              Outputs::k_warp() * kKept * Activations::kTokens) {
    const int lane = threadIdx.x % kWarp, column = lane / 4;
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m) {  // absent tokens repeat the last
      const int token = min_of(m * 4 + column / 2, rows - 1);
      token_at[m] = kept(shared_address(integers) + Activations::offset(token * 2 + column % 2) + lane % 4 * 8);
      tile_at[m] = kept(shared_address(tiles + min_of(m * 4 + lane % 4, rows - 1)));
    }
    codes_at = kept(Outputs::k_warp() * Tiles * Fragments::kBytes + lane * 16);
    row = kept(lane / 4);
    load_activations(0);
  }

  KERNEL_FN void clear() {
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m) sum[m][0] = sum[m][1] = 0.0f;
  }

  // Zeros of an even number of groups lie as bulk copies need it.
  KERNEL_FN static bool copies_zeros_by_lanes(const QuantizedGroups& groups, i64 k) {
    return groups.zeros && (k + groups.group - 1) / groups.group % 2 != 0;
  }
  template <typename Args>
  KERNEL_FN static u32 fill_arrivals(const Args& all) {
    return copies_zeros_by_lanes(all.groups, linear_of(all).k) ? 1 + kWarp : 1;
  }
  // A filling warp copies one of the two halves of each unit. Zeros begin with a group of even number.
  template <int Stages, Epilogue Kind, typename Args>
  KERNEL_FN static void fill(const Args& all, const StreamRing<QuantizedInt16Stream, Stages, Kind>& ring, int half, i64,
                             i64) {
    const FusedLinearArgs& args = linear_of(all);
    const QuantizedGroups& groups = all.groups;
    const bool by_lanes = copies_zeros_by_lanes(groups, args.k);
    const u32 lane = threadIdx.x % kWarp;
    const Stage stage(groups, args.k);
    const i64 column_tiles = (args.k + Fragments::kDepth - 1) / Fragments::kDepth,
              all_groups = (args.k + groups.group - 1) / groups.group;
    for (u32 step = 0, i = 0; i < ring.tiles; ++i) {
      const i64 eight = unit_row<Kind>(epilogue_of(all), ring.unit_begin + i, half, 0) / kFragmentRows;
      const char* codes = static_cast<const char*>(args.w) + eight * column_tiles * Fragments::kBytes;
      const S* scales = static_cast<const S*>(groups.scales) + eight * all_groups * kFragmentRows;
      const unsigned char* zeros = groups.zeros ? groups.zeros + eight * all_groups * kFragmentRows : nullptr;
      for (u32 chunk = 0; chunk < ring.chunks; ++chunk, ++step) {
        if (step == Stages) dependency_wait();
        if (step >= Stages) ring.wait_empty(step);
        const u32 full = ring.full_barrier(step), destination = ring.stage(step) + half * kHalfBytes;
        const auto [first, count] = stage.groups_of(chunk);
        if (lane == 0) {
          constexpr u32 kTiles = kStreamWarps * Tiles;
          const u32 left = static_cast<u32>(column_tiles) - chunk * kTiles;
          const u32 code_bytes = (left < kTiles ? left : kTiles) * Fragments::kBytes,
                    scale_bytes = count * kFragmentRows * static_cast<u32>(sizeof(S));
          const u32 even = first & ~1u, even_end = (first + count + 1) & ~1u;
          const u32 zero_bytes = zeros && !by_lanes ? (even_end - even) * kFragmentRows : 0;
          mbarrier_expect_tx(full, code_bytes + scale_bytes + zero_bytes);
          bulk_copy_streaming(destination, codes + chunk * i64{Stage::kCodeBytes}, code_bytes, full);
          bulk_copy_streaming(destination + Stage::kCodeBytes, scales + first * kFragmentRows, scale_bytes, full);
          if (zero_bytes)
            bulk_copy_streaming(destination + Stage::kCodeBytes + Stage::kScaleBytes, zeros + even * kFragmentRows,
                                zero_bytes, full);
        }
        if (by_lanes) {
          for (u32 g = lane; g < count; g += kWarp)
            copy_async8(destination + Stage::kCodeBytes + Stage::kScaleBytes + ((first & 1) + g) * kFragmentRows,
                        zeros + (first + g) * kFragmentRows);
          copy_async_arrive(full);
        }
      }
    }
    if (ring.steps() <= Stages) dependency_wait();
    dependency_trigger();
    copy_async_wait_all();
  }

  // The activations of this chunk into integers; those of the next, which may be the first of the next unit, on their
  // way.
  KERNEL_FN void begin_chunk(u32 tile, u32 chunk) {
    if (tile > 0 && chunks <= Cached) return;
    const u32 slot = chunk % Cached * Tiles;
    __syncwarp();  // what they replace has been read
#pragma unroll
    for (int i = 0; i < Tiles; ++i)
      activations[i].store(integers + (slot + i) * Activations::kBytes, tiles + (slot + i) * Activations::kTokens,
                           rows);
    __syncwarp();
    load_activations(chunk + 1 < chunks ? chunk + 1 : 0);
  }

  KERNEL_FN void multiply_chunk(const char* stage, u32 empty, u32 chunk) {
    const u32 at = shared_address(stage), slot = chunk % Cached * Tiles;
    const u32 first_group = weights.group_of.of(chunk * Stage::kMaxGroups);
#pragma unroll
    for (int i = 0; i < Tiles; ++i) {
      const u32 begin = first_block(chunk, i);
      if (begin >= weights.blocks) break;
      u32 low[4], high[4];
      words_of(load_shared16(at + codes_at + i * Fragments::kBytes), low);
      words_of(load_shared16(at + codes_at + i * Fragments::kBytes + kHalfBytes), high);
      if (whole_tiles) {  // x is 0 beyond K
        multiply_whole(low, high, slot + i, at, weights.group_of.of(begin), first_group);
      } else {
        multiply_groups(low, high, slot + i, at, begin, first_group);
      }
    }
    mbarrier_arrive_warp(empty);
  }

  // This warp's sums to shared memory.
  KERNEL_FN void leave_sums(float* partial) const {
    float* warp_sums = partial + Outputs::k_warp() * kPartial + threadIdx.x % 4 * kPartialStride + row;
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m)
#pragma unroll
      for (int h = 0; h < 2; ++h) warp_sums[m * 4 * kPartialStride + h * 8] = sum[m][h];
  }

 private:
  KERNEL_FN static u32 first_block(u32 chunk, int i) {
    return chunk * Stage::kMaxGroups + (Outputs::k_warp() * Tiles + i) * kBlocks;
  }
  KERNEL_FN void load_activations(u32 chunk) {
#pragma unroll
    for (int i = 0; i < Tiles; ++i) activations[i].load(x, rows, first_block(chunk, i) * 32, weights.blocks * 32ll);
  }

  // `also` gets the activations of each tile of tokens.
  template <typename Also>
  KERNEL_FN void multiply_block(Parts& part, const u32 (&low)[4], const u32 (&high)[4], u32 slot, int b,
                                const Also& also) const {
    u32 a[4];
    code_bytes<Code>(low + b * Fragments::kBlockWords, a[0], a[2]);
    code_bytes<Code>(high + b * Fragments::kBlockWords, a[1], a[3]);
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m) {
      const uint2 token = load_shared8((token_at[m] ^ b * 32) + slot * Activations::kBytes);
      mma_16832(part[m], a, token.x, token.y);
      also(m, token);
    }
  }

  KERNEL_FN void multiply_whole(const u32 (&low)[4], const u32 (&high)[4], u32 slot, u32 stage, u32 group,
                                u32 first_group) {
    Parts part = {};
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) multiply_block(part, low, high, slot, b, [](int, const uint2&) {});
    i32 x_sum[TokenTiles];
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m)
      x_sum[m] = static_cast<i32>(load_shared8(tile_at[m] + slot * Activations::kTileBytes).y);
    end_group(part, x_sum, slot, stage, group, first_group);
  }

  // Groups that end within a tile: sums of the activations in them are products with ones.
  KERNEL_FN void multiply_groups(const u32 (&low)[4], const u32 (&high)[4], u32 slot, u32 stage, u32 begin,
                                 u32 first_group) {
    constexpr u32 kOnes[4] = {0x01010101u, 0x01010101u, 0x01010101u, 0x01010101u};
    Parts part = {}, x_part = {};
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      if (begin + b >= weights.blocks) break;
      const u32 group = weights.group_of.of(begin + b);
      multiply_block(part, low, high, slot, b,
                     [&](int m, const uint2& token) { mma_16832(x_part[m], kOnes, token.x, token.y); });
      const bool more = b + 1 < kBlocks && begin + b + 1 < weights.blocks;
      if (more && weights.group_of.of(begin + b + 1) == group) continue;
      i32 x_sum[TokenTiles];
#pragma unroll
      for (int m = 0; m < TokenTiles; ++m) x_sum[m] = x_part[m][0] * 256 + x_part[m][1];
      end_group(part, x_sum, slot, stage, group, first_group);
#pragma unroll
      for (int m = 0; m < TokenTiles; ++m)
#pragma unroll
        for (int j = 0; j < 4; ++j) part[m][j] = x_part[m][j] = 0;
    }
  }

  KERNEL_FN void end_group(const Parts& part, const i32 (&x_sum)[TokenTiles], u32 slot, u32 stage, u32 group,
                           u32 first_group) {
    static_assert(sizeof(S) == 2, "scales of 16 bits");
    const u32 at = stage + Stage::kCodeBytes;
    const u32 scale_at = at + ((group - first_group) * kFragmentRows + row) * 2,
              zero_at = at + Stage::kScaleBytes + (group - (first_group & ~1u)) * kFragmentRows + row;
    float x_scale[TokenTiles];
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m)
      x_scale[m] = __uint_as_float(load_shared8(tile_at[m] + slot * Activations::kTileBytes).x);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float scale = to_float(S{load_shared2(scale_at + h * kHalfBytes)});
      const i32 zero = static_cast<i32>(weights.groups.zeros ? load_shared1(zero_at + h * kHalfBytes)
                                                             : static_cast<u32>(weights.groups.zero));
#pragma unroll
      for (int m = 0; m < TokenTiles; ++m) {
        const i32 product = part[m][2 * h] * 256 + part[m][2 * h + 1] - zero * x_sum[m];
        sum[m][h] = fmaf(static_cast<float>(product), scale * x_scale[m], sum[m][h]);
      }
    }
  }
};

template <typename Code, typename S, typename A, int TokenTiles, int Tiles, int Cached, int Stages, Epilogue Kind>
KERNEL_FN void linear_quantized_int16(const QuantizedFusedArgs& args, Tile tile, char* shared) {
  stream_units<QuantizedInt16Stream<Code, S, A, TokenTiles, Tiles, Cached>, A, A, float, Stages, Kind>(args, tile,
                                                                                                       shared);
}

template <typename Code, typename S, typename A, typename KV, int TokenTiles, int Tiles, int Cached, int Stages>
KERNEL_FN void linear_quantized_int16_rope(const QuantizedRopeArgs& args, Tile tile, char* shared) {
  stream_units<QuantizedInt16Stream<Code, S, A, TokenTiles, Tiles, Cached>, A, A, KV, Stages, Epilogue::kRope>(
      args, tile, shared);
}
