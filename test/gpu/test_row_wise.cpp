// Row-wise kernels against float64: embedding, gather, norms, gates, elementwise, rotary embedding and KV writes.
#include <algorithm>
#include <cmath>
#include <map>

#include "test/gpu/gpu_harness.h"

namespace llm_test {
namespace {

using namespace llm_abi;

constexpr int kRows = 17;

struct Context {
  const Kernel& kernel;
  const Gpu& gpu;
  const KernelInstance& instance;
  Rng& rng;
  Outcome& outcome;

  double out_limit(double value) const { return rounding_limit(value, instance.operand); }
};

void test_embed(Context& c, int width) {
  const int vocab = 301;
  const std::vector<double> table = random_values(c.rng, static_cast<size_t>(vocab) * width, 1.0, c.instance.weight);
  std::vector<int> ids;
  for (int i = 0; i < kRows; ++i) ids.push_back(static_cast<int>(c.rng() % vocab));
  DeviceArray<int> device_ids(c.gpu, ids);
  TypedArray device_table(c.gpu, table, c.instance.weight);
  DeviceArray<float> out(c.gpu, static_cast<size_t>(kRows) * width);
  const auto counts = make_counts(c.gpu, kRows, 1, 1);
  c.kernel.launch(EmbedArgs{counts.get(), device_ids.get(), device_table.ptr(), out.get(), width, vocab}, width,
                  kRows + 2);
  const auto result = out.values();
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < width; ++i) {
      c.outcome.exact(result[r * width + i] == table[static_cast<size_t>(ids[r]) * width + i], "embedding differs");
    }
  }
}

void test_gather(Context& c, int width) {
  const std::vector<int> rows = {16, 0, 3, 3, 9};
  const std::vector<double> x = random_values(c.rng, static_cast<size_t>(kRows) * width, 1.0, ScalarType::kF32);
  DeviceArray<int> device_rows(c.gpu, rows);
  TypedArray device_x(c.gpu, x, ScalarType::kF32);
  DeviceArray<float> out(c.gpu, rows.size() * width);
  const auto counts = make_counts(c.gpu, kRows, 5, 5);
  c.kernel.launch(GatherRowsArgs{counts.get(), device_rows.get(), device_x.ptr<float>(), out.get(), width}, width, 7);
  const auto result = out.values();
  for (size_t r = 0; r < rows.size(); ++r) {
    for (int i = 0; i < width; ++i) c.outcome.exact(result[r * width + i] == x[rows[r] * width + i], "gather differs");
  }
}

void check_norm(Context& c, const double* x, const std::vector<double>& weight, double eps, const double* result) {
  double squares = 0;
  const int width = static_cast<int>(weight.size());
  for (int i = 0; i < width; ++i) squares += x[i] * x[i];
  for (int i = 0; i < width; ++i) {
    const double expected = x[i] / std::sqrt(squares / width + eps) * weight[i];
    c.outcome.near(result[i], expected, c.out_limit(expected) + (8 + std::sqrt(width)) * 0x1p-24 * std::abs(expected),
                   "norm");
  }
}

void test_norm(Context& c, int width, int groups, int padding) {
  const int stride = width * groups + padding;
  const std::vector<double> x = random_values(c.rng, static_cast<size_t>(kRows) * stride, 3.0, ScalarType::kF32);
  const std::vector<double> weight = random_values(c.rng, width, 1.0, c.instance.weight);
  TypedArray device_x(c.gpu, x, ScalarType::kF32), device_weight(c.gpu, weight, c.instance.weight);
  const OperandArray out(c.gpu, static_cast<size_t>(kRows) * width * groups, width * groups, c.instance.operand);
  const auto counts = make_counts(c.gpu, 1, kRows, 1);
  c.kernel.launch(RmsNormArgs{counts.get(), device_x.ptr<float>(), device_weight.ptr(), out.ptr(), kRowsSeqs, width,
                              groups, stride, 1e-5},
                  width, kRows + 2);
  const auto result = out.values();
  for (int r = 0; r < kRows; ++r) {
    for (int g = 0; g < groups; ++g) {
      check_norm(c, &x[r * stride + g * width], weight, 1e-5, &result[(static_cast<size_t>(r) * groups + g) * width]);
    }
  }
}

void test_add_norm(Context& c, int width, bool in_place) {
  const size_t size = static_cast<size_t>(kRows) * width;
  const std::vector<double> a = random_values(c.rng, size, 3.0, ScalarType::kF32),
                            b = random_values(c.rng, size, 1.0, ScalarType::kF32);
  const std::vector<double> weight = random_values(c.rng, width, 1.0, c.instance.weight);
  TypedArray residual(c.gpu, a, ScalarType::kF32), delta(c.gpu, b, ScalarType::kF32),
      other(c.gpu, size, ScalarType::kF32);
  TypedArray device_weight(c.gpu, weight, c.instance.weight);
  const OperandArray out(c.gpu, size, width, c.instance.operand);
  const TypedArray& sum = in_place ? residual : other;
  const auto counts = make_counts(c.gpu, kRows, 1, 1);
  c.kernel.launch(AddRmsNormArgs{counts.get(), residual.ptr<float>(), delta.ptr<float>(), device_weight.ptr(),
                                 sum.ptr<float>(), out.ptr(), kRowsTokens, width, 1e-6},
                  width, kRows + 2);
  const auto result = out.values(), sums = sum.values();
  for (size_t i = 0; i < size; ++i) {
    c.outcome.exact(sums[i] == static_cast<float>(static_cast<float>(a[i]) + static_cast<float>(b[i])), "sum differs");
  }
  for (int r = 0; r < kRows; ++r) check_norm(c, &sums[r * width], weight, 1e-6, &result[r * width]);
}

double silu(double x) { return x / (1 + std::exp(-x)); }

void test_glu(Context& c, int inter, int padding) {
  const int stride = 2 * inter + padding;
  const std::vector<double> x = random_values(c.rng, static_cast<size_t>(kRows) * stride, 4.0, ScalarType::kF32);
  TypedArray device_x(c.gpu, x, ScalarType::kF32);
  const OperandArray out(c.gpu, static_cast<size_t>(kRows) * inter, inter, c.instance.operand);
  const auto counts = make_counts(c.gpu, kRows, 1, 1);
  c.kernel.launch(
      GluArgs{counts.get(), device_x.ptr<float>(), device_x.ptr<float>() + inter, out.ptr(), inter, stride, stride},
      inter, kRows + 2);
  const auto result = out.values();
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < inter; ++i) {
      const double expected = silu(x[r * stride + i]) * x[r * stride + inter + i];
      c.outcome.near(result[r * inter + i], expected, c.out_limit(expected) + 8 * 0x1p-24 * std::abs(expected) + 1e-7,
                     "glu");
    }
  }
}

void test_elementwise(Context& c, int width) {
  const std::string family = c.instance.variant->family;
  const int a_stride = width + 3, b_stride = width + 1;
  const ScalarType type = family == "mul" ? c.instance.operand : ScalarType::kF32;
  const std::vector<double> a = random_values(c.rng, static_cast<size_t>(kRows) * a_stride, 2.0, ScalarType::kF32);
  const std::vector<double> b = random_values(c.rng, static_cast<size_t>(kRows) * b_stride, 2.0, ScalarType::kF32);
  TypedArray device_a(c.gpu, a, ScalarType::kF32), device_b(c.gpu, b, ScalarType::kF32),
      out(c.gpu, static_cast<size_t>(kRows) * width, type);
  const auto counts = make_counts(c.gpu, 1, 1, kRows);
  c.kernel.launch(ElementwiseArgs{counts.get(), device_a.ptr<float>(), device_b.ptr<float>(), out.ptr(), kRowsLogits,
                                  width, a_stride, b_stride},
                  width, kRows + 2);
  const auto result = out.values();
  for (int r = 0; r < kRows; ++r) {
    for (int i = 0; i < width; ++i) {
      const double x = a[r * a_stride + i], y = b[r * b_stride + i];
      const double expected = family == "add" ? x + y : family == "mul" ? x * y : silu(x);
      c.outcome.near(result[r * width + i], expected, rounding_limit(expected, type) + 4 * 0x1p-24 * std::abs(expected),
                     family.c_str());
    }
  }
}

void test_bias_add(Context& c, int width) {
  const std::vector<double> bias = random_values(c.rng, width, 1.0, c.instance.weight);
  const std::vector<double> before = random_values(c.rng, static_cast<size_t>(kRows) * width, 2.0, ScalarType::kF32);
  TypedArray device_bias(c.gpu, bias, c.instance.weight), out(c.gpu, before, ScalarType::kF32);
  const auto counts = make_counts(c.gpu, kRows - 1, 1, 1);
  c.kernel.launch(BiasAddArgs{counts.get(), device_bias.ptr(), out.ptr<float>(), kRowsTokens, width}, width, kRows + 2);
  const auto result = out.values();
  for (size_t i = 0; i < result.size(); ++i) {
    const bool counted = i < static_cast<size_t>(kRows - 1) * width;
    const float expected = static_cast<float>(before[i]) + (counted ? static_cast<float>(bias[i % width]) : 0.0f);
    c.outcome.exact(result[i] == expected, "sum differs");
  }
}

std::vector<double> rope_reference_table(const std::vector<int>& positions, const std::vector<double>& inv_freq,
                                         double factor) {
  std::vector<double> table;
  for (int p : positions) {
    for (bool sine : {false, true}) {
      for (double f : inv_freq) {
        const double angle = static_cast<float>(static_cast<float>(p) * static_cast<float>(f));
        table.push_back((sine ? std::sin(angle) : std::cos(angle)) * factor);
      }
    }
  }
  return table;
}

std::vector<double> inverse_frequencies(int half) {
  std::vector<double> f;
  for (int j = 0; j < half; ++j) f.push_back(static_cast<float>(std::pow(500000.0, -static_cast<double>(j) / half)));
  return f;
}

void test_rope_table(Context& c) {
  const int half = 40;
  const std::vector<int> positions = {0, 1, 7, 1000, 4095, 32767, 131071, 1048575};
  const std::vector<double> inv_freq = inverse_frequencies(half);
  DeviceArray<int> device_positions(c.gpu, positions);
  TypedArray frequencies(c.gpu, inv_freq, ScalarType::kF32),
      table(c.gpu, positions.size() * 2 * half, ScalarType::kF32);
  const int rows = static_cast<int>(positions.size());
  const auto counts = make_counts(c.gpu, rows, 1, 1);
  c.kernel.launch(
      RopeTableArgs{counts.get(), device_positions.get(), frequencies.ptr<float>(), table.ptr<float>(), half, 1.25}, 1,
      rows + 2);
  const auto result = table.values(), expected = rope_reference_table(positions, inv_freq, 1.25);
  for (size_t i = 0; i < result.size(); ++i) c.outcome.near(result[i], expected[i], 4 * 0x1p-24, "rope table");
}

// One head of x, normalized if asked, rotated by its row of the table; `magnitude` bounds what cancels.
void rotate(std::vector<double>& x, const double* table, int half, const std::vector<double>* norm, double eps,
            std::vector<double>& magnitude) {
  const int head_dim = static_cast<int>(x.size());
  if (norm) {
    double squares = 0;
    for (double v : x) squares += v * v;
    for (int i = 0; i < head_dim; ++i) x[i] *= (*norm)[i] / std::sqrt(squares / head_dim + eps);
  }
  magnitude.assign(head_dim, 0);
  for (int i = 0; i < head_dim; ++i) magnitude[i] = std::abs(x[i]);
  for (int j = 0; j < half; ++j) {
    const double a = x[j], b = x[j + half], cosine = table[j], sine = table[half + j];
    x[j] = a * cosine - b * sine;
    x[j + half] = b * cosine + a * sine;
    magnitude[j] = magnitude[j + half] = std::abs(a) + std::abs(b);
  }
}

// rope_kv_write, rope and kv_write share inputs: q | k | v in one merged row, a ragged batch and a cache of poison.
void test_rotation(Context& c, int heads, int kv_heads, int head_dim, int half, bool norms) {
  const std::string family = c.instance.variant->family;
  const PagedBatch b = PagedBatch::make(c.rng, {0, 40, 7}, {5, 1, 20}, kv_heads, head_dim, c.instance.kv, false);
  DeviceBatch device(c.gpu, b);
  const int stride = (heads + 2 * kv_heads) * head_dim;
  const int k_offset = heads * head_dim, v_offset = k_offset + kv_heads * head_dim;
  const std::vector<double> x = random_values(c.rng, static_cast<size_t>(b.tokens) * stride, 1.5, ScalarType::kF32);
  std::vector<double> table = rope_reference_table(b.kv_index, inverse_frequencies(half), 1.0);
  for (double& v : table) v = static_cast<float>(v);
  const std::vector<double> q_norm = random_values(c.rng, head_dim, 1.0, c.instance.weight);
  const std::vector<double> k_norm = random_values(c.rng, head_dim, 1.0, c.instance.weight);
  TypedArray device_x(c.gpu, x, ScalarType::kF32), device_table(c.gpu, table, ScalarType::kF32);
  TypedArray device_q_norm(c.gpu, q_norm, c.instance.weight), device_k_norm(c.gpu, k_norm, c.instance.weight);
  TypedArray q_out(c.gpu, static_cast<size_t>(b.tokens) * heads * head_dim, ScalarType::kF32);
  const float* base = device_x.ptr<float>();
  const StepCounts* counts = device.counts.get();
  const double eps = 1e-6;
  if (family == "rope_kv_write") {
    c.kernel.launch(RopeKvWriteArgs{counts, base, base + k_offset, base + v_offset, device_table.ptr<float>(),
                                    norms ? device_q_norm.ptr() : nullptr, norms ? device_k_norm.ptr() : nullptr,
                                    device.token_seq.get(), device.seq_slot.get(), device.kv_index.get(),
                                    q_out.ptr<float>(), device.view(b), heads, half, stride, stride, stride, eps},
                    heads + 2 * kv_heads, b.tokens + 2);
  } else if (family == "rope") {
    c.kernel.launch(
        RopeArgs{counts, base, device_table.ptr<float>(), q_out.ptr<float>(), heads, head_dim, half, stride}, heads,
        b.tokens + 2);
  } else {
    c.kernel.launch(KvWriteArgs{counts, base + k_offset, base + v_offset, device.token_seq.get(), device.seq_slot.get(),
                                device.kv_index.get(), device.view(b), stride, stride},
                    kv_heads, b.tokens + 2);
  }
  const auto q = q_out.values(), pool = b.read(device.pool.values());
  const bool rotates = family != "kv_write", writes_kv = family != "rope";
  std::map<int64_t, bool> written;  // cache values that may have changed
  for (int t = 0; t < b.tokens; ++t) {
    const double* row = &x[static_cast<size_t>(t) * stride];
    std::vector<double> magnitude;
    for (int h = 0; rotates && h < heads; ++h) {
      std::vector<double> expected(row + h * head_dim, row + (h + 1) * head_dim);
      rotate(expected, &table[static_cast<size_t>(t) * 2 * half], half,
             norms && family == "rope_kv_write" ? &q_norm : nullptr, eps, magnitude);
      for (int i = 0; i < head_dim; ++i) {
        c.outcome.near(q[(static_cast<size_t>(t) * heads + h) * head_dim + i], expected[i],
                       24 * 0x1p-24 * magnitude[i] + 1e-30, "q");
      }
    }
    for (int h = 0; writes_kv && h < kv_heads; ++h) {
      std::vector<double> key(row + k_offset + h * head_dim, row + k_offset + (h + 1) * head_dim);
      magnitude.assign(head_dim, 0);
      if (rotates)
        rotate(key, &table[static_cast<size_t>(t) * 2 * half], half, norms ? &k_norm : nullptr, eps, magnitude);
      const int64_t k_at = b.entry_offset(b.token_seq[t], b.kv_index[t], h, false);
      const int64_t v_at = b.entry_offset(b.token_seq[t], b.kv_index[t], h, true);
      const std::vector<double> value(row + v_offset + h * head_dim, row + v_offset + (h + 1) * head_dim);
      const QuantizedEntry coded_key = quantized_entry(key), coded_value = quantized_entry(value);
      for (int i = 0; i < head_dim; ++i) {
        const double largest = *std::max_element(magnitude.begin(), magnitude.end());
        const bool int8 = c.instance.kv == ScalarType::kInt8;
        // Errors of the largest value move the scale, and with it every code's value.
        const double limit = int8 ? coded_key.limit(key[i]) + 48 * 0x1p-24 * largest
                                  : rounding_limit(key[i], c.instance.kv) + 24 * 0x1p-24 * magnitude[i];
        c.outcome.near(pool[k_at + i], key[i], limit, "cached k");
        if (int8)
          c.outcome.near(pool[v_at + i], value[i], coded_value.limit(value[i]) + 0x1p-20 * coded_value.scale,
                         "cached v");
        else
          c.outcome.exact(pool[v_at + i] == rounded(value[i], c.instance.kv), "cached v differs");
        written[k_at + i] = written[v_at + i] = true;
      }
    }
  }
  for (size_t i = 0; i < pool.size(); ++i) {
    if (!written.count(static_cast<int64_t>(i)))
      c.outcome.exact(std::isnan(pool[i]), "a cache entry of no token was written");
  }
}

void time_large(Context& c) {
  const std::string family = c.instance.variant->family;
  const int rows = 2048, width = 4096;
  const size_t size = static_cast<size_t>(rows) * width;
  DeviceArray<float> a(c.gpu, std::vector<float>(size * 2, 0.25f));
  DeviceArray<float> b(c.gpu, std::vector<float>(size, 0.5f)), out(c.gpu, size);
  DeviceArray<float> weight(c.gpu, std::vector<float>(width, 1.0f));
  const auto counts = make_counts(c.gpu, rows, rows, rows);
  const double out_bytes = static_cast<double>(size * bytes_of(c.instance.operand));
  if (family == "rms_norm") {
    c.outcome.us = c.kernel.time_us(
        RmsNormArgs{counts.get(), a.get(), weight.get(), out.get(), kRowsTokens, width, 1, width, 1e-5}, width, rows);
    c.outcome.bandwidth(4.0 * size + out_bytes);
  } else if (family == "add_rms_norm") {
    c.outcome.us = c.kernel.time_us(
        AddRmsNormArgs{counts.get(), a.get(), b.get(), weight.get(), a.get(), out.get(), kRowsTokens, width, 1e-5},
        width, rows);
    c.outcome.bandwidth(12.0 * size + out_bytes);
  } else if (family == "glu") {
    c.outcome.us = c.kernel.time_us(
        GluArgs{counts.get(), a.get(), a.get() + width, out.get(), width, 2 * width, 2 * width}, width, rows);
    c.outcome.bandwidth(8.0 * size + out_bytes);
  }
}

}  // namespace

Outcome test_row_wise(const Kernel& kernel, Rng& rng, bool timing) {
  Outcome outcome;
  Context c{kernel, *kernel.gpu, *kernel.instance, rng, outcome};
  const std::string family = kernel.instance->variant->family;
  for (int width : {896, 67, 4104}) {
    if (kernel.instance->operand == ScalarType::kBF16Panels && width % 32 != 0) continue;
    if (family == "embed") test_embed(c, width);
    if (family == "gather_rows") test_gather(c, width);
    if (family == "rms_norm") {
      test_norm(c, width, 1, 0);
      test_norm(c, width, 1, 5);
      test_norm(c, 64, 14, 8);
    }
    if (family == "add_rms_norm") {
      test_add_norm(c, width, true);
      test_add_norm(c, width, false);
    }
    if (family == "glu") {
      test_glu(c, width, 0);
      test_glu(c, width, 3);
    }
    if (family == "bias_add") test_bias_add(c, width);
    if (family == "add" || family == "mul" || family == "silu") test_elementwise(c, width);
  }
  if (family == "rope_table") test_rope_table(c);
  if (family == "rope_kv_write" || family == "rope" || family == "kv_write") {
    test_rotation(c, 14, 2, 64, 32, false);
    test_rotation(c, 8, 8, 128, 64, true);
    test_rotation(c, 3, 1, 80, 20, true);  // partial rotation
    test_rotation(c, 2, 1, 256, 128, true);
  }
  if (timing) time_large(c);
  return outcome;
}

}  // namespace llm_test
