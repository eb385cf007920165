#include "test/gpu/quantized_weight.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace llm_test {

using llm::CodeType;
using llm_abi::i64;
using llm_abi::u32;

int bits_of(CodeType code) {
  return code == CodeType::kU2 ? 2 : code == CodeType::kU8 || code == CodeType::kE4M3 ? 8 : 4;
}

namespace {

std::array<double, 256> e4m3_values() {
  std::array<double, 256> values;
  for (int q = 0; q < 256; ++q) {
    const int exponent = q >> 3 & 15, fraction = q & 7;
    const double magnitude = exponent ? std::ldexp(8 + fraction, exponent - 10) : std::ldexp(fraction, -9);
    values[q] = q & 128 ? -magnitude : magnitude;
  }
  return values;
}

}  // namespace

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
      static const std::array<double, 256> kE4m3 = e4m3_values();
      return kE4m3[q];
    }
    default:
      return q;
  }
}

Quantized Quantized::make(Rng& rng, CodeType code, ScalarType scale, int n, int k, int group, bool with_zeros,
                          double scale_spread) {
  Quantized q{n, k, group, (k + group - 1) / group, code, {}, {}, {}, 1u << (bits_of(code) - 1)};
  const unsigned count = 1u << bits_of(code);
  q.codes.resize(static_cast<size_t>(n) * k);
  uint64_t drawn = 0;
  for (size_t i = 0; i < q.codes.size(); ++i) {
    drawn = i % 8 == 0 ? rng() : drawn >> 8;
    q.codes[i] = static_cast<unsigned>(drawn % count);
    if (code == CodeType::kE4M3 && (q.codes[i] & 0x7f) == 0x7f) q.codes[i] = 0x7e;  // no number
  }
  q.scales = random_values(rng, static_cast<size_t>(n) * q.groups, scale_spread, scale);
  if (with_zeros && q.is_integer())
    for (size_t i = 0; i < q.scales.size(); ++i) q.zeros.push_back(static_cast<unsigned>(rng() % count));
  return q;
}

namespace {

// zero_of(group): of the weight's groups, rows by rows. `table`: the type that holds the values of nf4; those of fp4 are exact in any, in twelfths.
template <typename ZeroOf>
std::vector<double> dequantized(const Quantized& q, ZeroOf zero_of, ScalarType table = ScalarType::kF32) {
  const auto value = [&](unsigned code) {
    const double exact = value_of(q.code, code);
    return q.code == CodeType::kNf4 ? rounded(exact, table) : exact;
  };
  std::vector<double> out(q.codes.size());
  for (size_t r = 0; r < static_cast<size_t>(q.n); ++r) {
    for (int g = 0; g < q.groups; ++g) {
      const size_t at = r * q.groups + g, end = r * q.k + std::min((g + 1) * q.group, q.k);
      const double zero = zero_of(at);
      for (size_t i = r * q.k + g * q.group; i < end; ++i)
        out[i] = (value(q.codes[i]) - zero) * q.scales[at];
    }
  }
  return out;
}

}  // namespace

std::vector<double> Quantized::weights() const { return weights(ScalarType::kF32); }

std::vector<double> Quantized::weights(ScalarType table) const {
  const auto zero_of = [&](size_t group) -> double { return !is_integer() ? 0 : zeros.empty() ? zero : zeros[group]; };
  return dequantized(*this, zero_of, table);
}

std::vector<double> Quantized::weights_before_zeros() const {
  return dequantized(*this, [](size_t) { return 0.0; });
}

i64 stored_row_words(CodeType code, int k, i64 interleave) {
  const i64 bits = i64{k} * bits_of(code);
  return interleave == 8 ? (bits + 511) / 512 * 16 : (bits + 127) / 128 * 4;
}

size_t group_position(i64 interleave, int row, int group, int groups) {
  return static_cast<size_t>((row / interleave * groups + group) * interleave + row % interleave);
}

CodePlace code_position(CodeType code, i64 interleave, int row, int column, int k) {
  const int bits = bits_of(code), per_word = 32 / bits;
  const i64 words = stored_row_words(code, k, interleave);
  if (interleave != 8)
    return {static_cast<size_t>((row / interleave * words + column / per_word) * interleave + row % interleave),
            column % per_word * bits};
  // Tiles of 8 rows and 512 / bits columns, 128 words each; lane 4 g + t has four words: row g, columns t * 8 ... of
  // every 32.
  const int tile_columns = 512 / bits, within = column % tile_columns, lane = row % 8 * 4 + within % 32 / 8;
  const int codes_before = within / 32 * 8 + within % 8;  // of this lane
  const i64 tile = row / 8 * (words / 16) + column / tile_columns;
  const int code_in_word = codes_before % per_word;
  const int shift = bits == 4 ? code_in_word % 2 * 16 + code_in_word / 2 * 4 : code_in_word * bits;
  return {static_cast<size_t>(tile * 128 + lane * 4 + codes_before / per_word), shift};
}

std::vector<u32> Quantized::stored_codes(i64 interleave) const {
  const i64 rows = (n + interleave - 1) / interleave * interleave;
  std::vector<u32> out(static_cast<size_t>(rows * stored_row_words(code, k, interleave)));
  // A code's word is that of its row's first code plus that of its column in row 0.
  std::vector<CodePlace> columns;
  for (int i = 0; i < k; ++i) columns.push_back(code_position(code, interleave, 0, i, k));
  for (int r = 0; r < n; ++r) {
    const size_t row = code_position(code, interleave, r, 0, k).word;
    for (int i = 0; i < k; ++i) out[row + columns[i].word] |= codes[static_cast<size_t>(r) * k + i] << columns[i].shift;
  }
  return out;
}

template <typename T, typename From>
std::vector<T> stored_groups(const Quantized& q, const std::vector<From>& values, i64 interleave) {
  const i64 rows = (q.n + interleave - 1) / interleave * interleave;
  std::vector<T> out(static_cast<size_t>(rows) * q.groups);
  for (int r = 0; r < q.n; ++r)
    for (int g = 0; g < q.groups; ++g)
      out[group_position(interleave, r, g, q.groups)] = static_cast<T>(values[static_cast<size_t>(r) * q.groups + g]);
  return out;
}

std::vector<double> Quantized::stored_scales(i64 interleave) const {
  return stored_groups<double>(*this, scales, interleave);
}
std::vector<unsigned char> Quantized::stored_zeros(i64 interleave) const {
  if (zeros.empty()) return {};
  return stored_groups<unsigned char>(*this, zeros, interleave);
}

namespace {

Quantized weight_for(const KernelInstance& instance, Rng& rng, int n, int k, int group, bool with_zeros) {
  if (!instance.variant->code_types) return {};
  // Products of standard deviation 1 or so: about that of random codes.
  const double code_spread = bits_of(instance.code) == 4 ? (instance.code == CodeType::kU4 ? 5 : 0.5)
                             : instance.code == CodeType::kU8 ? 75
                                                              : 120;
  return Quantized::make(rng, instance.code, instance.weight, n, k, group, with_zeros,
                         1 / (code_spread * std::sqrt(k)));
}

// Of values as fragments: that of the operands, but fp16 for few tokens of sm_90, whatever these are.
ScalarType table_of(const KernelInstance& instance) {
  if (!instance.variant->tensor_cores) return ScalarType::kF32;
  const bool units = std::string(instance.variant->body).starts_with("linear_quantized_units");
  return units ? ScalarType::kF16 : instance.operand;
}

}  // namespace

QuantizedOnDevice::QuantizedOnDevice(const Kernel& kernel, Rng& rng, int n, int k, int group, bool with_zeros)
    : weight_(weight_for(*kernel.instance, rng, n, k, group, with_zeros)),
      table_(table_of(*kernel.instance)),
      codes_(*kernel.gpu, weight_.n ? weight_.stored_codes(interleave_of(*kernel.instance)) : std::vector<u32>()),
      scales_(*kernel.gpu, weight_.n ? weight_.stored_scales(interleave_of(*kernel.instance)) : std::vector<double>(),
              kernel.instance->weight),
      zeros_(*kernel.gpu,
             weight_.n ? weight_.stored_zeros(interleave_of(*kernel.instance)) : std::vector<unsigned char>()) {}

llm_abi::QuantizedGroups QuantizedOnDevice::groups() const {
  return {scales_.ptr(), weight_.zeros.empty() ? nullptr : zeros_.get(), weight_.group, static_cast<i64>(weight_.zero)};
}

double sum_limit(const llm::Variant& variant, int k, double magnitude, double sum) {
  const double rounded = 0x1p-24 * (4 * std::sqrt(k) * magnitude + 8 * std::abs(sum)) + 1e-35;
  return rounded + (variant.fp8_rows ? 16 * 0x1p-13 * magnitude : 0);
}

bool serves_group(const llm::Variant& variant, int k, int group) {
  return !variant.fp8_rows || (variant.fp8_group ? group == variant.fp8_group : group >= k);
}

i64 interleave_of(const KernelInstance& instance) { return instance.variant->interleave; }

}  // namespace llm_test
