// RMSNorm, alone (a layer's, or per head) and with the residual addition before it: see RmsNormArgs, AddRmsNormArgs.
#pragma once

#include "cuda/types.h"

// Reference: one thread sums a row in order.
template <typename W, typename A>
KERNEL_FN void normalize_in_order(const float* x, const W* weight, A* out, i64 width, double eps) {
  float squares = 0.0f;
  for (i64 i = 0; i < width; ++i) squares += x[i] * x[i];
  const float scale = inverse_rms(squares, width, eps);
  for (i64 i = 0; i < width; ++i) out[i] = from_float<A>(x[i] * scale * to_float(weight[i]));
}

// Tile: y = row.
template <typename W, typename A>
KERNEL_FN void rms_norm_naive(const RmsNormArgs& args, Tile tile, char*) {
  const i64 row = tile.y;
  if (row >= args.counts->rows[args.row_count] || threadIdx.x != 0) return;
  for (i64 g = 0; g < args.groups; ++g) {
    normalize_in_order(args.x + row * args.x_stride + g * args.width, static_cast<const W*>(args.weight),
                       static_cast<A*>(args.out) + (row * args.groups + g) * args.width, args.width, args.eps);
  }
}

// Tile: y = row.
template <typename W, typename A>
KERNEL_FN void add_rms_norm_naive(const AddRmsNormArgs& args, Tile tile, char*) {
  const i64 row = tile.y;
  if (row >= args.counts->rows[args.row_count] || threadIdx.x != 0) return;
  const i64 begin = row * args.width;
  for (i64 i = begin; i < begin + args.width; ++i) args.sum[i] = args.residual[i] + args.delta[i];
  normalize_in_order(args.sum + begin, static_cast<const W*>(args.weight), static_cast<A*>(args.out) + begin,
                     args.width, args.eps);
}

// Calls f(values, i) for every run of eight values of x that this one of `Threads` threads owns.
template <int Threads, typename F>
KERNEL_FN void for_each8(const float* x, i64 width, int thread, F f) {
  for (i64 i = thread * 8; i < width; i += Threads * 8) {
    float v[8];
    unpack8(load8(x + i), v);
    f(v, i);
  }
}

KERNEL_FN float sum_of_squares(const float (&v)[8], float sum) {
#pragma unroll
  for (int j = 0; j < 8; ++j) sum = fmaf(v[j], v[j], sum);
  return sum;
}

template <typename W, typename A>
KERNEL_FN void write_scaled(const float (&v)[8], float scale, const W* weight, A* out) {
  float w[8], result[8];
  unpack8(load8(weight), w);
#pragma unroll
  for (int j = 0; j < 8; ++j) result[j] = v[j] * scale * w[j];
  store8(out, result);
}

// The block's 256 threads share each group when there is one; with more (heads), a warp takes a group.
// Tile: y = row. 256 threads; 32 bytes of shared memory.
template <typename W, typename A>
KERNEL_FN void rms_norm(const RmsNormArgs& args, Tile tile, char* shared) {
  const i64 row = tile.y;
  if (row >= args.counts->rows[args.row_count]) return;
  const W* weight = static_cast<const W*>(args.weight);
  const bool vectors = args.width % 8 == 0 && aligned16(args.x, args.x_stride);

  if (args.groups == 1) {
    const float* x = args.x + row * args.x_stride;
    A* out = static_cast<A*>(args.out) + row * args.width;
    float squares = 0.0f;
    if (vectors) {
      for_each8<kRowThreads>(x, args.width, threadIdx.x,
                              [&](const float(&v)[8], i64) { squares = sum_of_squares(v, squares); });
    } else {
      for (i64 i = threadIdx.x; i < args.width; i += kRowThreads) squares = fmaf(x[i], x[i], squares);
    }
    squares = block_reduce<kRowThreads>(squares, reinterpret_cast<float*>(shared), SumOf{});
    const float scale = inverse_rms(squares, args.width, args.eps);
    if (vectors) {
      for_each8<kRowThreads>(x, args.width, threadIdx.x,
                              [&](const float(&v)[8], i64 i) { write_scaled(v, scale, weight + i, out + i); });
    } else {
      for (i64 i = threadIdx.x; i < args.width; i += kRowThreads) {
        out[i] = from_float<A>(x[i] * scale * to_float(weight[i]));
      }
    }
    return;
  }

  const int lane = threadIdx.x % kWarp;
  for (i64 g = threadIdx.x / kWarp; g < args.groups; g += kRowThreads / kWarp) {
    const float* x = args.x + row * args.x_stride + g * args.width;
    A* out = static_cast<A*>(args.out) + (row * args.groups + g) * args.width;
    float squares = 0.0f;
    for (i64 i = lane; i < args.width; i += kWarp) squares = fmaf(x[i], x[i], squares);
    const float scale = inverse_rms(warp_sum(squares), args.width, args.eps);
    for (i64 i = lane; i < args.width; i += kWarp) out[i] = from_float<A>(x[i] * scale * to_float(weight[i]));
  }
}

// Tile: y = row. 256 threads; 32 bytes of shared memory.
template <typename W, typename A>
KERNEL_FN void add_rms_norm(const AddRmsNormArgs& args, Tile tile, char* shared) {
  const i64 row = tile.y;
  if (row >= args.counts->rows[args.row_count]) return;
  const float* residual = args.residual + row * args.width;
  const float* delta = args.delta + row * args.width;
  const W* weight = static_cast<const W*>(args.weight);
  float* sum = args.sum + row * args.width;
  A* out = static_cast<A*>(args.out) + row * args.width;
  const bool vectors = args.width % 8 == 0;
  float squares = 0.0f;
  if (vectors) {
    for_each8<kRowThreads>(residual, args.width, threadIdx.x, [&](float(&v)[8], i64 i) {
      float d[8];
      unpack8(load8(delta + i), d);
#pragma unroll
      for (int j = 0; j < 8; ++j) v[j] += d[j];
      squares = sum_of_squares(v, squares);
      store8(sum + i, v);
    });
  } else {
    for (i64 i = threadIdx.x; i < args.width; i += kRowThreads) {
      const float v = residual[i] + delta[i];
      sum[i] = v;
      squares = fmaf(v, v, squares);
    }
  }
  squares = block_reduce<kRowThreads>(squares, reinterpret_cast<float*>(shared), SumOf{});
  const float scale = inverse_rms(squares, args.width, args.eps);
  // Each thread reads back the very elements that it wrote.
  if (vectors) {
    for_each8<kRowThreads>(sum, args.width, threadIdx.x,
                            [&](const float(&v)[8], i64 i) { write_scaled(v, scale, weight + i, out + i); });
  } else {
    for (i64 i = threadIdx.x; i < args.width; i += kRowThreads) {
      out[i] = from_float<A>(sum[i] * scale * to_float(weight[i]));
    }
  }
}
