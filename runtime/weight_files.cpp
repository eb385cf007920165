#include "runtime/weight_files.h"

#include <algorithm>

#include "plan/file_io.h"
#include "plan/plan_tensors.h"

namespace llmrt {

namespace fb = llm::fb;

llm::Result<WeightFiles> WeightFiles::open(std::shared_ptr<const llm::PlanFile> plan, const std::string& folder) {
  WeightFiles result;
  result.plan_ = std::move(plan);
  for (const auto& file : result.plan_->index().files) {
    const std::string path = folder + "/" + file->name;
    auto mapped = llm::MappedFile::open(path);
    if (!mapped)
      return llm::Error{"the weights of this plan are external and not found: " + mapped.error().message +
                        "; name the model folder with --model-dir"};
    const auto bytes = mapped->bytes();
    if (bytes.size() != file->bytes)
      return llm::Error{"'" + path + "' has " + std::to_string(bytes.size()) +
                        " bytes, the plan was compiled for a file of " + std::to_string(file->bytes) +
                        "; use the same model folder or compile again"};
    const llm::PlanHash hash = llm::hash_bytes(bytes.first(file->header_bytes));
    if (!file->header_hash || hash.low != file->header_hash->low() || hash.high != file->header_hash->high())
      return llm::Error{"the header of '" + path +
                        "' is not the one that the plan was compiled for; use the same model folder or compile again"};
    result.files_.push_back(std::move(*mapped));
  }
  return result;
}

llm::Result<std::span<const std::byte>> WeightFiles::checked(uint32_t index) {
  const fb::SourceTensorT& tensor = *plan_->index().tensors[index];
  const llm::MappedFile& file = files_[tensor.file];
  std::span<const std::byte> bytes = file.bytes().subspan(tensor.offset, llm::tensor_bytes(tensor));
  if (!tensor.digest) return bytes;
  if (const auto copy = copies_.find(index); copy != copies_.end()) return std::span<const std::byte>(copy->second);
  if (plan_->authenticated())
    bytes = copies_[index] = std::vector<std::byte>(bytes.begin(), bytes.end());
  else if (checked_.count(index))
    return bytes;
  if (llm::digest_bytes(bytes) != llm::digest_of(*tensor.digest))
    return llm::Error{"tensor " + tensor.key + " of '" + file.path() +
                      "' does not contain what the plan was compiled for; use the same weights or compile again"};
  checked_.insert(index);
  return bytes;
}

bool WeightFiles::all_have_digests() const {
  const auto& tensors = plan_->index().tensors;
  return std::all_of(tensors.begin(), tensors.end(), [](const auto& t) { return t->digest != nullptr; });
}

const llm::MappedFile* WeightFiles::mapping_of(uint32_t tensor, std::span<const std::byte> bytes) const {
  const llm::MappedFile& file = files_[plan_->index().tensors[tensor]->file];
  const auto begin = file.bytes().data(), end = begin + file.bytes().size();
  return bytes.data() >= begin && bytes.data() < end ? &file : nullptr;
}

llm::Result<std::span<const std::byte>> WeightFiles::rows(uint32_t tensor, uint64_t row_begin, uint64_t row_end) {
  LLM_ASSIGN(const auto bytes, checked(tensor));
  const fb::SourceTensorT& t = *plan_->index().tensors[tensor];
  const uint64_t row_bytes = t.cols * llm::element_bytes(t.dtype);
  return bytes.subspan(row_begin * row_bytes, (row_end - row_begin) * row_bytes);
}

}  // namespace llmrt
