// The init kernel that quantizes dense weights: what is left of each group against float64. Bit for bit it is compared with a
// reference in Python (test/quantized/quantize_test.py).
#include <algorithm>
#include <cmath>

#include "test/gpu/quantized_weight.h"

namespace llm_test {
namespace {

using namespace llm_abi;
using llm::CodeType;

// The least squared error over the clips of one group, each scale and zero as stored, by float64.
double least_error(CodeType code, const std::vector<double>& group, bool zeros, ScalarType scale_type) {
  double low = 0, high = 0, least = INFINITY;
  for (double w : group) low = std::min(low, w), high = std::max(high, w);
  const double extreme = -low > high ? low : high, levels = code == CodeType::kU4 ? 15 : 255, middle = (levels + 1) / 2;
  for (int clip = 0; clip < (code == CodeType::kE4M3 ? 1 : 12); ++clip) {
    const double share = 1 - clip / 32.0;
    const double exact = code == CodeType::kE4M3 ? std::abs(extreme) / 448 : zeros ? (high - low) * share / levels : extreme * share / -middle;
    double scale = rounded(exact, scale_type);
    if (scale_type == ScalarType::kF32) scale = std::ldexp(std::trunc(std::ldexp(scale, 16 - std::ilogb(scale) - 1)), std::ilogb(scale) + 1 - 16);
    if (scale == 0 || !std::isfinite(scale)) continue;
    const double zero = zeros ? std::min(std::nearbyint(-low * share / scale), levels) : middle;
    double error = 0;
    for (double w : group) {
      double value = std::clamp(std::nearbyint(w / scale), -zero, levels - zero);
      if (code == CodeType::kE4M3) {
        value = INFINITY;
        for (unsigned q = 0; q < 256; ++q)
          if ((q & 127) != 127 && std::abs(value_of(code, q) - w / scale) < std::abs(value - w / scale)) value = value_of(code, q);
      }
      error += (w - value * scale) * (w - value * scale);
    }
    least = std::min(least, error);
  }
  return least;
}

struct Case {
  int k, group;
  bool zeros;
  ScalarType source;
  int first_row;
};

void check_quantize(const Kernel& kernel, Rng& rng, const Case& s, i64 interleave, Outcome& outcome) {
  const Gpu& gpu = *kernel.gpu;
  const CodeType code = kernel.instance->code;
  const ScalarType scale_type = kernel.instance->weight;
  const int rows = 21, total = rows + s.first_row, groups = (s.k + s.group - 1) / s.group, stride = s.k + 3;
  const bool zeros = s.zeros && code == CodeType::kU4;
  std::vector<double> dense = random_values(rng, static_cast<size_t>(rows) * stride, 1.0, s.source);
  std::fill_n(dense.begin(), s.k, 0.0);  // a row of zeros
  std::vector<uint8_t> bytes = encode(dense, s.source);
  bytes.insert(bytes.begin(), 1, 0);
  DeviceBytes source(gpu, bytes.data(), bytes.size());
  const i64 padded = (total + 15) / 16 * 16, words = stored_row_words(code, s.k, interleave);
  DeviceArray<u32> codes(gpu, std::vector<u32>(static_cast<size_t>(padded * words)));
  TypedArray scales(gpu, std::vector<double>(static_cast<size_t>(padded) * groups, 0.0), scale_type);
  DeviceArray<unsigned char> zero_points(gpu, std::vector<unsigned char>(static_cast<size_t>(padded) * groups));
  kernel.launch(QuantizeArgs{source.ptr<char>() + 1, static_cast<i64>(s.source), 2, stride, codes.get(), scales.ptr(),
                             zeros ? zero_points.get() : nullptr, rows, s.k, s.group, s.first_row, interleave},
                1, (s.first_row + rows + 15) / 16 * 16 - s.first_row / 16 * 16);
  const std::vector<u32> stored = codes.values();
  const std::vector<double> stored_scales = scales.values();
  const std::vector<unsigned char> stored_zeros = zero_points.values();
  const double middle = code == CodeType::kU4 ? 8 : code == CodeType::kU8 ? 128 : 0;
  for (int r = 0; r < rows && outcome.failure.empty(); ++r) {
    for (int g = 0; g < groups; ++g) {
      const int n = s.first_row + r, begin = g * s.group, end = std::min(begin + s.group, s.k);
      const size_t at = group_position(interleave, n, g, groups);
      const double zero = zeros ? stored_zeros[at] : middle;
      double error = 0, magnitude = 0;
      std::vector<double> group;
      for (int k = begin; k < end; ++k) {
        // The row begins at element 2: no kernel may take it for aligned.
        group.push_back(dense[2 + static_cast<size_t>(r) * stride + k]);
        const CodePlace place = code_position(code, interleave, n, k, s.k);
        const unsigned q = stored[place.word] >> place.shift & ((1u << bits_of(code)) - 1);
        const double difference = group.back() - (value_of(code, q) - zero) * stored_scales[at];
        error += difference * difference, magnitude += group.back() * group.back();
      }
      // float32 finds a clip that is as good to about its own precision of the error.
      const double best = least_error(code, group, zeros, scale_type);
      if (magnitude > 0)
        outcome.near(std::max(error, best), best, best * 0.004 + magnitude * 1e-7, "squared error of a group", r, g);
      else
        outcome.exact(error == 0, "a group of zeros is not zero");
    }
  }
}

}  // namespace

Outcome test_quantize(const Kernel& kernel, Rng& rng) {
  Outcome outcome;
  const bool x86 = std::string(kernel.instance->variant->file).starts_with("x86/");
  for (const Case& s : {Case{256, 128, true, ScalarType::kBF16, 0}, {200, 32, false, ScalarType::kF16, 5}, {72, 72, true, ScalarType::kF32, 16},
                        {192, 128, false, ScalarType::kBF16, 9}}) {
    for (i64 interleave : {i64{1}, i64{8}, i64{16}}) {
      if (!x86 && interleave == 16) continue;
      check_quantize(kernel, rng, s, interleave, outcome);
      if (!outcome.failure.empty()) return outcome;
    }
  }
  return outcome;
}

}  // namespace llm_test
