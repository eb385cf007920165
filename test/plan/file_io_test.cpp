// AtomicFile and MappedFile.
#include "plan/file_io.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "plan/mapped_file.h"
#include "test/plan/sample_plan.h"

namespace llm {
namespace {

using testing::HasSubstr;

std::span<const std::byte> as_bytes(std::string_view s) { return std::as_bytes(std::span(s.data(), s.size())); }

TEST(AtomicFile, AppearsOnCommitOnly) {
  const TestFolder folder;
  auto file = AtomicFile::create(folder.file("f"));
  ASSERT_TRUE(file);
  ASSERT_TRUE((*file)->append(as_bytes("hello")));
  EXPECT_FALSE(std::filesystem::exists(folder.file("f")));
  ASSERT_TRUE((*file)->commit());
  EXPECT_EQ(read_file(folder.file("f")), "hello");
  EXPECT_EQ(folder.count(), 1u);
}

TEST(AtomicFile, IsReadableByOthers) {
  const TestFolder folder;
  auto file = AtomicFile::create(folder.file("f"));
  ASSERT_TRUE(file && (*file)->commit());
  struct stat info;
  ASSERT_EQ(stat(folder.file("f").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644u);
  EXPECT_EQ(info.st_size, 0);
}

TEST(AtomicFile, FailedRenameLeavesNothing) {
  const TestFolder folder;
  std::filesystem::create_directory(folder.file("taken"));
  {
    auto file = AtomicFile::create(folder.file("taken"));  // a folder of that name stands in the way
    ASSERT_TRUE(file);
    const Status status = (*file)->commit();
    ASSERT_FALSE(status);
    EXPECT_THAT(status.error().message, HasSubstr("cannot rename to '" + folder.file("taken") + "'"));
  }
  EXPECT_EQ(folder.count(), 1u);
}

TEST(AtomicFile, PadsAndWritesInTheMiddle) {
  const TestFolder folder;
  auto file = AtomicFile::create(folder.file("f"));
  ASSERT_TRUE(file);
  ASSERT_TRUE((*file)->append(as_bytes("abc")));
  ASSERT_TRUE((*file)->pad_to(8));
  ASSERT_TRUE((*file)->append(as_bytes("def")));
  ASSERT_TRUE((*file)->write_at(1, as_bytes("X")));
  ASSERT_TRUE((*file)->pad_to(16));
  EXPECT_EQ((*file)->size(), 16u);
  ASSERT_TRUE((*file)->commit());
  EXPECT_EQ(read_file(folder.file("f")), std::string("aXc\0\0\0\0\0def\0\0\0\0\0", 16));
}

TEST(AtomicFile, LongZeroRunsBecomeHoles) {
  const TestFolder folder;
  auto file = AtomicFile::create(folder.file("f"));
  ASSERT_TRUE(file);
  const std::string zeros(32 << 20, '\0');
  ASSERT_TRUE((*file)->append(as_bytes("begin")));
  ASSERT_TRUE((*file)->append(as_bytes(zeros)));
  ASSERT_TRUE((*file)->append(as_bytes("end")));
  ASSERT_TRUE((*file)->commit());
  struct stat info;
  ASSERT_EQ(stat(folder.file("f").c_str(), &info), 0);
  EXPECT_LT(info.st_blocks * 512, 4 << 20);
  EXPECT_EQ(read_file(folder.file("f")), "begin" + zeros + "end");
}

// Killed in the middle, as by the out-of-memory killer or an interrupt: no handler of any signal is needed.
TEST(AtomicFile, KilledProcessLeavesNothing) {
  const TestFolder folder;
  const int nameless = open(folder.path().c_str(), O_TMPFILE | O_RDWR, 0600);
  if (nameless < 0) GTEST_SKIP() << "the file system of " << folder.path() << " has no files without a name";
  close(nameless);
  write_file(folder.file("f"), "older");
  for (const int signal : {SIGINT, SIGTERM, SIGKILL}) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto file = AtomicFile::create(folder.file("f"));
      if (file && (*file)->append(as_bytes("newer"))) raise(signal);
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status)) << signal;
    EXPECT_EQ(folder.count(), 1u) << signal;
    EXPECT_EQ(read_file(folder.file("f")), "older");
  }
}

TEST(AtomicFile, EndsInAHole) {
  const TestFolder folder;
  auto file = AtomicFile::create(folder.file("f"));
  ASSERT_TRUE(file);
  const std::string zeros(2 << 20, '\0');
  ASSERT_TRUE((*file)->append(as_bytes(zeros)));
  ASSERT_TRUE((*file)->commit());
  EXPECT_EQ(read_file(folder.file("f")), zeros);
}

TEST(MappedFile, EmptyFile) {
  const TestFolder folder;
  write_file(folder.file("f"), "");
  const auto file = MappedFile::open(folder.file("f"));
  ASSERT_TRUE(file);
  EXPECT_TRUE(file->bytes().empty());
  const auto text = read_text_file(folder.file("f"));
  ASSERT_TRUE(text);
  EXPECT_EQ(*text, "");
}

}  // namespace
}  // namespace llm
