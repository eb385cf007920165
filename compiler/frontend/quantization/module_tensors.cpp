#include "compiler/frontend/quantization/module_tensors.h"

#include <algorithm>
#include <cstring>

#include "compiler/frontend/quote.h"

namespace llmc {

llm::Error ModuleTensors::error(const TensorInfo& tensor, const std::string& what) const {
  return {checkpoint_.files()[tensor.file].path + ": tensor " + quote(tensor.name) + ": " + what};
}

llm::Result<TensorInfo> ModuleTensors::get(std::string_view suffix, const std::vector<int64_t>& shape,
                                           std::initializer_list<DType> dtypes) const {
  const TensorInfo* tensor = find(suffix);
  if (!tensor)
    return llm::Error{checkpoint_.files()[0].path + ": tensor " + quote(name_ + "." + std::string(suffix)) +
                      " is missing, expected shape " + shape_text(shape)};
  if (std::find(dtypes.begin(), dtypes.end(), tensor->dtype) == dtypes.end()) {
    std::string expected;
    for (DType dtype : dtypes) expected += (expected.empty() ? "" : " or ") + std::string(dtype_name(dtype));
    return error(*tensor, "found dtype " + std::string(dtype_name(tensor->dtype)) + ", expected " + expected);
  }
  if (tensor->shape != shape)
    return error(*tensor, "found shape " + shape_text(tensor->shape) + ", expected " + shape_text(shape) +
                              " from config.json and quantization_config");
  return *tensor;
}

llm::Result<TensorInfo> ModuleTensors::get_scales(std::string_view suffix, const std::vector<int64_t>& shape) const {
  return get(suffix, shape, {DType::kF16, DType::kBF16, DType::kF32});
}

llm::Result<PackedTensor> ModuleTensors::get_int8(std::string_view suffix, int64_t cols) const {
  PackedTensor bytes{
      .tensor = {}, .word_bytes = 1, .bits = 8, .unit_values = 1, .word_stride = 1, .line_stride = cols, .add = 128};
  LLM_ASSIGN(bytes.tensor, get(suffix, {rows_, cols}, {DType::kI8}));
  return bytes;
}

llm::Status ModuleTensors::check_multiple(const char* what, int64_t size, int64_t multiple) const {
  if (size % multiple == 0) return {};
  return llm::Error{"module " + quote(name_) + ": found " + std::to_string(size) + " " + what +
                    ", expected a multiple of " + std::to_string(multiple) + " in this packing"};
}

llm::Status ModuleTensors::read_scales_by_shape(std::string_view suffix, const QuantizationScheme& scheme,
                                                QuantizedWeight& weight) const {
  const TensorInfo* tensor = find(suffix);
  const std::vector<int64_t> found = tensor ? tensor->shape : std::vector<int64_t>{rows_, 1};
  const auto cover = [](int64_t size, int64_t block) { return (size + block - 1) / block; };
  weight.group = cols_;
  ScaleTensor& s = weight.scales;
  std::vector<int64_t> expected = {rows_, 1};
  if (scheme.group > 0) {
    weight.group = group_or_row(scheme.group);
    s.row_block = std::max<int64_t>(scheme.block_rows, 1);
    expected = {cover(rows_, s.row_block), cover(cols_, scheme.group)};
    s.row_stride = expected[1], s.group_stride = 1;
  } else if (found.empty() || found == std::vector<int64_t>{1} || found == std::vector<int64_t>{1, 1}) {
    expected = found;
    s.row_block = rows_;
  } else {
    if (found == std::vector<int64_t>{rows_}) expected = found;
    s.row_stride = 1;
  }
  LLM_ASSIGN(s.tensor, get_scales(suffix, expected));
  weight.scale = s.tensor.dtype;
  return {};
}

llm::Status ModuleTensors::read_group_of(std::string_view suffix, QuantizedWeight& weight) const {
  LLM_ASSIGN(const TensorInfo tensor, get(suffix, {cols_}, {DType::kI32}));
  LLM_ASSIGN(const std::vector<std::byte> bytes, checkpoint_.read(tensor));
  const int64_t groups = (cols_ + weight.group - 1) / weight.group;
  std::vector<int64_t> sizes(static_cast<size_t>(groups));
  bool sorted = true;
  for (int64_t k = 0; k < cols_; ++k) {
    int32_t group;
    std::memcpy(&group, bytes.data() + k * static_cast<int64_t>(sizeof group), sizeof group);
    if (group < 0 || group >= groups)
      return error(tensor, "found group " + std::to_string(group) + " of column " + std::to_string(k) +
                               ", expected 0 to " + std::to_string(groups - 1));
    ++sizes[static_cast<size_t>(group)];
    sorted &= group == k / weight.group;
  }
  if (sorted) {
    weight.spare.push_back(tensor.name);
    return {};
  }
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t expected = std::min(weight.group, cols_ - g * weight.group);
    if (sizes[static_cast<size_t>(g)] != expected)
      return error(tensor, "found " + std::to_string(sizes[static_cast<size_t>(g)]) + " columns of group " +
                               std::to_string(g) + ", expected " + std::to_string(expected));
  }
  weight.group_of = tensor;
  return {};
}

void ModuleTensors::add_spare(std::initializer_list<std::string_view> suffixes, QuantizedWeight& weight) const {
  for (std::string_view suffix : suffixes)
    if (const TensorInfo* tensor = find(suffix)) weight.spare.push_back(tensor->name);
}

}  // namespace llmc
