// A content-addressed cache of compiled kernels: one file per entry, named by the hash of everything that went into it. An entry is checked
// against the hash of its own bytes when read, and published by rename, so that concurrent compiles share a folder safely.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "plan/format.h"

namespace llmc {

// What a compile produced, by name: "cubin", "ptx", "object", "log".
using KernelArtifacts = std::map<std::string, std::string>;

class KernelCache {
 public:
  // `folder` is created on the first store; an empty folder name disables the cache.
  explicit KernelCache(std::string folder) : folder_(std::move(folder)) {}

  // $LLMC_CACHE, else $XDG_CACHE_HOME/llmc, else $HOME/.cache/llmc; "" without a home.
  static std::string default_folder();

  static llm::PlanHash key(std::string_view compiler, std::string_view options, std::string_view source, std::string_view headers);

  // Damaged or missing entries read as nothing; failures to store are ignored: a cache may always be empty.
  std::optional<KernelArtifacts> find(const llm::PlanHash& key) const;
  void store(const llm::PlanHash& key, const KernelArtifacts& artifacts) const;

 private:
  std::string path(const llm::PlanHash& key) const;
  std::string folder_;
};

}  // namespace llmc
