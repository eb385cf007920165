// The quantized modules of a checkpoint.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "compiler/frontend/checkpoint.h"
#include "compiler/frontend/quantization/quantization_config.h"
#include "compiler/frontend/quantization/quantized_weight.h"

namespace llmc {

class QuantizedModules {
 public:
  QuantizedModules(const Checkpoint& checkpoint, const QuantizationConfig& config)
      : checkpoint_(checkpoint), config_(config) {}

  // The weight [rows, cols] of module `name` (`tensor_prefix` is its name in the checkpoint), or none if it is not
  // quantized: its `weight` is of a floating-point type. Modules whose columns are in the same order name the same
  // tensor for it. Errors name a tensor or the module.
  llm::Result<std::optional<QuantizedWeight>> read(const std::string& name, const std::string& tensor_prefix,
                                                   int64_t rows, int64_t cols);

 private:
  llm::Status share_order(QuantizedWeight& weight);

  const Checkpoint& checkpoint_;
  const QuantizationConfig& config_;
  std::map<std::vector<std::byte>, TensorInfo> orders_;
};

}  // namespace llmc
