#include "tools/random_weights.h"

#include <cmath>
#include <cstring>

namespace llmc {
namespace {

// SplitMix64's output function (Steele, Lea, Flood 2014) of a counter: every element is independent of the others.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// Four uniform 16-bit numbers, summed and centred: standard deviation sqrt(4 * (2^32 - 1) / 12).
float unit_value(uint64_t key, uint64_t index) {
  constexpr float kInverseStd = 1.0f / 37837.227f;
  const uint64_t bits = mix(key + index * 0x9e3779b97f4a7c15);
  const auto sum = static_cast<int32_t>((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
  return static_cast<float>(sum - 2 * 0xffff) * kInverseStd;
}

uint16_t to_bf16(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // to nearest, ties to even; finite only
}

// To nearest, ties to even; for magnitudes below 65504.
uint16_t to_f16(float value) {
  constexpr int kMantissaDrop = 13;        // 23 - 10 bits
  constexpr int32_t kExponentShift = 112;  // 127 - 15
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const auto exponent = static_cast<int32_t>(bits >> 23 & 0xff) - kExponentShift;
  if (exponent <= 0) {  // subnormal: units of 2^-24
    return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyintf(std::fabs(value) * 0x1p24f)));
  }
  const uint32_t magnitude = (bits & 0x7fffffff) - (static_cast<uint32_t>(kExponentShift) << 23);
  return static_cast<uint16_t>(sign | ((magnitude + 0xfff + (magnitude >> kMantissaDrop & 1)) >> kMantissaDrop));
}

template <typename T, typename Convert>
void fill(uint64_t key, uint64_t first, size_t count, Distribution d, std::byte* out, Convert convert) {
  for (size_t i = 0; i < count; ++i) {
    const T value = convert(d.mean + d.std * unit_value(key, first + i));
    std::memcpy(out + i * sizeof(T), &value, sizeof(T));
  }
}

float inverse_sqrt(int64_t n) { return 1.0f / std::sqrt(static_cast<float>(n)); }

// Inputs of linear layers have been normalised: root mean square 1. So a weight of std s / sqrt(inputs) gives outputs
// of standard deviation s.
Distribution test_distribution(WeightRole role, const ModelConfig& c) {
  constexpr float kQkStd = 1.4f;  // scores q.k / sqrt(head_dim): 1.4^2
  constexpr float kGateStd = 1.2f;
  constexpr float kLogitStd = 2.0f;
  constexpr float kAttentionLoss = 0.5f;  // averaging values over keys shrinks them about so much
  constexpr float kGluLoss = 0.7f;        // standard deviation of silu(gate) * up
  // All branches together add about as much variance as one full-sized branch, whatever the depth.
  const float branch = std::sqrt(1.5f / static_cast<float>(c.num_layers));
  switch (role) {
    case WeightRole::kEmbedTokens:
      return {0.0f, c.tie_word_embeddings ? kLogitStd * inverse_sqrt(c.hidden_size) : 0.5f};
    case WeightRole::kLmHead:
      return {0.0f, kLogitStd * inverse_sqrt(c.hidden_size)};
    case WeightRole::kInputNorm:
    case WeightRole::kPostAttentionNorm:
    case WeightRole::kFinalNorm:
      return {1.0f, 0.3f};
    case WeightRole::kQNorm:
    case WeightRole::kKNorm:
      return {1.25f, 0.3f};  // q and k are normalised to 1 before it, and scores are to be above 1
    case WeightRole::kQProj:
    case WeightRole::kKProj:
      return {0.0f, kQkStd * inverse_sqrt(c.hidden_size)};
    case WeightRole::kVProj:
      return {0.0f, inverse_sqrt(c.hidden_size)};
    case WeightRole::kOProj:
      return {0.0f, branch / kAttentionLoss * inverse_sqrt(c.q_size())};
    case WeightRole::kGateProj:
    case WeightRole::kUpProj:
      return {0.0f, kGateStd * inverse_sqrt(c.hidden_size)};
    case WeightRole::kDownProj:
      return {0.0f, branch / kGluLoss * inverse_sqrt(c.intermediate_size)};
    case WeightRole::kQBias:
    case WeightRole::kKBias:
    case WeightRole::kVBias:
    case WeightRole::kGateBias:
    case WeightRole::kUpBias:
      return {0.0f, 0.5f};
    case WeightRole::kOBias:
    case WeightRole::kDownBias:
      return {0.0f, 0.5f * branch};
  }
  return {};
}

}  // namespace

Distribution weight_distribution(WeightRole role, const ModelConfig& config, StdMode mode) {
  if (mode == StdMode::kTest) return test_distribution(role, config);
  return is_norm(role) ? Distribution{1.0f, 0.1f} : Distribution{0.0f, 0.02f};
}

uint64_t tensor_key(uint64_t seed, std::string_view tensor_name) {
  uint64_t key = mix(seed);
  for (char c : tensor_name) key = mix(key ^ static_cast<unsigned char>(c));
  return key;
}

void fill_random(uint64_t key, uint64_t first, size_t count, Distribution distribution, DType dtype, std::byte* out) {
  switch (dtype) {
    case DType::kF32:
      fill<float>(key, first, count, distribution, out, [](float value) { return value; });
      break;
    case DType::kF16:
      fill<uint16_t>(key, first, count, distribution, out, to_f16);
      break;
    case DType::kBF16:
      fill<uint16_t>(key, first, count, distribution, out, to_bf16);
      break;
    default:
      break;  // the command line offers only these three
  }
}

}  // namespace llmc
