// The model families that can be imported: one row of the table and one small file each.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/frontend/config_reader.h"
#include "compiler/frontend/model_config.h"

namespace llmc {

enum class WeightRole {
  kEmbedTokens,
  kInputNorm,
  kQProj,
  kQBias,
  kKProj,
  kKBias,
  kVProj,
  kVBias,
  kQNorm,
  kKNorm,
  kOProj,
  kOBias,
  kPostAttentionNorm,
  kGateProj,
  kGateBias,
  kUpProj,
  kUpBias,
  kDownProj,
  kDownBias,
  kFinalNorm,
  kLmHead,
};
inline constexpr size_t kWeightRoleCount = static_cast<size_t>(WeightRole::kLmHead) + 1;

bool is_norm(WeightRole role);
bool is_bias(WeightRole role);

// A tensor that the graph needs.
struct WeightSpec {
  WeightRole role = WeightRole::kEmbedTokens;
  int64_t layer = -1;          // -1 outside the layers
  std::string name;            // in the checkpoint, with the prefix "model."
  std::vector<int64_t> shape;  // [out, in] for a linear layer
};

struct FamilyInfo {
  Family family;
  std::string_view model_type;    // of config.json
  std::string_view architecture;  // the class that config.json names in `architectures`
  // Fills the fields that this family decides: biases, qk_norm, windows, head_dim, num_kv_heads. The dimensions that
  // all families share are read before. Failures are kept in the reader.
  void (*read)(ConfigReader& reader, ModelConfig& config);
  // Every tensor of the model, in graph order.
  std::vector<WeightSpec> (*weights)(const ModelConfig& config);
};

std::span<const FamilyInfo* const> families();
const FamilyInfo& family_info(Family family);

// "llama, mistral, ..." for error messages.
std::string family_names();

extern const FamilyInfo kLlamaFamily;
extern const FamilyInfo kMistralFamily;
extern const FamilyInfo kQwen2Family;
extern const FamilyInfo kQwen3Family;

}  // namespace llmc
