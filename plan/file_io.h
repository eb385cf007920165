// Files: read-only mappings, hashes, and writing that is atomic (temporary file, fsync, rename, fsync of the folder).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "plan/format.h"
#include "plan/result.h"

namespace llm {

class MappedFile {
 public:
  static Result<std::shared_ptr<MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  MappedFile(std::string path, const std::byte* data, size_t size) : path_(std::move(path)), data_(data), size_(size) {}
  std::string path_;
  const std::byte* data_;
  size_t size_;
};

PlanHash hash_bytes(std::span<const std::byte> bytes);

// A file that appears under its name only when commit() succeeds; otherwise nothing is left behind.
class AtomicFile {
 public:
  static Result<std::unique_ptr<AtomicFile>> create(const std::string& path);
  ~AtomicFile();

  Status append(std::span<const std::byte> bytes);  // long runs of zeros become holes
  Status pad_to(uint64_t alignment);
  Status write_at(uint64_t offset, std::span<const std::byte> bytes);
  uint64_t size() const { return size_; }
  Status commit();

 private:
  AtomicFile(std::string path, std::string temporary, int fd) : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}
  std::string path_, temporary_;
  int fd_;
  uint64_t size_ = 0;
};

Result<std::string> read_text_file(const std::string& path);

}  // namespace llm
