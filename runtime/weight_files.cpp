#include "runtime/weight_files.h"

#include "kernels_templates/variant.h"

namespace llmrt {

namespace fb = llm::fb;

uint64_t dtype_bytes(uint8_t dtype) { return dtype == static_cast<uint8_t>(llm::ScalarType::kF32) ? 4 : 2; }

llm::Result<WeightFiles> WeightFiles::open(const llm::PlanFile& plan, const std::string& folder) {
  WeightFiles result;
  for (const auto& file : plan.index().files) {
    const std::string path = folder + "/" + file->name;
    auto mapped = llm::MappedFile::open(path);
    if (!mapped)
      return llm::Error{"the weights of this plan are external and not found: " + mapped.error().message + "; name the model folder with --model-dir"};
    const auto bytes = (*mapped)->bytes();
    if (bytes.size() != file->bytes)
      return llm::Error{"'" + path + "' has " + std::to_string(bytes.size()) + " bytes, the plan was compiled for a file of " +
                        std::to_string(file->bytes) + "; use the same model folder or compile again"};
    const llm::PlanHash hash = llm::hash_bytes(bytes.first(file->header_bytes));
    if (!file->header_hash || hash.low != file->header_hash->low() || hash.high != file->header_hash->high())
      return llm::Error{"the header of '" + path + "' is not the one that the plan was compiled for; use the same model folder or compile again"};
    result.files_.push_back(*mapped);
  }
  return result;
}

std::span<const std::byte> WeightFiles::rows(const fb::SourceTensorT& tensor, uint64_t row_begin, uint64_t row_end) const {
  const uint64_t row_bytes = tensor.cols * dtype_bytes(tensor.dtype);
  return files_[tensor.file]->bytes().subspan(tensor.offset + row_begin * row_bytes, (row_end - row_begin) * row_bytes);
}

}  // namespace llmrt
