// The kernel cache: what is stored is found, damage reads as nothing, writers do not disturb each other.
#include "compiler/codegen/kernel_cache.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

namespace llmc {
namespace {

class KernelCacheTest : public testing::Test {
 protected:
  KernelCacheTest() {
    std::string name = testing::TempDir() + "llmc-cache-XXXXXX";
    folder_ = mkdtemp(name.data());
  }
  ~KernelCacheTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  std::filesystem::path only_entry() const {
    const std::vector<std::filesystem::directory_entry> entries{std::filesystem::directory_iterator(folder_), {}};
    EXPECT_EQ(entries.size(), 1u);
    return entries.at(0).path();
  }
  static std::string read(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  }
  static void write(const std::filesystem::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }

  std::string folder_;
  const llm::PlanHash key_ = KernelCache::key("clang 19", "x86-64-v3", "void f() {}", "headers");
  const KernelArtifacts artifacts_ = {{"object", std::string("\x7f"
                                                             "ELF\0\1\2",
                                                             7)},
                                      {"log", ""},
                                      {"ptx", std::string(100000, 'p')}};
};

TEST_F(KernelCacheTest, WhatIsStoredIsFound) {
  const KernelCache cache(folder_);
  EXPECT_FALSE(cache.find(key_));
  cache.store(key_, artifacts_);
  const auto found = cache.find(key_);
  ASSERT_TRUE(found);
  EXPECT_EQ(*found, artifacts_);
  EXPECT_EQ(*KernelCache(folder_).find(key_), artifacts_);
  // Again, with other contents: the last one stays.
  cache.store(key_, {{"object", "new"}});
  EXPECT_EQ(cache.find(key_)->at("object"), "new");
  only_entry();
}

TEST_F(KernelCacheTest, NothingAtAll) {
  const KernelCache cache(folder_);
  cache.store(key_, {});
  ASSERT_TRUE(cache.find(key_));
  EXPECT_TRUE(cache.find(key_)->empty());
}

TEST_F(KernelCacheTest, EveryPartOfTheKeyCounts) {
  const llm::PlanHash base = KernelCache::key("a", "b", "c", "d");
  EXPECT_EQ(base, KernelCache::key("a", "b", "c", "d"));
  EXPECT_FALSE(base == KernelCache::key("x", "b", "c", "d"));
  EXPECT_FALSE(base == KernelCache::key("a", "x", "c", "d"));
  EXPECT_FALSE(base == KernelCache::key("a", "b", "x", "d"));
  EXPECT_FALSE(base == KernelCache::key("a", "b", "c", "x"));
  // Where one part ends and the next begins counts too.
  EXPECT_FALSE(KernelCache::key("ab", "", "c", "d") == KernelCache::key("a", "b", "c", "d"));
}

TEST_F(KernelCacheTest, EveryDamagedByteIsNoticed) {
  const KernelCache cache(folder_);
  cache.store(key_, {{"object", "some bytes"}, {"log", "some text"}});
  const auto path = only_entry();
  const std::string good = read(path);
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    write(path, bad);
    EXPECT_FALSE(cache.find(key_)) << "byte " << i;
  }
  write(path, good);
  EXPECT_TRUE(cache.find(key_));
}

TEST_F(KernelCacheTest, CutOrForeignEntriesAreNoticed) {
  const KernelCache cache(folder_);
  cache.store(key_, artifacts_);
  const auto path = only_entry();
  const std::string good = read(path);
  for (size_t n : {size_t{0}, size_t{1}, size_t{15}, size_t{16}, size_t{17}, good.size() / 2, good.size() - 1}) {
    write(path, good.substr(0, n));
    // Sixteen bytes are a hash of nothing, but not the hash of these.
    EXPECT_FALSE(cache.find(key_)) << n;
  }
  write(path, good + "x");
  EXPECT_FALSE(cache.find(key_));
  // A right hash over a length that leads outside.
  const std::string body = std::string(8, '\xff');
  const llm::PlanHash hash = KernelCache::key("", "", "", "");
  write(path, std::string(reinterpret_cast<const char*>(&hash), sizeof hash) + body);
  EXPECT_FALSE(cache.find(key_));
  // A damaged entry is replaced by the next store.
  cache.store(key_, artifacts_);
  EXPECT_EQ(*cache.find(key_), artifacts_);
}

TEST_F(KernelCacheTest, ConcurrentWritersAndReaders) {
  constexpr int kThreads = 4, kRounds = 50;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const KernelCache cache(folder_);
      for (int i = 0; i < kRounds; ++i) {
        const auto key = KernelCache::key("c", "o", std::to_string(i % 5), "");
        const KernelArtifacts mine = {{"object", std::string(5000, static_cast<char>('0' + i % 5))}};
        if ((i + t) % 2) cache.store(key, mine);
        const auto found = cache.find(key);
        EXPECT_TRUE(!found || *found == mine);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  // Five entries, and no temporary file.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), std::filesystem::directory_iterator()), 5);
}

TEST_F(KernelCacheTest, AFolderThatCannotBeWrittenIsAnEmptyCache) {
  write(folder_ + "/file", "");
  const KernelCache in_a_file(folder_ + "/file");
  in_a_file.store(key_, artifacts_);
  EXPECT_FALSE(in_a_file.find(key_));
  const KernelCache disabled("");
  disabled.store(key_, artifacts_);
  EXPECT_FALSE(disabled.find(key_));
  const KernelCache created(folder_ + "/a/b/c");
  created.store(key_, artifacts_);
  EXPECT_TRUE(created.find(key_));
}

TEST_F(KernelCacheTest, DefaultFolder) {
  const auto with = [](const char* cache, const char* xdg, const char* home) {
    const auto set = [](const char* name, const char* value) { value ? setenv(name, value, 1) : unsetenv(name); };
    const auto get = [](const char* name) {
      return std::getenv(name) ? std::optional<std::string>(std::getenv(name)) : std::nullopt;
    };
    const std::optional<std::string> before[] = {get("LLMC_CACHE"), get("XDG_CACHE_HOME"), get("HOME")};
    set("LLMC_CACHE", cache), set("XDG_CACHE_HOME", xdg), set("HOME", home);
    const std::string folder = KernelCache::default_folder();
    set("LLMC_CACHE", before[0] ? before[0]->c_str() : nullptr);
    set("XDG_CACHE_HOME", before[1] ? before[1]->c_str() : nullptr);
    set("HOME", before[2] ? before[2]->c_str() : nullptr);
    return folder;
  };
  EXPECT_EQ(with("/c", "/x", "/h"), "/c");
  EXPECT_EQ(with(nullptr, "/x", "/h"), "/x/llmc");
  EXPECT_EQ(with(nullptr, "", "/h"), "/h/.cache/llmc");
  EXPECT_EQ(with(nullptr, nullptr, nullptr), "");
}

}  // namespace
}  // namespace llmc
