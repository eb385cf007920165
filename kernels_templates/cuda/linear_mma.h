// Linear layer for many tokens on tensor cores: mma m16n8k16, ldmatrix, a ring of cp.async stages. sm_80 and later,
// 16-bit types. See LinearArgs.
#pragma once

#include "cuda/tensor_core.h"

// A block of WarpsM x WarpsN warps computes BM x BN outputs over K in steps of 32. Rows in shared memory are 80 bytes
// apart: the eight rows that an ldmatrix phase reads then lie in different banks. Tile: x = BN columns, y = BM rows. 32
// * WarpsM * WarpsN threads; 80 * (BM + BN) * Stages bytes of shared memory. K is a multiple of 8.
template <typename W, typename A, int BM, int BN, int WarpsM, int WarpsN, int Stages>
KERNEL_FN void linear_mma(const LinearArgs& args, Tile tile, char* shared) {
  constexpr int kThreads = WarpsM * WarpsN * kWarp;
  constexpr int kDepth = 32, kRowBytes = kDepth * 2 + 16, kStageBytes = (BM + BN) * kRowBytes;
  constexpr int kLoads = (BM + BN) * (kDepth / 8) / kThreads;
  constexpr int kTilesM = BM / WarpsM / 16, kTilesN = BN / WarpsN / 8;
  static_assert((BM + BN) * (kDepth / 8) % kThreads == 0 && BM * (kDepth / 8) % kThreads == 0, "whole loads");
  static_assert(kTilesN % 2 == 0, "ldmatrix loads two column tiles at once");

  const i64 rows = args.counts->rows[args.row_count];
  const i64 row0 = static_cast<i64>(tile.y) * BM, column0 = static_cast<i64>(tile.x) * BN;
  if (row0 >= rows) return;
  const u32 k = static_cast<u32>(args.k);
  const int thread = threadIdx.x, warp = thread / kWarp, lane = thread % kWarp;
  const u32 base = shared_address(shared);

  // Each thread's chunks: a row of x or of w, and 8 values of k in it. Rows beyond the matrix are never read.
  const char* source[kLoads];
  bool valid[kLoads];
#pragma unroll
  for (int l = 0; l < kLoads; ++l) {
    const int i = thread + l * kThreads, r = i / 4;
    const bool is_x = r < BM;
    const i64 row = is_x ? row0 + r : column0 + r - BM;
    valid[l] = row < (is_x ? rows : args.n);
    source[l] = static_cast<const char*>(is_x ? args.x : args.w) + (valid[l] ? row : 0) * args.k * 2 + i % 4 * 16;
  }
  const auto load = [&](u32 step) {
    const u32 stage = base + step % Stages * kStageBytes;
#pragma unroll
    for (int l = 0; l < kLoads; ++l) {
      const int i = thread + l * kThreads;
      const u32 column = step * kDepth + i % 4 * 8;
      // A chunk beyond K is not read, whatever its address.
      copy_async16(stage + i / 4 * kRowBytes + i % 4 * 16, source[l] + step * (kDepth * 2ll), valid[l] && column < k);
    }
  };

  const int warp_row = warp / WarpsN * (BM / WarpsM), warp_column = warp % WarpsN * (BN / WarpsN);
  // Addresses within a stage that this lane gives to ldmatrix. A: matrices (rows 0-7, k 0-7), (8-15, 0-7), (0-7, 8-15),
  // (8-15, 8-15). B: two column tiles: (columns 0-7, k 0-7), (0-7, 8-15), (8-15, 0-7), (8-15, 8-15).
  const u32 a_offset = (warp_row + lane % 16) * kRowBytes + lane / 16 * 16;
  const u32 b_offset = (BM + warp_column + lane / 16 * 8 + lane % 8) * kRowBytes + lane / 8 % 2 * 16;
  float sum[kTilesM][kTilesN][4] = {};

  const u32 steps = (k + kDepth - 1) / kDepth;
#pragma unroll
  for (u32 s = 0; s < Stages - 1; ++s) {
    if (s < steps) load(s);
    copy_async_commit();
  }
  for (u32 step = 0; step < steps; ++step) {
    copy_async_wait<Stages - 2>();
    __syncthreads();  // everyone's part of this stage is here, and the stage to be loaded next is read by all
    if (step + Stages - 1 < steps) load(step + Stages - 1);
    copy_async_commit();
    const u32 stage = base + step % Stages * kStageBytes;
#pragma unroll
    for (int kk = 0; kk < kDepth; kk += 16) {
      u32 a[kTilesM][4], b[kTilesN / 2][4];
#pragma unroll
      for (int m = 0; m < kTilesM; ++m) ldmatrix_x4(a[m], stage + a_offset + m * 16 * kRowBytes + kk * 2);
#pragma unroll
      for (int n = 0; n < kTilesN / 2; ++n) ldmatrix_x4(b[n], stage + b_offset + n * 16 * kRowBytes + kk * 2);
#pragma unroll
      for (int m = 0; m < kTilesM; ++m) {
#pragma unroll
        for (int n = 0; n < kTilesN; ++n) {
          mma_16816<W>(sum[m][n], a[m][0], a[m][1], a[m][2], a[m][3], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
        }
      }
    }
  }

  const int g = lane / 4, t = lane % 4;
  const bool pairs = args.n % 2 == 0;  // 8-byte stores stay aligned
#pragma unroll
  for (int n = 0; n < kTilesN; ++n) {
    const i64 column = column0 + warp_column + n * 8 + t * 2;
    if (column >= args.n) continue;
    const bool second = column + 1 < args.n;
    const W* bias = static_cast<const W*>(args.bias);
    const float bias0 = bias ? to_float(bias[column]) : 0.0f,
                bias1 = bias && second ? to_float(bias[column + 1]) : 0.0f;
#pragma unroll
    for (int m = 0; m < kTilesM; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const i64 row = row0 + warp_row + m * 16 + h * 8 + g;
        if (row >= rows) continue;
        float* out = args.out + row * args.n + column;
        const float v0 = sum[m][n][h * 2] + bias0, v1 = sum[m][n][h * 2 + 1] + bias1;
        if (pairs) {
          *reinterpret_cast<float2*>(out) = make_float2(v0, v1);
        } else {
          out[0] = v0;
          if (second) out[1] = v1;
        }
      }
    }
  }
}
