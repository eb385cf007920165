// Rotary position embedding: the inverse frequencies of every rope kind, as transformers computes them.
// Formulas: transformers, modeling_rope_utils.py; each step in float32 where that file works on float32 tensors.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "plan/result.h"

namespace llmc {

enum class RopeKind { kDefault, kLinear, kDynamic, kLlama3, kYarn, kLongrope };

// The `rope_type` of a config.json: "llama3".
std::string_view rope_kind_name(RopeKind kind);

// What a config says. Which fields count depends on the kind.
struct RopeParameters {
  RopeKind kind = RopeKind::kDefault;
  double theta = 10000.0;
  std::optional<double> factor = std::nullopt;            // linear, dynamic, llama3; yarn and longrope have a default
  int64_t original_max_position_embeddings = 0;           // llama3, yarn, longrope
  double low_freq_factor = 0.0;                           // llama3
  double high_freq_factor = 0.0;                          // llama3
  std::optional<double> attention_factor = std::nullopt;  // yarn, longrope
  double beta_fast = 32.0;                                // yarn
  double beta_slow = 1.0;                                 // yarn
  double mscale = 0.0;                                    // yarn; 0: not given
  double mscale_all_dim = 0.0;                            // yarn; 0: not given
  bool truncate = true;                                   // yarn
  std::vector<double> short_factor = {};                  // longrope, [rotary_dim / 2]
  std::vector<double> long_factor = {};                   // longrope, [rotary_dim / 2]
};

// What a graph needs: angle = float32(position) * inv_freq[j]; cos and sin are multiplied by attention_scaling before
// they are rounded to the activation type. Rotation is half-split: element j pairs with j + rotary_dim / 2.
struct Rope {
  RopeKind kind = RopeKind::kDefault;
  double theta = 10000.0;
  int64_t rotary_dim = 0;       // all of head_dim in the families that exist so far
  std::vector<float> inv_freq;  // [rotary_dim / 2]
  double attention_scaling = 1.0;
  // Positions from which these frequencies would be wrong, 0 for none: `dynamic` is right below
  // max_position_embeddings only, and longrope's short list up to original_max_position_embeddings.
  int64_t max_positions = 0;
};

// `max_context` is the greatest number of positions that the plan is compiled for, 0 for max_position_embeddings.
//
// Two kinds make their frequencies depend on the length of the running sequence, which a static plan cannot:
// - dynamic: up to max_position_embeddings it equals `default`; a longer max_context is refused.
// - longrope: the long list when max_context is above original_max_position_embeddings, else the short one.
// transformers
//   would use the short list for a short sequence even then, and drop its KV cache when it crosses the border.
//
// Errors: max_context too long for dynamic, a list of the wrong length, a formula without a finite result. They name
// the key without its file; the caller puts the file before it.
llm::Result<Rope> compute_rope(const RopeParameters& parameters, int64_t head_dim, int64_t max_position_embeddings,
                               int64_t max_context);

}  // namespace llmc
