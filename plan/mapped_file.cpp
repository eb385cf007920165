#include "plan/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace llm {
namespace {

Error system_error(const std::string& what, const std::string& path, int reason = errno) {
  return Error{what + " '" + path + "': " + std::strerror(reason)};
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return system_error("cannot open", path);
  struct stat info = {};
  if (fstat(fd, &info) != 0) {
    const int reason = errno;
    ::close(fd);
    return system_error("cannot read the size of", path, reason);
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(fd);
    return Error{"'" + path + "' is not a regular file"};
  }
  MappedFile file;
  file.path_ = path;
  if (const auto size = static_cast<size_t>(info.st_size); size > 0) {
    void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
      const int reason = errno;
      ::close(fd);
      return system_error("cannot map", path, reason);
    }
    file.bytes_ = {static_cast<const std::byte*>(data), size};
  }
  file.fd_ = fd;
  return file;
}

Status MappedFile::read(uint64_t offset, std::span<std::byte> into) const {
  while (!into.empty()) {
    const ssize_t n = pread(fd_, into.data(), into.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error("cannot read", path_);
    if (n == 0) return Error{"'" + path_ + "' has become shorter than " + std::to_string(bytes_.size()) + " bytes"};
    offset += static_cast<uint64_t>(n);
    into = into.subspan(static_cast<size_t>(n));
  }
  return {};
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})), fd_(std::exchange(other.fd_, -1)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  std::swap(fd_, other.fd_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  if (fd_ >= 0) ::close(fd_);
}

Result<std::string> read_text_file(const std::string& path, size_t max_bytes) {
  LLM_ASSIGN(const MappedFile file, MappedFile::open(path));
  const auto bytes = file.bytes();
  if (bytes.size() > max_bytes)
    return Error{"'" + path + "' has " + std::to_string(bytes.size()) + " bytes, expected at most " +
                 std::to_string(max_bytes)};
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace llm
