// Who made a plan: Ed25519 signatures (RFC 8032) over BLAKE2b-256 digests (RFC 7693), both from libsodium. XXH3 finds
// damage but is no protection: other bytes of the same XXH3 can be made on purpose. docs/plan-format.md has the record
// byte by byte.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "plan/format.h"
#include "plan/result.h"

namespace llm {

using Digest = std::array<uint8_t, 32>;  // BLAKE2b-256, unkeyed: what `b2sum -l 256` prints

class DigestStream {
 public:
  DigestStream();
  void update(std::span<const std::byte> bytes);
  Digest finish();

 private:
  alignas(64) std::byte state_[384];
};

Digest digest_bytes(std::span<const std::byte> bytes);
std::string hex(std::span<const uint8_t> bytes);

struct PublicKey {
  std::array<uint8_t, 32> bytes{};
  std::string id() const { return hex(std::span(bytes).first(8)); }  // for people; trust goes by all bytes
  bool operator==(const PublicKey&) const = default;
};

// The 32-byte private key of RFC 8032, from which everything else is computed. Overwritten when it goes.
struct SecretKey {
  std::array<uint8_t, 32> seed{};

  SecretKey() = default;
  SecretKey(const SecretKey&) = default;
  SecretKey& operator=(const SecretKey&) = default;
  ~SecretKey();
  static SecretKey generate();
  PublicKey public_key() const;
};

// What stands behind the index of a signed plan.
struct PlanSignature {
  PublicKey key;
  std::array<uint8_t, 64> signature{};
  std::vector<Digest> segments;  // of the stored bytes of each segment, in the order of the index

  // The record of `bytes` on disk, from behind the index to the end of the file; nothing if it is none.
  static std::optional<PlanSignature> parse(std::span<const std::byte> bytes);
  static uint64_t record_bytes(size_t segments);
  std::vector<std::byte> record() const;

  // Whether `key` signed this head, index and segments. `head` is the one with the record's room in file_bytes.
  bool matches(const PlanHead& head, std::span<const std::byte> index) const;
  void sign(const SecretKey& secret, const PlanHead& head, std::span<const std::byte> index);
};

}  // namespace llm
