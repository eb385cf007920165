// A whole file mapped read-only. Pages are read when touched, so mapping a 5 GB shard to look at its header is free.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "plan/result.h"

namespace llmc {

class MappedFile {
 public:
  // Errors: the file is missing, unreadable, or not a regular file.
  static llm::Result<MappedFile> open(const std::string& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

// The whole of a small text file. Errors: missing, unreadable, longer than `max_bytes`.
llm::Result<std::string> read_text_file(const std::string& path, size_t max_bytes);

}  // namespace llmc
