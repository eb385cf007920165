// Linear layers on quantized weights against float64, and the init kernels that bring weights into their layout against
// the formulas of docs/quantization.md, written down a second time.
#include <algorithm>
#include <cmath>

#include "test/gpu/gpu_harness.h"

namespace llm_test {
namespace {

using namespace llm_abi;
using llm::CodeType;

bool is_x86(const KernelInstance& instance) { return std::string(instance.variant->file).starts_with("x86/"); }

int bits_of(CodeType code) {
  return code == CodeType::kU2 ? 2 : code == CodeType::kU8 || code == CodeType::kE4M3 ? 8 : 4;
}

double value_of(CodeType code, unsigned q) {
  static constexpr double kNf4[] = {-1.0,
                                    -0.6961928009986877,
                                    -0.5250730514526367,
                                    -0.39491748809814453,
                                    -0.28444138169288635,
                                    -0.18477343022823334,
                                    -0.09105003625154495,
                                    0.0,
                                    0.07958029955625534,
                                    0.16093020141124725,
                                    0.24611230194568634,
                                    0.33791524171829224,
                                    0.44070982933044434,
                                    0.5626170039176941,
                                    0.7229568362236023,
                                    1.0};
  static constexpr double kFp4[] = {0, 0.0625 / 12, 8.0 / 12, 1, 4.0 / 12, 6.0 / 12, 2.0 / 12, 3.0 / 12};
  switch (code) {
    case CodeType::kNf4:
      return kNf4[q];
    case CodeType::kFp4:
      return (q & 8 ? -1 : 1) * kFp4[q & 7];
    case CodeType::kE4M3: {
      const int exponent = static_cast<int>(q >> 3 & 15), fraction = static_cast<int>(q & 7);
      const double magnitude = exponent ? std::ldexp(8 + fraction, exponent - 10) : std::ldexp(fraction, -9);
      return q & 128 ? -magnitude : magnitude;
    }
    default:
      return q;
  }
}

// Codes, scales and zeros of a weight [n, k], and what they mean.
struct Quantized {
  int n, k, group, groups;
  CodeType code;
  std::vector<unsigned> codes;  // [n, k]
  std::vector<double> scales;   // [n, groups]
  std::vector<unsigned> zeros;  // [n, groups], empty: none
  unsigned zero;

  static Quantized make(Rng& rng, CodeType code, ScalarType scale, int n, int k, int group, bool with_zeros) {
    Quantized q{n, k, group, (k + group - 1) / group, code, {}, {}, {}, 1u << (bits_of(code) - 1)};
    const unsigned count = 1u << bits_of(code);
    for (int i = 0; i < n * k; ++i) {
      q.codes.push_back(static_cast<unsigned>(rng() % count));
      if (code == CodeType::kE4M3 && (q.codes.back() & 0x7f) == 0x7f) q.codes.back() = 0x7e;  // no number
    }
    q.scales = random_values(rng, static_cast<size_t>(n) * q.groups, 0.02, scale);
    if (with_zeros && code <= CodeType::kU8)
      for (size_t i = 0; i < q.scales.size(); ++i) q.zeros.push_back(static_cast<unsigned>(rng() % count));
    return q;
  }
  double weight(int row, int column) const {
    const size_t at = static_cast<size_t>(row) * groups + column / group;
    const double z = code <= CodeType::kU8 ? (zeros.empty() ? zero : zeros[at]) : 0;
    return (value_of(code, codes[static_cast<size_t>(row) * k + column]) - z) * scales[at];
  }
};

// Positions of a row's words, scales or zeros: row-major, or with 16 rows interleaved.
size_t position(bool interleaved, int row, int column, int columns) {
  const int rows = interleaved ? 16 : 1;
  return static_cast<size_t>((row / rows * columns + column) * rows + row % rows);
}
int padded_rows(bool interleaved, int n) { return interleaved ? (n + 15) / 16 * 16 : n; }

std::vector<u32> stored_codes(const Quantized& q, bool interleaved) {
  const int bits = bits_of(q.code), per_word = 32 / bits, columns = (q.k * bits + 127) / 128 * 4;
  std::vector<u32> out(static_cast<size_t>(padded_rows(interleaved, q.n)) * columns);
  for (int r = 0; r < q.n; ++r)
    for (int i = 0; i < q.k; ++i)
      out[position(interleaved, r, i / per_word, columns)] |= q.codes[static_cast<size_t>(r) * q.k + i]
                                                              << (i % per_word * bits);
  return out;
}

template <typename T>
std::vector<T> stored_groups(const Quantized& q, const std::vector<T>& values, bool interleaved) {
  std::vector<T> out(static_cast<size_t>(padded_rows(interleaved, q.n)) * q.groups);
  for (int r = 0; r < q.n; ++r)
    for (int g = 0; g < q.groups; ++g)
      out[position(interleaved, r, g, q.groups)] = values[static_cast<size_t>(r) * q.groups + g];
  return out;
}

std::vector<unsigned char> as_bytes(const std::vector<unsigned>& values) { return {values.begin(), values.end()}; }

// Activations in int8 (the formulas of QuantizeRowsArgs and docs/quantization.md, written down a second time). Rows beyond `rows` are poison.
struct Int8Values {
  std::vector<signed char> codes;  // in the order of memory
  std::vector<float> scales;
  std::vector<int> sums;
  std::vector<double> values;  // what they stand for, in the order of columns
  std::vector<bool> near_tie;  // codes that rounding could make one more or less

  static Int8Values make(const std::vector<double>& x, int rows, int bucket, int width, int group, int bits) {
    const size_t all = static_cast<size_t>(bucket) * width;
    Int8Values v{std::vector<signed char>(all, -128), std::vector<float>(all / group, NAN), std::vector<int>(all / group, 1 << 30),
                 std::vector<double>(static_cast<size_t>(rows) * width), std::vector<bool>(all)};
    const int per_word = 32 / bits, vectors = 8 / bits;
    for (size_t first = 0; first < static_cast<size_t>(rows) * width; first += group) {
      float maximum = 0;
      for (int i = 0; i < group; ++i) maximum = std::max(maximum, std::abs(static_cast<float>(x[first + i])));
      v.scales[first / group] = maximum / 127.0f;
      v.sums[first / group] = 0;
      for (int i = 0; i < group; ++i) {
        const float scaled = maximum > 0 ? static_cast<float>(x[first + i]) * (127.0f / maximum) : 0;
        const float code = std::nearbyint(scaled);
        const size_t word = first + i / per_word * per_word;
        const size_t at = word + i % per_word % vectors * 4 + i % per_word / vectors;
        v.codes[at] = static_cast<signed char>(code);
        v.near_tie[at] = std::abs(std::abs(scaled - code) - 0.5f) < 1e-4f;
        v.sums[first / group] += static_cast<int>(code);
        v.values[first + i] = static_cast<double>(code) * v.scales[first / group];
      }
    }
    return v;
  }
};

void check_linear_quantized(const Kernel& kernel, Rng& rng, int rows, const Quantized& q, bool with_bias,
                            Outcome& outcome) {
  const Gpu& gpu = *kernel.gpu;
  const KernelInstance& instance = *kernel.instance;
  const bool x86 = is_x86(instance);
  const int bucket = rows + 3;
  std::vector<double> x = random_values(rng, static_cast<size_t>(rows) * q.k, 1.0, instance.operand);
  std::vector<double> bucket_x = x;
  bucket_x.resize(static_cast<size_t>(bucket) * q.k, NAN);
  const std::vector<double> bias = random_values(rng, static_cast<size_t>(q.n), 1.0, ScalarType::kBF16);
  const int int8_group = instance.variant->int8_group;
  Int8Values int8;
  if (int8_group) {
    int8 = Int8Values::make(x, rows, bucket, q.k, int8_group, bits_of(q.code));
    x = int8.values;
  }
  const DeviceArray<signed char> int8_codes(gpu, int8.codes);
  const DeviceArray<float> int8_scales(gpu, int8.scales);
  const DeviceArray<int> int8_sums(gpu, int8.sums);
  TypedArray device_x(gpu, bucket_x, instance.operand), scales(gpu, stored_groups(q, q.scales, x86), instance.weight);
  TypedArray device_bias(gpu, bias, ScalarType::kBF16);
  DeviceArray<u32> codes(gpu, stored_codes(q, x86));
  DeviceArray<unsigned char> zeros(gpu, as_bytes(q.zeros.empty() ? q.zeros : stored_groups(q, q.zeros, x86)));
  DeviceArray<float> out(gpu, static_cast<size_t>(bucket) * q.n);
  const auto counts = make_counts(gpu, rows, 1, 1);
  const std::string shape = std::to_string(rows) + " x " + std::to_string(q.n) + " x " + std::to_string(q.k) +
                            ", groups of " + std::to_string(q.group);
  gpu.announce(instance.entry() + " at " + shape);
  kernel.launch(
      LinearQuantizedArgs{counts.get(), int8_group ? nullptr : device_x.ptr(), codes.get(), scales.ptr(),
                          q.zeros.empty() ? nullptr : zeros.get(), with_bias ? device_bias.ptr() : nullptr, out.get(),
                          kRowsTokens, q.n, q.k, q.group, q.zero, static_cast<i64>(ScalarType::kBF16),
                          {int8_codes.get(), int8_scales.get(), int8_sums.get(), int8_group}},
      q.n, bucket);
  const std::vector<float> result = out.values();
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < q.n; ++c) {
      double sum = with_bias ? bias[c] : 0, magnitude = std::abs(sum);
      for (int i = 0; i < q.k; ++i) {
        const size_t at = static_cast<size_t>(c) * q.groups + i / q.group;
        const double value = x[static_cast<size_t>(r) * q.k + i], product = value * q.weight(c, i);
        sum += product;
        // Kernels may sum codes and take the zero's share off at the end of a group.
        const double code = value_of(q.code, q.codes[static_cast<size_t>(c) * q.k + i]);
        magnitude += std::abs(product) + std::abs(value * q.scales[at]) * (q.code <= CodeType::kU8 ? code : 0);
      }
      const ScalarType unit_type = instance.variant->rounds_operands ? ScalarType::kBF16 : ScalarType::kF16;
      const double operand_eps = instance.variant->tensor_cores ? unit_roundoff(unit_type) * 2 : 0;
      outcome.near(result[static_cast<size_t>(r) * q.n + c], sum,
                   (operand_eps + 0x1p-24 * 4 * std::sqrt(q.k)) * magnitude + 1e-35, "linear_quantized", r, c);
    }
  }
  for (size_t i = static_cast<size_t>(rows) * q.n; i < result.size(); ++i)
    outcome.exact(std::isnan(result[i]), "a row beyond the true count was written");
  if (!outcome.failure.empty()) outcome.failure += " at " + shape;
}

struct QuantizedCase {
  int rows, n, k, group;
};

void test_linear_quantized(const Kernel& kernel, Rng& rng, Outcome& outcome) {
  const llm::Variant& v = *kernel.instance->variant;
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
                                 {530, 17, 64, 32}}) {
    if (s.k % v.k_multiple != 0 || s.group % v.k_multiple != 0 || (v.max_rows && s.rows > v.max_rows) ||
        s.rows < v.min_rows)
      continue;
    const Quantized q = Quantized::make(rng, kernel.instance->code, kernel.instance->weight, s.n, s.k, s.group, flag);
    check_linear_quantized(kernel, rng, s.rows, q, flag = !flag, outcome);
    if (!outcome.failure.empty()) return;
  }
}

// Two modules stacked, the second with its columns reordered, from unaligned tensors: codes along K in words, zeros
// along N with one added, scales row-major, then shared by blocks of rows.
void test_repack(const Kernel& kernel, Rng& rng, Outcome& outcome) {
  const Gpu& gpu = *kernel.gpu;
  const ScalarType scale = kernel.instance->weight;
  const bool x86 = is_x86(*kernel.instance);
  const int rows[] = {24, 40}, n = 64, k = 72, group = 32, groups = 3, per_word = 8;
  Quantized q = Quantized::make(rng, CodeType::kU4, scale, n, k, group, true);
  for (int r = rows[0]; r < n; ++r)  // the second module: a scale for 16 rows
    for (int g = 0; g < groups; ++g)
      q.scales[static_cast<size_t>(r) * groups + g] =
          q.scales[static_cast<size_t>(r - (r - rows[0]) % 16) * groups + g];
  DeviceArray<u32> codes(gpu, std::vector<u32>(stored_codes(q, x86).size()));
  TypedArray scales(gpu, std::vector<double>(stored_groups(q, q.scales, x86).size(), 0.0), scale);
  DeviceArray<unsigned char> zeros(gpu, std::vector<unsigned char>(stored_groups(q, q.zeros, x86).size()));
  std::vector<int> order(k);
  for (int i = 0; i < k; ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), rng);
  DeviceArray<int> device_order(gpu, order);
  int first = 0;
  for (int part = 0; part < 2; ++part) {
    const int count = rows[part];
    std::vector<u32> packed(static_cast<size_t>(k / per_word) * count),
        packed_zeros(static_cast<size_t>(groups) * (count / per_word));
    for (int r = 0; r < count; ++r) {
      for (int i = 0; i < k; ++i) {
        const int column = part ? order[i] : i;
        packed[static_cast<size_t>(column / per_word) * count + r] |= q.codes[static_cast<size_t>(first + r) * k + i]
                                                                      << (column % per_word * 4);
      }
      for (int g = 0; g < groups; ++g)
        packed_zeros[static_cast<size_t>(g) * (count / per_word) + r / per_word] |=
            ((q.zeros[static_cast<size_t>(first + r) * groups + g] + 15) & 15) << (r % per_word * 4);
    }
    const int block = part ? 16 : 1, scale_rows = (count + block - 1) / block;
    std::vector<double> values;
    for (int r = 0; r < scale_rows; ++r)
      for (int g = 0; g < groups; ++g) values.push_back(q.scales[static_cast<size_t>(first + r * block) * groups + g]);
    std::vector<uint8_t> scale_bytes = encode(values, scale);
    scale_bytes.insert(scale_bytes.begin(), 1, 0);
    DeviceArray<u32> source(gpu, packed), source_zeros(gpu, packed_zeros);
    DeviceBytes source_scales(gpu, scale_bytes.data(), scale_bytes.size());
    const PackedView code_view{source.get(), 4, 4, per_word, 1, count, 1, 0, 0, 0},
        zero_view{source_zeros.get(), 4, 4, per_word, 1, 1, count / per_word, 0, 1, 1};
    const ScaleView scale_view{
        source_scales.ptr<char>() + 1, static_cast<i64>(scale), block, groups, 1, 1.0, nullptr, nullptr, 1, 0.0};
    kernel.launch(RepackArgs{code_view, zero_view, scale_view, part ? device_order.get() : nullptr, codes.get(),
                             scales.ptr(), zeros.get(), count, k, group, 4, first, x86 ? 16 : 1},
                  1, (first + count + 15) / 16 * 16 - first / 16 * 16);
    first += count;
  }
  outcome.exact(codes.values() == stored_codes(q, x86), "repacked codes differ");
  outcome.exact(scales.values() == stored_groups(q, q.scales, x86), "repacked scales differ");
  outcome.exact(zeros.values() == as_bytes(stored_groups(q, q.zeros, x86)), "repacked zeros differ");
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
  const int rows = 5, width = 300, stride = 310, bucket = rows + 2;
  const std::vector<double> x = random_values(rng, static_cast<size_t>(bucket) * stride, 1.0, ScalarType::kF32);
  std::vector<int> order(width);
  for (int i = 0; i < width; ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), rng);
  TypedArray device_x(gpu, x, ScalarType::kF32);
  DeviceArray<int> device_order(gpu, order);
  DeviceArray<float> out(gpu, static_cast<size_t>(bucket) * width);
  const auto counts = make_counts(gpu, rows, 1, 1);
  kernel.launch(
      GatherColumnsArgs{counts.get(), device_x.ptr<float>(), device_order.get(), out.get(), kRowsTokens, width, stride},
      width, bucket);
  const std::vector<float> result = out.values();
  for (int r = 0; r < bucket; ++r)
    for (int i = 0; i < width; ++i) {
      const float found = result[static_cast<size_t>(r) * width + i];
      outcome.exact(r < rows ? found == x[static_cast<size_t>(r) * stride + order[i]] : std::isnan(found),
                    "gathered columns differ");
    }
}

// Rows apart, a group of zeros, one of tiny values, and negative maxima.
void test_quantize_rows(const Kernel& kernel, Rng& rng, Outcome& outcome) {
  const Gpu& gpu = *kernel.gpu;
  const int rows = 5, width = 192, stride = 200, bucket = rows + 2;
  for (int bits : {2, 4, 8})
    for (int group : {32, 64}) {
      std::vector<double> x = random_values(rng, static_cast<size_t>(bucket) * stride, 1.0, ScalarType::kF32), dense;
      for (int i = 0; i < group; ++i) x[i] = 0, x[group + i] = 1e-20 * rounded(x[group + i], ScalarType::kBF16);
      for (double& v : x) v = rounded(v, ScalarType::kF32);
      x[stride] = -9;
      for (int r = 0; r < rows; ++r) dense.insert(dense.end(), x.begin() + r * stride, x.begin() + r * stride + width);
      const Int8Values expected = Int8Values::make(dense, rows, bucket, width, group, bits);
      TypedArray device_x(gpu, x, ScalarType::kF32);
      DeviceArray<signed char> codes(gpu, std::vector<signed char>(static_cast<size_t>(bucket) * width, -128));
      DeviceArray<float> scales(gpu, static_cast<size_t>(bucket) * width / group);
      DeviceArray<int> sums(gpu, std::vector<int>(static_cast<size_t>(bucket) * width / group, 1 << 30));
      const auto counts = make_counts(gpu, rows, 1, 1);
      kernel.launch(QuantizeRowsArgs{counts.get(), device_x.ptr<float>(), codes.get(), scales.get(), sums.get(), kRowsTokens, width, stride, group, bits},
                    width, bucket);
      const auto found = codes.values();
      const auto found_scales = scales.values();
      const auto found_sums = sums.values();
      std::vector<int> drift(found_sums.size());
      for (size_t i = 0; i < found.size(); ++i) {
        const int difference = found[i] - expected.codes[i];
        drift[i / group] += difference;
        outcome.exact(difference == 0 || (std::abs(difference) == 1 && expected.near_tie[i]), "codes differ");
      }
      for (size_t i = 0; i < found_sums.size(); ++i) {
        outcome.exact(found_sums[i] == expected.sums[i] + drift[i], "sums differ");
        if (i < static_cast<size_t>(rows) * width / group)
          outcome.near(found_scales[i], expected.scales[i], 0x1p-23 * expected.scales[i], "scale");
        else
          outcome.exact(std::isnan(found_scales[i]), "a row beyond the true count was written");
      }
    }
}

}  // namespace

Outcome test_quantized(const Kernel& kernel, Rng& rng, bool timing) {
  const std::string family = kernel.instance->variant->family;
  Outcome outcome;
  if (family == "repack") test_repack(kernel, rng, outcome);
  if (family == "group_order") test_group_order(kernel, rng, outcome);
  if (family == "quantize_rows") test_quantize_rows(kernel, rng, outcome);
  if (family == "gather_columns") test_gather_columns(kernel, rng, outcome);
  if (family != "linear_quantized") return outcome;
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
