// What a warpgroup does with the sums of its tile of a fused linear layer. See FusedLinearArgs, LinearRopeArgs.
#pragma once

#include "cuda/linear_epilogue.h"

// Where a thread's sums belong: columns first + 8 * j + 2 * t + {0, 1} of two rows, for each column tile j.
struct WgmmaRows {
  i64 row[2];
  float scale[2];
  bool valid[2];
  int t;  // lane % 4
};

KERNEL_FN void store_sums(float* p, float first, float second, bool pairs, bool has_second) {
  if (pairs) {
    *reinterpret_cast<float2*>(p) = make_float2(first, second);
  } else {
    p[0] = first;
    if (has_second) p[1] = second;
  }
}

// Lane t of four gets word t of each of them.
KERNEL_FN void transpose_quad(u32 (&w)[4], int t) {
#pragma unroll
  for (int step = 1; step <= 2; step *= 2) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i & step) continue;
      const bool high = t & step;
      const u32 other = __shfl_xor_sync(kAllLanes, high ? w[i] : w[i | step], step);
      if (high) {
        w[i] = other;
      } else {
        w[i | step] = other;
      }
    }
  }
}

// A row's values of Tiles column tiles from `column` on, in the operand type. `wide`: rows of out are whole 16-byte
// words. All lanes of the warp call it.
template <typename A, int Tiles>
KERNEL_FN void store_rounded(A* out, const float (&v)[Tiles][2], i64 column, i64 width, bool wide, bool valid, int t) {
  if constexpr (Tiles == 4) {
    if (wide) {
      u32 w[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) w[j] = pack2<A>(v[j][0], v[j][1]);
      transpose_quad(w, t);
      if (valid && column + t * 8 < width) {
        *reinterpret_cast<uint4*>(out + column + t * 8) = make_uint4(w[0], w[1], w[2], w[3]);
      }
      return;
    }
  }
#pragma unroll
  for (int j = 0; j < Tiles; ++j) {
    const i64 at = column + j * 8 + t * 2;
    if (wide) {
      if (valid && at < width) *reinterpret_cast<u32*>(out + at) = pack2<A>(v[j][0], v[j][1]);
      continue;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i)
      if (valid && at + i < width) out[at + i] = from_float<A>(v[j][i]);
  }
}

// linear_add for kTiles column tiles of both rows, from `begin` on.
template <typename W, typename A, int Tiles>
KERNEL_FN void add_residual(const FusedLinearArgs& args, float (&v)[2][Tiles][2], const WgmmaRows& r, i64 begin,
                            bool pairs, bool wide) {
  // All loads come before the first store: out may be the residual, and the compiler could not move them.
  float old[2][Tiles][2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float* residual = args.residual + r.row[h] * args.n;
#pragma unroll
    for (int j = 0; j < Tiles; ++j) {
      const i64 at = begin + j * 8 + r.t * 2;
      const bool first = r.valid[h] && at < args.n, second = r.valid[h] && at + 1 < args.n;
      float2 word = make_float2(0.0f, 0.0f);
      if (pairs) {
        if (first) word = *reinterpret_cast<const float2*>(residual + at);
      } else {
        if (first) word.x = residual[at];
        if (second) word.y = residual[at + 1];
      }
      old[h][j][0] = word.x, old[h][j][1] = word.y;
    }
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float* out = static_cast<float*>(args.out) + r.row[h] * args.n;
#pragma unroll
    for (int j = 0; j < Tiles; ++j) {
      const i64 at = begin + j * 8 + r.t * 2;
#pragma unroll
      for (int i = 0; i < 2; ++i) v[h][j][i] = at + i < args.n ? v[h][j][i] + old[h][j][i] : 0.0f;
      if (r.valid[h] && at < args.n) store_sums(out + at, v[h][j][0], v[h][j][1], pairs, at + 1 < args.n);
    }
  }
  if (!args.norm_weight) return;
  const W* norm_weight = static_cast<const W*>(args.norm_weight);
#pragma unroll
  for (int h = 0; h < 2; ++h) {
#pragma unroll
    for (int unit = 0; unit < Tiles / 2; ++unit) {  // 16 columns
      float square = 0.0f;
#pragma unroll
      for (int j = unit * 2; j < unit * 2 + 2; ++j) {
#pragma unroll
        for (int i = 0; i < 2; ++i) square = fmaf(v[h][j][i], v[h][j][i], square);
      }
      square = warp_sum<4>(square);
      const i64 part = begin / 16 + unit;
      if (r.t == 0 && r.valid[h] && part * 16 < args.n) args.squares_out[part * args.square_stride + r.row[h]] = square;
    }
  }
#pragma unroll
  for (int j = 0; j < Tiles; ++j) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const i64 at = begin + j * 8 + r.t * 2 + i;
      const float weight = at < args.n ? to_float(norm_weight[at]) : 0.0f;
      v[0][j][i] *= weight, v[1][j][i] *= weight;
    }
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    store_rounded<A, Tiles>(static_cast<A*>(args.scaled) + r.row[h] * args.n, v[h], begin, args.n, wide, r.valid[h],
                            r.t);
  }
}

// Tiles column tiles from tile `first` on, of what store_tile stores.
template <typename W, typename A, Epilogue Kind, int N, int Tiles>
KERNEL_FN void store_column_tiles(const FusedLinearArgs& args, const float (&sum)[N / 2], const WgmmaRows& r,
                                  i64 column, int first) {
  constexpr bool kGlu = Kind == Epilogue::kGlu;
  const i64 width = kGlu ? args.n / 2 : args.n, begin = column + first * 8;
  const W* bias = static_cast<const W*>(args.bias);
  const bool pairs = args.n % 2 == 0, wide = width % 8 == 0;
  if (begin >= width) return;
  float v[2][Tiles][2];
#pragma unroll
  for (int j = 0; j < Tiles; ++j) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const i64 at = begin + j * 8 + r.t * 2 + i;
      const bool biased = bias && at < width;
      const float b = biased ? to_float(bias[at]) : 0.0f;
      const float b_up = kGlu && biased ? to_float(bias[width + at]) : 0.0f;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int index = (first + j) * 4 + h * 2 + i;
        v[h][j][i] = sum[index] * r.scale[h] + b;
        if constexpr (kGlu) v[h][j][i] = silu_times(v[h][j][i], sum[index + N / 4] * r.scale[h] + b_up);
      }
    }
  }
  if constexpr (Kind == Epilogue::kPlain) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float* out = static_cast<float*>(args.out) + r.row[h] * args.n;
#pragma unroll
      for (int j = 0; j < Tiles; ++j) {
        const i64 at = begin + j * 8 + r.t * 2;
        if (r.valid[h] && at < width) store_sums(out + at, v[h][j][0], v[h][j][1], pairs, at + 1 < width);
      }
    }
  } else if constexpr (kGlu) {
#pragma unroll
    for (int h = 0; h < 2; ++h)
      store_rounded<A, Tiles>(static_cast<A*>(args.out) + r.row[h] * width, v[h], begin, width, wide, r.valid[h], r.t);
  } else {
    add_residual<W, A, Tiles>(args, v, r, begin, pairs, wide);
  }
}

// N sums of 64 rows by a warpgroup, N / 2 of them in a thread; `column` is the first column of the output. All lanes
// call it.
template <typename W, typename A, Epilogue Kind, int N>
KERNEL_FN void store_tile(const FusedLinearArgs& args, const float (&sum)[N / 2], const WgmmaRows& r, i64 column) {
  constexpr int kColumnTiles = Kind == Epilogue::kGlu ? N / 16 : N / 8, kRest = kColumnTiles % 4;
#pragma unroll
  for (int first = 0; first + 4 <= kColumnTiles; first += 4)
    store_column_tiles<W, A, Kind, N, 4>(args, sum, r, column, first);
  if constexpr (kRest > 0) store_column_tiles<W, A, Kind, N, kRest>(args, sum, r, column, kColumnTiles - kRest);
}

// The same for q, k and v of heads that are rotated whole: the first N / 2 of a warpgroup's columns are dims of the
// first halves of heads, from dim `first_dim` on (counted over the first halves of all heads), the others those that
// they are rotated with.
template <typename W, typename KV, int HeadDim, int N>
KERNEL_FN void store_rotated(const LinearRopeArgs& args, const float (&sum)[N / 2], const WgmmaRows& r, i64 first_dim) {
  constexpr int kHalf = HeadDim / 2, kColumnTiles = N / 16, kTiles = kColumnTiles % 4 == 0 ? 4 : 2;
  static_assert(kHalf % (kTiles * 8) == 0 && kColumnTiles % kTiles == 0, "column tiles of one head");
  const int heads = static_cast<int>(args.heads), kv_heads = static_cast<int>(args.kv.kv_heads);
  const W* bias = static_cast<const W*>(args.linear.bias);
  KV* block[2];
  i64 block_row[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const KvPlace place = r.valid[h] ? KvPlace::of(args.kv, args, r.row[h]) : KvPlace{};
    block[h] = reinterpret_cast<KV*>(static_cast<char*>(args.kv.base) + place.block * args.kv.block_bytes);
    block_row[h] = place.row;
  }
#pragma unroll
  for (int first = 0; first < kColumnTiles; first += kTiles) {
    const u32 dims = static_cast<u32>(first_dim) + first * 8;
    const int head = static_cast<int>(dims / kHalf), dim = static_cast<int>(dims % kHalf), kv_head = head - heads;
    if (kv_head >= 2 * kv_heads) return;
    float v[2][2][kTiles][2];  // [row, half, tile, of a pair]
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
      const int at = dim + j * 8 + r.t * 2;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float b = bias ? to_float(bias[head * HeadDim + half * kHalf + at + i]) : 0.0f;
#pragma unroll
          for (int h = 0; h < 2; ++h)
            v[h][half][j][i] = sum[half * (N / 4) + (first + j) * 4 + h * 2 + i] * r.scale[h] + b;
        }
      }
      if (kv_head >= kv_heads) continue;  // v is not rotated
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float* table = args.table + (r.valid[h] ? r.row[h] : 0) * HeadDim + at;
        const float2 cosine = *reinterpret_cast<const float2*>(table),
                     sine = *reinterpret_cast<const float2*>(table + kHalf);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float c = i ? cosine.y : cosine.x, s = i ? sine.y : sine.x, low = v[h][0][j][i], high = v[h][1][j][i];
          v[h][0][j][i] = low * c - high * s;
          v[h][1][j][i] = high * c + low * s;
        }
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int begin = half * kHalf + dim;
        if (kv_head >= 0) {  // K of all heads, then V: kv_head counts on into the values
          KV* row = block[h] + (kv_head * args.kv.block_tokens + block_row[h]) * HeadDim;
          store_rounded<KV, kTiles>(row, v[h][half], begin, HeadDim, true, r.valid[h], r.t);
          continue;
        }
        float* out = static_cast<float*>(args.linear.out) + (r.row[h] * heads + head) * HeadDim + begin + r.t * 2;
#pragma unroll
        for (int j = 0; j < kTiles; ++j)
          if (r.valid[h]) *reinterpret_cast<float2*>(out + j * 8) = make_float2(v[h][half][j][0], v[h][half][j][1]);
      }
    }
  }
}
