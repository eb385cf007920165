// One row of data per target. Nothing else in the tree compares target names or compute capabilities: code asks a row.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels_templates/variant.h"
#include "plan/result.h"

namespace llmc {

enum class TargetKind : uint8_t { kCuda, kX86 };

struct Target {
  const char* name;        // what a user types: "sm_61", "x86-64-v3"
  TargetKind kind;
  const char* arch;        // what the code generator is told: "sm_90a", or the clang -march value
  int cc;                  // compute capability * 10 (CUDA), 0 (x86)
  uint32_t features;       // llm::Feature bits
  int shared_bytes;        // shared memory that one block may use, opt-in limit included
  int l2_kib;              // last-level cache of a typical card
  int units;               // SMs of a typical card, or cores
  double bandwidth_gb_s;   // memory bandwidth of a typical card (vendor data sheet; for x86 a two-channel DDR4 desktop)
  double fp32_tflops;      // FMA rate of a typical card
  double matrix_tflops;    // dense fp16/bf16 rate of its matrix units, 0 without
  double launch_us;        // cost of one kernel inside a graph
  llm::ScalarType f16_operand;   // operand type of a linear layer with fp16 weights
  llm::ScalarType bf16_operand;  // the same with bf16 weights
  const char* extra_flags;       // further clang flags (x86), comma-separated
  const char* typical;           // the card or processor that the rates are taken from
  // Tokens of a step for which a persistent kernel was measured to be faster than its launches (docs/performance.md); 0: none.
  int least_persistent_tokens = 0, most_persistent_tokens = 0;
  // Most columns of an activation that share a scale, where linear layers on integer codes may take their activations in int8; 0: they do not.
  int int8_group = 0;
};

// All rows, oldest first.
const std::vector<Target>& all_targets();

// The row with that name; for "native" the best row of this processor; for an unknown newer sm_NNN the nearest older row,
// with `warning` set. An unknown name is an error that lists the known ones.
llm::Result<const Target*> find_target(std::string_view name, std::string* warning);

// Parses "sm_61,sm_86,native"; rejects duplicates.
llm::Result<std::vector<const Target*>> parse_target_list(std::string_view list, std::string* warning);

// "dp4a, tensor f16, cp.async"
std::string feature_names(uint32_t features);

}  // namespace llmc
