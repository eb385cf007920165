// What config.json (`quantization_config`, or an older file beside it) says about quantized weights. Whether a module
// is quantized at all is seen from its tensors; this says how to read them. Source: transformers,
// utils/quantization_config.py; GPTQModel, AutoAWQ and compressed-tensors for what they add.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/frontend/config_reader.h"

namespace llmc {

enum class QuantizationMethod { kGptq, kAwq, kCompressedTensors, kFp8, kBitsandbytes };

enum class PackingFormat {
  kGptq,    // 'gptq': zero points stored minus one
  kGptqV2,  // 'gptq_v2': as they are
  kAwqGemm,
  kAwqGemv,
  kPacked,   // compressed-tensors 'pack-quantized'
  kInteger,  // 'int-quantized', and bitsandbytes
  kFloat,    // 'float-quantized', and fp8
};

struct QuantizationScheme {
  PackingFormat format = PackingFormat::kGptq;
  int64_t bits = 0;
  int64_t group = 0;       // columns that share a scale; 0: all of a row, or as the tensors say
  int64_t block_rows = 0;  // rows that share a scale; 0: as the tensors say
  bool symmetric = false;
  bool ordered = false;  // 'desc_act': the tensor of the groups must be there (whether columns really are reordered is
                         // seen from it)

  bool operator==(const QuantizationScheme&) const = default;
};

// Which modules have a scheme. Among the rules that match a module, those of the first kind of this list decide.
struct QuantizationRule {
  enum class Kind { kExact, kRegex, kEveryLinear } kind = Kind::kEveryLinear;
  std::string pattern;                       // of kRegex: matched from the start of the name
  std::optional<QuantizationScheme> scheme;  // none: not quantized
};

struct QuantizationConfig {
  QuantizationMethod method = QuantizationMethod::kGptq;
  std::vector<QuantizationRule> rules;

  // The scheme of module "model.layers.0.self_attn.q_proj"; none: not quantized. An error if rules of the same kind
  // contradict each other, or none matches.
  llm::Result<std::optional<QuantizationScheme>> scheme_of(std::string_view module) const;
};

// Reads the object `quantization_config`; failures and warnings are kept in the reader.
QuantizationConfig read_quantization_config(ConfigReader reader);

}  // namespace llmc
