#include "plan/signature.h"

#include <sodium.h>

#include <cstring>

namespace llm {
namespace {

constexpr char kRecordMagic[8] = {'L', 'L', 'M', 'S', 'I', 'G', 'N', '\n'};
constexpr char kDomain[32] = "llm plan signature 1";  // a signature of anything else never fits here

// Lets libsodium choose its code for this processor. Without it everything works too, with plain code.
void initialize() {
  static const int done = sodium_init();
  (void)done;
}

crypto_generichash_blake2b_state* blake2b(std::byte* state) {
  return reinterpret_cast<crypto_generichash_blake2b_state*>(state);
}

template <typename T>
void append(std::vector<std::byte>& out, const T& value) {
  const size_t at = out.size();
  out.resize(at + sizeof value);
  std::memcpy(out.data() + at, &value, sizeof value);
}

std::vector<std::byte> signed_message(const PlanHead& head, std::span<const std::byte> index,
                                      const std::vector<Digest>& segments) {
  std::vector<std::byte> message;
  append(message, kDomain);
  append(message, head);
  append(message, digest_bytes(index));
  for (const Digest& digest : segments) append(message, digest);
  return message;
}

// Seed and public key, as libsodium wants a secret key.
struct ExpandedKey {
  std::array<uint8_t, crypto_sign_SECRETKEYBYTES> secret;
  PublicKey key;

  explicit ExpandedKey(const SecretKey& s) {
    initialize();
    crypto_sign_seed_keypair(key.bytes.data(), secret.data(), s.seed.data());
  }
  ~ExpandedKey() { sodium_memzero(secret.data(), secret.size()); }
};

}  // namespace

DigestStream::DigestStream() {
  static_assert(sizeof(crypto_generichash_blake2b_state) <= sizeof state_);
  static_assert(alignof(crypto_generichash_blake2b_state) <= 64);
  initialize();
  crypto_generichash_blake2b_init(blake2b(state_), nullptr, 0, sizeof(Digest));
}

void DigestStream::update(std::span<const std::byte> bytes) {
  crypto_generichash_blake2b_update(blake2b(state_), reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

Digest DigestStream::finish() {
  Digest digest;
  crypto_generichash_blake2b_final(blake2b(state_), digest.data(), digest.size());
  return digest;
}

Digest digest_bytes(std::span<const std::byte> bytes) {
  DigestStream stream;
  stream.update(bytes);
  return stream.finish();
}

std::string hex(std::span<const uint8_t> bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (uint8_t b : bytes) text += digits[b >> 4], text += digits[b & 15];
  return text;
}

SecretKey::~SecretKey() { sodium_memzero(seed.data(), seed.size()); }

SecretKey SecretKey::generate() {
  initialize();
  SecretKey key;
  randombytes_buf(key.seed.data(), key.seed.size());
  return key;
}

PublicKey SecretKey::public_key() const { return ExpandedKey(*this).key; }

uint64_t PlanSignature::record_bytes(size_t segments) {
  return sizeof kRecordMagic + sizeof key.bytes + sizeof signature + segments * sizeof(Digest);
}

std::optional<PlanSignature> PlanSignature::parse(std::span<const std::byte> bytes) {
  if (bytes.size() < record_bytes(0) || (bytes.size() - record_bytes(0)) % sizeof(Digest) != 0) return {};
  if (std::memcmp(bytes.data(), kRecordMagic, sizeof kRecordMagic) != 0) return {};
  size_t at = sizeof kRecordMagic;
  const auto take = [&](void* to, size_t n) {
    if (n > 0) std::memcpy(to, bytes.data() + at, n);
    at += n;
  };
  PlanSignature s;
  s.segments.resize((bytes.size() - record_bytes(0)) / sizeof(Digest));
  take(s.key.bytes.data(), s.key.bytes.size());
  take(s.signature.data(), s.signature.size());
  take(s.segments.data(), s.segments.size() * sizeof(Digest));
  return s;
}

std::vector<std::byte> PlanSignature::record() const {
  std::vector<std::byte> bytes;
  append(bytes, kRecordMagic);
  append(bytes, key.bytes);
  append(bytes, signature);
  for (const Digest& digest : segments) append(bytes, digest);
  return bytes;
}

bool PlanSignature::matches(const PlanHead& head, std::span<const std::byte> index) const {
  initialize();
  const std::vector<std::byte> message = signed_message(head, index, segments);
  return crypto_sign_verify_detached(signature.data(), reinterpret_cast<const uint8_t*>(message.data()), message.size(),
                                     key.bytes.data()) == 0;
}

void PlanSignature::sign(const SecretKey& secret, const PlanHead& head, std::span<const std::byte> index) {
  const ExpandedKey expanded(secret);
  key = expanded.key;
  const std::vector<std::byte> message = signed_message(head, index, segments);
  crypto_sign_detached(signature.data(), nullptr, reinterpret_cast<const uint8_t*>(message.data()), message.size(),
                       expanded.secret.data());
}

}  // namespace llm
