#include "plan/key_file.h"

#include <fcntl.h>
#include <sodium.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "plan/mapped_file.h"

namespace llm {
namespace {

constexpr std::string_view kPublicLine = "llmc public key 1\n", kSecretLine = "llmc secret key 1\n";
constexpr size_t kMaxKeyFileBytes = 4096;

// Text that holds a secret: overwritten when it goes.
struct SecretText {
  std::string text;
  ~SecretText() { sodium_memzero(text.data(), text.size()); }
};

bool parse_key(std::string_view digits, std::array<uint8_t, 32>& key) {
  while (!digits.empty() && (digits.back() == '\n' || digits.back() == '\r')) digits.remove_suffix(1);
  size_t length = 0;
  return digits.size() == 2 * key.size() &&
         sodium_hex2bin(key.data(), key.size(), digits.data(), digits.size(), nullptr, &length, nullptr) == 0 &&
         length == key.size();
}

Status read_key(const std::string& path, std::string_view wanted, std::array<uint8_t, 32>& key) {
  const bool secret = wanted == kSecretLine;
  const std::string kind = secret ? "secret" : "public";
  LLM_ASSIGN(SecretText file, [&]() -> Result<SecretText> {
    LLM_ASSIGN(std::string text, read_text_file(path, kMaxKeyFileBytes));
    return SecretText{std::move(text)};
  }());
  if (file.text.starts_with(secret ? kPublicLine : kSecretLine))
    return Error{"'" + path + "' is a " + (secret ? "public" : "secret") + " key, expected the " + kind + " one (" +
                 (secret ? "NAME.key" : "NAME.pub") + " of llmc keygen -o NAME)"};
  if (!file.text.starts_with(wanted))
    return Error{"'" + path + "' is not a " + kind + " key: its first line is not '" +
                 std::string(wanted.substr(0, wanted.size() - 1)) + "'; make keys with llmc keygen"};
  if (!parse_key(std::string_view(file.text).substr(wanted.size()), key))
    return Error{"'" + path + "' is a damaged " + kind +
                 " key: expected 64 hexadecimal digits on the second line, and nothing else"};
  return {};
}

Status write_new_file(const std::string& path, mode_t mode, std::string_view text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0 && errno == EEXIST)
    return Error{"'" + path + "' is there already, and keys are never overwritten: choose another name"};
  if (fd < 0) return Error{"cannot create '" + path + "': " + std::strerror(errno)};
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && fsync(fd) == 0;
  const int reason = errno;
  if (::close(fd) == 0 && written) return {};
  ::unlink(path.c_str());
  return Error{"cannot write '" + path + "': " + std::strerror(reason)};
}

}  // namespace

Result<PublicKey> read_public_key(const std::string& path) {
  PublicKey key;
  LLM_TRY(read_key(path, kPublicLine, key.bytes));
  return key;
}

Result<SecretKey> read_secret_key(const std::string& path) {
  SecretKey key;
  LLM_TRY(read_key(path, kSecretLine, key.seed));
  return key;
}

Status write_key_pair(const std::string& name, const SecretKey& key) {
  const std::string secret_path = name + ".key", public_path = name + ".pub";
  SecretText secret{std::string(kSecretLine) + hex(key.seed) + "\n"};
  LLM_TRY(write_new_file(public_path, 0644, std::string(kPublicLine) + hex(key.public_key().bytes) + "\n"));
  if (Status status = write_new_file(secret_path, 0600, secret.text); !status) {
    ::unlink(public_path.c_str());
    return status;
  }
  return {};
}

}  // namespace llm
