// The weight of one quantized module: which tensors of a checkpoint hold it, and where codes, zero points and scales
// lie in these.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "compiler/frontend/safetensors.h"

namespace llmc {

// PackedView of kernels_templates/abi.h.
struct PackedTensor {
  TensorInfo tensor;
  int64_t word_bytes = 4;
  int64_t bits = 0;
  int64_t unit_values = 0;
  int64_t unit_words = 1;
  int64_t word_stride = 0;
  int64_t line_stride = 0;
  int64_t order = 0;
  int64_t add = 0;
  bool by_column = false;
};

// ScaleView of kernels_templates/abi.h.
struct ScaleTensor {
  TensorInfo tensor;
  int64_t row_block = 1;
  int64_t row_stride = 0;
  int64_t group_stride = 0;
  int64_t divisor = 1;
  std::optional<TensorInfo> map, map_scales;
  int64_t map_block = 1;
  double map_offset = 0;
};

struct QuantizedWeight {
  std::string code;  // of !llm.quantized: "u4"
  int64_t rows = 0, cols = 0;
  int64_t group = 0;                   // columns that share a scale
  DType scale = DType::kF16;           // as computed with
  PackedTensor codes;                  // [rows, cols]
  std::optional<PackedTensor> zeros;   // [rows, groups]; none: 2^(bits - 1)
  ScaleTensor scales;                  // [rows, groups]
  std::optional<TensorInfo> group_of;  // the group of every column, where columns are not in the order of their groups

  // Tensors of the module that say nothing more: the trivial g_idx, weight_shape, scales of activations.
  std::vector<std::string> spare;
  std::vector<std::string> warnings;
};

}  // namespace llmc
