#include "compiler/frontend/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

// Compiled with -ffp-contract=off: a fused multiply-add would differ from transformers in the last bit.

namespace llmc {
namespace {

// base^(2j/d) in float32, [d / 2].
std::vector<float> position_frequencies(double base, int64_t dim) {
  std::vector<float> out;
  for (int64_t i = 0; i < dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(dim);
    out.push_back(static_cast<float>(std::pow(static_cast<double>(static_cast<float>(base)), exponent)));
  }
  return out;
}

std::vector<float> default_frequencies(double base, int64_t dim) {
  std::vector<float> out = position_frequencies(base, dim);
  for (float& f : out) f = 1.0f / f;
  return out;
}

std::vector<float> linear_frequencies(const RopeParameters& p, int64_t dim) {
  std::vector<float> out = default_frequencies(p.theta, dim);
  for (float& f : out) f /= static_cast<float>(*p.factor);
  return out;
}

std::vector<float> llama3_frequencies(const RopeParameters& p, int64_t dim) {
  const auto original = static_cast<double>(p.original_max_position_embeddings);
  const auto low_freq_wavelength = static_cast<float>(original / p.low_freq_factor);
  const auto high_freq_wavelength = static_cast<float>(original / p.high_freq_factor);
  const auto factor = static_cast<float>(*p.factor);
  std::vector<float> out = default_frequencies(p.theta, dim);
  for (float& f : out) {
    const float wavelength = (1.0f / f) * static_cast<float>(2.0 * std::numbers::pi);
    if (wavelength > low_freq_wavelength) {
      f = f / factor;
    } else if (wavelength >= high_freq_wavelength) {
      const float smooth =
          ((1.0f / wavelength) * static_cast<float>(original) - static_cast<float>(p.low_freq_factor)) /
          static_cast<float>(p.high_freq_factor - p.low_freq_factor);
      f = (1.0f - smooth) * f / factor + smooth * f;
    }
  }
  return out;
}

// The dimension that turns `rotations` times over the original context.
double yarn_correction_dim(const RopeParameters& p, double rotations, int64_t dim) {
  const auto original = static_cast<double>(p.original_max_position_embeddings);
  return static_cast<double>(dim) * std::log(original / (rotations * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(p.theta));
}

double yarn_mscale(double scale, double mscale) { return scale <= 1.0 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0; }

double yarn_attention_scaling(const RopeParameters& p, double factor) {
  if (p.attention_factor) return *p.attention_factor;
  if (p.mscale != 0.0 && p.mscale_all_dim != 0.0) {
    return yarn_mscale(factor, p.mscale) / yarn_mscale(factor, p.mscale_all_dim);
  }
  return yarn_mscale(factor, 1.0);
}

std::vector<float> yarn_frequencies(const RopeParameters& p, double factor, int64_t dim) {
  double low = yarn_correction_dim(p, p.beta_fast, dim);
  double high = yarn_correction_dim(p, p.beta_slow, dim);
  if (p.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;

  std::vector<float> out = position_frequencies(p.theta, dim);
  for (size_t j = 0; j < out.size(); ++j) {
    const float extrapolation = 1.0f / out[j];
    const float interpolation = 1.0f / (static_cast<float>(factor) * out[j]);
    const float ramp =
        std::clamp((static_cast<float>(j) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f, 1.0f);
    const float keep = 1.0f - ramp;
    out[j] = interpolation * (1.0f - keep) + extrapolation * keep;
  }
  return out;
}

double longrope_attention_scaling(const RopeParameters& p, double factor) {
  if (p.attention_factor) return *p.attention_factor;
  if (factor <= 1.0) return 1.0;
  return std::sqrt(1.0 + std::log(factor) / std::log(static_cast<double>(p.original_max_position_embeddings)));
}

std::vector<float> longrope_frequencies(const RopeParameters& p, int64_t dim, bool use_long) {
  const std::vector<double>& factors = use_long ? p.long_factor : p.short_factor;
  std::vector<float> out = position_frequencies(p.theta, dim);
  for (size_t j = 0; j < out.size(); ++j) out[j] = 1.0f / (static_cast<float>(factors[j]) * out[j]);
  return out;
}

llm::Status check_factor_list(std::string_view key, const std::vector<double>& list, int64_t dim) {
  if (list.size() == static_cast<size_t>(dim / 2)) return {};
  return llm::Error{"key '" + std::string(key) + "': found " + std::to_string(list.size()) +
                    " factors, expected head_dim / 2 = " + std::to_string(dim / 2)};
}

}  // namespace

std::string_view rope_kind_name(RopeKind kind) {
  switch (kind) {
    case RopeKind::kDefault:
      return "default";
    case RopeKind::kLinear:
      return "linear";
    case RopeKind::kDynamic:
      return "dynamic";
    case RopeKind::kLlama3:
      return "llama3";
    case RopeKind::kYarn:
      return "yarn";
    case RopeKind::kLongrope:
      return "longrope";
  }
  return "";
}

llm::Result<Rope> compute_rope(const RopeParameters& p, int64_t head_dim, int64_t max_position_embeddings,
                               int64_t max_context) {
  if (max_context == 0) max_context = max_position_embeddings;
  const double extension =
      p.original_max_position_embeddings == 0
          ? 1.0
          : static_cast<double>(max_position_embeddings) / static_cast<double>(p.original_max_position_embeddings);
  Rope rope;
  rope.kind = p.kind;
  rope.theta = p.theta;
  rope.rotary_dim = head_dim;
  switch (p.kind) {
    case RopeKind::kDefault:
      rope.inv_freq = default_frequencies(p.theta, head_dim);
      break;
    case RopeKind::kLinear:
      rope.inv_freq = linear_frequencies(p, head_dim);
      break;
    case RopeKind::kDynamic:
      if (max_context > max_position_embeddings) {
        return llm::Error{"rope_type 'dynamic': found a context of " + std::to_string(max_context) +
                          ", expected at most max_position_embeddings = " + std::to_string(max_position_embeddings) +
                          ": beyond it the frequencies change with the length of each sequence; lower --max-context"};
      }
      rope.inv_freq = default_frequencies(p.theta, head_dim);
      rope.max_positions = max_position_embeddings;
      break;
    case RopeKind::kLlama3:
      rope.inv_freq = llama3_frequencies(p, head_dim);
      break;
    case RopeKind::kYarn:
      rope.inv_freq = yarn_frequencies(p, p.factor.value_or(extension), head_dim);
      rope.attention_scaling = yarn_attention_scaling(p, p.factor.value_or(extension));
      break;
    case RopeKind::kLongrope: {
      LLM_TRY(check_factor_list("short_factor", p.short_factor, head_dim));
      LLM_TRY(check_factor_list("long_factor", p.long_factor, head_dim));
      const bool use_long = max_context > p.original_max_position_embeddings;
      rope.inv_freq = longrope_frequencies(p, head_dim, use_long);
      rope.attention_scaling = longrope_attention_scaling(p, p.factor.value_or(extension));
      rope.max_positions = use_long ? 0 : p.original_max_position_embeddings;
      break;
    }
  }
  const bool finite = std::all_of(rope.inv_freq.begin(), rope.inv_freq.end(), [](float f) { return std::isfinite(f); });
  if (!finite || !std::isfinite(rope.attention_scaling)) {
    return llm::Error{"rope_type '" + std::string(rope_kind_name(p.kind)) +
                      "': these parameters give frequencies that are not finite"};
  }
  return rope;
}

}  // namespace llmc
