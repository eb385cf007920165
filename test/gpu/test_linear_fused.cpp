// Linear layers with fused norms, activations and residuals (FusedLinearArgs, QuantizedFusedArgs) against float64 on the same
// (rounded) inputs.
#include <cmath>

#include "test/gpu/dot.h"
#include "test/gpu/fp8_values.h"
#include "test/gpu/int8_values.h"

namespace llm_test {
namespace {

using namespace llm_abi;

struct Shape {
  int rows, n, k;
};

struct Options {
  bool bias, squares, norm;
  int group = 0;  // of quantized weights
  bool zeros = false;
};

void check_shape(const Kernel& kernel, Rng& rng, const Shape& s, const Options& with, Outcome& outcome) {
  const Gpu& gpu = *kernel.gpu;
  const bool quantized = kernel.instance->variant->code_types;
  const ScalarType operand = kernel.instance->operand, weight = quantized ? operand : kernel.instance->weight;  // of bias and norm, too
  const std::string family = kernel.instance->variant->family;
  const bool glu = family.ends_with("_glu"), add = family.ends_with("_add"), norm = add && with.norm;
  const int width = glu ? s.n / 2 : s.n, bucket = s.rows + 3, parts_in = 5, parts_out = (s.n + 15) / 16;
  const double eps = 1e-5;
  std::vector<double> x = random_values(rng, static_cast<size_t>(s.rows) * s.k, 1.0, operand);
  const bool fp8 = kernel.instance->variant->fp8_rows;
  const QuantizedOnDevice codes(kernel, rng, s.n, s.k, with.group, with.zeros);
  const std::vector<double> w = quantized ? codes.weights() : random_values(rng, static_cast<size_t>(s.n) * s.k, 1 / std::sqrt(s.k), weight);
  const std::vector<double> bias = random_values(rng, s.n, 1.0, weight), norm_weight = random_values(rng, s.n, 1.0, weight);
  std::vector<double> residual = random_values(rng, static_cast<size_t>(bucket) * s.n, 1.0, ScalarType::kF32);
  std::vector<double> squares = random_values(rng, static_cast<size_t>(parts_in) * bucket, std::sqrt(s.k), ScalarType::kF32);
  for (double& v : squares) v = rounded(v * v + 1, ScalarType::kF32);

  std::vector<double> bucket_x = x;
  bucket_x.resize(static_cast<size_t>(bucket) * s.k, NAN);  // rows beyond the true count must not matter
  Fp8Values fp8_x;
  if (fp8) fp8_x = Fp8Values::make(x, s.rows, bucket, s.k, kernel.instance->variant->fp8_group), x = fp8_x.values;
  const DeviceArray<uint8_t> device_fp8(gpu, fp8_x.codes);
  const DeviceArray<float> fp8_scales(gpu, fp8_x.scales);
  if (const int columns = kernel.instance->variant->int16_columns) x = int16_values(x, s.k, columns);
  const OperandArray device_x(gpu, bucket_x, s.k, operand);
  TypedArray device_w(gpu, stored_weights(*kernel.instance, w, s.n, s.k), weight), device_bias(gpu, bias, weight), device_norm(gpu, norm_weight, weight);
  TypedArray device_residual(gpu, residual, ScalarType::kF32), device_squares(gpu, squares, ScalarType::kF32);
  const OperandArray out(gpu, static_cast<size_t>(bucket) * width, width, glu ? operand : ScalarType::kF32);
  TypedArray scaled(gpu, static_cast<size_t>(bucket) * s.n, operand);
  DeviceArray<float> squares_out(gpu, static_cast<size_t>(parts_out) * bucket);
  const auto counts = make_counts(gpu, s.rows, 1, 1);
  gpu.announce(kernel.instance->entry() + " at " + std::to_string(s.rows) + " x " + std::to_string(s.n) + " x " +
               std::to_string(s.k));
  const void* kernel_x = fp8 ? device_fp8.ptr() : device_x.ptr();
  const LinearMaps maps(kernel, kernel_x, bucket, quantized ? codes.codes() : device_w.ptr(), s.n, s.k);
  const SplitSums splits(gpu, *kernel.instance->variant, bucket, width);
  const FusedLinearArgs args = {counts.get(),
                                kernel_x,
                                device_w.ptr(),
                                with.bias ? device_bias.ptr() : nullptr,
                                with.squares ? device_squares.ptr<float>() : nullptr,
                                add ? device_residual.ptr<float>() : nullptr,
                                norm ? device_norm.ptr() : nullptr,
                                out.ptr(),
                                norm ? scaled.ptr() : nullptr,
                                norm ? squares_out.get() : nullptr,
                                kRowsTokens,
                                s.n,
                                s.k,
                                with.squares ? parts_in : 0,
                                bucket,
                                eps,
                                fp8 ? fp8_scales.get() : splits.partials(),
                                splits.arrivals(),
                                maps.x(),
                                maps.w()};
  if (quantized) {
    QuantizedFusedArgs with_groups = {args, codes.groups()};
    with_groups.linear.w = codes.codes();
    kernel.launch(with_groups, width, bucket);
  } else {
    kernel.launch(args, width, bucket);
  }

  outcome.exact(splits.all_reset(), "the count of arrivals was not reset");
  // The products, their rounding limits, and what becomes of them.
  const std::vector<double> result = out.values(), scaled_result = scaled.values();
  const std::vector<float> squares_result = squares_out.values();
  for (int r = 0; r < s.rows; ++r) {
    double mean = 0;
    for (int p = 0; p < parts_in; ++p) mean += squares[static_cast<size_t>(p) * bucket + r] / s.k;
    const double scale = with.squares ? 1 / std::sqrt(mean + eps) : 1;
    std::vector<double> product(s.n), limit(s.n);
    for (int c = 0; c < s.n; ++c) {
      const auto [sum, magnitude] = dot(&x[static_cast<size_t>(r) * s.k], &w[static_cast<size_t>(c) * s.k], s.k);
      product[c] = sum * scale + (with.bias ? bias[c] : 0);
      limit[c] = sum_limit(*kernel.instance->variant, s.k, magnitude * scale, product[c]);
      if (kernel.instance->variant->rounds_operands) limit[c] += unit_roundoff(ScalarType::kBF16) * magnitude * scale;
    }
    std::vector<double> part_squares(parts_out), part_limits(parts_out);
    for (int c = 0; c < width; ++c) {
      const double got = result[static_cast<size_t>(r) * width + c];
      double expected = product[c], error = limit[c];
      if (glu) {
        const double up = product[c + width], gate = product[c], sigmoid = 1 / (1 + std::exp(-gate));
        expected = gate * sigmoid * up;
        // The derivative of silu is at most 1.1; exp2 in the fast form is good to a few ulp of its argument.
        error = 1.1 * error * std::abs(up) + std::abs(gate * sigmoid) * limit[c + width] +
                0x1p-24 * 16 * (1 + std::abs(gate)) * std::abs(expected) + rounding_limit(expected, operand);
      } else if (add) {
        expected += residual[static_cast<size_t>(r) * s.n + c];
        error += 0x1p-24 * 2 * (std::abs(expected) + 1);
      }
      outcome.near(got, expected, error, family.c_str(), r, c);
      if (!norm) continue;
      const double value = expected * norm_weight[c];
      outcome.near(scaled_result[static_cast<size_t>(r) * s.n + c], value,
                   error * std::abs(norm_weight[c]) + 0x1p-22 * std::abs(value) + rounding_limit(value, operand), "scaled", r, c);
      part_squares[c / 16] += expected * expected;
      part_limits[c / 16] += 2 * std::abs(expected) * error + 0x1p-20 * expected * expected;
    }
    for (int p = 0; norm && p < parts_out; ++p)
      outcome.near(squares_result[static_cast<size_t>(p) * bucket + r], part_squares[p], part_limits[p], "squares", r, p);
  }
  for (size_t i = static_cast<size_t>(s.rows) * width; i < result.size(); ++i)
    outcome.exact(std::isnan(result[i]), "a row beyond the true count was written");
  for (int p = 0; p < parts_out; ++p)
    for (int r = norm ? s.rows : 0; r < bucket; ++r)
      outcome.exact(std::isnan(squares_result[static_cast<size_t>(p) * bucket + r]), "a sum of squares that nobody asked for was written");
}

}  // namespace

Outcome test_quantized_fused(const Kernel& kernel, Rng& rng, bool timing) {
  Outcome outcome;
  const llm::Variant& v = *kernel.instance->variant;
  const bool glu = std::string(v.family).ends_with("_glu");
  int number = 0;
  struct Case {
    Shape shape;
    int group;
  };
  for (const auto& [s, group] : {Case{{1, 272, 1024}, 128}, Case{{3, 80, 160}, 32}, Case{{8, 144, 2208}, 96}, Case{{13, 80, 1312}, 1312},
                                 Case{{2, 48, 64}, 64}, Case{{30, 112, 544}, 128}, Case{{1, 144, 4096}, 32}, Case{{7, 400, 736}, 256},
                                 Case{{40, 192, 544}, 32}, Case{{75, 64, 1088}, 64}, Case{{33, 1088, 64}, 64},
                                 Case{{31, 528, 1152}, 128}, Case{{20, 48, 256}, 128}, Case{{29, 272, 896}, 896}, Case{{64, 304, 384}, 384},
                                 Case{{60, 80, 352}, 32}, Case{{100, 144, 640}, 128}, Case{{130, 272, 384}, 384},
                                 Case{{300, 400, 256}, 256}, Case{{70, 48, 1152}, 1152}, Case{{140, 272, 192}, 128}, Case{{90, 144, 320}, 320}}) {
    const bool panels = kernel.instance->operand == ScalarType::kBF16Panels;
    if ((v.max_rows && s.rows > (v.flat_grid ? 1 : 2) * v.max_rows) || (panels && s.n % 64 != 0) || !serves_group(v, s.k, group)) continue;
    if (s.k % v.k_multiple != 0 || group % v.k_multiple != 0) continue;
    if (s.rows * s.n > 40000 && !v.flat_grid) continue;  // many tiles
    // With panels the layer has neither bias nor norms.
    const Options with = {number % 2 == 0 && !panels, number % 3 != 0 && !panels, number % 4 != 3, group, number % 2 == 0};
    kernel.blocks = v.blocks_per_sm ? number % 3 + 2 : 0;
    ++number;
    check_shape(kernel, rng, s, with, outcome);
    if (outcome.failure.empty()) continue;
    outcome.failure += " at " + std::to_string(s.rows) + " x " + std::to_string(s.n) + " x " + std::to_string(s.k) + ", groups of " +
                       std::to_string(group) + (with.bias ? ", bias" : "") + (with.zeros ? ", zeros" : "") + (with.squares ? ", squares" : "") + (with.norm ? ", norm" : "");
    break;
  }
  kernel.blocks = 0;
  const bool fp8_reference = v.fp8_rows && !v.tensor_cores;
  if (!timing || !outcome.failure.empty() || fp8_reference) return outcome;
  if (v.flat_grid || v.fp8_rows) {
    time_projections(kernel, rng, outcome);
    return outcome;
  }
  // Gate and up of an 8B model, groups of 128 (a byte a code: a scale per row): more codes than the L2 holds.
  const int rows = v.max_rows ? v.max_rows : 1024, n = 28672, k = 4096, bits = bits_of(kernel.instance->code), group = bits == 8 ? k : 128;
  const Gpu& gpu = *kernel.gpu;
  const size_t code_bytes = static_cast<size_t>(n) * k * bits / 8, scale_bytes = static_cast<size_t>(n) * (k / group) * 2;
  const size_t x_bytes = static_cast<size_t>(rows) * k * 2;
  DeviceBytes x(gpu, x_bytes), codes(gpu, code_bytes), scales(gpu, scale_bytes);
  for (const auto& [bytes, size] : {std::pair{x.ptr(), x_bytes}, {codes.ptr(), code_bytes}, {scales.ptr(), scale_bytes}})
    gpu.driver->cuMemsetD8Async(reinterpret_cast<CUdeviceptr>(bytes), 0x11, size, gpu.stream);
  DeviceArray<float> out(gpu, static_cast<size_t>(rows) * n);
  DeviceArray<float> residual(gpu, std::vector<float>(static_cast<size_t>(rows) * n, 1.0f));
  const auto counts = make_counts(gpu, rows, 1, 1);
  QuantizedFusedArgs args = {};
  args.linear.counts = counts.get(), args.linear.x = x.ptr(), args.linear.w = codes.ptr(), args.linear.residual = residual.get();
  args.linear.out = out.get(), args.linear.row_count = kRowsTokens, args.linear.n = n, args.linear.k = k, args.linear.square_stride = rows;
  args.groups = {scales.ptr(), nullptr, group, 1 << (bits - 1)};
  outcome.us = kernel.time_us(args, glu ? n / 2 : n, rows);
  outcome.bandwidth(static_cast<double>(code_bytes + scale_bytes + x_bytes));
  return outcome;
}

Outcome test_linear_fused(const Kernel& kernel, Rng& rng, bool timing) {
  Outcome outcome;
  const llm::Variant& v = *kernel.instance->variant;
  if (v.code_types) return test_quantized_fused(kernel, rng, timing);
  const bool glu = std::string(v.family) == "linear_glu";
  int number = 0;
  for (const Shape& s : {Shape{1, 258, 896}, Shape{3, 98, 136}, Shape{8, 258, 1152}, Shape{17, 130, 328}, Shape{100, 258, 264}, Shape{2, 34, 24},
                         Shape{32, 96, 520}, Shape{130, 162, 40}, Shape{200, 64, 1096}, Shape{5, 1000, 72}, Shape{64, 800, 1160},
                         Shape{300, 1060, 72}, Shape{33, 259, 64}, Shape{129, 387, 200}, Shape{2300, 80, 72}, Shape{4400, 34, 24},
                         Shape{40, 96, 544}, Shape{70, 160, 1056}, Shape{530, 32, 96}, Shape{40, 192, 544}, Shape{75, 128, 1056}}) {
    if (s.k % v.k_multiple != 0 || (glu && s.n % 2 != 0) || (v.flat_grid && v.max_rows && s.rows > v.max_rows)) continue;
    if (kernel.instance->operand == ScalarType::kBF16Panels && s.n % 64 != 0) continue;  // outputs in panels
    if (s.rows * s.n > 30000 && !v.flat_grid) continue;  // many tiles
    const bool x86 = std::string(v.file).starts_with("x86/");  // its norms are launches of their own
    const Options with = {number % 2 == 0, number % 3 != 0 && !x86, number % 4 != 3};
    kernel.blocks = v.blocks_per_sm ? number % 3 + 2 : 0;
    ++number;
    check_shape(kernel, rng, s, with, outcome);
    if (outcome.failure.empty()) continue;
    outcome.failure += " at " + std::to_string(s.rows) + " x " + std::to_string(s.n) + " x " + std::to_string(s.k) +
                       (with.bias ? ", bias" : "") + (with.squares ? ", squares" : "") + (with.norm ? ", norm" : "") +
                       (outcome.wrong ? ", " + std::to_string(outcome.wrong) + " wrong" : "");
    break;
  }
  kernel.blocks = 0;
  if (!timing) return outcome;
  if (v.flat_grid) {
    time_projections(kernel, rng, outcome);
    return outcome;
  }

  // A projection of an 8B model: weights far beyond the L2.
  const int rows = v.max_rows ? v.max_rows : 1024, n = v.max_rows || glu ? 28672 : 4096, k = 4096;
  const Gpu& gpu = *kernel.gpu;
  const size_t weight_bytes = static_cast<size_t>(n) * k * bytes_of(kernel.instance->weight);
  const size_t x_bytes = static_cast<size_t>(rows) * k * bytes_of(kernel.instance->operand);
  DeviceBytes x(gpu, x_bytes), w(gpu, weight_bytes);
  gpu.driver->cuMemsetD8Async(reinterpret_cast<CUdeviceptr>(x.ptr()), 0x11, x_bytes, gpu.stream);
  gpu.driver->cuMemsetD8Async(reinterpret_cast<CUdeviceptr>(w.ptr()), 0x11, weight_bytes, gpu.stream);
  DeviceArray<float> out(gpu, static_cast<size_t>(rows) * n);
  DeviceArray<float> residual(gpu, std::vector<float>(static_cast<size_t>(rows) * n, 1.0f));
  const auto counts = make_counts(gpu, rows, 1, 1);
  FusedLinearArgs args = {};
  args.counts = counts.get(), args.x = x.ptr(), args.w = w.ptr(), args.residual = residual.get(), args.out = out.get();
  args.row_count = kRowsTokens, args.n = n, args.k = k, args.square_stride = rows;
  outcome.us = kernel.time_us(args, glu ? n / 2 : n, rows);
  if (v.max_rows) {
    outcome.bandwidth(static_cast<double>(weight_bytes + x_bytes));
  } else {
    outcome.throughput(2.0 * rows * n * k);
  }
  return outcome;
}

}  // namespace llm_test
