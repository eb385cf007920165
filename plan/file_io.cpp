#include "plan/file_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace llm {
namespace {

constexpr char kTemporarySuffix[] = ".XXXXXX";  // of mkostemp
constexpr size_t kHoleBytes = 1 << 20;          // zero runs of at least this size are not written

Error system_error(const std::string& what, const std::string& path) {
  return Error{what + " '" + path + "': " + std::strerror(errno)};
}

bool all_zero(std::span<const std::byte> bytes) {
  return bytes.empty() ||
         (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

PlanHash hash_bytes(std::span<const std::byte> bytes) {
  const XXH128_hash_t h = XXH3_128bits(bytes.data(), bytes.size());
  return {h.low64, h.high64};
}

struct HashStream::State {
  XXH3_state_t xxh;
};

HashStream::HashStream() : state_(std::make_unique<State>()) { XXH3_128bits_reset(&state_->xxh); }
HashStream::~HashStream() = default;
void HashStream::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(&state_->xxh, bytes.data(), bytes.size());
}
PlanHash HashStream::finish() const {
  const XXH128_hash_t h = XXH3_128bits_digest(&state_->xxh);
  return {h.low64, h.high64};
}

Result<std::unique_ptr<AtomicFile>> AtomicFile::create(const std::string& path) {
  std::string temporary;
  const bool can_be_named = ::access("/proc/self/fd", X_OK) == 0;
  int fd = can_be_named ? ::open(folder_of(path).c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;
  if (fd < 0) {
    temporary = path + kTemporarySuffix;
    fd = mkostemp(temporary.data(), O_CLOEXEC);
  }
  if (fd < 0) return system_error("cannot create a file beside", path);
  fchmod(fd, 0644);
  return std::unique_ptr<AtomicFile>(new AtomicFile(path, temporary, fd));
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

// A link cannot replace a file and a rename can: so a link to a free name, and at once the rename.
Status AtomicFile::name() {
  const std::string anonymous = "/proc/self/fd/" + std::to_string(fd_);
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::string free_name = path_ + kTemporarySuffix;
    const int fd = mkostemp(free_name.data(), O_CLOEXEC);
    if (fd < 0) break;
    ::close(fd);
    ::unlink(free_name.c_str());
    if (linkat(AT_FDCWD, anonymous.c_str(), AT_FDCWD, free_name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
      temporary_ = free_name;
      return {};
    }
    if (errno != EEXIST) break;
  }
  return system_error("cannot create a file beside", path_);
}

Status AtomicFile::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const size_t chunk = std::min(bytes.size(), kHoleBytes);
    if (chunk < kHoleBytes || !all_zero(bytes.first(chunk))) LLM_TRY(write_at(size_, bytes.first(chunk)));
    size_ += chunk;
    bytes = bytes.subspan(chunk);
  }
  return {};
}

Status AtomicFile::pad_to(uint64_t alignment) {
  size_ = (size_ + alignment - 1) / alignment * alignment;
  return {};
}

void AtomicFile::skip_to(uint64_t offset) { size_ = std::max(size_, offset); }

Status AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error("cannot write", path_);
    offset += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return {};
}

Status AtomicFile::commit() {
  if (ftruncate(fd_, static_cast<off_t>(size_)) != 0 || fsync(fd_) != 0) return system_error("cannot write", path_);
  if (temporary_.empty()) LLM_TRY(name());
  if (::close(std::exchange(fd_, -1)) != 0) return system_error("cannot write", path_);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return system_error("cannot rename to", path_);
  temporary_.clear();
  const int folder = ::open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    fsync(folder);
    ::close(folder);
  }
  return {};
}

}  // namespace llm
