// The safetensors files that a plan's external weights come from.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "plan/mapped_file.h"
#include "plan/plan_reader.h"

namespace llmrt {

class WeightFiles {
 public:
  // Maps the plan's files in `folder` and checks that they are the ones the plan was compiled for (size, and hash of
  // the header).
  static llm::Result<WeightFiles> open(std::shared_ptr<const llm::PlanFile> plan, const std::string& folder);

  // Rows [row_begin, row_end) of a tensor, all columns, as they lie in the file. A tensor whose digest the plan has is
  // read and checked as a whole at its first use. Of an authenticated plan the bytes are then a copy, valid until
  // release_copies(): the file could change after the check.
  llm::Result<std::span<const std::byte>> rows(uint32_t tensor, uint64_t row_begin, uint64_t row_end);
  bool all_have_digests() const;
  bool holds_copies() const { return !copies_.empty(); }
  void release_copies() { copies_.clear(); }
  // The file in whose mapping these bytes of a tensor lie; null for a copy.
  const llm::MappedFile* mapping_of(uint32_t tensor, std::span<const std::byte> bytes) const;

 private:
  llm::Result<std::span<const std::byte>> checked(uint32_t tensor);

  std::shared_ptr<const llm::PlanFile> plan_;
  std::vector<llm::MappedFile> files_;
  std::set<uint32_t> checked_;
  std::map<uint32_t, std::vector<std::byte>> copies_;
};

}  // namespace llmrt
