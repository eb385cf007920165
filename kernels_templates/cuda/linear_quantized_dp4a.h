// Linear layers of int8 activations on integer codes with dp4a: sm_61. See LinearQuantizedArgs.
#pragma once

#include "cuda/types.h"
#include "quantized_weights.h"

// 32 columns, which share a scale of the activations, are `kBits` words of codes and eight words of activations: a word
// of codes unpacks to 8 / kBits vectors of four bytes, by a shift and a mask.
constexpr int kInt8Columns = 32, kInt8Words = 8;

template <typename Code>
KERNEL_FN u32 code_bytes(u32 word, int vector) {
  constexpr u32 kMask = Code::kBits == 8 ? 0xffffffffu : Code::kBits == 4 ? 0x0f0f0f0fu : 0x03030303u;
  return word >> (Code::kBits * vector) & kMask;
}

// Few tokens, bound by reading the codes once. A group of `KWarps` warps computes `Columns` outputs of each of `Rows`
// rows; its lanes take 32 columns of K each, and partial sums are added in warp order. Tile: x = 8 / KWarps * Columns
// columns, y = Rows rows. 256 threads; 32 * Rows * Columns bytes of shared memory. K and the groups are multiples
// of 32.
template <typename Code, typename S, int Rows, int Columns, int KWarps>
KERNEL_FN void linear_dp4a_gemv(const LinearQuantizedArgs& args, Tile tile, char* shared) {
  constexpr int kWarps = 8, kGroups = kWarps / KWarps, kOutputs = Rows * Columns, kWords = Code::kBits,
                kVectors = 8 / Code::kBits;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int owner = warp / KWarps, part = warp % KWarps;
  const i64 row0 = static_cast<i64>(tile.y) * Rows, rows = args.counts->rows[args.row_count];
  if (row0 >= rows) return;
  float* partial = reinterpret_cast<float*>(shared);  // [warps, Rows, Columns]

  // Rows and columns beyond the matrix repeat its last one, and are not stored.
  const i64 column0 = (static_cast<i64>(tile.x) * kGroups + owner) * Columns, k = args.k;
  const i64 groups = (k + args.group - 1) / args.group, words = code_words(k, Code::kBits), units = k / kInt8Columns;
  const u32* codes[Columns];
  i64 first_group[Columns];
#pragma unroll
  for (int c = 0; c < Columns; ++c) {
    const i64 column = min_of(column0 + c, args.n - 1);
    codes[c] = static_cast<const u32*>(args.codes) + column * words;
    first_group[c] = column * groups;
  }
  i64 row[Rows];
#pragma unroll
  for (int r = 0; r < Rows; ++r) row[r] = min_of(row0 + r, rows - 1);

  float sum[Rows][Columns] = {};
  const u32 group_units = static_cast<u32>(args.group / kInt8Columns);
  for (i64 unit = part * kWarp + lane; unit < units; unit += KWarps * kWarp) {
    u32 word[Columns][kWords];
    float scale[Columns];
    i32 zero[Columns];
    const i64 group = static_cast<u32>(unit) / group_units;
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
      const u32* at = codes[c] + unit * kWords;
      if constexpr (kWords >= 4) {
#pragma unroll
        for (int w = 0; w < kWords; w += 4) {
          const uint4 packed = load_streaming(at + w);
          word[c][w] = packed.x, word[c][w + 1] = packed.y, word[c][w + 2] = packed.z, word[c][w + 3] = packed.w;
        }
      } else {
#pragma unroll
        for (int w = 0; w < kWords; ++w) word[c][w] = at[w];
      }
      scale[c] = to_float(static_cast<const S*>(args.scales)[first_group[c] + group]);
      zero[c] = args.zeros ? static_cast<i32>(args.zeros[first_group[c] + group]) : static_cast<i32>(args.zero);
    }
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      const uint4* x = reinterpret_cast<const uint4*>(args.int8.codes + row[r] * k + unit * kInt8Columns);
      const uint4 low = x[0], high = x[1];
      const u32 value[kInt8Words] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
      const float x_scale = args.int8.scales[row[r] * units + unit];
      const i32 x_sum = args.int8.sums[row[r] * units + unit];
#pragma unroll
      for (int c = 0; c < Columns; ++c) {
        i32 dot = -zero[c] * x_sum;
#pragma unroll
        for (int i = 0; i < kInt8Words; ++i)
          dot = dp4a(code_bytes<Code>(word[c][i / kVectors], i % kVectors), value[i], dot);
        sum[r][c] = fmaf(static_cast<float>(dot), scale[c] * x_scale, sum[r][c]);
      }
    }
  }

#pragma unroll
  for (int r = 0; r < Rows; ++r) {
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
      const float total = warp_sum(sum[r][c]);
      if (lane == 0) partial[warp * kOutputs + r * Columns + c] = total;
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kGroups * kOutputs; i += kWarps * kWarp) {
    const int group = i / kOutputs, output = i % kOutputs;
    const i64 out_row = row0 + output / Columns;
    const i64 column = (static_cast<i64>(tile.x) * kGroups + group) * Columns + output % Columns;
    if (out_row >= rows || column >= args.n) continue;
    float total = bias_at(args, column);
    for (int p = 0; p < KWarps; ++p) total += partial[(group * KWarps + p) * kOutputs + output];
    args.out[out_row * args.n + column] = total;
  }
}

// Many tokens. A block of 16 x 16 threads computes 16 * Rows x 16 * Columns outputs in steps of 32 columns of K; codes
// are unpacked to bytes once, on their way to shared memory, and the next step's words are loaded while this one is
// computed. Tile: x = 16 * Columns columns, y = 16 * Rows rows. 256 threads; 640 * (Rows + Columns) + 256 bytes of
// shared memory. K and the groups are multiples of 32.
template <typename Code, typename S, int Rows, int Columns>
KERNEL_FN void linear_dp4a_tiled(const LinearQuantizedArgs& args, Tile tile, char* shared) {
  constexpr int kThreads = 256, kTileRows = 16 * Rows, kTileColumns = 16 * Columns, kVectors = 8 / Code::kBits;
  constexpr int kStrideX = kTileRows + 4, kStrideW = kTileColumns + 4;  // spreads what a warp stores over the banks
  constexpr int kLoadsX = kTileRows * kInt8Words / kThreads, kLoadsW = kTileColumns * kInt8Words / kThreads;
  static_assert(kLoadsX > 0 && kLoadsW > 0 && Rows % 4 == 0 && Columns % 4 == 0, "whole loads");
  const i64 rows = args.counts->rows[args.row_count];
  const i64 row0 = static_cast<i64>(tile.y) * kTileRows, column0 = static_cast<i64>(tile.x) * kTileColumns;
  if (row0 >= rows) return;
  const i64 k = args.k, units = k / kInt8Columns, words = code_words(k, Code::kBits),
            groups = (k + args.group - 1) / args.group;
  const u32 group_units = static_cast<u32>(args.group / kInt8Columns);
  u32* tile_x = reinterpret_cast<u32*>(shared);  // [8, kStrideX]
  u32* tile_w = tile_x + kInt8Words * kStrideX;  // [8, kStrideW]
  float* x_scale = reinterpret_cast<float*>(tile_w + kInt8Words * kStrideW);
  i32* x_sum = reinterpret_cast<i32*>(x_scale + kTileRows);
  float* w_scale = reinterpret_cast<float*>(x_sum + kTileRows);
  i32* w_zero = reinterpret_cast<i32*>(w_scale + kTileColumns);
  const int thread = threadIdx.x, ty = thread / 16, tx = thread % 16;

  // Rows and columns beyond the matrix repeat its last one, and are not stored.
  u32 next_x[kLoadsX], next_w[kLoadsW];
  float next_scale = 0.0f;
  i32 next_other = 0;
  const auto load = [&](i64 unit) {
#pragma unroll
    for (int l = 0; l < kLoadsX; ++l) {
      const int i = thread + l * kThreads;
      const i64 row = min_of(row0 + i / kInt8Words, rows - 1);
      next_x[l] = reinterpret_cast<const u32*>(args.int8.codes + row * k + unit * kInt8Columns)[i % kInt8Words];
    }
#pragma unroll
    for (int l = 0; l < kLoadsW; ++l) {
      const int i = thread + l * kThreads, at = i % kInt8Words;
      const i64 column = min_of(column0 + i / kInt8Words, args.n - 1);
      next_w[l] = code_bytes<Code>(
          static_cast<const u32*>(args.codes)[column * words + unit * Code::kBits + at / kVectors], at % kVectors);
    }
    if (thread < kTileRows) {
      const i64 at = min_of(row0 + thread, rows - 1) * units + unit;
      next_scale = args.int8.scales[at], next_other = args.int8.sums[at];
    } else if (thread < kTileRows + kTileColumns) {
      const i64 at = min_of(column0 + thread - kTileRows, args.n - 1) * groups + static_cast<u32>(unit) / group_units;
      next_scale = to_float(static_cast<const S*>(args.scales)[at]);
      next_other = args.zeros ? static_cast<i32>(args.zeros[at]) : static_cast<i32>(args.zero);
    }
  };
  const auto store = [&] {
#pragma unroll
    for (int l = 0; l < kLoadsX; ++l) {
      const int i = thread + l * kThreads;
      tile_x[i % kInt8Words * kStrideX + i / kInt8Words] = next_x[l];
    }
#pragma unroll
    for (int l = 0; l < kLoadsW; ++l) {
      const int i = thread + l * kThreads;
      tile_w[i % kInt8Words * kStrideW + i / kInt8Words] = next_w[l];
    }
    if (thread < kTileRows)
      x_scale[thread] = next_scale, x_sum[thread] = next_other;
    else if (thread < kTileRows + kTileColumns)
      w_scale[thread - kTileRows] = next_scale, w_zero[thread - kTileRows] = next_other;
  };
  // Thread (ty, tx) owns rows ty * 4 + {0..3} (+ 64 ...), likewise columns, so that a warp reads whole vectors.
  const auto place = [](int at, int i) { return i / 4 * 64 + at * 4 + i % 4; };

  float sum[Rows][Columns] = {};
  load(0);
  for (i64 unit = 0; unit < units; ++unit) {
    __syncthreads();  // everyone has read the last step
    store();
    __syncthreads();
    if (unit + 1 < units) load(unit + 1);
    i32 dot[Rows][Columns];
#pragma unroll
    for (int r = 0; r < Rows; ++r)
#pragma unroll
      for (int c = 0; c < Columns; ++c) dot[r][c] = -w_zero[place(tx, c)] * x_sum[place(ty, r)];
#pragma unroll
    for (int i = 0; i < kInt8Words; ++i) {
      u32 a[Rows], b[Columns];
#pragma unroll
      for (int r = 0; r < Rows; ++r) a[r] = tile_x[i * kStrideX + place(ty, r)];
#pragma unroll
      for (int c = 0; c < Columns; ++c) b[c] = tile_w[i * kStrideW + place(tx, c)];
#pragma unroll
      for (int r = 0; r < Rows; ++r)
#pragma unroll
        for (int c = 0; c < Columns; ++c) dot[r][c] = dp4a(b[c], a[r], dot[r][c]);
    }
#pragma unroll
    for (int r = 0; r < Rows; ++r)
#pragma unroll
      for (int c = 0; c < Columns; ++c)
        sum[r][c] = fmaf(static_cast<float>(dot[r][c]), x_scale[place(ty, r)] * w_scale[place(tx, c)], sum[r][c]);
  }

#pragma unroll
  for (int r = 0; r < Rows; ++r) {
    const i64 row = row0 + place(ty, r);
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
      const i64 column = column0 + place(tx, c);
      if (row < rows && column < args.n) args.out[row * args.n + column] = sum[r][c] + bias_at(args, column);
    }
  }
}
