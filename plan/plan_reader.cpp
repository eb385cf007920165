#include "plan/plan_reader.h"

#include <zstd.h>

#include <cstring>

namespace llm {
namespace {

constexpr uint64_t kMaxRawSegmentBytes = uint64_t{1} << 31;  // of a compressed segment; code and text stay far below

// The flatbuffer verifier does not check the alignment of structs inside of vectors (version 2.0); reading one that is not aligned is
// undefined.
template <typename T>
bool aligned(const flatbuffers::Vector<const T*>* structs) {
  return !structs || reinterpret_cast<uintptr_t>(structs->Data()) % alignof(T) == 0;
}

bool aligned(const fb::Plan& plan) {
  if (!aligned(plan.segments())) return false;
  if (!plan.targets()) return true;
  for (const fb::Target* target : *plan.targets()) {
    if (target->weights())
      for (const fb::Weight* weight : *target->weights())
        if (!aligned(weight->parts())) return false;
    if (!target->programs()) continue;
    for (const fb::Program* program : *target->programs())
      if (program->launches())
        for (const fb::Launch* launch : *program->launches())
          if (!aligned(launch->slots())) return false;
  }
  return true;
}

Error bad(const std::string& path, const std::string& what) { return Error{"'" + path + "' is not a usable plan: " + what}; }

}  // namespace

Result<std::shared_ptr<PlanFile>> PlanFile::open(const std::string& path) {
  LLM_ASSIGN(auto file, MappedFile::open(path));
  const auto bytes = file->bytes();
  PlanHead head;
  if (bytes.size() < sizeof head) return bad(path, "it has " + std::to_string(bytes.size()) + " bytes, less than the head's 64");
  std::memcpy(&head, bytes.data(), sizeof head);
  if (std::memcmp(head.magic, kPlanMagic, sizeof head.magic) != 0) return bad(path, "it does not start with the plan magic");
  if (head.major != kPlanMajor)
    return bad(path, "format " + std::to_string(head.major) + "." + std::to_string(head.minor) + ", this program reads " +
                         std::to_string(kPlanMajor) + ".x; compile the model again with this version's llmc");
  if (head.head_bytes != sizeof head) return bad(path, "head of " + std::to_string(head.head_bytes) + " bytes, expected 64");
  if (head.file_bytes != bytes.size())
    return bad(path, "truncated or extended: " + std::to_string(bytes.size()) + " bytes, the head says " + std::to_string(head.file_bytes));
  if (head.index_bytes > kMaxIndexBytes || head.index_offset > bytes.size() || head.index_bytes > bytes.size() - head.index_offset ||
      head.index_offset % 8 != 0)
    return bad(path, "the index lies outside of the file");
  if (head.segment_base < sizeof head || head.segment_base > head.index_offset) return bad(path, "the segments lie outside of the file");
  const auto index_bytes = bytes.subspan(head.index_offset, head.index_bytes);
  if (!(hash_bytes(index_bytes) == head.root_hash)) return bad(path, "the index does not match the root hash: the file is damaged");
  flatbuffers::Verifier::Options options;
  options.max_tables = 50'000'000;
  flatbuffers::Verifier verifier(reinterpret_cast<const uint8_t*>(index_bytes.data()), index_bytes.size(), options);
  if (!fb::VerifyPlanBuffer(verifier) || !aligned(*fb::GetPlan(index_bytes.data()))) return bad(path, "the index is malformed");

  auto plan = std::make_shared<PlanFile>();
  fb::GetPlan(index_bytes.data())->UnPackTo(&plan->index_);
  if (Status s = verify_plan(plan->index_, head.index_offset - head.segment_base); !s) return bad(path, s.error().message);
  plan->file_ = std::move(file);
  plan->segment_base_ = head.segment_base;
  plan->index_bytes_ = head.index_bytes;
  return plan;
}

std::span<const std::byte> PlanFile::stored(uint32_t segment) const {
  const fb::Segment& s = index_.segments[segment];
  return file_->bytes().subspan(segment_base_ + s.offset(), s.stored_bytes());
}

Result<std::vector<std::byte>> PlanFile::read(uint32_t segment) const {
  const fb::Segment& s = index_.segments[segment];
  const auto bytes = stored(segment);
  const PlanHash hash = hash_bytes(bytes);
  if (hash.low != s.hash().low() || hash.high != s.hash().high())
    return bad(path(), "segment " + std::to_string(segment) + " does not match its hash: the file is damaged");
  if (s.compression() == fb::Compression::none) return std::vector<std::byte>(bytes.begin(), bytes.end());
  if (s.raw_bytes() > kMaxRawSegmentBytes) return bad(path(), "segment " + std::to_string(segment) + " is too large when unpacked");
  std::vector<std::byte> raw(s.raw_bytes());
  const size_t n = ZSTD_decompress(raw.data(), raw.size(), bytes.data(), bytes.size());
  if (ZSTD_isError(n) || n != raw.size()) return bad(path(), "segment " + std::to_string(segment) + " cannot be unpacked");
  return raw;
}

}  // namespace llm
