#include "compiler/plan_emitter.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "compiler/frontend/import.h"
#include "compiler/weight_embedder.h"
#include "kernels_templates/abi.h"
#include "passes/KernelShapes.h"
#include "passes/KvGroups.h"
#include "passes/QuantizedWeights.h"
#include "plan/mapped_file.h"
#include "plan/plan_tensors.h"

namespace llmc {
namespace {

namespace fb = llm::fb;

constexpr int64_t kBiasPairs = 4096;     // (id, bias) pairs of one step, all rows together
constexpr int64_t kRingEntries = 256;    // steps whose samples the host may lag behind
constexpr int64_t kIoAlignment = 64;
constexpr int64_t kMaxPhases = 4096;   // of a persistent kernel
constexpr uint64_t kGemmWorkspaceBytes = 32ull << 20;  // what cuBLAS itself takes on Hopper; 4 MiB before (cublasSetWorkspace)

// Files of a model folder that the runtime needs for text.
constexpr const char* kTextAssets[] = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json", "config.json"};

std::unique_ptr<fb::Cost> cost(llvm::ArrayRef<double> c) { return std::make_unique<fb::Cost>(c[0], c[1], c[2], c[3], c[4]); }

std::span<const std::byte> as_bytes(const std::string& s) { return std::as_bytes(std::span(s.data(), s.size())); }

std::unique_ptr<fb::ExternalCallT> external_call(exec::GemmOp gemm) {
  auto call = std::make_unique<fb::ExternalCallT>();
  call->kind = fb::ExternalKind::cublas_gemm;
  call->dtype = static_cast<uint8_t>(scalar_type(gemm.getElement()));
  call->rows = static_cast<uint32_t>(gemm.getRows());
  call->cols = static_cast<uint32_t>(gemm.getCols());
  call->k = static_cast<uint32_t>(gemm.getK());
  call->workspace_bytes = kGemmWorkspaceBytes;
  return call;
}

uint8_t dtype_in_plan(DType dtype) {
  if (dtype == DType::kI32) return llm::kInt32Dtype;
  return dtype_bits(dtype) == 8 ? llm::kByteDtype : static_cast<uint8_t>(scalar_type_of(dtype));
}

fb::WeightLayout layout_of(llvm::StringRef name) {
  for (fb::WeightLayout layout : fb::EnumValuesWeightLayout())
    if (name == fb::EnumNameWeightLayout(layout)) return layout;
  return fb::WeightLayout::rows;  // not reached: the verifier of exec.weight knows the same names
}

// The number that a name was given. Io fields and states are no symbols: nothing before the emitter has checked them.
llm::Result<uint32_t> number_of(const std::map<std::string, uint32_t>& index, llvm::StringRef name, const char* what) {
  if (const auto it = index.find(name.str()); it != index.end()) return it->second;
  return llm::Error{"the plan has no " + std::string(what) + " '" + name.str() + "'"};
}

std::unique_ptr<fb::TensorMapT> tensor_map(exec::TensorMapAttr attr, const fb::Slot& base) {
  auto map = std::make_unique<fb::TensorMapT>();
  map->base = std::make_unique<fb::Slot>(base);
  map->dtype = static_cast<uint8_t>(scalar_type(attr.getElement()));
  map->dims.assign(attr.getDims().begin(), attr.getDims().end());
  map->strides.assign(attr.getStrides().begin(), attr.getStrides().end());
  map->box.assign(attr.getBox().begin(), attr.getBox().end());
  map->swizzle = static_cast<uint32_t>(attr.getSwizzle());
  return map;
}

fb::Slot value_slot(const void* bits) {
  uint64_t value;
  std::memcpy(&value, bits, sizeof value);
  return fb::Slot(value, 0, fb::SlotKind::value);
}

}  // namespace

llm::Result<std::unique_ptr<PlanEmitter>> PlanEmitter::create(const std::string& output, const std::string& model_dir,
                                                              const ModelConfig& config, const Checkpoint& checkpoint,
                                                              const ModelWeights& weights, const std::vector<KvGroup>& groups,
                                                              const StepLimits& limits, bool embed_weights) {
  std::unique_ptr<PlanEmitter> e(new PlanEmitter(checkpoint, limits, embed_weights));
  e->output_ = output;
  LLM_ASSIGN(e->writer_, llm::PlanWriter::create(output));
  e->plan_.producer = "llmc 0.1.0";
  e->plan_.limits = std::make_unique<fb::LimitsT>();
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
  plan_.model = std::move(m);
}

void PlanEmitter::add_sources(const ModelWeights& weights) {
  for (const SafetensorsFile& file : checkpoint_.files()) {
    auto f = std::make_unique<fb::SourceFileT>();
    f->name = std::filesystem::path(file.path).filename().string();
    f->bytes = file.file_size;
    f->header_bytes = file.data_offset;
    uint64_t high, low;  // canonical form: big-endian, high half first
    std::memcpy(&high, file.header_hash.data(), 8);
    std::memcpy(&low, file.header_hash.data() + 8, 8);
    f->header_hash = std::make_unique<fb::Hash128>(__builtin_bswap64(low), __builtin_bswap64(high));
    plan_.files.push_back(std::move(f));
  }
  for (const TensorInfo& source : weights.sources()) {
    if (tensor_index_.count(source.name)) continue;
    auto t = std::make_unique<fb::SourceTensorT>();
    t->key = source.name;
    t->file = static_cast<uint32_t>(source.file);
    t->dtype = dtype_in_plan(source.dtype);
    t->rows = source.shape.empty() ? 1 : static_cast<uint64_t>(source.shape[0]);
    t->cols = source.shape.size() == 2 ? static_cast<uint64_t>(source.shape[1]) : 1;
    t->offset = checkpoint_.files()[source.file].data_offset + source.begin;
    tensor_index_[t->key] = static_cast<uint32_t>(plan_.tensors.size());
    plan_.tensors.push_back(std::move(t));
  }
}

// The fields that every step fills come first, so that one copy of a prefix moves them; masks and biases are seldom used and last.
void PlanEmitter::add_io_fields() {
  const int64_t t = limits_.max_step_tokens, s = limits_.max_batch, l = limits_.max_logits, i32 = 4;
  const int64_t vocab = static_cast<int64_t>(plan_.model->vocab), mask_words = (vocab + 31) / 32;
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
    io_index_[name] = static_cast<uint32_t>(plan_.io_fields.size());
    plan_.io_fields.push_back(std::move(f));
  }
  fb::LimitsT& out = *plan_.limits;
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
    plan_.kv_groups.push_back(std::move(out));
  }
}

llm::Status PlanEmitter::add_text(const std::string& model_dir) {
  for (const char* name : kTextAssets) {
    const std::string path = model_dir + "/" + name;
    if (!std::filesystem::exists(path)) continue;
    LLM_ASSIGN(std::string text, llm::read_text_file(path));
    auto asset = std::make_unique<fb::TextAssetT>();
    asset->name = name;
    LLM_ASSIGN(asset->segment, writer_->add(fb::SegmentKind::text, as_bytes(text), fb::Compression::zstd));
    plan_.text.push_back(std::move(asset));
  }
  return {};
}

llm::Status PlanEmitter::add_target(const Target& target, mlir::ModuleOp module, const CompiledTarget& code) {
  auto out = std::make_unique<fb::TargetT>();
  out->name = target.name;
  out->kind = target.kind == TargetKind::kCuda ? fb::TargetKind::cuda : fb::TargetKind::x86;
  out->arch = target.arch;
  out->compute_capability = static_cast<uint32_t>(target.cc);
  out->features = target.features;
  kernel_index_.clear(), weight_index_.clear(), constant_index_.clear(), state_index_.clear();
  LLM_TRY(add_kernels(*out, module, code, target.kind == TargetKind::kCuda));
  LLM_TRY(add_weights(*out, module));
  for (auto c : module.getOps<exec::ConstantOp>()) {
    auto constant = std::make_unique<fb::ConstantT>();
    constant->name = c.getSymName().str();
    const auto bytes = std::as_bytes(std::span(c.getValues().data(), c.getValues().size()));
    constant->bytes = bytes.size();
    LLM_ASSIGN(constant->segment, writer_->add(fb::SegmentKind::constant, bytes, fb::Compression::none));
    constant_index_[constant->name] = static_cast<uint32_t>(out->constants.size());
    out->constants.push_back(std::move(constant));
  }
  add_states(*out, module);
  for (auto program : module.getOps<exec::ProgramOp>())
    if (llm::Status s = add_program(*out, program); !s)
      return llm::Error{"target " + out->name + ", program @" + program.getSymName().str() + ": " + s.error().message};
  plan_.targets.push_back(std::move(out));
  return {};
}

llm::Status PlanEmitter::add_kernels(fb::TargetT& out, mlir::ModuleOp module, const CompiledTarget& code, bool cuda) {
  if (!cuda) {
    auto m = std::make_unique<fb::ModuleT>();
    LLM_ASSIGN(const uint32_t segment, writer_->add(fb::SegmentKind::code, as_bytes(code.shared_object), fb::Compression::zstd));
    m->object = static_cast<int32_t>(segment);
    out.modules.push_back(std::move(m));
  }
  size_t i = 0;
  for (auto k : module.getOps<exec::KernelOp>()) {
    const CompiledKernel& compiled = code.kernels[i++];
    auto kernel = std::make_unique<fb::KernelT>();
    kernel->name = k.getSymName().str();
    kernel->family = k.getFamily().str();
    kernel->variant = k.getVariant().str();
    kernel->instance = k.getInstance().str();
    kernel->threads = static_cast<uint32_t>(k.getThreads());
    kernel->shared_bytes = static_cast<uint32_t>(k.getSharedBytes());
    kernel->registers = compiled.registers;
    kernel->spill_bytes = compiled.spill_bytes;
    if (cuda) {
      auto m = std::make_unique<fb::ModuleT>();
      LLM_ASSIGN(const uint32_t cubin, writer_->add(fb::SegmentKind::code, as_bytes(compiled.cubin), fb::Compression::zstd));
      LLM_ASSIGN(const uint32_t ptx, writer_->add(fb::SegmentKind::code, as_bytes(compiled.ptx), fb::Compression::zstd));
      m->cubin = static_cast<int32_t>(cubin);
      m->ptx = static_cast<int32_t>(ptx);
      kernel->module_index = static_cast<uint32_t>(out.modules.size());
      out.modules.push_back(std::move(m));
    }
    kernel_index_[kernel->name] = static_cast<uint32_t>(out.kernels.size());
    out.kernels.push_back(std::move(kernel));
  }
  return {};
}

llm::Status PlanEmitter::add_weights(fb::TargetT& out, mlir::ModuleOp module) {
  for (auto w : module.getOps<exec::WeightOp>()) {
    auto weight = std::make_unique<fb::WeightT>();
    weight->name = w.getSymName().str();
    weight->rows = w.getRows();
    weight->cols = w.getCols();
    weight->bytes = w.getBytes();
    weight->layout = layout_of(w.getLayout());
    if (auto type = mlir::dyn_cast<ops::QuantizedType>(w.getElement())) {
      const llm::QuantizedShape shape = quantized_shape(module, type, static_cast<int64_t>(weight->rows), static_cast<int64_t>(weight->cols));
      weight->dtype = static_cast<uint8_t>(scalar_type(type.getScale()));
      weight->quantization = std::make_unique<fb::QuantizationT>();
      weight->quantization->code = static_cast<uint8_t>(shape.code);
      weight->quantization->group = shape.group;
      weight->quantization->zeros = shape.zeros;
      weight->quantization->interleave = static_cast<uint32_t>(shape.interleave);
    }
    if (weight->layout == fb::WeightLayout::order) weight->dtype = llm::kInt32Dtype;
    if (weight->quantization || weight->layout == fb::WeightLayout::order) {  // filled by the program init
      weight_index_[weight->name] = static_cast<uint32_t>(out.weights.size());
      out.weights.push_back(std::move(weight));
      continue;
    }
    if (auto init = w.getInitKernel()) weight->init_kernel = static_cast<int32_t>(kernel_index_[init->str()]);
    if (auto source = w.getSource()) {  // computed, not copied
      weight->source = static_cast<int32_t>(weight_index_[source->str()]);
      weight->dtype = static_cast<uint8_t>(scalar_type(w.getElement()));
      weight_index_[weight->name] = static_cast<uint32_t>(out.weights.size());
      out.weights.push_back(std::move(weight));
      continue;
    }
    uint64_t row = 0;
    for (mlir::Attribute attr : w.getParts()) {
      auto p = mlir::cast<ops::PartAttr>(attr);
      const uint32_t tensor = tensor_index_[p.getKey().str()];
      weight->dtype = plan_.tensors[tensor]->dtype;
      weight->parts.emplace_back(p.getRowBegin(), p.getRowEnd(), p.getColBegin(), p.getColEnd(), row, tensor);
      row += static_cast<uint64_t>(p.getRowEnd() - p.getRowBegin());
    }
    if (embed_) {
      LLM_ASSIGN(weight->segment, embed(*weight));
    }
    weight_index_[weight->name] = static_cast<uint32_t>(out.weights.size());
    out.weights.push_back(std::move(weight));
  }
  return {};
}

// Embeds a weight as it is used; weights with the same recipe (of several targets) share one segment.
llm::Result<int32_t> PlanEmitter::embed(const fb::WeightT& w) {
  std::string recipe = std::to_string(static_cast<int>(w.layout));
  for (const fb::WeightPart& p : w.parts)
    for (uint64_t n : {uint64_t{p.tensor()}, p.row_begin(), p.row_end(), p.col_begin(), p.col_end()}) recipe += "," + std::to_string(n);
  const auto it = embedded_.find(recipe);
  if (it != embedded_.end()) return it->second;
  LLM_ASSIGN(const uint32_t segment, embed_weight(*writer_, checkpoint_, plan_, w));
  embedded_[recipe] = static_cast<int32_t>(segment);
  return static_cast<int32_t>(segment);
}

void PlanEmitter::add_states(fb::TargetT& out, mlir::ModuleOp module) {
  const uint64_t l = plan_.limits->max_logits, vocab = plan_.model->vocab, s = plan_.limits->max_batch;
  struct State {
    const char* name;
    uint64_t bytes;
    bool host;
  };
  std::vector<State> states = {
      {"prev", l * 4, false},
      {"block_table", plan_.kv_groups.size() * s * plan_.limits->table_stride * 4, false},
      {"penalty_counts", s * vocab * 4, false},
      {"logits", l * vocab * 4, false},
      {"hidden", l * plan_.model->hidden * 4, false},
      {"sample_scratch", l * vocab * 4, false},
      {"ring", plan_.limits->ring_entries * l * sizeof(llm_abi::SampleOut), true},
  };
  if (module.walk([](exec::GemmOp) { return mlir::WalkResult::interrupt(); }).wasInterrupted())
    states.push_back({"gemm_workspace", kGemmWorkspaceBytes, false});
  const auto is_arrivals = [](exec::StateOp state) {
    return state.getName() == "arrivals" ? mlir::WalkResult::interrupt() : mlir::WalkResult::advance();
  };
  // One a query and head of a split attention, two a tile of a split product.
  constexpr uint64_t kMaxSplitTiles = 8192;
  if (module.walk(is_arrivals).wasInterrupted())
    states.push_back({"arrivals", std::max(plan_.limits->max_step_tokens * plan_.model->heads, 2 * kMaxSplitTiles) * sizeof(uint32_t), false});
  if (llvm::any_of(module.getOps<exec::ProgramOp>(), [](exec::ProgramOp p) { return p.getPersistent().has_value(); }))
    for (const auto& [name, bytes] : {std::pair{"step_sync", (2 * kMaxPhases + 1) * sizeof(uint32_t)}, {"step_times", (kMaxPhases + 1) * sizeof(uint64_t)}})
      states.push_back({name, bytes, false});
  for (const auto& [name, bytes, host] : states) {
    auto state = std::make_unique<fb::StateBufferT>();
    state->name = name;
    state->bytes = bytes;
    state->host = host;
    state_index_[name] = static_cast<uint32_t>(out.states.size());
    out.states.push_back(std::move(state));
  }
}

llm::Status PlanEmitter::add_program(fb::TargetT& out, exec::ProgramOp program) {
  auto p = std::make_unique<fb::ProgramT>();
  p->kind = program.getKind() == "sample" ? fb::ProgramKind::sample : program.getKind() == "init" ? fb::ProgramKind::init : fb::ProgramKind::forward;
  p->tokens = static_cast<uint32_t>(program.getTokens());
  p->seqs = static_cast<uint32_t>(program.getSeqs());
  p->logits = static_cast<uint32_t>(program.getLogits());
  out.arena_bytes = std::max(out.arena_bytes, program.getArenaBytes().value_or(0));

  const auto pointer_slot = [&](mlir::Value pointer, int64_t offset) -> llm::Result<fb::Slot> {
    mlir::Operation* op = pointer.getDefiningOp();
    const auto value = static_cast<uint64_t>(offset);
    if (auto o = mlir::dyn_cast<exec::BufferOp>(op)) return fb::Slot(value + o.getOffset().value_or(0), 0, fb::SlotKind::arena);
    const auto named = [&](fb::SlotKind kind, const auto& index, llvm::StringRef name) -> llm::Result<fb::Slot> {
      LLM_ASSIGN(const uint32_t number, number_of(index, name, fb::EnumNameSlotKind(kind)));
      return fb::Slot(value, number, kind);
    };
    if (auto o = mlir::dyn_cast<exec::WeightPtrOp>(op))
      return named(fb::SlotKind::weight, weight_index_, o.getWeight());
    if (auto o = mlir::dyn_cast<exec::SourceOp>(op)) return named(fb::SlotKind::source, tensor_index_, o.getKey());
    if (auto o = mlir::dyn_cast<exec::ConstantPtrOp>(op))
      return named(fb::SlotKind::constant, constant_index_, o.getConstant());
    if (auto o = mlir::dyn_cast<exec::IoOp>(op)) return named(fb::SlotKind::io, io_index_, o.getField());
    if (auto o = mlir::dyn_cast<exec::StateOp>(op)) return named(fb::SlotKind::state, state_index_, o.getName());
    return fb::Slot(value, static_cast<uint32_t>(mlir::cast<exec::KvBaseOp>(op).getLayer()), fb::SlotKind::kv_base);
  };
  for (auto launch : program.block().getOps<exec::LaunchOpInterface>()) {
    auto l = std::make_unique<fb::LaunchT>();
    if (auto kernel = mlir::dyn_cast<exec::LaunchOp>(launch.getOperation())) {
      LLM_ASSIGN(l->kernel, number_of(kernel_index_, kernel.getKernel(), "kernel"));
      l->grid_x = static_cast<uint32_t>(kernel.getGrid()[0]);
      l->grid_y = static_cast<uint32_t>(kernel.getGrid()[1]);
      l->grid_z = static_cast<uint32_t>(kernel.getGrid()[2]);
      l->blocks_per_sm = static_cast<uint32_t>(kernel.getBlocksPerSm().value_or(0));
      l->programmatic = kernel.getProgrammatic();
    } else {
      l->external = external_call(mlir::cast<exec::GemmOp>(launch.getOperation()));
    }
    for (mlir::Attribute slot : launch.getSlots()) {
      if (auto map = mlir::dyn_cast<exec::TensorMapAttr>(slot)) {
        const mlir::Value value = launch.getPointers()[static_cast<size_t>(map.getOperand())];
        LLM_ASSIGN(const fb::Slot resolved, pointer_slot(value, map.getOffset()));
        l->slots.emplace_back(0, static_cast<uint32_t>(l->maps.size()), fb::SlotKind::tensor_map);
        l->maps.push_back(tensor_map(map, resolved));
      } else if (auto pointer = mlir::dyn_cast<exec::SlotAttr>(slot)) {
        const mlir::Value value = launch.getPointers()[static_cast<size_t>(pointer.getOperand())];
        LLM_ASSIGN(const fb::Slot resolved, pointer_slot(value, pointer.getOffset()));
        l->slots.push_back(resolved);
      } else if (auto f = mlir::dyn_cast<mlir::FloatAttr>(slot)) {
        const double value = f.getValueAsDouble();
        l->slots.push_back(value_slot(&value));
      } else {
        auto integer = mlir::dyn_cast<mlir::IntegerAttr>(slot);
        const int64_t value = integer ? integer.getInt() : 0;
        l->slots.push_back(value_slot(&value));
      }
    }
    if (auto after = launch.getAfter())
      for (int64_t i : *after) l->after.push_back(static_cast<uint32_t>(i));
    l->op = launch.getOp().str();
    l->layer = launch.getLayer().str();
    l->bytes = cost(launch.getBytes());
    l->flops = cost(launch.getFlops());
    if (auto runner_up = launch.getRunnerUp()) l->runner_up = runner_up->str();
    if (program.getPersistent()) l->phase_body = static_cast<uint8_t>(phase_body(out.kernels[l->kernel]->family));
    p->launches.push_back(std::move(l));
  }
  if (auto kernel = program.getPersistent()) {
    LLM_ASSIGN(p->persistent, persistent_launch(*kernel, p->launches.size()));
  }
  out.programs.push_back(std::move(p));
  if (embed_ && program.getKind() == "init") return embed_init(out, program);
  return {};
}

// Runs the program init here, in place of the machine that loads the plan, and leaves it out.
llm::Status PlanEmitter::embed_init(fb::TargetT& out, exec::ProgramOp program) {
  const std::unique_ptr<fb::ProgramT> init = std::move(out.programs.back());
  out.programs.pop_back();
  // The launches that fill each weight; all of a weight's come one behind the other, but for the orders that they read.
  std::map<uint32_t, std::vector<const fb::LaunchT*>> launches;
  size_t i = 0;
  for (auto launch : program.block().getOps<exec::LaunchOpInterface>()) {
    for (auto [pointer, access] : llvm::zip(launch.getPointers(), launch.getAccess()))
      if (access == exec::kWrite) {
        launches[weight_index_.at(mlir::cast<exec::WeightPtrOp>(pointer.getDefiningOp()).getWeight().str())].push_back(init->launches[i].get());
        break;
      }
    ++i;
  }
  InitWeights made(checkpoint_, plan_, out);
  for (const bool orders : {true, false}) {
    for (const auto& [index, list] : launches) {
      fb::WeightT& w = *out.weights[index];
      if ((w.layout == fb::WeightLayout::order) != orders) continue;
      // Names follow from the source tensors.
      const std::string recipe = w.name + "," + std::to_string(w.quantization ? w.quantization->interleave : 0) + "," + std::to_string(w.bytes);
      const auto it = embedded_.find(recipe);
      LLM_ASSIGN(const std::span<const std::byte> bytes, made.make(index, list));
      if (it == embedded_.end()) {
        LLM_ASSIGN(const uint32_t segment, writer_->add(fb::SegmentKind::weights, bytes, fb::Compression::none));
        embedded_[recipe] = static_cast<int32_t>(segment);
      }
      w.segment = embedded_[recipe];
    }
  }
  return {};
}

llm::Result<std::unique_ptr<fb::LaunchT>> PlanEmitter::persistent_launch(llvm::StringRef kernel, size_t phases) {
  if (phases > kMaxPhases) return llm::Error{std::to_string(phases) + " phases of a persistent kernel; at most " + std::to_string(kMaxPhases)};
  auto l = std::make_unique<fb::LaunchT>();
  LLM_ASSIGN(l->kernel, number_of(kernel_index_, kernel, "kernel"));
  LLM_ASSIGN(const uint32_t counts, number_of(io_index_, "counts", "io"));
  LLM_ASSIGN(const uint32_t sync, number_of(state_index_, "step_sync", "state"));
  LLM_ASSIGN(const uint32_t times, number_of(state_index_, "step_times", "state"));
  l->slots = {fb::Slot(0, counts, fb::SlotKind::io), fb::Slot(0, 0, fb::SlotKind::phases), fb::Slot(phases, 0, fb::SlotKind::value),
              fb::Slot(0, sync, fb::SlotKind::state), fb::Slot(0, times, fb::SlotKind::state)};
  constexpr uint32_t kAnyNumberOfUnits = 1 << 16;
  l->grid_x = kAnyNumberOfUnits;
  l->blocks_per_sm = 1;
  l->cooperative = true;
  l->op = "persistent", l->layer = "step";
  l->bytes = cost({0, 0, 0, 0, 0}), l->flops = cost({0, 0, 0, 0, 0});
  return l;
}

llm::Result<uint64_t> PlanEmitter::finish() {
  LLM_TRY(writer_->finish(plan_));
  std::error_code error;
  const uint64_t bytes = std::filesystem::file_size(output_, error);
  return error ? 0 : bytes;
}

}  // namespace llmc
