// PlanWriter: round trip, sharing of equal segments, same bytes from same calls, atomic publication, files beyond 4 GB.
#include "plan/plan_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>

#include "plan/plan_reader.h"
#include "test/plan/sample_plan.h"

namespace llm {
namespace {

using testing::HasSubstr;

std::span<const std::byte> as_bytes(const std::string& s) { return std::as_bytes(std::span(s.data(), s.size())); }

std::string to_string(const std::vector<std::byte>& bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// Writes sample_plan() with its segments compressed as they are in real plans.
Status write_sample(const std::string& path) {
  LLM_ASSIGN(auto writer, PlanWriter::create(path));
  fb::PlanT plan = sample_plan();
  for (uint32_t i = 0; i < kSampleSegments; ++i) {
    const bool packed = i == kTextSegment || i == kCodeSegment;
    LLM_ASSIGN(const uint32_t segment, writer->add(plan.segments[i].kind(), as_bytes(sample_segment(i)),
                                                   packed ? fb::Compression::zstd : fb::Compression::none));
    if (segment != i) return Error{"segment " + std::to_string(i) + " became " + std::to_string(segment)};
  }
  return writer->finish(plan);
}

TEST(PlanWriter, RoundTrip) {
  const TestFolder folder;
  const Status written = write_sample(folder.file("plan.fb"));
  ASSERT_TRUE(written) << written.error().message;
  const auto plan = PlanFile::open(folder.file("plan.fb"));
  ASSERT_TRUE(plan) << plan.error().message;
  fb::PlanT expected = sample_plan();
  expected.segments = (*plan)->index().segments;  // offsets and hashes of the compressed bytes
  EXPECT_EQ(index_bytes((*plan)->index()), index_bytes(expected));
  for (uint32_t i = 0; i < kSampleSegments; ++i) {
    const auto bytes = (*plan)->read(i);
    ASSERT_TRUE(bytes) << bytes.error().message;
    EXPECT_EQ(to_string(*bytes), sample_segment(i));
    EXPECT_EQ((*plan)->index().segments[i].offset() % kSegmentAlignment, 0u);
  }
  EXPECT_LT((*plan)->index().segments[kCodeSegment].stored_bytes(), sample_segment(kCodeSegment).size());
}

TEST(PlanWriter, SameCallsGiveSameBytes) {
  const TestFolder a, b;
  ASSERT_TRUE(write_sample(a.file("one.fb")));
  ASSERT_TRUE(write_sample(b.file("another.fb")));
  const std::string bytes = read_file(a.file("one.fb"));
  EXPECT_EQ(bytes, read_file(b.file("another.fb")));
  // Nothing of where it was written.
  EXPECT_EQ(bytes.find(a.path().string()), std::string::npos);
}

TEST(PlanWriter, ReplacesAnOlderFile) {
  const TestFolder folder;
  write_file(folder.file("plan.fb"), "older");
  ASSERT_TRUE(write_sample(folder.file("plan.fb")));
  EXPECT_TRUE(PlanFile::open(folder.file("plan.fb")));
  EXPECT_EQ(folder.count(), 1u);
}

TEST(PlanWriter, EqualSegmentsOfOneKindAreStoredOnce) {
  const TestFolder folder;
  auto writer = PlanWriter::create(folder.file("plan.fb"));
  ASSERT_TRUE(writer);
  const std::string text(10000, 'a'), other(10000, 'b');
  const auto add = [&](fb::SegmentKind kind, const std::string& bytes, fb::Compression compression) {
    const auto segment = (*writer)->add(kind, as_bytes(bytes), compression);
    return segment ? *segment : ~0u;
  };
  const uint32_t first = add(fb::SegmentKind::code, text, fb::Compression::zstd);
  EXPECT_EQ(add(fb::SegmentKind::code, text, fb::Compression::zstd), first);
  EXPECT_NE(add(fb::SegmentKind::code, other, fb::Compression::zstd), first);
  EXPECT_NE(add(fb::SegmentKind::code, text, fb::Compression::none), first);
  EXPECT_NE(add(fb::SegmentKind::text, text, fb::Compression::zstd), first);
  EXPECT_EQ(add(fb::SegmentKind::code, other, fb::Compression::zstd), first + 1);
  // Empty segments are segments too.
  EXPECT_EQ(add(fb::SegmentKind::text, "", fb::Compression::none),
            add(fb::SegmentKind::text, "", fb::Compression::none));
}

TEST(PlanWriter, WithoutFinishNothingIsLeftBehind) {
  const TestFolder folder;
  {
    auto writer = PlanWriter::create(folder.file("plan.fb"));
    ASSERT_TRUE(writer);
    ASSERT_TRUE((*writer)->add(fb::SegmentKind::text, as_bytes(std::string(1 << 20, 'x')), fb::Compression::none));
  }
  EXPECT_EQ(folder.count(), 0u);
}

TEST(PlanWriter, FailingFillIsReportedAndLeavesNothing) {
  const TestFolder folder;
  {
    auto writer = PlanWriter::create(folder.file("plan.fb"));
    ASSERT_TRUE(writer);
    const auto segment = (*writer)->add_streamed(fb::SegmentKind::weights, 100 << 20,
                                                 [](uint64_t offset, std::span<std::byte>) -> Status {
                                                   if (offset > 0) return Error{"tensor 'w' cannot be read"};
                                                   return {};
                                                 });
    ASSERT_FALSE(segment);
    EXPECT_EQ(segment.error().message, "tensor 'w' cannot be read");
  }
  EXPECT_EQ(folder.count(), 0u);
}

TEST(PlanWriter, MissingFolderIsRefused) {
  const TestFolder folder;
  const auto writer = PlanWriter::create(folder.file("missing/plan.fb"));
  ASSERT_FALSE(writer);
  EXPECT_THAT(writer.error().message,
              HasSubstr("cannot create a file beside '" + folder.file("missing/plan.fb") + "'"));
}

TEST(PlanWriter, StreamedSegmentEqualsAddedOne) {
  const TestFolder folder;
  std::string bytes(70 << 20, '\0');  // two pieces, the last one short
  for (size_t i = 0; i < bytes.size(); i += 4099) bytes[i] = static_cast<char>(i);
  std::string added, streamed;
  for (const bool stream : {false, true}) {
    const std::string path = folder.file(stream ? "streamed.fb" : "added.fb");
    auto writer = PlanWriter::create(path);
    ASSERT_TRUE(writer);
    uint64_t expected_offset = 0;
    const auto segment = stream
                             ? (*writer)->add_streamed(fb::SegmentKind::weights, bytes.size(),
                                                       [&](uint64_t offset, std::span<std::byte> piece) -> Status {
                                                         EXPECT_EQ(offset, expected_offset);
                                                         EXPECT_LE(piece.size(), size_t{64} << 20);
                                                         std::memcpy(piece.data(), bytes.data() + offset, piece.size());
                                                         expected_offset += piece.size();
                                                         return {};
                                                       })
                             : (*writer)->add(fb::SegmentKind::weights, as_bytes(bytes), fb::Compression::none);
    ASSERT_TRUE(segment);
    fb::PlanT plan = sample_plan();
    ASSERT_TRUE((*writer)->finish(plan));
    const PlanHash hash = hash_bytes(as_bytes(read_file(path)));
    (stream ? streamed : added) = std::to_string(hash.low) + std::to_string(hash.high);
  }
  EXPECT_EQ(added, streamed);
}

// Embedded weights beyond 4 GB: offsets need 64 bits, and zeros cost no disk.
TEST(PlanWriter, SparsePlanBeyond4GiB) {
  const TestFolder folder;
  const std::string path = folder.file("large.fb"), marker = "the last bytes";
  constexpr uint64_t kLarge = (uint64_t{9} << 29) + 12346;  // 4.5 GiB and a little, not aligned
  auto writer = PlanWriter::create(path);
  ASSERT_TRUE(writer);
  const auto large = (*writer)->add_streamed(
      fb::SegmentKind::weights, kLarge, [&](uint64_t offset, std::span<std::byte> piece) -> Status {
        if (offset + piece.size() == kLarge)
          std::memcpy(piece.data() + piece.size() - marker.size(), marker.data(), marker.size());
        return {};
      });
  ASSERT_TRUE(large);
  fb::PlanT plan = sample_plan();
  for (uint32_t i = 0; i < kSampleSegments; ++i) {
    const auto segment = (*writer)->add(plan.segments[i].kind(), as_bytes(sample_segment(i)), fb::Compression::none);
    ASSERT_TRUE(segment);
    ASSERT_EQ(*segment, i + 1);
  }
  fb::TargetT& target = *plan.targets[0];
  plan.text[0]->segment = kTextSegment + 1;
  target.modules[0]->object = kCodeSegment + 1;
  target.constants[0]->segment = kConstantSegment + 1;
  target.weights[1]->segment = kWeightSegment + 1;
  auto embedded = std::make_unique<fb::WeightT>();
  embedded->name = "large", embedded->dtype = 1, embedded->rows = kLarge / 2, embedded->cols = 1,
  embedded->bytes = kLarge;
  embedded->segment = static_cast<int32_t>(*large);
  target.weights.push_back(std::move(embedded));
  ASSERT_TRUE((*writer)->finish(plan));
  struct stat info;
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_GT(info.st_size, int64_t{9} << 29);
  EXPECT_LT(info.st_blocks * 512, 4 << 20);

  const auto file = PlanFile::open(path);
  ASSERT_TRUE(file) << file.error().message;
  const auto stored = (*file)->stored(*large);
  ASSERT_EQ(stored.size(), kLarge);
  EXPECT_EQ(std::memcmp(stored.data() + kLarge - marker.size(), marker.data(), marker.size()), 0);
  for (uint32_t i = 0; i < kSampleSegments; ++i) {
    EXPECT_GT((*file)->index().segments[i + 1].offset(), uint64_t{1} << 32);
    const auto bytes = (*file)->read(i + 1);
    ASSERT_TRUE(bytes) << bytes.error().message;
    EXPECT_EQ(to_string(*bytes), sample_segment(i));
  }
}

}  // namespace
}  // namespace llm
