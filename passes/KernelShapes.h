// From an operation of the `llm` dialect in a bucket to the family and the size of its kernel.
#pragma once

#include <array>
#include <optional>

#include "passes/KernelTable.h"
#include "passes/Passes.h"

namespace llmc {

// Coefficients of (1, tokens, sequences, logit rows, KV). KV counts the cache entries of the step's sequences for bytes, which are read
// once at best, and pairs of a query and an entry for operations.
using LinearCost = std::array<double, 5>;

struct OpWork {
  KernelShape shape;
  LinearCost bytes{}, flops{};
};

llm::ScalarType scalar_type(mlir::Type type);
mlir::Type element_type(mlir::MLIRContext* context, llm::ScalarType type);
int64_t element_bytes(mlir::Type type);
int64_t kv_entry_bytes(mlir::Type element, int64_t head_dim);  // of a token and KV head, K or V, with its scale

constexpr int64_t kPanelRows = 32, kPanelColumns = 32;  // of llm.bf16_panels
// Rows that a buffer of this element type has room for.
int64_t stored_rows(mlir::Type type, int64_t rows);

// Where codes (first), scales and sums of activations in int8 lie in their buffer: offsets from its start.
struct Int8Layout {
  int64_t scales = 0, sums = 0, bytes = 0;
};
Int8Layout int8_layout(ops::Int8RowsType type, int64_t rows, int64_t width);

// True if the leading dimension of `v` counts logit rows (it comes from gather_rows), not tokens.
bool is_logit_rows(mlir::Value v);

// The work of `op`, or nullopt for operations that launch nothing (weight, slice, kv_cache, return).
std::optional<OpWork> work_of(mlir::Operation* op, const Bucket& bucket);

// --activations f32: no operand is rounded.
bool keeps_float_activations(mlir::ModuleOp module);

// --activations fp8: those of weights in e4m3 may be rounded to e4m3.
bool takes_fp8_activations(mlir::ModuleOp module);

Bucket bucket_of(mlir::func::FuncOp function);

}  // namespace llmc
