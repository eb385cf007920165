// Files of keys: round trip, permissions, and what is said about files that are none.
#include "plan/key_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "test/plan/sample_plan.h"

namespace llm {
namespace {

using testing::HasSubstr;

TEST(KeyFile, RoundTrip) {
  const TestFolder folder;
  const SecretKey key = SecretKey::generate();
  const Status written = write_key_pair(folder.file("k"), key);
  ASSERT_TRUE(written) << written.error().message;
  const auto secret = read_secret_key(folder.file("k.key"));
  const auto open = read_public_key(folder.file("k.pub"));
  ASSERT_TRUE(secret && open);
  EXPECT_EQ(secret->seed, key.seed);
  EXPECT_EQ(*open, key.public_key());
  EXPECT_NE(SecretKey::generate().seed, key.seed);
}

TEST(KeyFile, SecretKeyIsForTheOwnerOnly) {
  const TestFolder folder;
  ASSERT_TRUE(write_key_pair(folder.file("k"), SecretKey::generate()));
  struct stat info;
  ASSERT_EQ(stat(folder.file("k.key").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST(KeyFile, NothingIsOverwritten) {
  for (const char* taken : {"k.key", "k.pub"}) {
    const TestFolder folder;
    write_file(folder.file(taken), "precious");
    const Status status = write_key_pair(folder.file("k"), SecretKey::generate());
    ASSERT_FALSE(status);
    EXPECT_THAT(status.error().message, HasSubstr(std::string(taken) + "' is there already"));
    EXPECT_EQ(read_file(folder.file(taken)), "precious");
    EXPECT_EQ(folder.count(), 1u);
  }
}

TEST(KeyFile, BadFilesAreNamed) {
  const TestFolder folder;
  ASSERT_TRUE(write_key_pair(folder.file("k"), SecretKey::generate()));
  const auto message = [&](const std::string& content) {
    write_file(folder.file("f"), content);
    const auto key = read_public_key(folder.file("f"));
    EXPECT_THAT(key ? "" : key.error().message, HasSubstr("'" + folder.file("f") + "' "));
    return key ? "" : key.error().message;
  };
  const std::string line = "llmc public key 1\n", digits(64, 'a');
  EXPECT_TRUE(read_public_key(folder.file("k.pub")));
  EXPECT_THAT(read_public_key(folder.file("k.key")).error().message,
              HasSubstr("is a secret key, expected the public one"));
  EXPECT_THAT(read_secret_key(folder.file("k.pub")).error().message,
              HasSubstr("is a public key, expected the secret one"));
  EXPECT_THAT(read_public_key(folder.file("none")).error().message, HasSubstr("No such file"));
  EXPECT_THAT(read_public_key(folder.path()).error().message, HasSubstr("is not a regular file"));
  EXPECT_THAT(message(""), HasSubstr("is not a public key"));
  EXPECT_THAT(message(digits), HasSubstr("its first line is not 'llmc public key 1'"));
  EXPECT_THAT(message("llmc public key 2\n" + digits), HasSubstr("is not a public key"));
  EXPECT_THAT(message(std::string(5000, 'x')), HasSubstr("5000 bytes"));
  for (const std::string& bad : {std::string(), digits.substr(1), digits + "a", digits.substr(1) + "g", digits + " ",
                                 " " + digits, digits + "\n" + digits, std::string(64, '\0')})
    EXPECT_THAT(message(line + bad), HasSubstr("is a damaged public key")) << bad;
  write_file(folder.file("f"), line + digits + "\r\n");
  EXPECT_TRUE(read_public_key(folder.file("f")));
}

}  // namespace
}  // namespace llm
