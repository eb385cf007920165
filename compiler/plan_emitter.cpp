#include "compiler/plan_emitter.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "compiler/frontend/import.h"
#include "kernels_templates/abi.h"
#include "passes/KernelShapes.h"
#include "plan/mapped_file.h"
#include "plan/plan_tensors.h"

namespace llmc {
namespace {

namespace fb = llm::fb;

constexpr int64_t kBiasPairs = 4096;     // (id, bias) pairs of one step, all rows together
constexpr int64_t kRingEntries = 256;    // steps whose samples the host may lag behind
constexpr int64_t kIoAlignment = 64;

// Files of a model folder that the runtime needs for text.
constexpr const char* kTextAssets[] = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json", "config.json"};

uint8_t dtype_in_plan(DType dtype) {
  if (dtype == DType::kI32) return llm::kInt32Dtype;
  return dtype_bits(dtype) == 8 ? llm::kByteDtype : static_cast<uint8_t>(scalar_type_of(dtype));
}

}  // namespace

llm::Result<std::unique_ptr<PlanEmitter>> PlanEmitter::create(const std::string& output, const std::string& model_dir,
                                                              const ModelConfig& config, const Checkpoint& checkpoint,
                                                              const ModelWeights& weights, const std::vector<KvGroup>& groups,
                                                              const StepLimits& limits, bool embed_weights) {
  std::unique_ptr<PlanEmitter> e(new PlanEmitter(checkpoint, limits, embed_weights));
  e->output_ = output;
  LLM_ASSIGN(e->plan_.writer, llm::PlanWriter::create(output));
  e->plan_.tables.producer = "llmc 0.1.0";
  e->plan_.tables.limits = std::make_unique<fb::LimitsT>();
  e->add_model(model_dir, config, weights);
  e->add_sources(weights);
  e->add_io_fields();
  e->add_kv_groups(groups);
  LLM_TRY(e->add_text(model_dir));
  return e;
}

void PlanEmitter::add_model(const std::string& model_dir, const ModelConfig& c, const ModelWeights& weights) {
  auto m = std::make_unique<fb::ModelT>();
  m->name = std::filesystem::path(model_dir).lexically_normal().filename().string();
  if (m->name.empty()) m->name = std::filesystem::path(model_dir).lexically_normal().parent_path().filename().string();
  m->family = c.architecture;
  m->vocab = static_cast<uint64_t>(c.vocab_size);
  m->hidden = static_cast<uint64_t>(c.hidden_size);
  m->layers = static_cast<uint64_t>(c.num_layers);
  m->heads = static_cast<uint64_t>(c.num_heads);
  m->kv_heads = static_cast<uint64_t>(c.num_kv_heads);
  m->head_dim = static_cast<uint64_t>(c.head_dim);
  m->intermediate = static_cast<uint64_t>(c.intermediate_size);
  m->dtype = static_cast<uint8_t>(scalar_type_of(weights.linear_dtype()));
  m->max_positions = static_cast<uint64_t>(c.max_position_embeddings);
  m->eos_ids = c.eos_token_ids;
  m->bos_id = c.bos_token_id.value_or(-1);
  plan_.tables.model = std::move(m);
}

void PlanEmitter::add_sources(const ModelWeights& weights) {
  for (const SafetensorsFile& file : plan_.checkpoint.files()) {
    auto f = std::make_unique<fb::SourceFileT>();
    f->name = std::filesystem::path(file.path).filename().string();
    f->bytes = file.file_size;
    f->header_bytes = file.data_offset;
    uint64_t high, low;  // canonical form: big-endian, high half first
    std::memcpy(&high, file.header_hash.data(), 8);
    std::memcpy(&low, file.header_hash.data() + 8, 8);
    f->header_hash = std::make_unique<fb::Hash128>(__builtin_bswap64(low), __builtin_bswap64(high));
    plan_.tables.files.push_back(std::move(f));
  }
  for (const TensorInfo& source : weights.sources()) {
    if (plan_.tensor_index.count(source.name)) continue;
    auto t = std::make_unique<fb::SourceTensorT>();
    t->key = source.name;
    t->file = static_cast<uint32_t>(source.file);
    t->dtype = dtype_in_plan(source.dtype);
    t->rows = source.shape.empty() ? 1 : static_cast<uint64_t>(source.shape[0]);
    t->cols = source.shape.size() == 2 ? static_cast<uint64_t>(source.shape[1]) : 1;
    t->offset = plan_.checkpoint.files()[source.file].data_offset + source.begin;
    plan_.tensor_index[t->key] = static_cast<uint32_t>(plan_.tables.tensors.size());
    plan_.tables.tensors.push_back(std::move(t));
  }
}

// The fields that every step fills come first, so that one copy of a prefix moves them; masks and biases are seldom used and last.
void PlanEmitter::add_io_fields() {
  const int64_t t = limits_.max_step_tokens, s = limits_.max_batch, l = limits_.max_logits, i32 = 4;
  const int64_t vocab = static_cast<int64_t>(plan_.tables.model->vocab), mask_words = (vocab + 31) / 32;
  const int64_t updates = 4 * s + t;
  const std::pair<const char*, int64_t> fields[] = {
      {"counts", sizeof(llm_abi::StepCounts)},
      {"query_start", (s + 1) * i32},
      {"kv_len", s * i32},
      {"seq_slot", s * i32},
      {"seq_flags", s * i32},
      {"logit_rows", l * i32},
      {"sample_params", l * static_cast<int64_t>(sizeof(llm_abi::SampleParams))},
      {"tokens", t * i32},
      {"positions", t * i32},
      {"kv_index", t * i32},
      {"token_seq", t * i32},
      {"block_updates", updates * static_cast<int64_t>(sizeof(llm_abi::BlockUpdate))},
      {"bias_pairs", kBiasPairs * static_cast<int64_t>(sizeof(llm_abi::BiasPair))},
      {"mask", l * mask_words * i32},
  };
  int64_t offset = 0;
  for (const auto& [name, bytes] : fields) {
    auto f = std::make_unique<fb::IoFieldT>();
    f->name = name;
    f->offset = static_cast<uint64_t>(offset);
    f->bytes = static_cast<uint64_t>(bytes);
    offset = (offset + bytes + kIoAlignment - 1) / kIoAlignment * kIoAlignment;
    plan_.io_index[name] = static_cast<uint32_t>(plan_.tables.io_fields.size());
    plan_.tables.io_fields.push_back(std::move(f));
  }
  fb::LimitsT& out = *plan_.tables.limits;
  out.max_context = static_cast<uint64_t>(limits_.max_context);
  out.max_batch = static_cast<uint64_t>(s);
  out.max_step_tokens = static_cast<uint64_t>(t);
  out.max_logits = static_cast<uint64_t>(l);
  out.block_tokens = static_cast<uint64_t>(limits_.block_tokens);
  out.table_stride = static_cast<uint64_t>(limits_.table_stride());
  out.max_block_updates = static_cast<uint64_t>(updates);
  out.max_bias_pairs = kBiasPairs;
  out.mask_words = static_cast<uint64_t>(mask_words);
  out.ring_entries = kRingEntries;
  out.io_bytes = static_cast<uint64_t>(offset);
}

void PlanEmitter::add_kv_groups(const std::vector<KvGroup>& groups) {
  for (const KvGroup& g : groups) {
    auto out = std::make_unique<fb::KvGroupT>();
    for (int64_t layer : g.layers) out->layers.push_back(static_cast<uint32_t>(layer));
    out->window = static_cast<uint64_t>(g.window);
    out->kv_heads = static_cast<uint64_t>(g.kv_heads);
    out->head_dim = static_cast<uint64_t>(g.head_dim);
    out->dtype = static_cast<uint8_t>(scalar_type(g.element));
    out->block_tokens = static_cast<uint64_t>(limits_.block_tokens);
    out->block_bytes = static_cast<uint64_t>(g.block_bytes(limits_.block_tokens));
    plan_.tables.kv_groups.push_back(std::move(out));
  }
}

llm::Status PlanEmitter::add_text(const std::string& model_dir) {
  for (const char* name : kTextAssets) {
    const std::string path = model_dir + "/" + name;
    if (!std::filesystem::exists(path)) continue;
    LLM_ASSIGN(std::string text, llm::read_text_file(path));
    auto asset = std::make_unique<fb::TextAssetT>();
    asset->name = name;
    LLM_ASSIGN(asset->segment, plan_.writer->add(fb::SegmentKind::text, std::as_bytes(std::span(text)), fb::Compression::zstd));
    plan_.tables.text.push_back(std::move(asset));
  }
  return {};
}

llm::Status PlanEmitter::add_target(const Target& target, mlir::ModuleOp module, const CompiledTarget& code) {
  LLM_ASSIGN(std::unique_ptr<fb::TargetT> out, TargetEmitter(plan_).emit(target, module, code));
  plan_.tables.targets.push_back(std::move(out));
  return {};
}

llm::Result<uint64_t> PlanEmitter::finish() {
  LLM_TRY(plan_.writer->finish(plan_.tables));
  std::error_code error;
  const uint64_t bytes = std::filesystem::file_size(output_, error);
  return error ? 0 : bytes;
}

}  // namespace llmc
