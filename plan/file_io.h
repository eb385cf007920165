// Hashes, and writing that is atomic (temporary file, fsync, rename, fsync of the folder).
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

PlanHash hash_bytes(std::span<const std::byte> bytes);

// The same hash of bytes that come piece by piece.
class HashStream {
 public:
  HashStream();
  ~HashStream();
  HashStream(const HashStream&) = delete;
  HashStream& operator=(const HashStream&) = delete;
  void update(std::span<const std::byte> bytes);
  PlanHash finish() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A file that appears under its name only when commit() succeeds. Otherwise nothing is left behind, not even by a
// process that is killed, where the file system has files without a name (O_TMPFILE).
class AtomicFile {
 public:
  static Result<std::unique_ptr<AtomicFile>> create(const std::string& path);
  ~AtomicFile();

  Status append(std::span<const std::byte> bytes);  // long runs of zeros become holes
  Status pad_to(uint64_t alignment);
  void skip_to(uint64_t offset);  // zeros up to there; not back
  Status write_at(uint64_t offset, std::span<const std::byte> bytes);
  uint64_t size() const { return size_; }
  Status commit();

 private:
  AtomicFile(std::string path, std::string temporary, int fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}
  Status name();                  // gives a file without a name a temporary one
  std::string path_, temporary_;  // temporary_: "" while the file has no name
  int fd_;
  uint64_t size_ = 0;
};

}  // namespace llm
