// How exact a plan must be. The class follows from what was asked of the compiler, never from what it made of it.
#pragma once

#include <optional>
#include <string>

#include "test/runtime/golden.h"

namespace llmrt_test {

enum class NumberClass {
  kF32,            // float32 weights, activations and KV cache
  kNarrowWeights,  // 16-bit weights, the rest float32
  kF16Operands,    // products of float16 with float32 accumulation, or a float16 KV cache
  kBF16Operands,   // the same with bfloat16
  kRoundedInputs,  // inputs of linear layers in int8 or e4m3, against a reference that rounds them at the same points
  kInt8Kv,         // KV cache in int8, the rest as exact as the target has it
};

const char* class_name(NumberClass c);
std::optional<NumberClass> class_of_name(const std::string& name);

struct CompiledFor {
  std::string target;            // "sm_75", "x86-64-v3"
  bool f32_activations = false;  // --activations f32
  bool f32_kv = false;           // --kv-dtype f32; else the checkpoint's type
};

NumberClass expected_class(const std::string& weight_dtype, const CompiledFor& compiled);

// The largest mean KL against float64. A bfloat16 plan may be as far off as 1.5 times transformers' own bfloat16 run.
double kl_threshold(NumberClass c, const Golden& golden);

// Two logits closer than this may change places. With KL = Var(error) / 2, the threshold's standard deviation of a
// logit is sqrt(2 KL); six of them are allowed between two logits.
double near_tie(double kl_threshold);

}  // namespace llmrt_test
