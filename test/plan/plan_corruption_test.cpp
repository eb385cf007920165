// Random damage to every part of a plan, with the root hash made right again, so that the verifier and not the hash has
// to notice. What still opens must be safe to read in full. Run under the sanitizers (preset asan), this finds what a
// message cannot show.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <random>

#include "plan/file_io.h"
#include "plan/plan_reader.h"
#include "test/plan/sample_plan.h"

namespace llm {
namespace {

constexpr int kRounds = 3000;

// Follows every index and range as the runtime does; the sum keeps the reads alive.
uint64_t read_everything(const PlanFile& file) {
  const fb::PlanT& plan = file.index();
  uint64_t sum = 0;
  for (uint32_t i = 0; i < plan.segments.size(); ++i) {
    for (std::byte b : file.stored(i)) sum += static_cast<uint64_t>(b);
    if (const auto bytes = file.read(i)) sum += bytes->size();
  }
  for (const auto& t : plan.tensors) sum += plan.files[t->file]->bytes - t->offset;
  for (const auto& f : plan.io_fields) sum += f->offset + f->bytes;
  for (const auto& a : plan.text) sum += plan.segments[a->segment].raw_bytes();
  for (const auto& t : plan.targets) {
    for (const auto& m : t->modules)
      for (int32_t s : {m->cubin, m->ptx, m->object})
        if (s >= 0) sum += plan.segments[static_cast<size_t>(s)].raw_bytes();
    for (const auto& k : t->kernels) sum += static_cast<uint64_t>(t->modules[k->module_index]->object);
    for (const auto& c : t->constants) sum += file.stored(c->segment).size();
    for (const auto& w : t->weights) {
      if (w->segment >= 0) sum += file.stored(static_cast<uint32_t>(w->segment)).size();
      if (w->init_kernel >= 0) sum += t->kernels[static_cast<size_t>(w->init_kernel)]->threads;
      for (const fb::WeightPart& p : w->parts) sum += plan.tensors[p.tensor()]->rows - p.row_begin();
    }
    for (const auto& p : t->programs)
      for (const auto& l : p->launches) {
        sum += (l->external ? l->external->rows : t->kernels[l->kernel]->threads) + static_cast<uint64_t>(l->bytes->constant() > 0);
        for (uint32_t before : l->after) sum += p->launches[before]->grid_x;
        for (const fb::Slot& s : l->slots) sum += s.value();
      }
  }
  return sum;
}

// Opens bytes as a file; whether that worked. Never crashes.
bool open_and_read(const TestFolder& folder, const std::string& bytes) {
  write_file(folder.file("plan.fb"), bytes);
  const auto plan = PlanFile::open(folder.file("plan.fb"));
  if (!plan) {
    EXPECT_FALSE(plan.error().message.empty());
    EXPECT_EQ(plan.error().message.find('\n'), std::string::npos) << plan.error().message;
    return false;
  }
  volatile uint64_t sum = read_everything(**plan);
  (void)sum;
  return true;
}

void fix_root_hash(std::string& bytes) {
  PlanHead head;
  std::memcpy(&head, bytes.data(), sizeof head);
  if (head.index_offset > bytes.size() || head.index_bytes > bytes.size() - head.index_offset) return;
  head.root_hash = hash_bytes(std::as_bytes(std::span(bytes)).subspan(head.index_offset, head.index_bytes));
  std::memcpy(bytes.data(), &head, sizeof head);
}

void flip(std::string& bytes, size_t at, std::mt19937& random) {
  bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
}

TEST(PlanCorruption, FlippedBitsOfTheIndex) {
  const TestFolder folder;
  std::mt19937 random(1);
  const std::string area = segment_area(), index = index_bytes(sample_plan());
  int opened = 0;
  for (int i = 0; i < kRounds; ++i) {
    std::string damaged = index;
    for (size_t n = 1 + random() % 4; n-- > 0;) flip(damaged, random() % damaged.size(), random);
    opened += open_and_read(folder, file_bytes(area, damaged));
  }
  EXPECT_LT(opened, kRounds);  // most flips hit a name, a cost or a padding byte, but not all
}

TEST(PlanCorruption, EveryByteOfTheIndexOnceToItsExtremes) {
  const TestFolder folder;
  const std::string area = segment_area(), index = index_bytes(sample_plan());
  for (size_t i = 0; i < index.size(); ++i) {
    for (const char value : {'\0', '\x7f', '\xff'}) {
      if (index[i] == value) continue;
      std::string damaged = index;
      damaged[i] = value;
      open_and_read(folder, file_bytes(area, damaged));
    }
  }
}

TEST(PlanCorruption, WordsOfTheIndexReplaced) {
  const TestFolder folder;
  std::mt19937_64 random(2);
  const std::string area = segment_area(), index = index_bytes(sample_plan());
  const uint64_t words[] = {0,
                            1,
                            0x7fffffff,
                            0x80000000,
                            0xffffffff,
                            0x7fffffffffffffff,
                            0x8000000000000000,
                            ~uint64_t{0},
                            ~uint64_t{0} - 4095};
  for (int i = 0; i < kRounds; ++i) {
    std::string damaged = index;
    const uint64_t word = words[random() % std::size(words)];
    const size_t bytes = random() % 2 ? 4 : 8;
    std::memcpy(damaged.data() + random() % (damaged.size() - 8) / bytes * bytes, &word, bytes);
    open_and_read(folder, file_bytes(area, damaged));
  }
}

TEST(PlanCorruption, FlippedBitsOfTheHead) {
  const TestFolder folder;
  std::mt19937 random(3);
  const std::string good = file_bytes(sample_plan());
  for (int i = 0; i < kRounds / 3; ++i) {
    std::string damaged = good;
    for (size_t n = 1 + random() % 3; n-- > 0;) flip(damaged, random() % offsetof(PlanHead, root_hash), random);
    fix_root_hash(damaged);
    open_and_read(folder, damaged);
  }
}

TEST(PlanCorruption, FlippedBitsOfTheSegments) {
  const TestFolder folder;
  std::mt19937 random(4);
  const std::string good = file_bytes(sample_plan());
  for (int i = 0; i < 200; ++i) {
    std::string damaged = good;
    flip(damaged, kSegmentAlignment + random() % segment_area().size(), random);
    EXPECT_TRUE(open_and_read(folder, damaged));  // noticed when the segment is read
  }
}

TEST(PlanCorruption, IndexCutShort) {
  const TestFolder folder;
  const std::string area = segment_area(), index = index_bytes(sample_plan());
  for (size_t n = 0; n < index.size(); n += 7) {
    const bool opened = open_and_read(folder, file_bytes(area, index.substr(0, n)));
    EXPECT_FALSE(opened && n + 8 < index.size()) << n;  // the last bytes may be padding
  }
}

}  // namespace
}  // namespace llm
