// Opens a plan file. After open() every offset, index, enum value and size in the index has been checked (plan_verify.cpp), so readers
// use them without further checks; the bytes of a segment are checked against their hash when they are asked for.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "plan/file_io.h"
#include "plan/plan_generated.h"
#include "plan/result.h"

namespace llm {

class PlanFile {
 public:
  static Result<std::shared_ptr<PlanFile>> open(const std::string& path);

  const fb::PlanT& index() const { return index_; }
  const std::string& path() const { return file_->path(); }
  uint64_t file_bytes() const { return file_->bytes().size(); }
  uint64_t index_bytes() const { return index_bytes_; }

  // The stored bytes of a segment in the mapped file, without checking the hash (embedded weights are used in place).
  std::span<const std::byte> stored(uint32_t segment) const;
  // The raw bytes of a segment: hash checked, decompressed.
  Result<std::vector<std::byte>> read(uint32_t segment) const;

 private:
  std::shared_ptr<MappedFile> file_;
  fb::PlanT index_;
  uint64_t segment_base_ = 0;
  uint64_t index_bytes_ = 0;
};

// Checks of the unpacked index against itself and against the size of the segment area. Total: every access of a
// reader that follows indices and ranges of a verified plan is in bounds.
Status verify_plan(const fb::PlanT& plan, uint64_t segment_area_bytes);

}  // namespace llm
