// The projections of q, k and v with RoPE and the cache write (LinearRopeArgs, QuantizedRopeArgs) against float64 on the same (rounded)
// inputs.
#include <cmath>
#include <map>

#include "test/gpu/dot.h"
#include "test/gpu/fp8_values.h"
#include "test/gpu/int8_values.h"

namespace llm_test {
namespace {

using namespace llm_abi;

struct Heads {
  int heads, kv_heads, head_dim, half, k;
  int group = 0;  // of quantized weights
};

void check(const Kernel& kernel, Rng& rng, const Heads& s, const std::vector<int>& queries, bool bias, bool squares, Outcome& outcome) {
  const Gpu& gpu = *kernel.gpu;
  const llm::Variant& variant = *kernel.instance->variant;
  const bool quantized = variant.code_types;
  const ScalarType operand = kernel.instance->operand, weight = quantized ? operand : kernel.instance->weight;
  std::vector<int> lengths;
  for (size_t i = 0; i < queries.size(); ++i) lengths.push_back(static_cast<int>(i) * 19 % 50);
  const PagedBatch b = PagedBatch::make(rng, lengths, queries, s.kv_heads, s.head_dim, kernel.instance->kv, false);
  const DeviceBatch device(gpu, b);
  const int n = (s.heads + 2 * s.kv_heads) * s.head_dim, rows = b.tokens, bucket = rows + 2, parts = 3;
  std::vector<double> x = random_values(rng, static_cast<size_t>(rows) * s.k, 1.0, operand);
  const TypedArray device_x(gpu, x, operand);
  const bool fp8 = variant.fp8_rows;
  Fp8Values fp8_x;
  if (fp8) fp8_x = Fp8Values::make(x, rows, bucket, s.k, variant.fp8_group), x = fp8_x.values;
  if (variant.int16_columns) x = int16_values(x, s.k, variant.int16_columns);
  const DeviceArray<uint8_t> device_fp8(gpu, fp8_x.codes);
  const DeviceArray<float> fp8_scales(gpu, fp8_x.scales);
  const void* kernel_x = fp8 ? device_fp8.ptr() : device_x.ptr();
  const QuantizedOnDevice codes(kernel, rng, n, s.k, s.group, bias);
  const std::vector<double> w = quantized ? codes.weights() : random_values(rng, static_cast<size_t>(n) * s.k, 1 / std::sqrt(s.k), weight);
  const std::vector<double> biases = random_values(rng, n, 1.0, weight);
  std::vector<double> sums = random_values(rng, static_cast<size_t>(parts) * bucket, std::sqrt(s.k), ScalarType::kF32);
  for (double& v : sums) v = rounded(v * v + 1, ScalarType::kF32);
  std::vector<double> table;  // [rows, 2, half]
  for (int r = 0; r < rows; ++r)
    for (int sine = 0; sine < 2; ++sine)
      for (int j = 0; j < s.half; ++j) {
        const double angle = b.kv_index[r] * std::pow(10000.0, -static_cast<double>(j) / s.half);
        table.push_back(static_cast<float>(sine ? std::sin(angle) : std::cos(angle)));
      }
  const TypedArray device_w(gpu, w, weight), device_bias(gpu, biases, weight);
  const TypedArray device_sums(gpu, sums, ScalarType::kF32), device_table(gpu, table, ScalarType::kF32);
  const TypedArray q_out(gpu, static_cast<size_t>(bucket) * s.heads * s.head_dim, ScalarType::kF32);
  LinearRopeArgs args = {};
  args.linear.counts = device.counts.get(), args.linear.x = kernel_x, args.linear.w = device_w.ptr();
  args.linear.bias = bias ? device_bias.ptr() : nullptr, args.linear.squares = squares ? device_sums.ptr<float>() : nullptr;
  args.linear.out = q_out.ptr(), args.linear.row_count = kRowsTokens, args.linear.n = n, args.linear.k = s.k;
  args.linear.square_parts = squares ? parts : 0, args.linear.square_stride = bucket, args.linear.eps = 1e-5;
  args.table = device_table.ptr<float>(), args.token_seq = device.token_seq.get(), args.seq_slot = device.seq_slot.get();
  args.kv_index = device.kv_index.get(), args.kv = device.view(b), args.heads = s.heads, args.half = s.half;
  const LinearMaps maps(kernel, kernel_x, rows, quantized ? codes.codes() : device_w.ptr(), n, s.k);
  const SplitSums splits(gpu, *kernel.instance->variant, bucket, n);
  args.linear.partials = fp8 ? fp8_scales.get() : splits.partials(), args.linear.arrivals = splits.arrivals();
  args.linear.x_map = maps.x(), args.linear.w_map = maps.w();
  if (quantized) {
    args.linear.w = codes.codes();
    kernel.launch(QuantizedRopeArgs{args, codes.groups()}, n, bucket);
  } else {
    kernel.launch(args, n, bucket);
  }

  const std::vector<double> q = q_out.values(), pool = b.read(device.pool.values());
  std::map<int64_t, bool> written;
  for (int r = 0; r < rows; ++r) {
    double mean = 0;
    for (int p = 0; p < parts; ++p) mean += sums[static_cast<size_t>(p) * bucket + r] / s.k;
    const double scale = squares ? 1 / std::sqrt(mean + 1e-5) : 1;
    std::vector<double> product(n), limit(n);
    for (int c = 0; c < n; ++c) {
      const auto [sum, magnitude] = dot(&x[static_cast<size_t>(r) * s.k], &w[static_cast<size_t>(c) * s.k], s.k);
      product[c] = sum * scale + (bias ? biases[c] : 0);
      limit[c] = sum_limit(variant, s.k, magnitude * scale, product[c]);
    }
    for (int h = 0; h < s.heads + 2 * s.kv_heads; ++h) {
      for (int d = 0; d < s.head_dim; ++d) {
        const int at = h * s.head_dim + d;
        double expected = product[at], error = limit[at];
        if (h < s.heads + s.kv_heads && d < 2 * s.half) {
          const int j = d % s.half, pair = h * s.head_dim + (d < s.half ? d + s.half : d - s.half);
          const double cosine = table[(static_cast<size_t>(r) * 2) * s.half + j], sine = table[(static_cast<size_t>(r) * 2 + 1) * s.half + j];
          expected = product[at] * cosine + (d < s.half ? -1 : 1) * product[pair] * sine;
          error = limit[at] + limit[pair] + 0x1p-22 * (std::abs(product[at]) + std::abs(product[pair]));
        }
        if (h < s.heads) {
          outcome.near(q[static_cast<size_t>(r) * s.heads * s.head_dim + at], expected, error, "q");
          continue;
        }
        const int kv_head = h - s.heads;
        const bool value = kv_head >= s.kv_heads;
        const int64_t entry = b.entry_offset(b.token_seq[r], b.kv_index[r], kv_head % s.kv_heads, value) + d;
        outcome.near(pool[entry], expected, error + rounding_limit(expected, kernel.instance->kv), value ? "cached v" : "cached k");
        written[entry] = true;
      }
    }
  }
  for (size_t i = 0; i < pool.size(); ++i)
    if (!written.count(static_cast<int64_t>(i))) outcome.exact(std::isnan(pool[i]), "a cache entry of no token was written");
  for (size_t i = static_cast<size_t>(rows) * s.heads * s.head_dim; i < q.size(); ++i)
    outcome.exact(std::isnan(q[i]), "a row beyond the true count was written");
}

}  // namespace

Outcome test_linear_rope(const Kernel& kernel, Rng& rng, bool) {
  const llm::Variant& variant = *kernel.instance->variant;
  std::vector<std::vector<int>> batches = {{1}, {1, 1, 1, 2, 1}, {5, 1, 12}};
  if (variant.tile_rows >= 64) batches.push_back({40, 1, 21});
  if (variant.tile_rows >= 128 && variant.max_rows == 0) batches.push_back({100, 1, 60});
  Outcome outcome;
  int number = 0;
  const bool quantized = variant.code_types;
  for (const Heads& s : {Heads{4, 1, 64, 32, 136}, Heads{2, 2, 128, 64, 520}, Heads{3, 1, 96, 48, 72}, Heads{2, 1, 80, 16, 264},
                         Heads{4, 1, 64, 32, 1120, 128}, Heads{2, 2, 128, 64, 544, 32}, Heads{2, 1, 80, 16, 256, 256},
                         Heads{2, 1, 128, 64, 1152, 128}, Heads{5, 1, 64, 32, 256, 256}, Heads{2, 1, 128, 64, 384, 384}, Heads{2, 1, 64, 32, 192, 128}}) {
    if (quantized != (s.group > 0) || (kernel.instance->head_dim && kernel.instance->head_dim != s.head_dim)) continue;
    if (quantized && !serves_group(variant, s.k, s.group)) continue;
    if (quantized && (s.k % variant.k_multiple != 0 || s.group % variant.k_multiple != 0)) continue;
    for (const std::vector<int>& queries : batches) {
      kernel.blocks = variant.blocks_per_sm ? number % 3 + 2 : 0;
      check(kernel, rng, s, queries, number % 2 == 0, number % 3 != 0, outcome);
      ++number;
      if (outcome.failure.empty()) continue;
      outcome.failure += " with " + std::to_string(s.heads) + "/" + std::to_string(s.kv_heads) + " heads of " + std::to_string(s.head_dim);
      return outcome;
    }
  }
  kernel.blocks = 0;
  return outcome;
}

}  // namespace llm_test
