// Opens a plan file. After open() every offset, index, enum value and size in the index has been checked
// (plan_verify.cpp), so readers use them without further checks; the bytes of a segment are checked against their hash
// when they are asked for.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "plan/format.h"
#include "plan/mapped_file.h"
#include "plan/plan_generated.h"
#include "plan/result.h"
#include "plan/signature.h"

namespace llm {

class PlanFile {
 public:
  // With trusted keys: only a plan that one of them signed, whose head, index, padding, and segments other than weights
  // are those that were signed. Such a plan is authenticated(): from then on bytes come out of read() and stream() only
  // if they are what was signed, also if the file changes meanwhile.
  static Result<std::shared_ptr<PlanFile>> open(const std::string& path, std::span<const PublicKey> trusted = {});

  const fb::PlanT& index() const { return index_; }
  const std::string& path() const { return file_.path(); }
  const MappedFile& file() const { return file_; }
  const PlanHead& head() const { return head_; }
  uint64_t file_bytes() const { return file_.bytes().size(); }
  uint64_t index_bytes() const { return head_.index_bytes; }
  std::span<const std::byte> stored_index() const {
    return file_.bytes().subspan(head_.index_offset, head_.index_bytes);
  }

  // Who signed the plan, if anybody; the signature fits the head and the index.
  const std::optional<PlanSignature>& signature() const { return signature_; }
  bool authenticated() const { return authenticated_; }

  // The stored bytes of a segment in the mapped file, without checking the hash (embedded weights are used in place,
  // but not those of an authenticated plan).
  std::span<const std::byte> stored(uint32_t segment) const;
  // The raw bytes of a segment: hash (and signed digest) checked, decompressed.
  Result<std::vector<std::byte>> read(uint32_t segment) const;
  // The stored bytes of a segment, piece by piece, for those that need not fit in memory. The pieces are copies of the
  // file's bytes; whether they are the right ones is known at the end: after an error, nothing of them may be used.
  using Sink = std::function<Status(uint64_t offset, std::span<const std::byte> piece)>;
  Status stream(uint32_t segment, const Sink& sink) const;

 private:
  Status check_signature(std::span<const std::byte> index, std::span<const PublicKey> trusted);
  Status check_padding() const;
  Status check_segments() const;
  // Whether copied bytes of a segment are the ones it was made of.
  Status check(uint32_t segment, const PlanHash& hash, const Digest& digest) const;

  MappedFile file_;
  PlanHead head_{};
  fb::PlanT index_;
  std::optional<PlanSignature> signature_;
  bool authenticated_ = false;
};

// Checks of the unpacked index against itself and against the size of the segment area. Total: every access of a
// reader that follows indices and ranges of a verified plan is in bounds.
Status verify_plan(const fb::PlanT& plan, uint64_t segment_area_bytes);

}  // namespace llm
