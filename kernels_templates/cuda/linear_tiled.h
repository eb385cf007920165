// Linear layer for many tokens in fp32 FMA: Pascal, and fp32 everywhere. See LinearArgs.
#pragma once

#include "cuda/types.h"

// Eight values of row `row`, from column k0 on, as floats; zeros beyond the matrix.
template <typename T>
KERNEL_FN void load_row_chunk(const T* base, i64 row, i64 rows, i64 k0, i64 k, float (&out)[8]) {
  if (row >= rows || k0 >= k) {
#pragma unroll
    for (int j = 0; j < 8; ++j) out[j] = 0.0f;
  } else if (k % 8 == 0) {
    unpack8(load8(base + row * k + k0), out);
  } else {
#pragma unroll
    for (int j = 0; j < 8; ++j) out[j] = k0 + j < k ? to_float(base[row * k + k0 + j]) : 0.0f;
  }
}

// A block of 16 x 16 threads computes 16 * Rows x 16 * Columns outputs, Rows x Columns each, over K in steps of 16
// through two shared-memory buffers; the next step's values are loaded to registers while this one is computed. Tile: x
// = 16 * Columns columns, y = 16 * Rows rows. 256 threads; 128 * (16 * Rows + 16 * Columns + 8) bytes of shared memory.
//
// load_x(row, k0, values) and load_w(column, k0, values) give eight values from k0 on, store(row, column, sum) takes a
// product.
template <int Rows, int Columns, typename LoadX, typename LoadW, typename Store>
KERNEL_FN void tiled_product(i64 rows, i64 n, i64 k, Tile tile, char* shared, LoadX load_x, LoadW load_w,
                             Store store_sum) {
  constexpr int kThreads = 256, kDepth = 16, kChunks = kDepth / 8;
  constexpr int kTileRows = 16 * Rows, kTileColumns = 16 * Columns;
  // Padding keeps rows 16-byte aligned and spreads them over the banks.
  constexpr int kStrideX = kTileRows + 4, kStrideW = kTileColumns + 4;
  constexpr int kBuffer = kDepth * (kStrideX + kStrideW);
  constexpr int kLoadsX = (kTileRows * kChunks + kThreads - 1) / kThreads;
  constexpr int kLoadsW = (kTileColumns * kChunks + kThreads - 1) / kThreads;

  const i64 row0 = static_cast<i64>(tile.y) * kTileRows, column0 = static_cast<i64>(tile.x) * kTileColumns;
  if (row0 >= rows) return;
  float* buffers = reinterpret_cast<float*>(shared);  // 2 x ([16, kStrideX] | [16, kStrideW])
  const int thread = threadIdx.x;
  const int ty = thread / 16, tx = thread % 16;

  float next_x[kLoadsX][8], next_w[kLoadsW][8];
  const auto load = [&](i64 k0) {
#pragma unroll
    for (int l = 0; l < kLoadsX; ++l) {
      const int i = thread + l * kThreads;
      if (i < kTileRows * kChunks) {
        load_x(row0 + i % kTileRows, k0 + i / kTileRows * 8, next_x[l]);
      }
    }
#pragma unroll
    for (int l = 0; l < kLoadsW; ++l) {
      const int i = thread + l * kThreads;
      if (i < kTileColumns * kChunks) {
        load_w(column0 + i % kTileColumns, k0 + i / kTileColumns * 8, next_w[l]);
      }
    }
  };
  const auto store = [&](float* buffer) {
#pragma unroll
    for (int l = 0; l < kLoadsX; ++l) {
      const int i = thread + l * kThreads;
      if (i < kTileRows * kChunks) {
#pragma unroll
        for (int j = 0; j < 8; ++j) buffer[(i / kTileRows * 8 + j) * kStrideX + i % kTileRows] = next_x[l][j];
      }
    }
    buffer += kDepth * kStrideX;
#pragma unroll
    for (int l = 0; l < kLoadsW; ++l) {
      const int i = thread + l * kThreads;
      if (i < kTileColumns * kChunks) {
#pragma unroll
        for (int j = 0; j < 8; ++j) buffer[(i / kTileColumns * 8 + j) * kStrideW + i % kTileColumns] = next_w[l][j];
      }
    }
  };

  float sum[Rows][Columns] = {};
  load(0);
  store(buffers);
  __syncthreads();
  int current = 0;
  for (i64 k0 = 0; k0 < k; k0 += kDepth) {
    const bool more = k0 + kDepth < k;
    if (more) load(k0 + kDepth);
    const float* tile_x = buffers + current * kBuffer;
    const float* tile_w = tile_x + kDepth * kStrideX;
#pragma unroll
    for (int kk = 0; kk < kDepth; ++kk) {
      // Thread (ty, tx) owns rows ty * 4 + {0..3} (+ 64 ...) when there are four or more, so that a warp reads whole
      // vectors.
      float a[Rows], b[Columns];
#pragma unroll
      for (int r = 0; r < Rows; ++r) {
        constexpr int kRun = Rows < 4 ? Rows : 4;
        a[r] = tile_x[kk * kStrideX + r / kRun * 16 * kRun + ty * kRun + r % kRun];
      }
#pragma unroll
      for (int c = 0; c < Columns; ++c) {
        constexpr int kRun = Columns < 4 ? Columns : 4;
        b[c] = tile_w[kk * kStrideW + c / kRun * 16 * kRun + tx * kRun + c % kRun];
      }
#pragma unroll
      for (int r = 0; r < Rows; ++r) {
#pragma unroll
        for (int c = 0; c < Columns; ++c) sum[r][c] = fmaf(a[r], b[c], sum[r][c]);
      }
    }
    if (more) store(buffers + (current ^ 1) * kBuffer);
    __syncthreads();
    current ^= 1;
  }

#pragma unroll
  for (int r = 0; r < Rows; ++r) {
    constexpr int kRunR = Rows < 4 ? Rows : 4;
    const i64 row = row0 + r / kRunR * 16 * kRunR + ty * kRunR + r % kRunR;
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
      constexpr int kRunC = Columns < 4 ? Columns : 4;
      const i64 column = column0 + c / kRunC * 16 * kRunC + tx * kRunC + c % kRunC;
      if (row < rows && column < n) store_sum(row, column, sum[r][c]);
    }
  }
}

template <typename W, typename A, int Rows, int Columns>
KERNEL_FN void linear_tiled(const LinearArgs& args, Tile tile, char* shared) {
  const i64 rows = args.counts->rows[args.row_count];
  tiled_product<Rows, Columns>(
      rows, args.n, args.k, tile, shared,
      [&](i64 row, i64 k0, float(&out)[8]) {
        load_row_chunk(static_cast<const A*>(args.x), row, rows, k0, args.k, out);
      },
      [&](i64 column, i64 k0, float(&out)[8]) {
        load_row_chunk(static_cast<const W*>(args.w), column, args.n, k0, args.k, out);
      },
      [&](i64 row, i64 column, float sum) {
        args.out[row * args.n + column] = sum + (args.bias ? to_float(static_cast<const W*>(args.bias)[column]) : 0.0f);
      });
}
