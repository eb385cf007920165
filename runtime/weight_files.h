// The safetensors files that a plan's external weights come from.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "plan/file_io.h"
#include "plan/plan_reader.h"

namespace llmrt {

class WeightFiles {
 public:
  // Maps the plan's files in `folder` and checks that they are the ones the plan was compiled for (size, and hash of the header).
  static llm::Result<WeightFiles> open(const llm::PlanFile& plan, const std::string& folder);

  // Rows [row_begin, row_end) of the tensor, all columns, as they lie in the file.
  std::span<const std::byte> rows(const llm::fb::SourceTensorT& tensor, uint64_t row_begin, uint64_t row_end) const;

 private:
  std::vector<std::shared_ptr<llm::MappedFile>> files_;
};

uint64_t dtype_bytes(uint8_t dtype);

}  // namespace llmrt
