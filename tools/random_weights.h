// Seeded random weights whose model notices a missing piece.
//
// Weights of standard deviation 0.02, as models are initialised with, prove nothing: attention is then nearly uniform,
// and a model without RoPE gives almost the same logits. The `test` scales give attention scores and logits a standard
// deviation of at least 1, norms of 1 +- 0.3 and biases that are not zero, with activations bounded through any depth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "compiler/frontend/dtype.h"
#include "compiler/frontend/families/families.h"
#include "compiler/frontend/model_config.h"

namespace llmc {

enum class StdMode {
  kTest,       // as above
  kRealistic,  // 0.02 everywhere, norms 1 +- 0.1: the magnitudes of a freshly initialised model
};

struct Distribution {
  float mean = 0.0f;
  float std = 1.0f;
};

Distribution weight_distribution(WeightRole role, const ModelConfig& config, StdMode mode);

// The stream of one tensor: depends on the seed and the name alone, so that sharding and threads do not change values.
uint64_t tensor_key(uint64_t seed, std::string_view tensor_name);

// Writes elements [first, first + count) of the stream to `out`, which holds count elements of F32, F16 or BF16. The
// values are a sum of four uniforms: within 3.47 standard deviations, close to normal, and the same on every machine.
void fill_random(uint64_t key, uint64_t first, size_t count, Distribution distribution, DType dtype, std::byte* out);

}  // namespace llmc
