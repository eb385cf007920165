// The variant tables of both kinds of target, and what a variant costs on a target for a shape.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "compiler/targets/target.h"
#include "kernels_templates/abi.h"
#include "kernels_templates/variant.h"

namespace llmc {

class Tuning;

// A family's work at the size of a bucket.
struct KernelShape {
  std::string family;
  std::optional<llm::ScalarType> weight, operand, kv;  // those that the family has; quantized weights: the type of their scales
  int64_t head_dim = 0;                                // attention and rope_kv_write
  int64_t rows = 1, cols = 1, k = 1;                   // output rows and columns, reduction length (attention: KV heads)
  double bytes = 0, flops = 0;                         // least traffic and operations
  bool exact_operands = false;                         // no variant that rounds float32 operands (--activations f32)
  double row_tile_bytes = 0;                           // read again by every tile of rows (attention: the KV entries)
  int64_t least_row_tiles = 1;                         // attention: rows of different sequences share no tile
  std::optional<llm::CodeType> code = {};              // of quantized weights
  int64_t group = 0;                                   // their columns that share a scale
  int interleave = 0;                                  // their order in memory; 0: of no matter
  bool fp8_rows = false;                               // activations may be rounded to e4m3 (--activations fp8)
  int64_t int8_group = 0;                              // columns of an activation in int8 that share a scale; 0: it has an operand type
  bool int8_panels = false;                            // its rows stand in panels
};

// A variant with what it costs: a measured time, or a predicted one.
struct RatedVariant {
  const llm::Variant* variant = nullptr;
  double us = 0;
  bool measured = false;
};

struct KernelChoice {
  RatedVariant best, runner_up;  // the runner-up's variant is null where there is none
};

std::span<const llm::Variant> all_variants(TargetKind kind);
const llm::Variant* find_variant(TargetKind kind, std::string_view family, std::string_view name);  // null: there is none

// Whether `variant` can run `shape` on `target`.
bool can_run(const Target& target, const llm::Variant& variant, const KernelShape& shape);

// The cheapest variant that can run `shape` on `target`; `forced` names a variant or is empty. Variants that `tuning` holds a time for
// come before all that are merely predicted. An error says what was asked for.
llm::Result<KernelChoice> choose_kernel(const Target& target, const KernelShape& shape, std::string_view forced,
                                        const Tuning* tuning = nullptr);

// Predicted microseconds.
double predict_us(const Target& target, const llm::Variant& variant, const KernelShape& shape);

// Of the cheapest variant for `shape`, by the shares of the table alone; none if nothing can run it. For choices between families, of which
// not all have paces (KernelCost.h).
std::optional<double> cheapest_us(const Target& target, const KernelShape& shape);

// "linear_gemv<bf16, float, 4>" and "linear_gemv_r4__bf16_float" (an identifier, unique per instance).
std::string instance_name(const llm::Variant& variant, const KernelShape& shape);
std::string entry_name(const llm::Variant& variant, const KernelShape& shape);

// The argument struct of a family in kernels_templates/abi.h: "LinearArgs"; empty for an unknown family.
std::string args_struct(std::string_view family);

// What a persistent kernel runs in place of a launch of that family; kPhaseNone: it cannot.
llm_abi::PhaseBody phase_body(std::string_view family);

int64_t ceil_div(int64_t a, int64_t b);

}  // namespace llmc
