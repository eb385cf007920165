// Linear layers on quantized weights for few tokens on tensor cores, codes straight from memory to matrix fragments,
// with the epilogues of FusedLinearArgs: sm_80 and later, 16-bit operands. See QuantizedFusedArgs.
#pragma once

#include "cuda/linear_epilogue.h"
#include "cuda/quantized_fragments.h"

// As linear_gemv_fused.h: the weight is the 16-row operand, the eight warps share K tile by tile (16 bytes a lane for 8
// rows), and their sums are added in warp order. A group's sums are scaled in fp32. Tile: x = a unit of 16 weight rows,
// y = 8 * TokenTiles rows. 256 threads; TokenTiles * 4384 bytes of shared memory. K and the groups are multiples of 32,
// the rows of w of 8.
template <typename Code, typename S, typename A, typename KV, int TokenTiles, int Unroll, Epilogue Kind, typename Args>
KERNEL_FN void quantized_gemv_unit(const Args& all, Tile tile, char* shared) {
  using Fragments = FragmentTile<Code>;
  constexpr int kWarps = 8, kUnit = 16, kTokens = 8 * TokenTiles, kStride = kUnit + 1;
  float* partial = reinterpret_cast<float*>(shared);    // [warp, token, row]
  float* scale = partial + kWarps * kTokens * kStride;  // [token]
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int g = lane / 4, t = lane % 4;
  const FusedLinearArgs& args = linear_of(all);
  const QuantizedGroups& quantized = all.groups;
  const i64 k = args.k, unit = tile.x;

  const u32 tiles = static_cast<u32>((k + Fragments::kDepth - 1) / Fragments::kDepth),
            blocks = static_cast<u32>(k / 32);
  const i64 groups = (k + quantized.group - 1) / quantized.group;
  const BlockGroups group_of(quantized.group);
  const char* codes[2];
  const S* scales[2];
  const unsigned char* zeros[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const i64 eight = unit_row<Kind>(epilogue_of(all), unit, half, 0) / kFragmentRows;
    codes[half] = static_cast<const char*>(args.w) + eight * tiles * Fragments::kBytes + lane * 16;
    scales[half] = static_cast<const S*>(quantized.scales) + eight * groups * kFragmentRows + g;
    zeros[half] = quantized.zeros ? quantized.zeros + eight * groups * kFragmentRows + g : nullptr;
  }
  uint4 packed[Unroll][2];
  const auto load_codes = [&](u32 first) {
#pragma unroll
    for (int u = 0; u < Unroll; ++u)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const u32 at = first + u * kWarps;
        packed[u][half] =
            at < tiles ? load_streaming(codes[half] + at * i64{Fragments::kBytes}) : make_uint4(0, 0, 0, 0);
      }
  };
  load_codes(warp);

  const i64 row0 = static_cast<i64>(tile.y) * kTokens;
  const i64 rows = args.counts->rows[args.row_count] - row0;
  if (rows <= 0) return;
  const A* x[TokenTiles];
#pragma unroll
  for (int m = 0; m < TokenTiles; ++m)
    x[m] = static_cast<const A*>(args.x) + (row0 + min_of(i64{m * 8 + g}, rows - 1)) * k + t * 8;
  for (int token = warp; token < kTokens; token += kWarps) {
    const float s = token < rows ? row_scale_of(args, row0 + token, lane) : 1.0f;
    if (lane == 0) scale[token] = s;
  }

  float sum[TokenTiles][4] = {};
  FragmentSums<Code, A, TokenTiles> products;
  for (u32 first = warp; first < tiles; first += Unroll * kWarps) {
#pragma unroll
    for (int u = 0; u < Unroll; ++u) {
      const u32 begin = (first + u * kWarps) * Fragments::kBlocks;
      if (begin >= blocks) break;
      u32 low[4], high[4], current = 0;
      words_of(packed[u][0], low), words_of(packed[u][1], high);
#pragma unroll
      for (int b = 0; b < Fragments::kBlocks; ++b) {
        if (begin + b >= blocks) break;
        const u32 group = group_of.of(begin + b);
        if (b == 0 || group != current) {
          if (b > 0) products.end_group(sum);
          const i64 at = i64{group} * kFragmentRows;
          const u32 zero = static_cast<u32>(quantized.zero);
          products.begin_group(to_float(scales[0][at]), to_float(scales[1][at]), zeros[0] ? zeros[0][at] : zero,
                               zeros[1] ? zeros[1][at] : zero);
          current = group;
        }
        uint4 token[TokenTiles];
#pragma unroll
        for (int m = 0; m < TokenTiles; ++m) token[m] = *reinterpret_cast<const uint4*>(x[m] + (begin + b) * 32ll);
        products.multiply(low + b * Fragments::kBlockWords, high + b * Fragments::kBlockWords, token);
      }
      products.end_group(sum);
    }
    load_codes(first + Unroll * kWarps);
  }

#pragma unroll
  for (int m = 0; m < TokenTiles; ++m) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      partial[(warp * kTokens + m * 8 + 2 * t + j % 2) * kStride + g + j / 2 * 8] = sum[m][j];
    }
  }
  __syncthreads();
  // A half warp finishes one token.
  for (int token = warp * 2 + lane / kUnit; token - lane / kUnit < kTokens; token += kWarps * 2) {
    const bool exists = token < kTokens && token < rows;
    const float* sums = partial + (exists ? token * kStride + lane % kUnit : 0);
    float total = sums[0];
#pragma unroll
    for (int p = 1; p < kWarps; ++p) total += sums[p * kTokens * kStride];
    load_and_finish_unit<A, A, KV, Kind>(epilogue_of(all), total * scale[exists ? token : 0], row0 + token, unit,
                                         exists, lane % kUnit);
  }
}

template <typename Code, typename S, typename A, int TokenTiles, int Unroll, Epilogue Kind>
KERNEL_FN void linear_quantized_gemv_mma(const QuantizedFusedArgs& args, Tile tile, char* shared) {
  quantized_gemv_unit<Code, S, A, float, TokenTiles, Unroll, Kind>(args, tile, shared);
}

template <typename Code, typename S, typename A, typename KV, int TokenTiles, int Unroll>
KERNEL_FN void linear_quantized_gemv_rope(const QuantizedRopeArgs& args, Tile tile, char* shared) {
  quantized_gemv_unit<Code, S, A, KV, TokenTiles, Unroll, Epilogue::kRope>(args, tile, shared);
}
