// Binds the tensors that a model's graph needs to the tensors of a checkpoint.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compiler/frontend/checkpoint.h"
#include "compiler/frontend/families/families.h"
#include "compiler/frontend/model_config.h"
#include "compiler/frontend/quantization/quantized_weight.h"
#include "plan/result.h"

namespace llmc {

struct Weight {
  WeightRole role = WeightRole::kEmbedTokens;
  int64_t layer = -1;  // -1 outside the layers
  TensorInfo
      tensor;  // its name is the one in the checkpoint; tensor.file indexes Checkpoint::files(). Quantized: the codes
  std::optional<QuantizedWeight> quantized;
};

class ModelWeights {
 public:
  // In graph order: embedding, layer by layer, final norm, head (absent when tied).
  const std::vector<Weight>& all() const { return weights_; }

  // Null when this model has no such weight: a bias that is switched off, the head when tied.
  const Weight* find(WeightRole role, int64_t layer = -1) const;

  // Every tensor that the graph needs: those of all(), and what belongs to quantized ones.
  const std::vector<TensorInfo>& sources() const { return sources_; }

  // F32, F16 or BF16: of the embedding, and of every linear layer and the head where they are not quantized. Norms and
  // biases may differ from it.
  DType linear_dtype() const { return linear_dtype_; }

  // Tensors of the checkpoint that the graph does not need, by name: `rotary_emb.inv_freq`, the head of a tied model,
  // biases of quantized modules that are all zero.
  const std::vector<std::string>& ignored() const { return ignored_; }

  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  friend llm::Result<ModelWeights> match_weights(const ModelConfig&, const Checkpoint&);
  void add(Weight weight);

  void add_quantized(WeightRole role, int64_t layer, QuantizedWeight weight);

  std::vector<Weight> weights_;
  std::vector<TensorInfo> sources_;
  std::vector<std::string> warnings_;
  std::vector<std::array<int32_t, kWeightRoleCount>> index_;  // [layer + 1][role]: into weights_, -1 for none
  DType linear_dtype_ = DType::kF32;
  std::vector<std::string> ignored_;
};

// Errors, each naming the tensor: missing; another shape; a dtype other than F32, F16, BF16; linear weights of
// different dtypes; a tensor of the checkpoint that the graph does not use. Names may lack the prefix "model."
// throughout. Of quantized modules, all tensors of the module's format are needed; those that say nothing more are
// ignored.
llm::Result<ModelWeights> match_weights(const ModelConfig& config, const Checkpoint& checkpoint);

}  // namespace llmc
