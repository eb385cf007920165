// Linear layers against a float64 product of the same (rounded) inputs.
#include <cmath>

#include "test/gpu/dot.h"
#include "test/gpu/gpu_harness.h"

namespace llm_test {
namespace {

using namespace llm_abi;

bool has_scaled_operands(const KernelInstance& instance) {
  return std::string(instance.variant->name).find("scaled") != std::string::npos;
}

// Weight rows and activation rows of very different magnitudes, as the power-of-two scales must cope with.
void spread_rows(std::vector<double>& values, int rows, int columns, ScalarType type) {
  for (int r = 0; r < rows; ++r) {
    const double factor = std::ldexp(1.0, (r * 7) % 41 - 20);
    for (int i = 0; i < columns; ++i) values[static_cast<size_t>(r) * columns + i] *= factor;
  }
  for (double& v : values) v = rounded(v, type);
}

std::vector<float> row_scales(const std::vector<double>& w, int n, int k) {
  std::vector<float> scales;
  for (int r = 0; r < n; ++r) {
    double maximum = 0;
    for (int i = 0; i < k; ++i) maximum = std::max(maximum, std::abs(w[static_cast<size_t>(r) * k + i]));
    scales.push_back(maximum > 0 ? static_cast<float>(std::ldexp(1.0, std::ilogb(maximum) - 15)) : 1.0f);
  }
  return scales;
}

}  // namespace

std::vector<double> stored_weights(const KernelInstance& instance, const std::vector<double>& w, int n, int k) {
  if (!std::string(instance.variant->file).starts_with("x86/")) return w;
  const int block = 16, group = 4 / static_cast<int>(bytes_of(instance.weight)), groups = (k + group - 1) / group;
  std::vector<double> packed(static_cast<size_t>((n + block - 1) / block * block) * groups * group);
  for (int r = 0; r < n; ++r) {
    for (int i = 0; i < k; ++i) {
      const size_t at =
          (static_cast<size_t>(r / block) * groups + i / group) * block * group + r % block * group + i % group;
      packed[at] = w[static_cast<size_t>(r) * k + i];
    }
  }
  return packed;
}

void check_linear(const Kernel& kernel, Rng& rng, const LinearShape& s, bool with_bias, Outcome& outcome) {
  const Gpu& gpu = *kernel.gpu;
  const KernelInstance& instance = *kernel.instance;
  const bool scaled = has_scaled_operands(instance);
  std::vector<double> x = random_values(rng, static_cast<size_t>(s.rows) * s.k, 1.0, instance.operand);
  std::vector<double> w = random_values(rng, static_cast<size_t>(s.n) * s.k, 0.05, instance.weight);
  const std::vector<double> bias = random_values(rng, s.n, 1.0, instance.weight);
  if (scaled) spread_rows(w, s.n, s.k, instance.weight);
  if (scaled && instance.operand == ScalarType::kF32) spread_rows(x, s.rows, s.k, instance.operand);

  // The bucket is larger than the true count: rows beyond it must stay untouched.
  const int bucket = s.rows + 3;
  std::vector<double> bucket_x = x;
  bucket_x.resize(static_cast<size_t>(bucket) * s.k, NAN);  // and what stands in them must not matter
  const OperandArray device_x(gpu, bucket_x, s.k, instance.operand);
  TypedArray device_w(gpu, stored_weights(instance, w, s.n, s.k), instance.weight),
      device_bias(gpu, bias, instance.weight);
  DeviceArray<float> out(gpu, static_cast<size_t>(bucket) * s.n);
  DeviceArray<float> scales(gpu, row_scales(w, s.n, s.k));
  const auto counts = make_counts(gpu, s.rows, 1, 1);
  const std::string shape = std::to_string(s.rows) + " x " + std::to_string(s.n) + " x " + std::to_string(s.k);
  gpu.announce(kernel.instance->entry() + " at " + shape);
  const LinearMaps maps(kernel, device_x.ptr(), bucket, device_w.ptr(), s.n, s.k);
  const LinearArgs args = {counts.get(),
                           device_x.ptr(),
                           device_w.ptr(),
                           with_bias ? device_bias.ptr() : nullptr,
                           out.get(),
                           nullptr,
                           scaled ? scales.get() : nullptr,
                           kRowsTokens,
                           s.n,
                           s.k,
                           1,
                           maps.x(),
                           maps.w()};
  kernel.launch(args, s.n, bucket);
  const std::vector<float> result = out.values();
  for (int r = 0; r < s.rows; ++r) {
    for (int c = 0; c < s.n; ++c) {
      const Dot product = dot(&x[static_cast<size_t>(r) * s.k], &w[static_cast<size_t>(c) * s.k], s.k);
      const double added = with_bias ? bias[c] : 0, magnitude = product.magnitude + std::abs(added);
      // fp32 accumulation; tensor cores truncate, hence the factor. Operands rounded to fp16 add their own rounding.
      const bool rounds = instance.variant->rounds_operands && instance.operand == ScalarType::kF32;
      const double eps = scaled && instance.operand == ScalarType::kF32 ? 0x1p-11 : rounds ? unit_roundoff(ScalarType::kBF16) : 0;
      outcome.near(result[static_cast<size_t>(r) * s.n + c], product.sum + added,
                   (eps + 0x1p-24 * 4 * std::sqrt(s.k)) * magnitude + 1e-35, "linear", r, c);
    }
  }
  for (size_t i = static_cast<size_t>(s.rows) * s.n; i < result.size(); ++i) {
    outcome.exact(std::isnan(result[i]), "a row beyond the true count was written");
  }
  if (!outcome.failure.empty()) {
    outcome.failure += " at " + shape + (outcome.wrong ? ", " + std::to_string(outcome.wrong) + " wrong" : "");
  }
}

Outcome test_linear(const Kernel& kernel, Rng& rng, bool timing) {
  Outcome outcome;
  const llm::Variant& v = *kernel.instance->variant;
  bool with_bias = false;
  using Shape = LinearShape;
  for (const Shape& s : {Shape{1, 257, 896}, Shape{3, 97, 136}, Shape{8, 257, 896}, Shape{17, 130, 331},
                         Shape{100, 257, 264}, Shape{2, 33, 17}, Shape{130, 129, 40}, Shape{200, 64, 1096},
                         Shape{64, 800, 1160}, Shape{300, 530, 72}}) {
    if (s.k % v.k_multiple != 0 || (v.flat_grid && v.max_rows && s.rows > v.max_rows)) continue;
    if (s.rows * s.n > 30000 && !v.flat_grid) continue;  // many tiles
    kernel.blocks = v.blocks_per_sm ? s.rows % 3 + 2 : 0;
    check_linear(kernel, rng, s, with_bias = !with_bias, outcome);
    if (!outcome.failure.empty()) break;
  }
  kernel.blocks = 0;
  if (!timing) return outcome;
  if (v.flat_grid) {
    time_projections(kernel, rng, outcome);
    return outcome;
  }

  // Few rows: weights far beyond the L2. Many: a projection of an 8B model. The naive kernel gets a smaller one.
  const bool naive = std::string(v.name) == "naive";
  const int rows = v.max_rows ? v.max_rows : naive ? 64 : 1024;
  const int n = naive ? 1024 : v.max_rows ? 14336 : 4096, k = 4096;
  const Gpu& gpu = *kernel.gpu;
  const size_t weight_bytes = static_cast<size_t>(n) * k * bytes_of(kernel.instance->weight);
  const size_t x_bytes = static_cast<size_t>(rows) * k * bytes_of(kernel.instance->operand);
  DeviceBytes x(gpu, x_bytes), w(gpu, weight_bytes);
  gpu.driver->cuMemsetD8Async(reinterpret_cast<CUdeviceptr>(x.ptr()), 0x11, x_bytes, gpu.stream);
  gpu.driver->cuMemsetD8Async(reinterpret_cast<CUdeviceptr>(w.ptr()), 0x11, weight_bytes, gpu.stream);
  DeviceArray<float> out(gpu, static_cast<size_t>(rows) * n);
  const auto counts = make_counts(gpu, rows, 1, 1);
  const LinearArgs args = {counts.get(), x.ptr(),     w.ptr(), nullptr, out.get(), nullptr, nullptr,
                           kRowsTokens,  n,           k,       1,       nullptr,   nullptr};
  outcome.us = kernel.time_us(args, n, rows);
  if (v.max_rows) {
    outcome.bandwidth(static_cast<double>(weight_bytes + x_bytes) + 4.0 * rows * n);
  } else {
    outcome.throughput(2.0 * rows * n * k);
  }
  return outcome;
}

}  // namespace llm_test
