// What products of codes with the activations of few tokens are made of, for linear_quantized_units.h: sm_90, 16-bit
// operands. Both kinds take a tile of columns of a warp (128, with a byte a code 64) as it comes from memory, in
// [token, block of 32 columns, column], and make of it, in the same place, what their multiply() reads.
#pragma once

#include "cuda/hopper.h"
#include "cuda/quantized_fragments.h"

// Where the activations of a warp's tiles lie: slots of kBytes in shared memory.
template <typename Code, int Tokens>
struct ActivationTile {
  static constexpr int kDepth = FragmentTile<Code>::kDepth, kTokenBytes = kDepth * 2, kBytes = Tokens * kTokenBytes;
  // Byte 16 * t of a block of a token: blocks are exchanged between neighbours, against bank conflicts.
  KERNEL_FN static u32 offset(int token, int block, int t) {
    return static_cast<u32>(token * kTokenBytes + (block ^ (token & 1)) * 64 + t * 16);
  }

  // Of this lane: its piece of 16 bytes of a token, and of every kAtOnce-th token behind it.
  static constexpr int kPieces = kTokenBytes / 16, kAtOnce = kWarp / kPieces;
  const char* source;
  i64 bytes;         // of a row of x
  u32 column, into;  // of the piece in a tile; in a slot

  KERNEL_FN ActivationTile(const void* x, i64 k) : bytes(k * 2) {
    const int lane = threadIdx.x % kWarp, piece = lane % kPieces;
    source = static_cast<const char*>(x) + lane / kPieces * bytes + piece * 16;
    column = piece * 8;
    into = offset(lane / kPieces, piece / 4, piece % 4);
  }

  // Starts the copy of columns `first` to first + kDepth of `rows` rows of x, zeros beyond the last column.
  KERNEL_FN void fetch(u32 slot, int rows, u32 first) const {
    const bool valid = (first + column) * i64{2} < bytes;
    const char* from = source + (valid ? first * i64{2} : 0);
#pragma unroll
    for (int i = 0; i < Tokens / kAtOnce; ++i)
      if (static_cast<int>(threadIdx.x % kWarp) / kPieces + i * kAtOnce < rows)
        copy_async16(slot + into + i * kAtOnce * kTokenBytes, from + i * kAtOnce * bytes, valid);
  }

  // Four values make a word of integers: a token has so many lanes.
  static constexpr int kLanes = kDepth / 4;
  // The larger half of `pair` in all lanes of a token. Magnitudes of 16-bit floats are ordered as integers are,
  // infinity and what is no number above all.
  KERNEL_FN static u32 maximum_of(u32 pair) {
    pair = __vmaxu2(pair, pair >> 16) & 0xffffu;
    if constexpr (kLanes == kWarp) return __reduce_max_sync(kAllLanes, pair);
#pragma unroll
    for (int lanes = kLanes / 2; lanes > 0; lanes /= 2) {
      const u32 other = __shfl_xor_sync(kAllLanes, pair, lanes);
      pair = pair > other ? pair : other;
    }
    return pair;
  }
};

// The power of two that brings the largest magnitude of a tile to 2^Exponent to 2^(Exponent + 1), and its inverse;
// zeros where there is nothing to bring, and what is not finite stays so.
struct TileScale {
  float scale, inverse;
};
template <int Exponent, typename A>
KERNEL_FN TileScale tile_scale(u32 magnitude_bits) {
  constexpr u32 kExponent = 0x7f800000u, kShift = static_cast<u32>(Exponent) << 23;
  float maximum, other;
  unpack2<A>(magnitude_bits, maximum, other);
  if (maximum <= kLeastQuantizedMax) return {0.0f, 0.0f};
  const u32 exponent = __float_as_uint(maximum) & kExponent;
  return {exponent == kExponent ? maximum : __uint_as_float(exponent - kShift),
          __uint_as_float((254u << 23) - exponent + kShift)};
}

// Activations as they are, products by mma m16n8k16 in fp32. Codes have what FragmentPlain says added; that and their
// zero, times the sum of the activations, is taken off at the end of a group.
template <typename Code, typename A>
struct FragmentPlain {
  static constexpr float kOffset = 0.0f;
  KERNEL_FN static void unpack(const u32* words, u32 (&out)[4]) {
    FragmentCodes<Code, A>::unpack(words, FragmentCodes<Code, A>::zero(0), out);
  }
};
template <>
struct FragmentPlain<U4, bf16> {
  static constexpr float kOffset = 128.0f;
  KERNEL_FN static void unpack(const u32* words, u32 (&out)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = and_or(words[0] >> (4 * i), 0x000f000fu, 0x43004300u);
  }
};

template <>
struct FragmentPlain<E4m3, f16> {
  static constexpr float kOffset = 0.0f;
  KERNEL_FN static void unpack(const u32* words, u32 (&out)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[i] = f16_pair_of_e4m3(static_cast<u16>(words[i / 2] >> i % 2 * 16));
  }
};

// e4m3 comes to fp16 by an instruction, to bf16 by five, and fp16 holds more of nf4: there bf16 activations become fp16
// times a power of two, with which the largest of a row and tile of columns is 2^14 to 2^15: exact down to 2^-28 of it.
template <typename Code, typename A, int TokenTiles>
struct FloatOperands {
  static constexpr int kTileTokens = 8, kTokens = kTileTokens * TokenTiles, kResults = 4;
  using Memory = ActivationTile<Code, kTokens>;
  static constexpr bool kZeros = Code::kInteger, kToF16 = !Code::kInteger && !SameType<A, f16>::value;
  using Factor = typename Choose<kToF16, f16, A>::Type;
  using Plain = FragmentPlain<Code, Factor>;
  static constexpr int kInfoBytes = kToF16 ? kTokens * static_cast<int>(sizeof(float)) : 0;  // [token] scales
  struct Part {
    float product[TokenTiles][4] = {}, x[TokenTiles][4] = {};
  };

  u32 token_at[TokenTiles];  // of this lane, in the first slot
  u32 infos;
  int last;  // absent tokens repeat it

  KERNEL_FN FloatOperands(u32 slots, u32 info_slots, int rows) : infos(info_slots), last(rows - 1) {
    const int lane = threadIdx.x % kWarp;
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m)
      token_at[m] = kept(slots + Memory::offset(min_of(m * 8 + lane / 4, last), 0, lane % 4));
  }

  KERNEL_FN void prepare(char* slot, char* info, int rows) const {
    if constexpr (kToF16) {
      constexpr int kAtOnce = kWarp / Memory::kLanes;
      const int within = static_cast<int>(threadIdx.x % kWarp) % Memory::kLanes;
#pragma unroll
      for (int i = 0; i < kTokens / kAtOnce; ++i) {
        if (i * kAtOnce >= rows) break;
        const int token = i * kAtOnce + static_cast<int>(threadIdx.x % kWarp) / Memory::kLanes;
        uint2* place =
            reinterpret_cast<uint2*>(slot + Memory::offset(token, within / 8, within % 8 / 2) + within % 2 * 8);
        const uint2 x = *place;
        const TileScale s = tile_scale<14, A>(Memory::maximum_of(__vmaxu2(x.x & 0x7fff7fffu, x.y & 0x7fff7fffu)));
        float v[4];
        unpack2<A>(x.x, v[0], v[1]);
        unpack2<A>(x.y, v[2], v[3]);
        *place = {pack2<f16>(v[0] * s.inverse, v[1] * s.inverse), pack2<f16>(v[2] * s.inverse, v[3] * s.inverse)};
        if (within == 0) reinterpret_cast<float*>(info)[token] = s.scale;
      }
    }
  }

  // Adds the products with block b of the slot's activations. `Whole`: the tile lies within a group.
  template <bool Whole>
  KERNEL_FN void multiply(Part& part, const u32* low, const u32* high, u32 slot, int b) const {
    const u32 one = pack2<Factor>(1.0f, 1.0f);
    u32 a[4], c[4];
    Plain::unpack(low, a);
    Plain::unpack(high, c);
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m) {
      const uint4 token = load_shared16((token_at[m] ^ b * 64) + slot * Memory::kBytes);
      mma_16816<Factor>(part.product[m], a[0], c[0], a[1], c[1], token.x, token.y);
      mma_16816<Factor>(part.product[m], a[2], c[2], a[3], c[3], token.z, token.w);
      if constexpr (kZeros) {
        mma_16816<Factor>(part.x[m], one, one, one, one, token.x, token.y);
        mma_16816<Factor>(part.x[m], one, one, one, one, token.z, token.w);
      }
    }
  }

  // Adds a group's products, times the scales of rows g and g + 8, to `sum`.
  template <bool Whole>
  KERNEL_FN void add(float (&sum)[TokenTiles][kResults], const Part& part, u32 slot, const float (&scale)[2],
                     const u32 (&zero)[2]) const {
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m)
#pragma unroll
      for (int j = 0; j < kResults; ++j) {
        const float off = Plain::kOffset + static_cast<float>(static_cast<i32>(zero[j / 2]));
        const float product = kZeros ? fmaf(-off, part.x[m][j % 2], part.product[m][j]) : part.product[m][j];
        sum[m][j] = fmaf(product, scale[j / 2] * x_scale(m, j, slot), sum[m][j]);
      }
  }
  // Of a result of this lane.
  KERNEL_FN static int token_of(int m, int j) { return m * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + j % 2; }
  KERNEL_FN static int row_of(int j) { return j / 2 * 8; }

 private:
  KERNEL_FN float x_scale(int m, int j, u32 slot) const {
    if constexpr (!kToF16) return 1.0f;
    return __uint_as_float(load_shared4(infos + slot * kInfoBytes + min_of(token_of(m, j), last) * 4));
  }
};

// Activations as integers, for codes that are. To bring a code of 4 bits to 16 takes more instructions than a streaming
// multiprocessor has time for while memory brings the next one; to a byte it takes a shift and an and for four. So the
// activations become integers of 15 bits, with a scale of 2^e for each row and tile of columns, split into two signed
// bytes, which are two columns of mma m16n8k32: x = 2^e * (256 * high + low), where the largest of a tile is 2^13 to
// 2^14 times 2^e. A bf16 within 2^-6 of that loses nothing, smaller ones are rounded to a multiple of 2^e. Products and
// their sums within a tile and group are exact. What that takes is worth it where a tile of activations meets many
// rows.
template <typename Code, typename A, int TokenTiles>
struct Int16Operands {
  static constexpr int kTileTokens = 4, kTokens = kTileTokens * TokenTiles, kResults = 2;
  using Memory = ActivationTile<Code, kTokens>;
  // Behind the integers [token, high or low, block, column]: [token] scale and sum.
  struct Info {
    float scale;
    i32 sum;
  };
  static constexpr int kInfoBytes = kTokens * static_cast<int>(sizeof(Info));
  struct Part {
    i32 product[TokenTiles][4] = {}, x[TokenTiles][4] = {};
  };

  u32 token_at[TokenTiles], info_at[TokenTiles];  // of this lane, in the first slot

  KERNEL_FN Int16Operands(u32 slots, u32 infos, int rows) {
    const int lane = threadIdx.x % kWarp, column = lane / 4;
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m) {  // absent tokens repeat the last
      const int token = min_of(m * 4 + column / 2, rows - 1);
      token_at[m] = kept(slots + offset(token * 2 + column % 2) + lane % 4 * 8);
      info_at[m] = kept(infos + min_of(m * 4 + lane % 4, rows - 1) * static_cast<u32>(sizeof(Info)));
    }
  }

  KERNEL_FN void prepare(char* slot, char* info, int rows) const {
    Info* infos = reinterpret_cast<Info*>(info);
    if (rows <= kAtOnce) return convert<1>(slot, infos);
    if constexpr (kPasses > 2)
      if (rows <= 2 * kAtOnce) return convert<2>(slot, infos);
    convert<kPasses>(slot, infos);
  }

  // Sums of the activations are those of prepare() in whole tiles, else products with ones.
  template <bool Whole>
  KERNEL_FN void multiply(Part& part, const u32* low, const u32* high, u32 slot, int b) const {
    constexpr u32 kOnes[4] = {0x01010101u, 0x01010101u, 0x01010101u, 0x01010101u};
    u32 a[4];
    bytes_of(low, a[0], a[2]);
    bytes_of(high, a[1], a[3]);
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m) {
      const uint2 token = load_shared8((token_at[m] ^ b * 32) + slot * Memory::kBytes);
      mma_16832(part.product[m], a, token.x, token.y);
      if constexpr (!Whole) mma_16832(part.x[m], kOnes, token.x, token.y);
    }
  }

  template <bool Whole>
  KERNEL_FN void add(float (&sum)[TokenTiles][kResults], const Part& part, u32 slot, const float (&scale)[2],
                     const u32 (&zero)[2]) const {
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m) {
      const uint2 info = load_shared8(info_at[m] + slot * kInfoBytes);
      const i32 x_sum = Whole ? static_cast<i32>(info.y) : part.x[m][0] * 256 + part.x[m][1];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const i32 product =
            part.product[m][2 * h] * 256 + part.product[m][2 * h + 1] - static_cast<i32>(zero[h]) * x_sum;
        sum[m][h] = fmaf(static_cast<float>(product), scale[h] * __uint_as_float(info.x), sum[m][h]);
      }
    }
  }
  KERNEL_FN static int token_of(int m, int) { return m * 4 + static_cast<int>(threadIdx.x) % 4; }
  KERNEL_FN static int row_of(int j) { return j * 8; }

 private:
  // A lane makes words of four columns, those of a fragment's register: eight columns are two words.
  static constexpr int kDepth = Memory::kDepth, kWords = Memory::kLanes, kAtOnce = kWarp / kWords,
                       kPasses = kTokens / kAtOnce;
  static constexpr bool kNibbles = Code::kBits == 4;  // bytes of a word: columns 0, 4, 1, 5 and 2, 6, 3, 7 of eight

  KERNEL_FN static int word() { return static_cast<int>(threadIdx.x % kWarp) % kWords; }
  KERNEL_FN static int token_in(int pass) { return pass * kAtOnce + static_cast<int>(threadIdx.x % kWarp) / kWords; }
  // Of the first block of 32 columns of row 2 * token + part; block b is at this ^ 32 * b, against bank conflicts.
  KERNEL_FN static u32 offset(int row) {
    return static_cast<u32>(row * kDepth + (kDepth == 128 ? row & 3 : row >> 1 & 1) * 32);
  }

  // Codes of a lane in a block of 32 columns, two registers of a fragment.
  KERNEL_FN static void bytes_of(const u32* words, u32& first, u32& second) {
    if constexpr (kNibbles) {
      first = words[0] & 0x0f0f0f0fu, second = words[0] >> 4 & 0x0f0f0f0fu;
    } else {
      first = words[0], second = words[1];
    }
  }

  // Over all lanes of a token.
  KERNEL_FN static i32 sum_of(i32 v) {
    if constexpr (kWords == kWarp) return __reduce_add_sync(kAllLanes, v);
#pragma unroll
    for (int lanes = kWords / 2; lanes > 0; lanes /= 2) v += __shfl_xor_sync(kAllLanes, v, lanes);
    return v;
  }

  template <int Count>
  KERNEL_FN static void convert(char* slot, Info* infos) {
    constexpr int kSecond = kNibbles ? 8 : 4;  // bytes from a lane's first pair of columns to its second
    u32 pairs[Count][2];
    u32 maximum[Count];
#pragma unroll
    for (int p = 0; p < Count; ++p) {
      const char* source =
          slot + Memory::offset(token_in(p), word() / 8, word() % 8 / 2) + word() % 2 * (kNibbles ? 4 : 8);
      pairs[p][0] = *reinterpret_cast<const u32*>(source);
      pairs[p][1] = *reinterpret_cast<const u32*>(source + kSecond);
    }
    __syncwarp();  // the integers replace them
#pragma unroll
    for (int p = 0; p < Count; ++p)
      maximum[p] = Memory::maximum_of(__vmaxu2(pairs[p][0] & 0x7fff7fffu, pairs[p][1] & 0x7fff7fffu));
#pragma unroll
    for (int p = 0; p < Count; ++p) {
      const TileScale s = tile_scale<13, A>(maximum[p]);
      float v[4];
      unpack2<A>(pairs[p][0], v[0], v[kNibbles ? 2 : 1]);
      unpack2<A>(pairs[p][1], v[kNibbles ? 1 : 2], v[3]);
      // The fraction of 1.5 * 2^23 + 128 + v counts in ones: its second byte is the high part, the first is low + 128.
      u32 bits[4];
      i32 sum = 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        bits[i] = __float_as_uint(fmaf(v[i], s.inverse, 12583040.0f));
        sum += static_cast<i32>(bits[i] - 0x4b400080u);
      }
      sum = sum_of(sum);
      const u32 first = __byte_perm(bits[0], bits[1], 0x5140), second = __byte_perm(bits[2], bits[3], 0x5140);
      const int row = 2 * token_in(p), block = word() / 8 * 32, within = word() % 8 * 4;
      *reinterpret_cast<u32*>(slot + (offset(row) ^ block) + within) = __byte_perm(first, second, 0x7632);
      *reinterpret_cast<u32*>(slot + (offset(row + 1) ^ block) + within) =
          __byte_perm(first, second, 0x5410) ^ 0x80808080u;
      if (word() == 0) infos[token_in(p)] = {s.scale, sum};
    }
  }
};
