// Linear layer for many tokens on tensor cores through wmma: sm_70 and later. See LinearArgs.
#pragma once

#include "cuda/row_scale.h"
#include "cuda/tensor_core.h"

// The type that the tensor cores multiply: that of weight and operand where they agree, else fp16 with a power-of-two
// scale per row of w (LinearArgs.w_scale) and, unless x is fp16 already, per row of x (found here), for bf16 weights on
// sm_70 and sm_75. The scales are exact, and put each row's largest value just below fp16's top, so that what is lost
// lies 2^-32 below it.
template <typename W, typename A>
struct WmmaTypes {
  using Operand = f16;
  static constexpr bool kScaled = true;
};
template <>
struct WmmaTypes<f16, f16> {
  using Operand = f16;
  static constexpr bool kScaled = false;
};
template <>
struct WmmaTypes<bf16, bf16> {
  using Operand = bf16;
  static constexpr bool kScaled = false;
};

// Eight values of row `row` from column k0 on in the operand type, times `factor` where it is not T; zeros beyond the
// matrix.
template <typename Operand, typename T>
KERNEL_FN uint4 load_operand_chunk(const T* base, i64 row, i64 rows, i64 k0, i64 k, float factor) {
  if (row >= rows || k0 >= k) return make_uint4(0, 0, 0, 0);
  if constexpr (SameType<Operand, T>::value) {
    if (k % 8 == 0) return *reinterpret_cast<const uint4*>(base + row * k + k0);
  }
  float v[8];
  if (k % 8 == 0) {
    unpack8(load8(base + row * k + k0), v);
  } else {
#pragma unroll
    for (int j = 0; j < 8; ++j) v[j] = k0 + j < k ? to_float(base[row * k + k0 + j]) : 0.0f;
  }
  return make_uint4(pack2<Operand>(v[0] * factor, v[1] * factor), pack2<Operand>(v[2] * factor, v[3] * factor),
                    pack2<Operand>(v[4] * factor, v[5] * factor), pack2<Operand>(v[6] * factor, v[7] * factor));
}

// Writes the power-of-two scale of each of the block's rows of x to `scales`; one warp a row.
template <typename A, int Rows, int Warps>
KERNEL_FN void find_row_scales(const A* x, i64 row0, i64 rows, i64 k, float* scales) {
  const int lane = threadIdx.x % kWarp;
  for (int r = threadIdx.x / kWarp; r < Rows; r += Warps) {
    float maximum = 0.0f;
    if (row0 + r < rows) {
      for (i64 i = lane; i < k; i += kWarp) maximum = fmaxf(maximum, fabsf(to_float(x[(row0 + r) * k + i])));
    }
    maximum = warp_max(maximum);
    if (lane == 0) scales[r] = power_of_two_scale<A>(maximum);
  }
}

// A block of WarpsM x WarpsN warps computes BM x BN outputs over K in steps of 32 through two shared-memory buffers;
// the next step's values are loaded to registers while this one is computed (linear_mma.h uses cp.async, from sm_80
// on). Tile: x = BN columns, y = BM rows. 32 * WarpsM * WarpsN threads; 160 * (BM + BN) + 4 * BM bytes of shared
// memory, and at least 1024 a warp.
template <typename W, typename A, int BM, int BN, int WarpsM, int WarpsN>
KERNEL_FN void linear_wmma(const LinearArgs& args, Tile tile, char* shared) {
  using Operand = typename WmmaTypes<W, A>::Operand;
  constexpr bool kScaled = WmmaTypes<W, A>::kScaled;
  constexpr bool kScaledX = kScaled && !SameType<A, Operand>::value;
  constexpr int kWarps = WarpsM * WarpsN, kThreads = kWarps * kWarp;
  constexpr int kDepth = 32, kStride = kDepth + 8;  // 80-byte rows: 16 of them touch every bank equally
  constexpr int kChunks = kDepth / 8;
  constexpr int kLoadsX = BM * kChunks / kThreads, kLoadsW = BN * kChunks / kThreads;
  constexpr int kFragmentsM = BM / WarpsM / 16, kFragmentsN = BN / WarpsN / 16;
  static_assert(BM * kChunks % kThreads == 0 && BN * kChunks % kThreads == 0, "whole loads");

  const i64 rows = args.counts->rows[args.row_count];
  const i64 row0 = static_cast<i64>(tile.y) * BM, column0 = static_cast<i64>(tile.x) * BN;
  if (row0 >= rows) return;
  const A* x = static_cast<const A*>(args.x);
  const W* w = static_cast<const W*>(args.w);
  Operand* buffers = reinterpret_cast<Operand*>(shared);  // 2 x ([BM, kStride] | [BN, kStride])
  constexpr int kBuffer = (BM + BN) * kStride;
  float* x_scale = reinterpret_cast<float*>(buffers + 2 * kBuffer);  // [BM]
  const int thread = threadIdx.x, warp = thread / kWarp, lane = thread % kWarp;

  if constexpr (kScaledX) {
    find_row_scales<A, BM, kWarps>(x, row0, rows, args.k, x_scale);
    __syncthreads();
  }

  uint4 next_x[kLoadsX], next_w[kLoadsW];
  const auto load = [&](i64 k0) {
#pragma unroll
    for (int l = 0; l < kLoadsX; ++l) {
      const int i = thread + l * kThreads, r = i / kChunks;
      const float factor = kScaledX ? 1.0f / x_scale[r] : 1.0f;
      next_x[l] = load_operand_chunk<Operand>(x, row0 + r, rows, k0 + i % kChunks * 8, args.k, factor);
    }
#pragma unroll
    for (int l = 0; l < kLoadsW; ++l) {
      const int i = thread + l * kThreads;
      const i64 column = column0 + i / kChunks;
      const float factor = kScaled && args.w_scale && column < args.n ? 1.0f / args.w_scale[column] : 1.0f;
      next_w[l] = load_operand_chunk<Operand>(w, column, args.n, k0 + i % kChunks * 8, args.k, factor);
    }
  };
  const auto store = [&](Operand* buffer) {
#pragma unroll
    for (int l = 0; l < kLoadsX; ++l) {
      const int i = thread + l * kThreads;
      *reinterpret_cast<uint4*>(buffer + i / kChunks * kStride + i % kChunks * 8) = next_x[l];
    }
#pragma unroll
    for (int l = 0; l < kLoadsW; ++l) {
      const int i = thread + l * kThreads;
      *reinterpret_cast<uint4*>(buffer + (BM + i / kChunks) * kStride + i % kChunks * 8) = next_w[l];
    }
  };

  float sum[kFragmentsM][kFragmentsN][8] = {};
  const int warp_row = warp / WarpsN * (BM / WarpsM), warp_column = warp % WarpsN * (BN / WarpsN);
  const auto multiply = [&](const Operand* buffer) {
#pragma unroll
    for (int kk = 0; kk < kDepth; kk += 16) {
      WmmaOperand<Operand> a[kFragmentsM], b[kFragmentsN];
#pragma unroll
      for (int m = 0; m < kFragmentsM; ++m) {
        wmma_load_a(a[m], buffer + (warp_row + m * 16) * kStride + kk, kStride);
      }
#pragma unroll
      for (int n = 0; n < kFragmentsN; ++n) {
        wmma_load_b(b[n], buffer + (BM + warp_column + n * 16) * kStride + kk, kStride);
      }
#pragma unroll
      for (int m = 0; m < kFragmentsM; ++m) {
#pragma unroll
        for (int n = 0; n < kFragmentsN; ++n) wmma_multiply(sum[m][n], a[m], b[n]);
      }
    }
  };

  load(0);
  store(buffers);
  __syncthreads();
  int current = 0;
  for (i64 k0 = 0; k0 < args.k; k0 += kDepth) {
    const bool more = k0 + kDepth < args.k;
    if (more) load(k0 + kDepth);
    multiply(buffers + current * kBuffer);
    if (more) store(buffers + (current ^ 1) * kBuffer);
    __syncthreads();
    current ^= 1;
  }

  // The buffers are free: each warp turns its fragments into rows through 1 KB of them. The scales lie behind.
  float* staging = reinterpret_cast<float*>(shared) + warp * 256;
#pragma unroll
  for (int m = 0; m < kFragmentsM; ++m) {
#pragma unroll
    for (int n = 0; n < kFragmentsN; ++n) {
      wmma_store(staging, sum[m][n], 16);
      __syncwarp();
#pragma unroll
      for (int i = lane; i < 256; i += kWarp) {
        const int r = warp_row + m * 16 + i / 16;
        const i64 row = row0 + r, column = column0 + warp_column + n * 16 + i % 16;
        if (row < rows && column < args.n) {
          float v = staging[i];
          if constexpr (kScaledX) v *= x_scale[r];
          if constexpr (kScaled) v *= args.w_scale ? args.w_scale[column] : 1.0f;
          if (args.bias) v += to_float(static_cast<const W*>(args.bias)[column]);
          args.out[row * args.n + column] = v;
        }
      }
      __syncwarp();
    }
  }
}
