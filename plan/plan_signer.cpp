#include "plan/plan_signer.h"

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "plan/file_io.h"
#include "plan/plan_reader.h"

namespace llm {

Status sign_plan(const std::string& path, const SecretKey& key) {
  std::error_code error;
  const std::filesystem::path real = std::filesystem::canonical(path, error);  // a link stays a link
  LLM_ASSIGN(const auto plan, PlanFile::open(error ? path : real.string()));
  const std::vector<fb::Segment>& segments = plan->index().segments;
  std::vector<uint32_t> order(segments.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return std::pair(segments[a].offset(), segments[a].stored_bytes()) <
           std::pair(segments[b].offset(), segments[b].stored_bytes());
  });

  LLM_ASSIGN(auto file, AtomicFile::create(plan->path()));
  PlanHead head = plan->head();
  PlanSignature signature;
  signature.segments.resize(segments.size());
  for (uint32_t i : order) {
    const uint64_t begin = head.segment_base + segments[i].offset();
    if (begin < file->size()) return Error{"'" + path + "' cannot be signed: its segments overlap"};
    file->skip_to(begin);
    DigestStream digest;
    LLM_TRY(plan->stream(i, [&](uint64_t, std::span<const std::byte> piece) {
      digest.update(piece);
      return file->append(piece);
    }));
    signature.segments[i] = digest.finish();
  }
  file->skip_to(head.index_offset);
  const std::vector<std::byte> index(plan->stored_index().begin(), plan->stored_index().end());
  LLM_TRY(file->append(index));
  LLM_TRY(file->pad_to(kSignatureAlignment));
  head.file_bytes = file->size() + PlanSignature::record_bytes(segments.size());
  signature.sign(key, head, index);
  LLM_TRY(file->append(signature.record()));
  LLM_TRY(file->write_at(0, std::as_bytes(std::span(&head, 1))));
  return file->commit();
}

}  // namespace llm
