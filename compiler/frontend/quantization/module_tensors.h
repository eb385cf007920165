// The tensors of one module of a quantized checkpoint, found and checked by name.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "compiler/frontend/checkpoint.h"
#include "compiler/frontend/quantization/quantization_config.h"
#include "compiler/frontend/quantization/quantized_weight.h"

namespace llmc {

class ModuleTensors {
 public:
  // Module `name` as the checkpoint has it, with a weight [rows, cols].
  ModuleTensors(const Checkpoint& checkpoint, std::string name, int64_t rows, int64_t cols)
      : checkpoint_(checkpoint), name_(std::move(name)), rows_(rows), cols_(cols) {}

  const Checkpoint& checkpoint() const { return checkpoint_; }
  const std::string& name() const { return name_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }

  // Tensor NAME.`suffix`, or null.
  const TensorInfo* find(std::string_view suffix) const { return checkpoint_.find(name_ + "." + std::string(suffix)); }
  // Errors name the tensor: missing, another shape, another dtype.
  llm::Result<TensorInfo> get(std::string_view suffix, const std::vector<int64_t>& shape,
                              std::initializer_list<DType> dtypes) const;
  llm::Result<TensorInfo> get_scales(std::string_view suffix, const std::vector<int64_t>& shape) const;
  // int8 [rows, cols], row by row, in two's complement: plus 128.
  llm::Result<PackedTensor> get_int8(std::string_view suffix, int64_t cols) const;
  llm::Error error(const TensorInfo& tensor, const std::string& what) const;

  // Scales of whole rows, one for all, or of blocks of rows x columns, as their shape says; sets the group of `weight`.
  llm::Status read_scales_by_shape(std::string_view suffix, const QuantizationScheme& scheme,
                                   QuantizedWeight& weight) const;
  // `suffix` [cols]: the group of each column. Columns in the order of their groups need nothing.
  llm::Status read_group_of(std::string_view suffix, QuantizedWeight& weight) const;
  // Divides the columns into groups of `group`, or all in one if that is 0.
  int64_t group_or_row(int64_t group) const { return group > 0 && group < cols_ ? group : cols_; }
  // Tensors that may be there and say nothing more about the weight.
  void add_spare(std::initializer_list<std::string_view> suffixes, QuantizedWeight& weight) const;
  // Refuses a size that is no multiple of what the packing needs.
  llm::Status check_multiple(const char* what, int64_t size, int64_t multiple) const;

 private:
  const Checkpoint& checkpoint_;
  std::string name_;
  int64_t rows_, cols_;
};

}  // namespace llmc
