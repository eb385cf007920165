#include "plan/plan_writer.h"

#include <zstd.h>

#include <algorithm>
#include <cstring>

namespace llm {
namespace {

constexpr int kZstdLevel = 9;  // code compresses 3-4x; higher levels cost seconds for a few per cent
constexpr uint64_t kPieceBytes = 64 << 20;

}  // namespace

Result<std::unique_ptr<PlanWriter>> PlanWriter::create(const std::string& path) {
  LLM_ASSIGN(auto file, AtomicFile::create(path));
  const std::vector<std::byte> room(kSegmentAlignment);  // the head is written last
  LLM_TRY(file->append(room));
  return std::unique_ptr<PlanWriter>(new PlanWriter(std::move(file)));
}

Result<uint32_t> PlanWriter::add(fb::SegmentKind kind, std::span<const std::byte> bytes, fb::Compression compression) {
  std::vector<std::byte> packed;
  std::span<const std::byte> stored = bytes;
  if (compression == fb::Compression::zstd) {
    packed.resize(ZSTD_compressBound(bytes.size()));
    const size_t n = ZSTD_compress(packed.data(), packed.size(), bytes.data(), bytes.size(), kZstdLevel);
    if (ZSTD_isError(n)) return Error{std::string("compression failed: ") + ZSTD_getErrorName(n)};
    packed.resize(n);
    stored = packed;
  }
  const PlanHash hash = hash_bytes(stored);
  for (size_t i = 0; i < segments_.size(); ++i) {
    const fb::Segment& s = segments_[i];
    if (s.hash().low() == hash.low && s.hash().high() == hash.high && s.kind() == kind && s.compression() == compression &&
        s.stored_bytes() == stored.size())
      return static_cast<uint32_t>(i);
  }
  LLM_TRY(file_->pad_to(kSegmentAlignment));
  segments_.emplace_back(file_->size() - kSegmentAlignment, stored.size(), bytes.size(), fb::Hash128(hash.low, hash.high), kind, compression);
  LLM_TRY(file_->append(stored));
  return static_cast<uint32_t>(segments_.size() - 1);
}

Result<uint32_t> PlanWriter::add_streamed(fb::SegmentKind kind, uint64_t bytes, const Fill& fill) {
  LLM_TRY(file_->pad_to(kSegmentAlignment));
  const uint64_t offset = file_->size() - kSegmentAlignment;
  std::vector<std::byte> piece(std::min(bytes, kPieceBytes));
  HashStream state;
  for (uint64_t done = 0; done < bytes;) {
    const std::span<std::byte> part(piece.data(), std::min<uint64_t>(piece.size(), bytes - done));
    LLM_TRY(fill(done, part));
    state.update(part);
    LLM_TRY(file_->append(part));
    done += part.size();
  }
  const PlanHash hash = state.finish();
  segments_.emplace_back(offset, bytes, bytes, fb::Hash128(hash.low, hash.high), kind, fb::Compression::none);
  return static_cast<uint32_t>(segments_.size() - 1);
}

Status PlanWriter::finish(fb::PlanT& plan) {
  plan.segments = segments_;
  flatbuffers::FlatBufferBuilder builder(1 << 20);
  fb::FinishPlanBuffer(builder, fb::Plan::Pack(builder, &plan));
  const std::span<const std::byte> index(reinterpret_cast<const std::byte*>(builder.GetBufferPointer()), builder.GetSize());
  LLM_TRY(file_->pad_to(kSegmentAlignment));
  PlanHead head{};
  std::memcpy(head.magic, kPlanMagic, sizeof head.magic);
  head.major = kPlanMajor;
  head.minor = kPlanMinor;
  head.head_bytes = sizeof head;
  head.index_offset = file_->size();
  head.index_bytes = index.size();
  head.segment_base = kSegmentAlignment;
  head.file_bytes = head.index_offset + head.index_bytes;
  head.root_hash = hash_bytes(index);
  LLM_TRY(file_->append(index));
  LLM_TRY(file_->write_at(0, std::as_bytes(std::span(&head, 1))));
  return file_->commit();
}

}  // namespace llm
