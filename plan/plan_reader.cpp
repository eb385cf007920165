#include "plan/plan_reader.h"

#include <zstd.h>

#include <algorithm>
#include <cstring>

#include "plan/file_io.h"

namespace llm {
namespace {

constexpr uint64_t kPieceBytes = 16 << 20;
constexpr uint64_t kMaxRawSegmentBytes = uint64_t{1} << 31;  // of a compressed segment; code and text stay far below

// The flatbuffer verifier does not check the alignment of structs inside of vectors (version 2.0); reading one that is
// not aligned is undefined.
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

Error bad(const std::string& path, const std::string& what) {
  return Error{"'" + path + "' is not a usable plan: " + what};
}

Result<PlanHead> read_head(const std::string& path, std::span<const std::byte> bytes) {
  PlanHead head;
  if (bytes.size() < sizeof head)
    return bad(path, "it has " + std::to_string(bytes.size()) + " bytes, less than the head's 64");
  std::memcpy(&head, bytes.data(), sizeof head);
  if (std::memcmp(head.magic, kPlanMagic, sizeof head.magic) != 0)
    return bad(path, "it does not start with the plan magic");
  if (head.major != kPlanMajor)
    return bad(path, "format " + std::to_string(head.major) + "." + std::to_string(head.minor) +
                         ", this program reads " + std::to_string(kPlanMajor) +
                         ".x; compile the model again with this version's llmc");
  if (head.head_bytes != sizeof head)
    return bad(path, "head of " + std::to_string(head.head_bytes) + " bytes, expected 64");
  if (head.file_bytes != bytes.size())
    return bad(path, "truncated or extended: " + std::to_string(bytes.size()) + " bytes, the head says " +
                         std::to_string(head.file_bytes));
  if (head.index_bytes > kMaxIndexBytes || head.index_offset > bytes.size() ||
      head.index_bytes > bytes.size() - head.index_offset || head.index_offset % 8 != 0)
    return bad(path, "the index lies outside of the file");
  if (head.segment_base < sizeof head || head.segment_base > head.index_offset)
    return bad(path, "the segments lie outside of the file");
  return head;
}

std::string ids(std::span<const PublicKey> keys) {
  std::string text;
  for (const PublicKey& key : keys) text += (text.empty() ? "" : ", ") + key.id();
  return text;
}

// Where the signature begins, if there is one.
uint64_t signature_offset(const PlanHead& head) {
  return (head.index_offset + head.index_bytes + kSignatureAlignment - 1) / kSignatureAlignment * kSignatureAlignment;
}

}  // namespace

Result<std::shared_ptr<PlanFile>> PlanFile::open(const std::string& path, std::span<const PublicKey> trusted) {
  auto plan = std::make_shared<PlanFile>();
  LLM_ASSIGN(plan->file_, MappedFile::open(path));
  LLM_ASSIGN(plan->head_, read_head(path, plan->file_.bytes()));
  const auto stored = plan->stored_index();
  const std::vector<std::byte> index(stored.begin(), stored.end());  // the file may change; what is checked is used
  if (!(hash_bytes(index) == plan->head_.root_hash))
    return bad(path, "the index does not match the root hash: the file is damaged");
  LLM_TRY(plan->check_signature(index, trusted));

  flatbuffers::Verifier::Options options;
  options.max_tables = 50'000'000;
  flatbuffers::Verifier verifier(reinterpret_cast<const uint8_t*>(index.data()), index.size(), options);
  if (!fb::VerifyPlanBuffer(verifier) || !aligned(*fb::GetPlan(index.data())))
    return bad(path, "the index is malformed");
  fb::GetPlan(index.data())->UnPackTo(&plan->index_);
  if (Status s = verify_plan(plan->index_, plan->head_.index_offset - plan->head_.segment_base); !s)
    return bad(path, s.error().message);
  if (plan->signature_ && plan->signature_->segments.size() != plan->index_.segments.size())
    return bad(path, "its signature is of another number of segments");
  if (!trusted.empty()) {
    plan->authenticated_ = true;
    LLM_TRY(plan->check_padding());
    LLM_TRY(plan->check_segments());
  }
  return plan;
}

Status PlanFile::check_signature(std::span<const std::byte> index, std::span<const PublicKey> trusted) {
  const uint64_t end = head_.index_offset + head_.index_bytes;
  if (end < head_.file_bytes) {
    const uint64_t begin = signature_offset(head_);
    if (begin < head_.file_bytes) signature_ = PlanSignature::parse(file_.bytes().subspan(begin));
    if (!signature_) return bad(path(), "what stands behind the index is not a signature");
    if (!signature_->matches(head_, index))
      return bad(path(), "it does not match its signature by key " + signature_->key.id() +
                             ": it was altered after it was signed");
  }
  if (trusted.empty()) return {};
  if (!signature_)
    return Error{"'" + path() + "' is not signed, and only plans signed by " + ids(trusted) +
                 " are trusted here; its owner can sign it with llmc sign"};
  if (std::find(trusted.begin(), trusted.end(), signature_->key) == trusted.end())
    return Error{"'" + path() + "' is signed by key " + signature_->key.id() +
                 ", which is not trusted here; trusted: " + ids(trusted)};
  return {};
}

// Padding means nothing. It is zero all the same, so that no byte of an authenticated file can differ unnoticed.
Status PlanFile::check_padding() const {
  std::vector<std::pair<uint64_t, uint64_t>> used = {{0, sizeof(PlanHead)},
                                                     {head_.index_offset, head_.index_offset + head_.index_bytes},
                                                     {signature_offset(head_), head_.file_bytes}};
  for (const fb::Segment& s : index_.segments)
    used.emplace_back(head_.segment_base + s.offset(), head_.segment_base + s.offset() + s.stored_bytes());
  std::sort(used.begin(), used.end());
  uint64_t covered = 0;
  for (const auto& [begin, end] : used) {
    for (; covered < begin; ++covered)
      if (file_.bytes()[covered] != std::byte{0}) return bad(path(), "a byte of its padding is not zero");
    covered = std::max(covered, end);
  }
  return {};
}

// All but weights, of which there may be many gigabytes: they are checked as they are loaded.
Status PlanFile::check_segments() const {
  for (uint32_t i = 0; i < index_.segments.size(); ++i)
    if (index_.segments[i].kind() != fb::SegmentKind::weights)
      LLM_TRY(stream(i, [](uint64_t, std::span<const std::byte>) { return Status(); }));
  return {};
}

Status PlanFile::check(uint32_t segment, const PlanHash& hash, const Digest& digest) const {
  const fb::Segment& s = index_.segments[segment];
  if (hash.low != s.hash().low() || hash.high != s.hash().high())
    return bad(path(), "segment " + std::to_string(segment) + " does not match its hash: the file is damaged");
  if (authenticated_ && digest != signature_->segments[segment])
    return bad(path(), "segment " + std::to_string(segment) + " does not match the signature by key " +
                           signature_->key.id() + ": it was altered after it was signed");
  return {};
}

std::span<const std::byte> PlanFile::stored(uint32_t segment) const {
  const fb::Segment& s = index_.segments[segment];
  return file_.bytes().subspan(head_.segment_base + s.offset(), s.stored_bytes());
}

Status PlanFile::stream(uint32_t segment, const Sink& sink) const {
  const auto bytes = stored(segment);
  HashStream hash;
  DigestStream digest;
  std::vector<std::byte> piece;
  for (uint64_t done = 0; done < bytes.size(); done += piece.size()) {
    const auto part = bytes.subspan(done, std::min<uint64_t>(kPieceBytes, bytes.size() - done));
    piece.assign(part.begin(), part.end());
    hash.update(piece);
    if (authenticated_) digest.update(piece);
    LLM_TRY(sink(done, piece));
  }
  return check(segment, hash.finish(), digest.finish());
}

Result<std::vector<std::byte>> PlanFile::read(uint32_t segment) const {
  const fb::Segment& s = index_.segments[segment];
  std::vector<std::byte> bytes;
  LLM_TRY(stream(segment, [&](uint64_t, std::span<const std::byte> piece) {
    bytes.insert(bytes.end(), piece.begin(), piece.end());
    return Status();
  }));
  if (s.compression() == fb::Compression::none) return bytes;
  if (s.raw_bytes() > kMaxRawSegmentBytes)
    return bad(path(), "segment " + std::to_string(segment) + " is too large when unpacked");
  std::vector<std::byte> raw(s.raw_bytes());
  const size_t n = ZSTD_decompress(raw.data(), raw.size(), bytes.data(), bytes.size());
  if (ZSTD_isError(n) || n != raw.size())
    return bad(path(), "segment " + std::to_string(segment) + " cannot be unpacked");
  return raw;
}

}  // namespace llm
