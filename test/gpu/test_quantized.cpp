// Linear layers on quantized weights against float64, and the init kernels that bring weights into their layout against
// the formulas of docs/quantization.md, written down a second time.
#include <algorithm>
#include <array>
#include <cmath>

#include "test/gpu/dot.h"
#include "test/gpu/fp8_values.h"
#include "test/gpu/int8_values.h"

namespace llm_test {
namespace {

using namespace llm_abi;
using llm::CodeType;

bool is_x86(const KernelInstance& instance) { return std::string(instance.variant->file).starts_with("x86/"); }

// What kernels of activations in panels may lose of each weight: where its group is shorter than that of the activations,
// or codes of 8 bits have zeros, they take it in 127ths of the largest that the codes of these columns could stand for.
std::vector<double> requantized_steps(const Quantized& q, int x_group) {
  std::vector<double> steps(static_cast<size_t>(q.n) * q.k);
  const bool fits = bits_of(q.code) < 8 || (q.zeros.empty() && q.zero == 128);
  if (fits && q.group % x_group == 0) return steps;
  const int most = (1 << bits_of(q.code)) - 1, block = std::max(x_group, 1);
  for (int n = 0; n < q.n; ++n)
    for (int first = 0; first < q.k; first += block) {
      double largest = 0;
      for (int k = first; k < first + block; ++k) {
        const size_t at = static_cast<size_t>(n) * q.groups + k / q.group;
        const int zero = static_cast<int>(q.zeros.empty() ? q.zero : q.zeros[at]);
        largest = std::max(largest, std::abs(q.scales[at]) * std::max(zero, most - zero));
      }
      std::fill_n(steps.begin() + static_cast<int64_t>(n) * q.k + first, block, largest / 127);
    }
  return steps;
}

void check_linear_quantized(const Kernel& kernel, Rng& rng, int rows, const Quantized& q, bool with_bias, int x_group,
                            Outcome& outcome) {
  const Gpu& gpu = *kernel.gpu;
  const KernelInstance& instance = *kernel.instance;
  const i64 order = interleave_of(instance);
  const bool glu = std::string(instance.variant->family).ends_with("_glu");
  const int bucket = rows + 3, width = glu ? q.n / 2 : q.n;
  std::vector<double> x = random_values(rng, static_cast<size_t>(rows) * q.k, 1.0, instance.operand);
  std::vector<double> bucket_x = x;
  bucket_x.resize(static_cast<size_t>(bucket) * q.k, NAN);
  const std::vector<double> bias = random_values(rng, static_cast<size_t>(q.n), 1.0, ScalarType::kBF16);
  const bool panels = instance.variant->int8_panels;
  Int8Values int8;
  if (x_group) {
    int8 = Int8Values::make(x, rows, bucket, q.k, {x_group, bits_of(q.code), panels});
    x = int8.values;
  }
  const DeviceArray<signed char> int8_codes(gpu, int8.codes);
  const DeviceArray<float> int8_scales(gpu, int8.scales);
  const DeviceArray<int> int8_sums(gpu, int8.sums);
  const OperandArray device_x(gpu, bucket_x, static_cast<int>(q.k), instance.operand);
  TypedArray scales(gpu, q.stored_scales(order), instance.weight);
  TypedArray device_bias(gpu, bias, ScalarType::kBF16);
  DeviceArray<u32> codes(gpu, q.stored_codes(order));
  DeviceArray<unsigned char> zeros(gpu, q.stored_zeros(order));
  DeviceArray<float> out(gpu, static_cast<size_t>(bucket) * width);
  const auto counts = make_counts(gpu, rows, 1, 1);
  const std::string shape = std::to_string(rows) + " x " + std::to_string(q.n) + " x " + std::to_string(q.k) +
                            ", groups of " + std::to_string(q.group) + (x_group ? ", int8 in groups of " + std::to_string(x_group) : "");
  gpu.announce(instance.entry() + " at " + shape);
  kernel.launch(LinearQuantizedArgs{counts.get(),
                                    x_group ? nullptr : device_x.ptr(),
                                    codes.get(),
                                    scales.ptr(),
                                    q.zeros.empty() ? nullptr : zeros.get(),
                                    with_bias ? device_bias.ptr() : nullptr,
                                    out.get(),
                                    kRowsTokens,
                                    q.n,
                                    q.k,
                                    q.group,
                                    q.zero,
                                    static_cast<i64>(ScalarType::kBF16),
                                    {int8_codes.get(), int8_scales.get(), int8_sums.get(), x_group}},
                width, bucket);
  const std::vector<float> result = out.values();
  const std::vector<double> w = q.weights(), w_before_zeros = q.is_integer() ? q.weights_before_zeros() : std::vector<double>();
  const std::vector<double> steps = panels ? requantized_steps(q, x_group) : std::vector<double>();
  const auto product = [&](int r, int c) {  // and its rounding limit
    const double* row = &x[static_cast<size_t>(r) * q.k];
    const Dot dot_product = dot(row, &w[static_cast<size_t>(c) * q.k], q.k);
    const double added = with_bias ? bias[c] : 0;
    double magnitude = dot_product.magnitude + std::abs(added);
    // Kernels may sum codes and take the zero's share off at the end of a group.
    if (q.is_integer()) magnitude += dot(row, &w_before_zeros[static_cast<size_t>(c) * q.k], q.k).magnitude;
    const ScalarType unit_type = instance.variant->rounds_operands ? ScalarType::kBF16 : ScalarType::kF16;
    const double operand_eps = instance.variant->tensor_cores && !x_group ? unit_roundoff(unit_type) * 2 : 0;
    double limit = (operand_eps + 0x1p-24 * 4 * std::sqrt(q.k)) * magnitude + 1e-35;
    // Half a step, and what the factor's fixed point adds to it.
    if (panels) limit += 0.6 * dot(row, &steps[static_cast<size_t>(c) * q.k], q.k).magnitude;
    return std::pair(dot_product.sum + added, limit);
  };
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < width; ++c) {
      auto [expected, limit] = product(r, c);
      if (glu) {  // the derivative of silu is at most 1.1
        const auto [up, up_limit] = product(r, c + width);
        const double silu = expected / (1 + std::exp(-expected));
        limit = 1.1 * limit * (std::abs(up) + up_limit) + std::abs(silu) * up_limit + 0x1p-20 * std::abs(silu * up);
        expected = silu * up;
      }
      outcome.near(result[static_cast<size_t>(r) * width + c], expected, limit, "linear_quantized", r, c);
    }
  }
  for (size_t i = static_cast<size_t>(rows) * width; i < result.size(); ++i)
    outcome.exact(std::isnan(result[i]), "a row beyond the true count was written");
  if (!outcome.failure.empty()) outcome.failure += " at " + shape;
}

struct QuantizedCase {
  int rows, n, k, group;
};

// Columns of activations in int8 that share a scale with which a variant is tried; 0: they are not in int8.
std::vector<int> int8_groups(const KernelInstance& instance, const QuantizedCase& s) {
  const int least = instance.variant->int8_group;
  if (least == 0 || !is_x86(instance)) return {least};
  std::vector<int> groups;
  for (int group = least; group <= 256; group *= 2)
    if (s.k % group == 0 && (s.group % group == 0 || group % s.group == 0)) groups.push_back(group);
  return groups;
}

void test_linear_quantized(const Kernel& kernel, Rng& rng, Outcome& outcome) {
  const llm::Variant& v = *kernel.instance->variant;
  const bool glu = std::string(v.family).ends_with("_glu");
  bool flag = false;
  for (const QuantizedCase& s : {QuantizedCase{1, 97, 256, 32},
                                 {3, 33, 136, 17},
                                 {8, 130, 384, 128},
                                 {17, 40, 192, 64},
                                 {2, 18, 72, 72},
                                 {5, 257, 512, 512},
                                 {33, 70, 160, 32},
                                 {70, 129, 128, 64},
                                 {1, 64, 4096, 128},
                                 {4, 48, 320, 128},
                                 {40, 33, 640, 64},
                                 {530, 17, 64, 32},
                                 {33, 96, 768, 32},
                                 {35, 32, 1280, 1280},
                                 {65, 608, 512, 128}}) {
    if (s.k % v.k_multiple != 0 || s.group % v.k_multiple != 0 || (v.max_rows && s.rows > v.max_rows) ||
        s.rows < v.min_rows || (glu && s.n % 32 != 0))
      continue;
    const Quantized q = Quantized::make(rng, kernel.instance->code, kernel.instance->weight, s.n, s.k, s.group, flag);
    flag = !flag;
    for (const int x_group : int8_groups(*kernel.instance, s)) {
      check_linear_quantized(kernel, rng, s.rows, q, flag && !glu, x_group, outcome);
      if (!outcome.failure.empty()) return;
    }
  }
}

// Two modules stacked, the second with its columns and rows reordered, from unaligned tensors: codes along K in words, zeros
// along N with one added, scales row-major, then shared by blocks of rows.
void check_repack(const Kernel& kernel, Rng& rng, i64 interleave, Outcome& outcome) {
  const Gpu& gpu = *kernel.gpu;
  const ScalarType scale = kernel.instance->weight;
  const int rows[] = {24, 40}, n = 64, k = 72, group = 32, groups = 3, per_word = 8;
  Quantized q = Quantized::make(rng, CodeType::kU4, scale, n, k, group, true);
  std::vector<int> row_order(rows[1]);
  for (int i = 0; i < rows[1]; ++i) row_order[i] = i;
  std::shuffle(row_order.begin(), row_order.end(), rng);
  const std::vector<double> module_scales = q.scales;
  for (int r = 0; r < rows[1]; ++r)  // the second module: a scale for 16 of its rows
    for (int g = 0; g < groups; ++g)
      q.scales[static_cast<size_t>(rows[0] + r) * groups + g] =
          module_scales[static_cast<size_t>(rows[0] + row_order[r] / 16 * 16) * groups + g];
  DeviceArray<u32> codes(gpu, std::vector<u32>(q.stored_codes(interleave).size()));
  TypedArray scales(gpu, std::vector<double>(q.stored_scales(interleave).size(), 0.0), scale);
  DeviceArray<unsigned char> zeros(gpu, std::vector<unsigned char>(q.stored_zeros(interleave).size()));
  std::vector<int> order(k);
  for (int i = 0; i < k; ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), rng);
  DeviceArray<int> device_order(gpu, order), device_row_order(gpu, row_order);
  int first = 0;
  for (int part = 0; part < 2; ++part) {
    const int count = rows[part];
    std::vector<u32> packed(static_cast<size_t>(k / per_word) * count),
        packed_zeros(static_cast<size_t>(groups) * (count / per_word));
    for (int r = 0; r < count; ++r) {
      const int row = part ? row_order[r] : r;
      for (int i = 0; i < k; ++i) {
        const int column = part ? order[i] : i;
        packed[static_cast<size_t>(column / per_word) * count + row] |= q.codes[static_cast<size_t>(first + r) * k + i]
                                                                      << (column % per_word * 4);
      }
      for (int g = 0; g < groups; ++g)
        packed_zeros[static_cast<size_t>(g) * (count / per_word) + row / per_word] |=
            ((q.zeros[static_cast<size_t>(first + r) * groups + g] + 15) & 15) << (row % per_word * 4);
    }
    const int block = part ? 16 : 1, scale_rows = (count + block - 1) / block;
    std::vector<double> values;
    for (int r = 0; r < scale_rows; ++r)
      for (int g = 0; g < groups; ++g) values.push_back(module_scales[static_cast<size_t>(first + r * block) * groups + g]);
    std::vector<uint8_t> scale_bytes = encode(values, scale);
    scale_bytes.insert(scale_bytes.begin(), 1, 0);
    DeviceArray<u32> source(gpu, packed), source_zeros(gpu, packed_zeros);
    DeviceBytes source_scales(gpu, scale_bytes.data(), scale_bytes.size());
    const PackedView code_view{source.get(), 4, 4, per_word, 1, count, 1, 0, 0, 0},
        zero_view{source_zeros.get(), 4, 4, per_word, 1, 1, count / per_word, 0, 1, 1};
    const ScaleView scale_view{
        source_scales.ptr<char>() + 1, static_cast<i64>(scale), block, groups, 1, 1.0, nullptr, nullptr, 1, 0.0};
    kernel.launch(RepackArgs{code_view, zero_view, scale_view, part ? device_order.get() : nullptr,
                             part ? device_row_order.get() : nullptr, codes.get(), scales.ptr(), zeros.get(), count, k, group, 4,
                             first, interleave},
                  1, (first + count + 15) / 16 * 16 - first / 16 * 16);
    first += count;
  }
  outcome.exact(codes.values() == q.stored_codes(interleave), "repacked codes differ");
  outcome.exact(scales.values() == q.stored_scales(interleave), "repacked scales differ");
  outcome.exact(zeros.values() == q.stored_zeros(interleave), "repacked zeros differ");
}

void test_repack(const Kernel& kernel, Rng& rng, Outcome& outcome) {
  for (i64 interleave : {1, 8, 16})
    if (interleave != 16 || is_x86(*kernel.instance)) check_repack(kernel, rng, interleave, outcome);
}

void test_group_order(const Kernel& kernel, Rng& rng, Outcome& outcome) {
  const Gpu& gpu = *kernel.gpu;
  for (const auto& [k, group] : {std::pair{96, 32}, {100, 32}, {512, 1}}) {
    std::vector<int> groups(k), expected(k);
    for (int i = 0; i < k; ++i) groups[i] = i / group, expected[i] = i;
    std::shuffle(groups.begin(), groups.end(), rng);
    std::stable_sort(expected.begin(), expected.end(), [&](int a, int b) { return groups[a] < groups[b]; });
    DeviceArray<int> source(gpu, groups), order(gpu, static_cast<size_t>(k));
    kernel.launch(GroupOrderArgs{source.get(), order.get(), k, group}, 1, 1);
    outcome.exact(order.values() == expected, "the order differs");
  }
}

void test_gather_columns(const Kernel& kernel, Rng& rng, Outcome& outcome) {
  const Gpu& gpu = *kernel.gpu;
  const ScalarType operand = kernel.instance->operand;
  for (const auto& [rows, width, stride] : {std::array{5, 301, 310}, std::array{1, 2080, 2080}, std::array{9, 96, 100}}) {
    const int bucket = rows + 2;
    const std::vector<double> x = random_values(rng, static_cast<size_t>(bucket) * stride, 1.0, operand);
    std::vector<int> order(width);
    for (int i = 0; i < width; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), rng);
    TypedArray device_x(gpu, x, operand), out(gpu, static_cast<size_t>(bucket) * width, operand);
    DeviceArray<int> device_order(gpu, order);
    const auto counts = make_counts(gpu, rows, 1, 1);
    kernel.launch(
        GatherColumnsArgs{counts.get(), device_x.ptr(), device_order.get(), out.ptr(), kRowsTokens, width, stride},
        width, bucket);
    const std::vector<double> result = out.values();
    for (int r = 0; r < bucket; ++r)
      for (int i = 0; i < width; ++i) {
        const double found = result[static_cast<size_t>(r) * width + i];
        outcome.exact(r < rows ? found == x[static_cast<size_t>(r) * stride + order[i]] : std::isnan(found),
                      "gathered columns differ");
      }
  }
}

// Equal to the last bit: the product is rounded to float32 (where it is not exact), then to the operand type.
Outcome test_dequantize(const Kernel& kernel, Rng& rng, bool timing) {
  const Gpu& gpu = *kernel.gpu;
  const ScalarType operand = kernel.instance->operand;
  Outcome outcome;
  for (const auto& [n, k, group] : {std::array{40, 2112, 32}, std::array{16, 96, 96}, std::array{24, 320, 128}}) {
    QuantizedOnDevice weight(kernel, rng, n, k, group, k != 320);
    TypedArray out(gpu, static_cast<size_t>(n) * k, operand);
    kernel.launch(DequantizeArgs{weight.codes(), weight.groups(), out.ptr(), n, k}, k, n);
    const std::vector<double> found = out.values(), expected = weight.weights();
    for (size_t i = 0; i < expected.size() && outcome.failure.empty(); ++i) {
      const double once = rounded(expected[i], operand), twice = rounded(static_cast<float>(expected[i]), operand);
      outcome.exact(found[i] == once || found[i] == twice, "a dequantized weight differs at " + std::to_string(i));
    }
  }
  if (!timing || !outcome.failure.empty()) return outcome;
  const int n = 28672, k = 4096, bits = bits_of(kernel.instance->code);
  const size_t code_bytes = static_cast<size_t>(n) * k * bits / 8,
               scale_bytes = static_cast<size_t>(n) * (k / 128) * bytes_of(kernel.instance->weight);
  DeviceBytes codes(gpu, code_bytes), scales(gpu, scale_bytes), out(gpu, static_cast<size_t>(n) * k * 2);
  gpu.driver->cuMemsetD8Async(reinterpret_cast<CUdeviceptr>(codes.ptr()), 0x11, code_bytes, gpu.stream);
  gpu.driver->cuMemsetD8Async(reinterpret_cast<CUdeviceptr>(scales.ptr()), 0x11, scale_bytes, gpu.stream);
  outcome.us = kernel.time_us(DequantizeArgs{codes.ptr(), {scales.ptr(), nullptr, 128, 8}, out.ptr(), n, k}, k, n);
  outcome.bandwidth(static_cast<double>(code_bytes + scale_bytes) + static_cast<double>(n) * k * 2);
  return outcome;
}

// Rows apart, a group of zeros, one of tiny values, and negative maxima.
void test_quantize_rows(const Kernel& kernel, Rng& rng, Outcome& outcome) {
  const Gpu& gpu = *kernel.gpu;
  const int rows = 5, width = 2240, stride = 2248, bucket = rows + 2;  // more than two tiles
  const bool panels = kernel.instance->variant->int8_panels;
  for (int bits : {2, 4, 8})
    for (int group : is_x86(*kernel.instance) ? std::vector<int>{32, 64, 320} : std::vector<int>{32}) {
      const Int8Order order{group, bits, panels};
      if (panels && group % Int8Order::kPanelColumns != 0) continue;
      std::vector<double> x = random_values(rng, static_cast<size_t>(bucket) * stride, 1.0, ScalarType::kF32), dense;
      for (int i = 0; i < group; ++i) x[i] = 0, x[group + i] = 1e-20 * rounded(x[group + i], ScalarType::kBF16);
      for (double& v : x) v = rounded(v, ScalarType::kF32);
      x[stride] = -9;
      for (int r = 0; r < rows; ++r) dense.insert(dense.end(), x.begin() + r * stride, x.begin() + r * stride + width);
      const Int8Values expected = Int8Values::make(dense, rows, bucket, width, order);
      TypedArray device_x(gpu, x, ScalarType::kF32);
      DeviceArray<signed char> codes(gpu, std::vector<signed char>(expected.codes.size(), -128));
      DeviceArray<float> scales(gpu, expected.scales.size());
      DeviceArray<int> sums(gpu, std::vector<int>(expected.sums.size(), 1 << 30));
      const auto counts = make_counts(gpu, rows, 1, 1);
      kernel.launch(QuantizeRowsArgs{counts.get(), device_x.ptr<float>(), codes.get(), scales.get(), sums.get(),
                                     kRowsTokens, width, stride, group, bits},
                    width, bucket);
      const auto found = codes.values();
      const auto found_scales = scales.values();
      std::vector<int> expected_sums = expected.sums;
      for (int r = 0; r < rows; ++r)
        for (int k = 0; k < width; ++k) {
          const size_t at = order.code_at(r, k, width);
          const int difference = found[at] - expected.codes[at];
          expected_sums[order.group_at(r, k, width, order.sum_columns())] += difference;
          outcome.exact(difference == 0 || (std::abs(difference) == 1 && expected.near_tie[at]), "codes differ");
        }
      outcome.exact(std::count(found.begin(), found.end(), -128) == std::count(expected.codes.begin(), expected.codes.end(), -128),
                    "a row beyond the true count was written");
      outcome.exact(sums.values() == expected_sums, "sums differ");
      for (size_t i = 0; i < found_scales.size(); ++i) {
        if (std::isnan(expected.scales[i]))
          outcome.exact(std::isnan(found_scales[i]), "a row beyond the true count was written");
        else
          outcome.near(found_scales[i], expected.scales[i], 0x1p-23 * expected.scales[i], "scale");
      }
    }
}

}  // namespace

// As test_quantize_rows.
void test_fp8_rows(const Kernel& kernel, Rng& rng, Outcome& outcome) {
  const Gpu& gpu = *kernel.gpu;
  const int rows = 4, width = 5184, bucket = rows + 2;  // more than a round of the block
  std::vector<double> x = random_values(rng, static_cast<size_t>(bucket) * width, 1.0, kernel.instance->operand);
  for (int i = 0; i < width; ++i) x[i] = 0, x[width + i] = i % 2 ? 0.0 : 0.0009765625 * (i % 7);
  x[2 * width] = -9;
  const int group = kernel.instance->variant->fp8_group ? kernel.instance->variant->fp8_group : width, groups = (width + group - 1) / group;
  const Fp8Values expected = Fp8Values::make(x, rows, bucket, width, group);
  TypedArray device_x(gpu, x, kernel.instance->operand);
  DeviceArray<uint8_t> codes(gpu, std::vector<uint8_t>(static_cast<size_t>(bucket) * width, 0x7f));
  DeviceArray<float> scales(gpu, static_cast<size_t>(bucket) * groups);
  const auto counts = make_counts(gpu, rows, 1, 1);
  kernel.launch(Fp8RowsArgs{counts.get(), device_x.ptr(), codes.get(), scales.get(), kRowsTokens, width, group}, width, bucket);
  const auto found = codes.values();
  const auto found_scales = scales.values();
  for (size_t i = 0; i < found.size(); ++i) {
    const int difference = (found[i] & 0x7f) - (expected.codes[i] & 0x7f);
    const bool same_sign = (found[i] & 0x80) == (expected.codes[i] & 0x80);
    outcome.exact((difference == 0 && same_sign) || (std::abs(difference) == 1 && same_sign && expected.near_tie[i]), "codes differ");
  }
  for (int i = 0; i < bucket * groups; ++i)
    outcome.exact(i < rows * groups ? std::abs(found_scales[i] - expected.scales[i]) <= 1e-6f * expected.scales[i] : std::isnan(found_scales[i]),
                  "scales differ");
}

Outcome test_quantized(const Kernel& kernel, Rng& rng, bool timing) {
  const std::string family = kernel.instance->variant->family;
  Outcome outcome;
  if (family == "repack") test_repack(kernel, rng, outcome);
  if (family == "dequantize") return test_dequantize(kernel, rng, timing);
  if (family == "quantize") return test_quantize(kernel, rng);
  if (family == "group_order") test_group_order(kernel, rng, outcome);
  if (family == "quantize_rows") test_quantize_rows(kernel, rng, outcome);
  if (family == "fp8_rows") test_fp8_rows(kernel, rng, outcome);
  if (family == "gather_columns") test_gather_columns(kernel, rng, outcome);
  if (family != "linear_quantized" && family != "linear_int8_glu") return outcome;
  test_linear_quantized(kernel, rng, outcome);
  if (!timing || !outcome.failure.empty()) return outcome;

  // Few rows: weights far beyond the L2. Many: a projection of an 8B model. The naive kernel gets a smaller one.
  const llm::Variant& v = *kernel.instance->variant;
  const bool naive = std::string(v.name) == "naive";
  const int rows = v.max_rows ? v.max_rows
                   : naive    ? 64
                              : 1024,
            n = naive        ? 1024
                : v.max_rows ? 28672
                             : 4096,
            k = 4096, group = 128;
  const Gpu& gpu = *kernel.gpu;
  const size_t code_bytes = static_cast<size_t>(n) * k * bits_of(kernel.instance->code) / 8;
  const size_t scale_bytes = static_cast<size_t>(n) * (k / group) * bytes_of(kernel.instance->weight);
  DeviceBytes x(gpu, static_cast<size_t>(rows) * k * bytes_of(kernel.instance->operand)), codes(gpu, code_bytes),
      scales(gpu, scale_bytes);
  for (const DeviceBytes* memory : {&x, &codes, &scales})
    gpu.driver->cuMemsetD8Async(reinterpret_cast<CUdeviceptr>(memory->ptr()), 0x11, memory->size(), gpu.stream);
  DeviceArray<float> out(gpu, static_cast<size_t>(rows) * n);
  const auto counts = make_counts(gpu, rows, 1, 1);
  DeviceArray<float> x_scales(gpu, std::vector<float>(static_cast<size_t>(rows) * k / 32, 0.01f));
  DeviceArray<int> x_sums(gpu, std::vector<int>(static_cast<size_t>(rows) * k / 32, 100));
  const Int8Rows int8{x.ptr<signed char>(), x_scales.get(), x_sums.get(), v.int8_group};
  outcome.us = kernel.time_us(LinearQuantizedArgs{counts.get(), x.ptr(), codes.ptr(), scales.ptr(), nullptr, nullptr,
                                                  out.get(), kRowsTokens, n, k, group, 8, 0, int8},
                              n, rows);
  if (v.max_rows)
    outcome.bandwidth(static_cast<double>(code_bytes + scale_bytes + x.size()) + 4.0 * rows * n);
  else
    outcome.throughput(2.0 * rows * n * k);
  return outcome;
}

}  // namespace llm_test
