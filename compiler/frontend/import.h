// From a model folder's facts to a module of the `llm` dialect: @forward(tokens, positions, logit_rows) -> (logits,
// hidden) and @sample(logits) -> ids.
#pragma once

#include <optional>

#include "compiler/frontend/model_config.h"
#include "compiler/frontend/quantization/quantize_scheme.h"
#include "compiler/frontend/weights.h"
#include "kernels_templates/variant.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace llmc {

struct ImportOptions {
  llm::ScalarType kv_type = llm::ScalarType::kF32;
  std::optional<QuantizeScheme> quantize = {};  // weights that it covers become quantized ones
};

// Errors: a bias of another type than its layer.
llm::Result<mlir::OwningOpRef<mlir::ModuleOp>> import_model(mlir::MLIRContext& context, const ModelConfig& config,
                                                            const ModelWeights& weights, const ImportOptions& options);

// F32, F16 or BF16 (match_weights has refused the rest).
llm::ScalarType scalar_type_of(DType dtype);

}  // namespace llmc
