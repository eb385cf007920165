// A whole file mapped read-only. Pages are read when touched, so mapping a 5 GB shard to look at its header is free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>

#include "plan/result.h"

namespace llm {

class MappedFile {
 public:
  // Errors: the file is missing, unreadable, or not a regular file.
  static Result<MappedFile> open(const std::string& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  // Copies bytes of the file, which is faster than touching their pages for the first time. Errors: it cannot be read,
  // or has become shorter.
  Status read(uint64_t offset, std::span<std::byte> into) const;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::span<const std::byte> bytes_;
  int fd_ = -1;
};

// The whole of a small file. Errors: missing, unreadable, longer than `max_bytes`.
Result<std::string> read_text_file(const std::string& path, size_t max_bytes = std::numeric_limits<size_t>::max());

}  // namespace llm
