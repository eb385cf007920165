#include "test/plan/sample_plan.h"

#include <stdlib.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>

#include "kernels_templates/abi.h"
#include "plan/file_io.h"
#include "plan/plan_reader.h"
#include "plan/plan_tensors.h"

namespace llm {
namespace {

constexpr uint64_t kContext = 64, kBatch = 2, kTokens = 16, kLogits = 4, kBlockTokens = 16, kVocab = 40, kHidden = 8,
                   kRing = 4;
constexpr uint8_t kF32Type = 0;

uint64_t round_up(uint64_t n, uint64_t m) { return (n + m - 1) / m * m; }

void add_io_fields(fb::PlanT& plan) {
  const std::pair<const char*, uint64_t> fields[] = {
      {"counts", sizeof(llm_abi::StepCounts)},
      {"query_start", (kBatch + 1) * 4},
      {"kv_len", kBatch * 4},
      {"seq_slot", kBatch * 4},
      {"seq_flags", kBatch * 4},
      {"logit_rows", kLogits * 4},
      {"sample_params", kLogits * sizeof(llm_abi::SampleParams)},
      {"tokens", kTokens * 4},
      {"positions", kTokens * 4},
      {"kv_index", kTokens * 4},
      {"token_seq", kTokens * 4},
      {"block_updates", plan.limits->max_block_updates * sizeof(llm_abi::BlockUpdate)},
      {"bias_pairs", plan.limits->max_bias_pairs * sizeof(llm_abi::BiasPair)},
      {"mask", kLogits * plan.limits->mask_words * 4},
  };
  uint64_t offset = 0;
  for (const auto& [name, bytes] : fields) {
    auto f = std::make_unique<fb::IoFieldT>();
    f->name = name, f->offset = offset, f->bytes = bytes;
    offset = round_up(offset + bytes, 64);
    plan.io_fields.push_back(std::move(f));
  }
  plan.limits->io_bytes = offset;
}

void add_states(fb::TargetT& target) {
  const std::pair<const char*, uint64_t> states[] = {
      {"prev", kLogits * 4},
      {"block_table", kBatch * (kContext / kBlockTokens) * 4},
      {"penalty_counts", kBatch * kVocab * 4},
      {"logits", kLogits * kVocab * 4},
      {"hidden", kLogits * kHidden * 4},
      {"sample_scratch", kLogits * kVocab * 4},
      {"ring", kRing * kLogits * sizeof(llm_abi::SampleOut)},
  };
  for (const auto& [name, bytes] : states) {
    auto s = std::make_unique<fb::StateBufferT>();
    s->name = name, s->bytes = bytes, s->host = s->name == "ring";
    target.states.push_back(std::move(s));
  }
}

void add_weights(fb::TargetT& target) {
  auto rows = std::make_unique<fb::WeightT>();  // read from the model folder, two parts
  rows->name = "rows", rows->dtype = kF32Type, rows->layout = fb::WeightLayout::rows, rows->rows = 12, rows->cols = 8,
  rows->bytes = 12 * 8 * 4;
  rows->parts = {fb::WeightPart(0, 8, 0, 8, 0, 0), fb::WeightPart(4, 8, 0, 8, 8, 1)};
  target.weights.push_back(std::move(rows));
  auto packed = std::make_unique<fb::WeightT>();  // 12 rows, padded to 16
  packed->name = "packed", packed->dtype = kF32Type, packed->layout = fb::WeightLayout::interleaved16,
  packed->rows = 12, packed->cols = 8;
  packed->bytes = 16 * 8 * 4, packed->init_kernel = 1, packed->segment = kWeightSegment;
  packed->parts = {fb::WeightPart(0, 12, 0, 8, 0, 0)};
  target.weights.push_back(std::move(packed));
}

std::unique_ptr<fb::LaunchT> launch(std::vector<fb::Slot> slots, std::vector<uint32_t> after) {
  auto l = std::make_unique<fb::LaunchT>();
  l->slots = std::move(slots), l->after = std::move(after);
  l->op = "linear", l->layer = "layers.0", l->runner_up = "naive";
  l->bytes = std::make_unique<fb::Cost>(1, 2, 3, 4, 5);
  l->flops = std::make_unique<fb::Cost>(5, 4, 3, 2, 1);
  return l;
}

std::unique_ptr<fb::TargetT> sample_target() {
  auto t = std::make_unique<fb::TargetT>();
  t->name = "x86-64-v3", t->kind = fb::TargetKind::x86, t->arch = "x86-64-v3", t->features = 1u << 16,
  t->arena_bytes = 4096;
  t->modules.push_back(std::make_unique<fb::ModuleT>());
  t->modules[0]->object = kCodeSegment;
  for (const char* name : {"linear_row1", "pack_block"}) {
    auto k = std::make_unique<fb::KernelT>();
    k->name = name, k->family = "linear", k->variant = "row1", k->instance = "linear_rows<float, float, 1>",
    k->threads = 1;
    t->kernels.push_back(std::move(k));
  }
  add_weights(*t);
  t->constants.push_back(std::make_unique<fb::ConstantT>());
  t->constants[0]->name = "constant_0", t->constants[0]->segment = kConstantSegment,
  t->constants[0]->bytes = sample_segment(kConstantSegment).size();
  add_states(*t);
  auto forward = std::make_unique<fb::ProgramT>();
  forward->kind = fb::ProgramKind::forward, forward->tokens = kTokens, forward->seqs = kBatch,
  forward->logits = kLogits;
  forward->launches.push_back(launch({fb::Slot(7, 0, fb::SlotKind::value), fb::Slot(1024, 0, fb::SlotKind::arena),
                                      fb::Slot(16, 1, fb::SlotKind::weight)},
                                     {}));
  forward->launches.push_back(launch({fb::Slot(4, 0, fb::SlotKind::constant), fb::Slot(8, 2, fb::SlotKind::io),
                                      fb::Slot(0, 3, fb::SlotKind::state), fb::Slot(0, 0, fb::SlotKind::kv_base)},
                                     {0}));
  t->programs.push_back(std::move(forward));
  auto sample = std::make_unique<fb::ProgramT>();
  sample->kind = fb::ProgramKind::sample, sample->logits = kLogits;
  t->programs.push_back(std::move(sample));
  return t;
}

}  // namespace

TestFolder::TestFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "llmc-plan-test-XXXXXX").string();
  path_ = mkdtemp(name.data());
}

TestFolder::~TestFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

size_t TestFolder::count() const {
  return static_cast<size_t>(
      std::distance(std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator()));
}

std::string sample_segment(uint32_t index) {
  switch (index) {
    case kTextSegment:
      return "{\"vocab\": []}";
    case kCodeSegment:
      return std::string(5000, '\x90');
    case kConstantSegment:
      return std::string(16, '\x3f');
    default:
      return std::string(16 * 8 * 4, '\x11');
  }
}

std::string segment_area() {
  std::string area;
  for (uint32_t i = 0; i < kSampleSegments; ++i) {
    area.resize(round_up(area.size(), kSegmentAlignment));
    area += sample_segment(i);
  }
  area.resize(round_up(area.size(), kSegmentAlignment));
  return area;
}

fb::PlanT sample_plan() {
  fb::PlanT plan;
  plan.producer = "llmc test";
  plan.model = std::make_unique<fb::ModelT>();
  fb::ModelT& m = *plan.model;
  m.name = "sample", m.family = "llama", m.vocab = kVocab, m.hidden = kHidden, m.layers = 2, m.heads = 2,
  m.kv_heads = 1, m.head_dim = 4;
  m.intermediate = 16, m.max_positions = 128, m.eos_ids = {2, 3}, m.bos_id = 1;
  plan.limits = std::make_unique<fb::LimitsT>();
  fb::LimitsT& l = *plan.limits;
  l.max_context = kContext, l.max_batch = kBatch, l.max_step_tokens = kTokens, l.max_logits = kLogits,
  l.block_tokens = kBlockTokens;
  l.table_stride = kContext / kBlockTokens, l.max_block_updates = 8, l.max_bias_pairs = 8,
  l.mask_words = (kVocab + 31) / 32, l.ring_entries = kRing;
  add_io_fields(plan);
  uint64_t offset = 0;
  for (uint32_t i = 0; i < kSampleSegments; ++i) {
    constexpr fb::SegmentKind kinds[] = {fb::SegmentKind::text, fb::SegmentKind::code, fb::SegmentKind::constant,
                                         fb::SegmentKind::weights};
    const std::string bytes = sample_segment(i);
    const PlanHash hash = hash_bytes(std::as_bytes(std::span(bytes)));
    offset = round_up(offset, kSegmentAlignment);
    plan.segments.emplace_back(offset, bytes.size(), bytes.size(), fb::Hash128(hash.low, hash.high), kinds[i],
                               fb::Compression::none);
    offset += bytes.size();
  }
  auto file = std::make_unique<fb::SourceFileT>();
  file->name = "model.safetensors", file->bytes = 4096, file->header_bytes = 512,
  file->header_hash = std::make_unique<fb::Hash128>(1, 2);
  plan.files.push_back(std::move(file));
  for (uint64_t i = 0; i < 2; ++i) {
    auto t = std::make_unique<fb::SourceTensorT>();
    t->key = "tensor" + std::to_string(i), t->rows = 12, t->cols = 8, t->offset = 512 + i * 12 * 8 * 4;
    if (i == 0) t->digest = std::make_unique<fb::Digest256>(fb_digest(digest_bytes({})));
    plan.tensors.push_back(std::move(t));
  }
  auto group = std::make_unique<fb::KvGroupT>();
  group->layers = {0, 1}, group->kv_heads = 1, group->head_dim = 4, group->block_tokens = kBlockTokens,
  group->block_bytes = 2 * 4 * kBlockTokens * 4;
  plan.kv_groups.push_back(std::move(group));
  plan.text.push_back(std::make_unique<fb::TextAssetT>());
  plan.text[0]->name = "tokenizer.json", plan.text[0]->segment = kTextSegment;
  plan.targets.push_back(sample_target());
  return plan;
}

std::string index_bytes(const fb::PlanT& plan) {
  flatbuffers::FlatBufferBuilder builder;
  fb::FinishPlanBuffer(builder, fb::Plan::Pack(builder, &plan));
  return std::string(reinterpret_cast<const char*>(builder.GetBufferPointer()), builder.GetSize());
}

std::string file_bytes(const std::string& area, const std::string& index) {
  PlanHead head{};
  std::memcpy(head.magic, kPlanMagic, sizeof head.magic);
  head.major = kPlanMajor, head.minor = kPlanMinor, head.head_bytes = sizeof head;
  head.segment_base = kSegmentAlignment;
  head.index_offset = head.segment_base + area.size();
  head.index_bytes = index.size();
  head.file_bytes = head.index_offset + index.size();
  head.root_hash = hash_bytes(std::as_bytes(std::span(index)));
  std::string bytes(reinterpret_cast<const char*>(&head), sizeof head);
  bytes.resize(kSegmentAlignment);
  return bytes + area + index;
}

std::string file_bytes(const fb::PlanT& plan) { return file_bytes(segment_area(), index_bytes(plan)); }

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

std::string refusal(const std::string& bytes) {
  const TestFolder folder;
  write_file(folder.file("plan.fb"), bytes);
  const auto plan = PlanFile::open(folder.file("plan.fb"));
  return plan ? "" : plan.error().message;
}

}  // namespace llm
