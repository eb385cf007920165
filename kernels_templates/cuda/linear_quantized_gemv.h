// Linear layer on quantized weights for few tokens: bound by reading the codes once. See LinearQuantizedArgs.
#pragma once

#include "cuda/quantized_codes.h"

// A group of `KWarps` warps computes `Columns` outputs of each of `Rows` rows; its warps share K, and their partial
// sums are added in warp order. Codes come in 16-byte loads, each inside of one group of columns; they are summed apart
// for each place in a half word, and scaled once a load. K and the groups are multiples of the codes in 16 bytes. Tile:
// x = 8 / KWarps * Columns columns, y = Rows rows. 256 threads; kTableBytes + 4 * 8 * Rows * Columns bytes of shared
// memory.
template <typename Code, typename S, typename A, int Rows, int Columns, int KWarps>
KERNEL_FN void linear_quantized_gemv(const LinearQuantizedArgs& args, Tile tile, char* shared) {
  constexpr int kWarps = 8, kGroups = kWarps / KWarps, kOutputs = Rows * Columns;
  constexpr int kPerWord = 32 / Code::kBits, kChunk = 4 * kPerWord;
  [[maybe_unused]] constexpr int kUnroll = Rows > 2 ? 1 : 2;  // seen only by compilers that know the pragma
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int owner = warp / KWarps, part = warp % KWarps;
  const i64 row0 = static_cast<i64>(tile.y) * Rows, rows = args.counts->rows[args.row_count];
  if (row0 >= rows) return;
  float* table = reinterpret_cast<float*>(shared);
  float* partial = table + kTableBytes / sizeof(float);  // [warps, Rows, Columns]
  fill_table<Code>(table);
  if (kHasTable<Code>) __syncthreads();

  // Rows and columns beyond the matrix repeat its last one, and are not stored.
  const i64 column0 = (static_cast<i64>(tile.x) * kGroups + owner) * Columns, k = args.k;
  const i64 groups = (k + args.group - 1) / args.group, words = code_words(k, Code::kBits);
  const A* x[Rows];
#pragma unroll
  for (int r = 0; r < Rows; ++r) x[r] = static_cast<const A*>(args.x) + min_of(row0 + r, rows - 1) * k;
  const u32* codes[Columns];
  i64 first_group[Columns];
#pragma unroll
  for (int c = 0; c < Columns; ++c) {
    const i64 column = min_of(column0 + c, args.n - 1);
    codes[c] = static_cast<const u32*>(args.codes) + column * words;
    first_group[c] = column * groups;
  }

  float sum[Rows][Columns] = {};
  const u32 group_chunks = static_cast<u32>(args.group / kChunk);
  const int chunks = static_cast<int>(k / kChunk);
#pragma unroll kUnroll
  for (int chunk = part * kWarp + lane; chunk < chunks; chunk += KWarps * kWarp) {
    u32 word[Columns][4];
    float scale[Columns];
    PlaceOffsets<Code> offsets[Columns];
    const i64 group = static_cast<u32>(chunk) / group_chunks;
#pragma unroll
    for (int c = 0; c < Columns; ++c) {
      const uint4 packed = load_streaming(codes[c] + 4 * chunk);
      word[c][0] = packed.x, word[c][1] = packed.y, word[c][2] = packed.z, word[c][3] = packed.w;
      scale[c] = to_float(static_cast<const S*>(args.scales)[first_group[c] + group]);
      if (Code::kInteger)
        offsets[c] = place_offsets<Code>(static_cast<float>(
            args.zeros ? static_cast<i32>(args.zeros[first_group[c] + group]) : static_cast<i32>(args.zero)));
    }
    float places[Rows][Columns][kPlaces<Code>] = {};
#pragma unroll
    for (int t = 0; t < 4; ++t) {
#pragma unroll
      for (int q = 0; q < kPerWord; q += 4) {
        float w[Columns][4];
#pragma unroll
        for (int c = 0; c < Columns; ++c) {
#pragma unroll
          for (int j = 0; j < 4; ++j) w[c][j] = unpacked<Code>(word[c][t], q + j, offsets[c], table);
        }
#pragma unroll
        for (int r = 0; r < Rows; ++r) {
          float value[4];
          load4(x[r] + static_cast<i64>(chunk) * kChunk + t * kPerWord + q, value);
#pragma unroll
          for (int c = 0; c < Columns; ++c) {
#pragma unroll
            for (int j = 0; j < 4; ++j) {
              float& place = places[r][c][(q + j) % kPlaces<Code>];
              place = fmaf(value[j], w[c][j], place);
            }
          }
        }
      }
    }
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
#pragma unroll
      for (int c = 0; c < Columns; ++c) {
        float total = places[r][c][0];
#pragma unroll
        for (int i = 1; i < kPlaces<Code>; ++i) total = fmaf(places[r][c][i], place_factor<Code>(i), total);
        sum[r][c] = fmaf(total, scale[c], sum[r][c]);
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
    const i64 row = row0 + output / Columns;
    const i64 column = (static_cast<i64>(tile.x) * kGroups + group) * Columns + output % Columns;
    if (row >= rows || column >= args.n) continue;
    float total = bias_at(args, column);
    for (int p = 0; p < KWarps; ++p) total += partial[(group * KWarps + p) * kOutputs + output];
    args.out[row * args.n + column] = total;
  }
}
