#include "compiler/weight_hasher.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "plan/plan_tensors.h"
#include "plan/signature.h"

namespace llmc {

llm::Status hash_weights(const Checkpoint& checkpoint, size_t jobs, llm::fb::PlanT& plan) {
  std::vector<llm::MappedFile> files;
  for (size_t i = 0; i < checkpoint.files().size(); ++i) {
    LLM_ASSIGN(llm::MappedFile file, checkpoint.map(i));
    if (file.bytes().size() != checkpoint.files()[i].file_size)
      return llm::Error{"'" + file.path() + "' changed while it was compiled"};
    files.push_back(std::move(file));
  }
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i; (i = next++) < plan.tensors.size();) {
      llm::fb::SourceTensorT& t = *plan.tensors[i];
      const auto bytes = files[t.file].bytes().subspan(t.offset, llm::tensor_bytes(t));
      t.digest = std::make_unique<llm::fb::Digest256>(llm::fb_digest(llm::digest_bytes(bytes)));
    }
  };
  std::vector<std::thread> threads;
  for (size_t n = 1; n < std::min(jobs, plan.tensors.size()); ++n) threads.emplace_back(work);
  work();
  for (std::thread& t : threads) t.join();
  return {};
}

}  // namespace llmc
