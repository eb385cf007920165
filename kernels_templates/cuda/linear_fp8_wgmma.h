// Linear layers on e4m3 weights and e4m3 activations for many tokens on Hopper: linear_wgmma.h with products of e4m3.
// sm_90a. See QuantizedFusedArgs, QuantizedRopeArgs, Fp8RowsArgs.
#pragma once

#include "cuda/linear_wgmma.h"
#include "quantized_weights.h"

// The order of fragments has the 64 bytes of a row of a tile together, eight rows one behind the other: with the
// 64-byte swizzle a tile is, as it lies, an operand of wgmma. Its columns stand in an order of their own within each
// 64, and activations come in the same one (Fp8RowsArgs). A step over K is 128 columns: two panels of the weights. Sums
// of a step are added up in fp32. Scales are those of whole rows of w and of x, behind all sums, or of the columns of a
// step (`Grouped`), behind its sums. As linear_wgmma.h otherwise, with BM = 128 and boxes of w_map, of rank 3:
// 32 x 8 x kWgmmaBoxRows / 8. K is a multiple of 64.
template <typename S, bool Grouped>
struct WgmmaE4m3 {
  static constexpr int kDepth = 128, kPanelRowBytes = 64, kPanels = 2, kEight = kFragmentRows;
  static constexpr bool kPromotes = true;

  // Of the sums of a step: scales of a lane's two rows of x, and of its columns, two neighbours a word.
  template <int N>
  struct Factors {
    float x[2];
    u32 w[N / 8];
  };

  KERNEL_FN static u64 weights(u32 shared_source) { return wgmma_operand64(shared_source); }
  template <int BN, int Rows, int Cluster>
  KERNEL_FN static void copy(u32 stage_weights, u32 i, const void* map, u32 step, u32 row, u32 bar, u64 cache) {
#pragma unroll
    for (u32 panel = 0; panel < kPanels; ++panel) {
      const u32 to = stage_weights + (panel * BN + i * Rows) * kPanelRowBytes;
      const BoxPlace place = {{0, (step * kPanels + panel) * kEight, row / kEight}};
      if constexpr (Cluster > 1) {
        tensor_copy_everywhere<Cluster>(to, map, place, bar, cache);
      } else {
        tensor_copy(to, map, place, bar, cache);
      }
    }
  }
  template <int N, int BN>
  KERNEL_FN static void multiply(float (&sum)[N / 2], u64 x, u64 w, bool first) {
#pragma unroll
    for (u32 kk = 0; kk < kDepth / 32; ++kk)
      wgmma_e4m3<N>(sum, x + kk * 2, w + kk / 2 * (BN * kPanelRowBytes >> 4) + kk % 2 * 2, (first ? 0u : 1u) | kk);
  }

  // The row of w that column 8 * j + 2 * t + i of a warpgroup's N is, with j from 0 to N / 8 - 1.
  template <Epilogue Kind, int N, int HeadDim, typename Args>
  KERNEL_FN static i64 weight_row(const Args& all, i64 column, int j, int within) {
    if constexpr (Kind == Epilogue::kPlain || Kind == Epilogue::kAdd) return column + j * 8 + within;
    constexpr int kHalfTiles = N / 16;
    const i64 of_half = (Kind == Epilogue::kRope ? column / 2 : column) + j % kHalfTiles * 8 + within;
    if constexpr (Kind == Epilogue::kGlu) return of_half + j / kHalfTiles * (linear_of(all).n / 2);
    constexpr int kHalf = HeadDim > 0 ? HeadDim / 2 : 1;
    return of_half / kHalf * HeadDim + of_half % kHalf + j / kHalfTiles * kHalf;
  }
  // `row`: the lane's first row of x; the other one is eight below.
  template <Epilogue Kind, int N, int HeadDim, typename Args>
  KERNEL_FN static Factors<N> factors(const Args& all, i64 row, i64 rows, i64 column, u32 step) {
    Factors<N> f = {};
    if constexpr (!Grouped) return f;
    const FusedLinearArgs& args = linear_of(all);
    const u32 groups = (static_cast<u32>(args.k) + kDepth - 1) / kDepth;
#pragma unroll
    for (int h = 0; h < 2; ++h) f.x[h] = row + h * 8 < rows ? args.partials[(row + h * 8) * groups + step] : 0.0f;
    const S* scales = static_cast<const S*>(all.groups.scales);
#pragma unroll
    for (int j = 0; j < N / 8; ++j) {
      const u32 n = static_cast<u32>(
          min_of(weight_row<Kind, N, HeadDim>(all, column, j, threadIdx.x % 4 * 2), args.n - 2));
      f.w[j] = *reinterpret_cast<const u32*>(scales + (n / kEight * groups + step) * kEight + n % kEight);
    }
    return f;
  }
  template <int Count>
  KERNEL_FN static void add(float (&sum)[Count], const float (&part)[Count], const Factors<Count * 2>& f) {
#pragma unroll
    for (int j = 0; j < Count / 4; ++j) {
      float w[2] = {1.0f, 1.0f};
      if constexpr (Grouped) unpack2<S>(f.w[j], w[0], w[1]);
#pragma unroll
      for (int i = 0; i < 4; ++i) sum[j * 4 + i] += part[j * 4 + i] * (Grouped ? f.x[i / 2] * w[i % 2] : 1.0f);
    }
  }

  template <Epilogue Kind, int N, int HeadDim, typename Args>
  KERNEL_FN static void scale(const Args& all, float (&sum)[N / 2], WgmmaRows& r, i64 column) {
    if constexpr (Grouped) return;
    const FusedLinearArgs& args = linear_of(all);
    const float* x_scales = args.partials;
#pragma unroll
    for (int h = 0; h < 2; ++h) r.scale[h] *= r.valid[h] ? x_scales[r.row[h]] : 0.0f;
    const S* w_scales = static_cast<const S*>(all.groups.scales);
#pragma unroll
    for (int j = 0; j < N / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const i64 row = weight_row<Kind, N, HeadDim>(all, column, j, r.t * 2 + i);
        const float s = to_float(w_scales[min_of(row, args.n - 1)]);
        sum[j * 4 + i] *= s, sum[j * 4 + 2 + i] *= s;
      }
    }
  }
};

template <typename Code, typename S, typename A, int BM, int BN, int Stages, Epilogue Kind, int Cluster = 1,
          bool Grouped = false>
KERNEL_FN void linear_fp8_wgmma(const QuantizedFusedArgs& args, Tile tile, char* shared) {
  wgmma_tiles<WgmmaE4m3<S, Grouped>, A, A, A, 0, BM, BN, Stages, Kind, 1, Cluster>(args, tile, shared);
}

template <typename Code, typename S, typename A, typename KV, int HeadDim, int BM, int BN, int Stages, int Cluster = 1,
          bool Grouped = false>
KERNEL_FN void linear_fp8_wgmma_rope(const QuantizedRopeArgs& args, Tile tile, char* shared) {
  wgmma_tiles<WgmmaE4m3<S, Grouped>, A, A, KV, HeadDim, BM, BN, Stages, Epilogue::kRope, 1, Cluster>(args, tile, shared);
}
