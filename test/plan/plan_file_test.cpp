// The file around the index: head, versions, truncation, hashes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>

#include "plan/plan_reader.h"
#include "test/plan/sample_plan.h"

namespace llm {
namespace {

using testing::HasSubstr;

template <typename Field>
std::string with_head(size_t offset, Field value) {
  std::string bytes = file_bytes(sample_plan());
  std::memcpy(bytes.data() + offset, &value, sizeof value);
  return bytes;
}

TEST(PlanFile, SampleOpensAndReadsBack) {
  const TestFolder folder;
  write_file(folder.file("plan.fb"), file_bytes(sample_plan()));
  const auto plan = PlanFile::open(folder.file("plan.fb"));
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(index_bytes((*plan)->index()), index_bytes(sample_plan()));
  for (uint32_t i = 0; i < kSampleSegments; ++i) {
    const auto bytes = (*plan)->read(i);
    ASSERT_TRUE(bytes) << bytes.error().message;
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size()), sample_segment(i));
  }
}

TEST(PlanFile, MissingFileAndFolderAreRefused) {
  const TestFolder folder;
  const auto missing = PlanFile::open(folder.file("missing.fb"));
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr("cannot open '" + folder.file("missing.fb") + "': No such file"));
  const auto directory = PlanFile::open(folder.path().string());
  ASSERT_FALSE(directory);
  EXPECT_THAT(directory.error().message, HasSubstr("is not a regular file"));
}

TEST(PlanFile, EveryTruncationIsRefused) {
  const std::string bytes = file_bytes(sample_plan());
  for (size_t n = 0; n < bytes.size(); n += n < 128 ? 1 : 509) EXPECT_NE(refusal(bytes.substr(0, n)), "") << n;
  EXPECT_THAT(refusal(""), HasSubstr("it has 0 bytes, less than the head's 64"));
  EXPECT_THAT(refusal(bytes.substr(0, bytes.size() - 1)), HasSubstr("truncated or extended"));
  EXPECT_THAT(refusal(bytes + "x"), HasSubstr("truncated or extended"));
}

TEST(PlanFile, WrongMagicIsRefused) {
  std::string bytes = file_bytes(sample_plan());
  bytes[0] = 'M';
  EXPECT_THAT(refusal(bytes), HasSubstr("does not start with the plan magic"));
  EXPECT_THAT(refusal(std::string(8192, 'x')), HasSubstr("does not start with the plan magic"));
}

TEST(PlanFile, OtherMajorVersionIsRefusedWithWhatFixesIt) {
  EXPECT_THAT(
      refusal(with_head<uint16_t>(offsetof(PlanHead, major), kPlanMajor + 1)),
      HasSubstr("format " + std::to_string(kPlanMajor + 1) + "." + std::to_string(kPlanMinor) + ", this program reads 1.x; compile the model again"));
  EXPECT_NE(refusal(with_head<uint16_t>(offsetof(PlanHead, major), 0)), "");
}

TEST(PlanFile, NewerMinorVersionIsRead) {
  EXPECT_EQ(refusal(with_head<uint16_t>(offsetof(PlanHead, minor), kPlanMinor + 7)), "");
}

TEST(PlanFile, EveryHeadFieldIsChecked) {
  const uint64_t size = file_bytes(sample_plan()).size();
  EXPECT_THAT(refusal(with_head<uint32_t>(offsetof(PlanHead, head_bytes), 128)), HasSubstr("head of 128 bytes"));
  for (uint64_t bad :
       {uint64_t{0}, uint64_t{63}, uint64_t{4097}, size - 1, size, size + 8, ~uint64_t{0}, ~uint64_t{7}}) {
    EXPECT_NE(refusal(with_head(offsetof(PlanHead, index_offset), bad)), "") << bad;
    EXPECT_NE(refusal(with_head(offsetof(PlanHead, index_bytes), bad)), "") << bad;
    if (bad == size) continue;
    EXPECT_NE(refusal(with_head(offsetof(PlanHead, file_bytes), bad)), "") << bad;
  }
  for (uint64_t bad : {uint64_t{0}, uint64_t{63}, size, ~uint64_t{0}})
    EXPECT_NE(refusal(with_head(offsetof(PlanHead, segment_base), bad)), "") << bad;
}

TEST(PlanFile, DamagedIndexIsRefused) {
  std::string bytes = file_bytes(sample_plan());
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  EXPECT_THAT(refusal(bytes), HasSubstr("does not match the root hash: the file is damaged"));
}

TEST(PlanFile, IndexThatIsNoFlatbufferIsRefused) {
  EXPECT_THAT(refusal(file_bytes(segment_area(), std::string(256, 'x'))), HasSubstr("the index is malformed"));
  EXPECT_THAT(refusal(file_bytes(segment_area(), "")), HasSubstr("the index is malformed"));
  std::string other_identifier = index_bytes(sample_plan());
  other_identifier[4] = 'X';
  EXPECT_THAT(refusal(file_bytes(segment_area(), other_identifier)), HasSubstr("the index is malformed"));
}

TEST(PlanFile, DamagedSegmentIsReportedWhenRead) {
  for (uint32_t i = 0; i < kSampleSegments; ++i) {
    const TestFolder folder;
    std::string bytes = file_bytes(sample_plan());
    char& byte = bytes[kSegmentAlignment + sample_plan().segments[i].offset()];
    byte = static_cast<char>(byte ^ 0x40);
    write_file(folder.file("plan.fb"), bytes);
    const auto plan = PlanFile::open(folder.file("plan.fb"));
    ASSERT_TRUE(plan) << plan.error().message;
    const auto segment = (*plan)->read(i);
    ASSERT_FALSE(segment) << i;
    EXPECT_THAT(segment.error().message,
                HasSubstr("segment " + std::to_string(i) + " does not match its hash: the file is damaged"));
    EXPECT_TRUE((*plan)->read((i + 1) % kSampleSegments));
  }
}

TEST(PlanFile, CompressedSegmentThatDoesNotUnpackIsReported) {
  for (const uint64_t raw : {uint64_t{16}, uint64_t{1} << 40}) {  // not zstd at all; larger than any segment may become
    const TestFolder folder;
    fb::PlanT plan = sample_plan();
    const fb::Segment& s = plan.segments[kTextSegment];
    plan.segments[kTextSegment] =
        fb::Segment(s.offset(), s.stored_bytes(), raw, s.hash(), s.kind(), fb::Compression::zstd);
    write_file(folder.file("plan.fb"), file_bytes(plan));
    const auto file = PlanFile::open(folder.file("plan.fb"));
    ASSERT_TRUE(file) << file.error().message;
    const auto text = (*file)->read(kTextSegment);
    ASSERT_FALSE(text);
    EXPECT_THAT(text.error().message, HasSubstr(raw == 16 ? "cannot be unpacked" : "is too large when unpacked"));
  }
}

}  // namespace
}  // namespace llm
