#include "test/runtime/number_class.h"

#include <array>
#include <cmath>
#include <cstdlib>

namespace llmrt_test {
namespace {

constexpr std::array<std::pair<NumberClass, const char*>, 6> kNames = {{{NumberClass::kF32, "f32"},
                                                                        {NumberClass::kNarrowWeights, "narrow-weights"},
                                                                        {NumberClass::kF16Operands, "f16"},
                                                                        {NumberClass::kBF16Operands, "bf16"},
                                                                        {NumberClass::kRoundedInputs, "rounded-inputs"},
                                                                        {NumberClass::kInt8Kv, "int8-kv"}}};

// 75 for "sm_75"; 0 for targets that are not CUDA.
int compute_capability(const std::string& target) {
  return target.starts_with("sm_") ? std::atoi(target.c_str() + 3) : 0;
}

}  // namespace

const char* class_name(NumberClass c) {
  for (const auto& [value, name] : kNames)
    if (value == c) return name;
  return "?";
}

std::optional<NumberClass> class_of_name(const std::string& name) {
  for (const auto& [value, text] : kNames)
    if (name == text) return value;
  return std::nullopt;
}

NumberClass expected_class(const std::string& dtype, const CompiledFor& c) {
  if (dtype == "float32") return NumberClass::kF32;
  const bool bf16 = dtype == "bfloat16";
  if (!c.f32_kv) return bf16 ? NumberClass::kBF16Operands : NumberClass::kF16Operands;
  const int capability = compute_capability(c.target);
  // Volta and Turing: many tokens of bfloat16 weights go through the float16 tensor cores, with a scale per row.
  if (bf16 && capability >= 70 && capability < 80) return NumberClass::kF16Operands;
  if (c.f32_activations) return NumberClass::kNarrowWeights;
  if (bf16 && c.target == "x86-64-amx") return NumberClass::kBF16Operands;
  if (bf16) return capability >= 80 ? NumberClass::kBF16Operands : NumberClass::kNarrowWeights;
  return capability >= 70 ? NumberClass::kF16Operands : NumberClass::kNarrowWeights;
}

double kl_threshold(NumberClass c, const Golden& golden) {
  switch (c) {
    case NumberClass::kF32:
      return 1e-8;
    case NumberClass::kNarrowWeights:
      return 1e-7;
    case NumberClass::kF16Operands:
      return 1e-5;
    case NumberClass::kRoundedInputs:
      return 1e-4;
    case NumberClass::kInt8Kv:
      return 1e-3;
    case NumberClass::kBF16Operands: {
      const auto own = golden.own_kl.find("bfloat16");
      return own == golden.own_kl.end() ? 0 : 1.5 * own->second;
    }
  }
  return 0;
}

double near_tie(double threshold) { return 6 * std::sqrt(2 * threshold); }

}  // namespace llmrt_test
