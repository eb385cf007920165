#include "compiler/frontend/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace llmc {
namespace {

llm::Error system_error(const std::string& path, const char* action) {
  return {path + ": cannot " + action + ": " + std::strerror(errno)};
}

}  // namespace

llm::Result<MappedFile> MappedFile::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return system_error(path, "open the file");
  struct stat info = {};
  if (::fstat(fd, &info) != 0) {
    llm::Error error = system_error(path, "read the file's size");
    ::close(fd);
    return error;
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(fd);
    return llm::Error{path + ": not a regular file"};
  }
  MappedFile file;
  const auto size = static_cast<size_t>(info.st_size);
  if (size > 0) {
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
      llm::Error error = system_error(path, "map the file");
      ::close(fd);
      return error;
    }
    file.bytes_ = {static_cast<const std::byte*>(data), size};
  }
  ::close(fd);
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

llm::Result<std::string> read_text_file(const std::string& path, size_t max_bytes) {
  LLM_ASSIGN(MappedFile file, MappedFile::open(path));
  if (file.bytes().size() > max_bytes) {
    return llm::Error{path + ": found " + std::to_string(file.bytes().size()) + " bytes, expected at most " +
                      std::to_string(max_bytes)};
  }
  if (file.bytes().empty()) return std::string();
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
}

}  // namespace llmc
