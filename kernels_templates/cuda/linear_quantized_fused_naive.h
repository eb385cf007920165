// Fused linear layers on quantized weights in the order of fragments, the reference. See QuantizedFusedArgs.
#pragma once

// clang-format off: the types come first
#include "cuda/linear_epilogue.h"
#include "quantized_weights.h"
// clang-format on

// One thread a product, summed in order of k; x_at(row, k) is the activation. Tile: x = 256 columns (glu: 128), y = row.
// 256 threads.
template <typename Code, typename S, typename A, Epilogue Kind, typename XAt>
KERNEL_FN void quantized_product(const QuantizedFusedArgs& all, Tile tile, XAt x_at) {
  const FusedLinearArgs& args = all.linear;
  constexpr bool kGlu = Kind == Epilogue::kGlu;
  const i64 row = tile.y;
  if (row >= args.counts->rows[args.row_count]) return;
  const int lane = threadIdx.x % 16;  // of the unit, see load_unit
  const i64 unit = tile.x * 16ll + threadIdx.x / 16, outputs = kGlu ? args.n / 2 : args.n;
  const i64 output = kGlu ? unit * 8 + lane % 8 : unit * 16 + lane;
  const float scale = row_scale_of(args, row, threadIdx.x % kWarp);
  float sum = 0.0f;
  if (output < outputs) {
    const i64 n = kGlu && lane >= 8 ? outputs + output : output,
              groups = (args.k + all.groups.group - 1) / all.groups.group;
    for (i64 k = 0; k < args.k; ++k) {
      const u32 code = stored_code(static_cast<const u32*>(args.w), n, k, args.k, Code::kBits, kFragmentRows);
      const i64 at = interleaved_index(n, k / all.groups.group, groups, kFragmentRows);
      const float zero =
          Code::kInteger ? static_cast<float>(all.groups.zeros ? all.groups.zeros[at] : all.groups.zero) : 0.0f;
      sum = fmaf((code_value(Code{}, code) - zero) * to_float(static_cast<const S*>(all.groups.scales)[at]),
                 x_at(row, k), sum);
    }
  }
  load_and_finish_unit<A, A, float, Kind>(args, sum * scale, row, unit, output - lane % (kGlu ? 8 : 16) < outputs,
                                          lane);
}

template <typename Code, typename S, typename A, Epilogue Kind>
KERNEL_FN void linear_quantized_fused_naive(const QuantizedFusedArgs& all, Tile tile, char*) {
  const FusedLinearArgs& args = all.linear;
  const A* x = static_cast<const A*>(args.x);
  quantized_product<Code, S, A, Kind>(all, tile, [&](i64 row, i64 k) { return to_float(x[row * args.k + k]); });
}

// Activations in e4m3: Fp8RowsArgs.
template <typename Code, typename S, typename A, Epilogue Kind>
KERNEL_FN void linear_fp8_naive(const QuantizedFusedArgs& all, Tile tile, char*) {
  const FusedLinearArgs& args = all.linear;
  const unsigned char* codes = static_cast<const unsigned char*>(args.x);
  const i64 groups = (args.k + all.groups.group - 1) / all.groups.group;
  quantized_product<Code, S, A, Kind>(all, tile, [&](i64 row, i64 k) {
    const i64 at = k - k % 64 + k % 32 / 8 * 16 + k % 64 / 32 * 8 + k % 8;
    return code_value(E4m3{}, codes[row * args.k + at]) * args.partials[row * groups + k / all.groups.group];
  });
}
