// Signed plans: what is accepted, and that nothing else is. Keys, digests and records.
#include "plan/signature.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "plan/file_io.h"
#include "plan/plan_reader.h"
#include "plan/plan_signer.h"
#include "test/plan/sample_plan.h"

namespace llm {
namespace {

using testing::HasSubstr;

std::span<const std::byte> as_bytes(std::string_view s) { return std::as_bytes(std::span(s.data(), s.size())); }

SecretKey key_of(uint8_t seed) {
  SecretKey key;
  key.seed.fill(seed);
  return key;
}

// The sample, signed; its bytes.
std::string signed_sample(const SecretKey& key) {
  const TestFolder folder;
  write_file(folder.file("plan.fb"), file_bytes(sample_plan()));
  const Status status = sign_plan(folder.file("plan.fb"), key);
  EXPECT_TRUE(status) << status.error().message;
  EXPECT_EQ(folder.count(), 1u);
  return read_file(folder.file("plan.fb"));
}

// Why these bytes are refused where `trusted` is; "" if they open and all their segments can be read.
std::string refusal(const TestFolder& folder, const std::string& bytes, const std::vector<PublicKey>& trusted) {
  write_file(folder.file("plan.fb"), bytes);
  const auto plan = PlanFile::open(folder.file("plan.fb"), trusted);
  if (!plan) return plan.error().message;
  for (uint32_t i = 0; i < (*plan)->index().segments.size(); ++i) {
    const Status status = (*plan)->stream(i, [](uint64_t, std::span<const std::byte>) { return Status(); });
    if (!status) return status.error().message;
    EXPECT_EQ((*plan)->authenticated(), !trusted.empty());
  }
  return "";
}

std::string refusal(const std::string& bytes, const std::vector<PublicKey>& trusted) {
  const TestFolder folder;
  return refusal(folder, bytes, trusted);
}

TEST(Signature, Blake2bOf256Bits) {  // b2sum -l 256
  const Digest empty = digest_bytes({}), abc = digest_bytes(as_bytes("abc"));
  EXPECT_EQ(hex(empty), "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
  EXPECT_EQ(hex(abc), "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
}

TEST(Signature, PublicKeyOfRfc8032) {  // section 7.1, test 1
  SecretKey key;
  const std::string seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
  for (size_t i = 0; i < 32; ++i) key.seed[i] = static_cast<uint8_t>(std::stoi(seed.substr(2 * i, 2), nullptr, 16));
  EXPECT_EQ(hex(key.public_key().bytes), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
  EXPECT_EQ(key.public_key().id(), "d75a980182b10ab7");
}

TEST(Signature, SignedPlanOpensWithAndWithoutTrust) {
  const std::string bytes = signed_sample(key_of(1));
  EXPECT_EQ(refusal(bytes, {}), "");
  EXPECT_EQ(refusal(bytes, {key_of(1).public_key()}), "");
  EXPECT_EQ(refusal(bytes, {key_of(2).public_key(), key_of(1).public_key()}), "");
}

TEST(Signature, SignedPlanHoldsTheSame) {
  const TestFolder folder;
  write_file(folder.file("plan.fb"), signed_sample(key_of(1)));
  const auto plan = PlanFile::open(folder.file("plan.fb"), std::vector{key_of(1).public_key()});
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(index_bytes((*plan)->index()), index_bytes(sample_plan()));
  EXPECT_EQ((*plan)->signature()->key, key_of(1).public_key());
  for (uint32_t i = 0; i < kSampleSegments; ++i) {
    const auto bytes = (*plan)->read(i);
    ASSERT_TRUE(bytes) << bytes.error().message;
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size()), sample_segment(i));
  }
}

TEST(Signature, SameKeySameBytes) {
  const std::string once = signed_sample(key_of(1));
  EXPECT_EQ(signed_sample(key_of(1)), once);
  EXPECT_NE(signed_sample(key_of(2)), once);
}

TEST(Signature, SigningAgainReplacesTheSignature) {
  const TestFolder folder;
  write_file(folder.file("plan.fb"), signed_sample(key_of(2)));
  ASSERT_TRUE(sign_plan(folder.file("plan.fb"), key_of(1)));
  EXPECT_EQ(read_file(folder.file("plan.fb")), signed_sample(key_of(1)));
}

TEST(Signature, UnsignedPlanIsRefusedWhereKeysAreTrusted) {
  EXPECT_THAT(refusal(file_bytes(sample_plan()), {key_of(1).public_key()}),
              HasSubstr("is not signed, and only plans signed by " + key_of(1).public_key().id()));
}

TEST(Signature, AnotherKeyIsRefused) {
  const std::string message = refusal(signed_sample(key_of(2)), {key_of(1).public_key()});
  EXPECT_THAT(message, HasSubstr("is signed by key " + key_of(2).public_key().id() + ", which is not trusted here"));
  EXPECT_THAT(message, HasSubstr(key_of(1).public_key().id()));
}

// The id is for people: a key with the same first bytes is another key.
TEST(Signature, KeyWithTheSameIdIsRefused) {
  PublicKey similar = key_of(1).public_key();
  similar.bytes[31] ^= 1;
  EXPECT_NE(refusal(signed_sample(key_of(1)), {similar}), "");
}

TEST(Signature, EveryAlteredByteIsRefused) {
  const TestFolder folder;
  const std::string good = signed_sample(key_of(1));
  const std::vector<PublicKey> trusted = {key_of(1).public_key()};
  // Every byte of head and signature, and samples of what stands between them.
  const size_t record = good.size() - PlanSignature::record_bytes(kSampleSegments);
  for (size_t i = 0; i < good.size(); i += i < sizeof(PlanHead) || i + 8 > record ? 1 : 13) {
    std::string altered = good;
    altered[i] = static_cast<char>(altered[i] ^ (1 << i % 8));
    ASSERT_NE(refusal(folder, altered, trusted), "") << "byte " << i;
  }
  for (size_t n : {size_t{1}, size_t{31}, size_t{32}, size_t{33}, size_t{104}}) {
    EXPECT_NE(refusal(folder, good.substr(0, good.size() - n), trusted), "") << n;
    EXPECT_NE(refusal(folder, good + std::string(n, '\0'), trusted), "") << n;
  }
}

// What an attacker does who knows the format: XXH3 made right again.
TEST(Signature, AlteredSegmentWithItsHashMadeRightIsRefused) {
  std::string bytes = signed_sample(key_of(1));
  fb::PlanT plan = sample_plan();
  const fb::Segment s = plan.segments[kCodeSegment];
  char* code = bytes.data() + kSegmentAlignment + s.offset();
  code[100] = '\xcc';
  const PlanHash hash = hash_bytes(as_bytes({code, s.stored_bytes()}));
  plan.segments[kCodeSegment] = fb::Segment(s.offset(), s.stored_bytes(), s.raw_bytes(),
                                            fb::Hash128(hash.low, hash.high), s.kind(), s.compression());
  PlanHead head;
  std::memcpy(&head, bytes.data(), sizeof head);
  const std::string index = index_bytes(plan);
  ASSERT_EQ(index.size(), head.index_bytes);
  std::memcpy(bytes.data() + head.index_offset, index.data(), index.size());
  head.root_hash = hash_bytes(as_bytes(index));
  std::memcpy(bytes.data(), &head, sizeof head);
  EXPECT_THAT(refusal(bytes, {key_of(1).public_key()}), HasSubstr("does not match its signature"));
  EXPECT_THAT(refusal(bytes, {}), HasSubstr("does not match its signature"));  // nor without trust: it cannot be right
  // Unsigned, it is a plan like any other; and not where keys are trusted.
  head.file_bytes = head.index_offset + head.index_bytes;
  std::memcpy(bytes.data(), &head, sizeof head);
  bytes.resize(head.file_bytes);
  EXPECT_EQ(refusal(bytes, {}), "");
  EXPECT_THAT(refusal(bytes, {key_of(1).public_key()}), HasSubstr("is not signed"));
}

// Damage that XXH3 sees is the same message with and without trust; the digests see what XXH3 was made to miss.
TEST(Signature, SegmentsOfAnotherSignedPlanDoNotFit) {
  const std::string good = signed_sample(key_of(1));
  PlanHead head;
  std::memcpy(&head, good.data(), sizeof head);
  const size_t record = (head.index_offset + head.index_bytes + 7) / 8 * 8;
  auto parsed = PlanSignature::parse(as_bytes(good).subspan(record));
  ASSERT_TRUE(parsed);
  ASSERT_EQ(parsed->segments.size(), kSampleSegments);
  parsed->segments[kWeightSegment][0] ^= 1;
  parsed->sign(key_of(1), head, as_bytes(good).subspan(head.index_offset, head.index_bytes));
  const std::vector<std::byte> bytes = parsed->record();
  std::string altered = good;
  std::memcpy(altered.data() + record, bytes.data(), bytes.size());
  EXPECT_THAT(refusal(altered, {key_of(1).public_key()}),
              HasSubstr("segment 3 does not match the signature by key " + key_of(1).public_key().id()));
  EXPECT_EQ(refusal(altered, {}), "");
}

TEST(Signature, WhatStandsBehindTheIndexMustBeASignature) {
  std::string bytes = file_bytes(sample_plan());
  for (const std::string& more : {std::string(1, 'x'), std::string(8, '\0'), std::string(200, 'x')}) {
    std::string longer = bytes + more;
    PlanHead head;
    std::memcpy(&head, longer.data(), sizeof head);
    head.file_bytes = longer.size();
    std::memcpy(longer.data(), &head, sizeof head);
    EXPECT_THAT(refusal(longer, {}), HasSubstr("what stands behind the index is not a signature"));
  }
}

TEST(Signature, DamagedPlanIsNotSigned) {
  const TestFolder folder;
  std::string bytes = file_bytes(sample_plan());
  bytes[kSegmentAlignment + sample_plan().segments[kWeightSegment].offset()] ^= 1;
  write_file(folder.file("plan.fb"), bytes);
  const Status status = sign_plan(folder.file("plan.fb"), key_of(1));
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("segment 3 does not match its hash"));
  EXPECT_EQ(read_file(folder.file("plan.fb")), bytes);
  EXPECT_EQ(folder.count(), 1u);
}

// The bytes are copied before they are checked: a change of the file afterwards changes nothing that was read.
TEST(Signature, BytesAreThoseThatWereChecked) {
  const TestFolder folder;
  const std::string good = signed_sample(key_of(1));
  write_file(folder.file("plan.fb"), good);
  const auto plan = PlanFile::open(folder.file("plan.fb"), std::vector{key_of(1).public_key()});
  ASSERT_TRUE(plan);
  std::string altered = good;
  altered[kSegmentAlignment + sample_plan().segments[kCodeSegment].offset()] ^= 1;
  {
    std::fstream file(folder.file("plan.fb"), std::ios::in | std::ios::out | std::ios::binary);  // the same inode
    file.write(altered.data(), static_cast<std::streamsize>(altered.size()));
  }
  EXPECT_FALSE((*plan)->read(kCodeSegment));
  const auto text = (*plan)->read(kTextSegment);
  ASSERT_TRUE(text);
  write_file(folder.file("plan.fb"), std::string(altered.size(), 'x'));
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(text->data()), text->size()), sample_segment(kTextSegment));
}

}  // namespace
}  // namespace llm
