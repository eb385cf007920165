#include "compiler/target_emitter.h"

#include <algorithm>
#include <cstring>

#include "compiler/weight_embedder.h"
#include "kernels_templates/abi.h"
#include "passes/KernelShapes.h"
#include "passes/QuantizedWeights.h"
#include "plan/plan_tensors.h"

namespace llmc {
namespace {

namespace fb = llm::fb;

// Where the parts of the exchange of a model's persistent kernels begin, and where the last one ends, in bytes: see llm_abi::ExchangePart.
std::array<uint64_t, llm_abi::kExchangeParts + 1> exchange_layout(const fb::ModelT& model) {
  using namespace llm_abi;
  constexpr uint64_t kRows = kExchangeRows, kWord = sizeof(u64);
  const uint64_t attended = model.heads * model.head_dim, group = model.heads / model.kv_heads;
  std::array<uint64_t, kExchangeParts> words = {};
  words[kExchangeSteps] = 1;
  words[kExchangeScaled] = kRows * model.hidden / 2;
  words[kExchangeResidual] = kRows * model.hidden;
  words[kExchangeSquares] = kRows * (model.hidden + 15) / 16;
  words[kExchangeGated] = kRows * model.intermediate / 2;
  words[kExchangeQueries] = words[kExchangeAttended] = kRows * attended / 2;
  words[kExchangeEntries] = kRows * model.kv_heads * model.head_dim;
  // A tile has the heads of a group or some of them; there are as many tiles as blocks, or one split of each token and head.
  words[kExchangePartials] = std::max(kExchangeBlocks * group, kRows * model.heads) * (model.head_dim + 2);
  std::array<uint64_t, kExchangeParts + 1> begins = {};
  for (size_t part = 0; part < kExchangeParts; ++part) begins[part + 1] = begins[part] + (words[part] * kWord + 255) / 256 * 256;
  return begins;
}

constexpr int64_t kMaxPhases = 4096;                  // of a persistent kernel
constexpr uint64_t kGemmWorkspaceBytes = 32ull << 20;  // what cuBLAS itself takes on Hopper; 4 MiB before (cublasSetWorkspace)

std::unique_ptr<fb::Cost> cost(llvm::ArrayRef<double> c) { return std::make_unique<fb::Cost>(c[0], c[1], c[2], c[3], c[4]); }

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

llm::Result<std::unique_ptr<fb::TargetT>> TargetEmitter::emit(const Target& target, mlir::ModuleOp module, const CompiledTarget& code) {
  out_->name = target.name;
  out_->kind = target.kind == TargetKind::kCuda ? fb::TargetKind::cuda : fb::TargetKind::x86;
  out_->arch = target.arch;
  out_->compute_capability = static_cast<uint32_t>(target.cc);
  out_->features = target.features;
  LLM_TRY(add_kernels(module, code, target.kind == TargetKind::kCuda));
  LLM_TRY(add_weights(module));
  LLM_TRY(add_constants(module));
  add_states(module);
  for (auto program : module.getOps<exec::ProgramOp>())
    if (llm::Status s = add_program(program); !s)
      return llm::Error{"target " + out_->name + ", program @" + program.getSymName().str() + ": " + s.error().message};
  return std::move(out_);
}

llm::Status TargetEmitter::add_kernels(mlir::ModuleOp module, const CompiledTarget& code, bool cuda) {
  if (!cuda) {
    auto m = std::make_unique<fb::ModuleT>();
    LLM_ASSIGN(const uint32_t segment, plan_.writer->add(fb::SegmentKind::code, std::as_bytes(std::span(code.shared_object)), fb::Compression::zstd));
    m->object = static_cast<int32_t>(segment);
    out_->modules.push_back(std::move(m));
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
      LLM_ASSIGN(const uint32_t cubin, plan_.writer->add(fb::SegmentKind::code, std::as_bytes(std::span(compiled.cubin)), fb::Compression::zstd));
      LLM_ASSIGN(const uint32_t ptx, plan_.writer->add(fb::SegmentKind::code, std::as_bytes(std::span(compiled.ptx)), fb::Compression::zstd));
      m->cubin = static_cast<int32_t>(cubin);
      m->ptx = static_cast<int32_t>(ptx);
      kernel->module_index = static_cast<uint32_t>(out_->modules.size());
      out_->modules.push_back(std::move(m));
    }
    kernel_index_[kernel->name] = static_cast<uint32_t>(out_->kernels.size());
    out_->kernels.push_back(std::move(kernel));
  }
  return {};
}

llm::Status TargetEmitter::add_weights(mlir::ModuleOp module) {
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
      weight_index_[weight->name] = static_cast<uint32_t>(out_->weights.size());
      out_->weights.push_back(std::move(weight));
      continue;
    }
    if (auto init = w.getInitKernel()) weight->init_kernel = static_cast<int32_t>(kernel_index_[init->str()]);
    if (auto source = w.getSource()) {  // computed, not copied
      weight->source = static_cast<int32_t>(weight_index_[source->str()]);
      weight->dtype = static_cast<uint8_t>(scalar_type(w.getElement()));
      weight_index_[weight->name] = static_cast<uint32_t>(out_->weights.size());
      out_->weights.push_back(std::move(weight));
      continue;
    }
    uint64_t row = 0;
    for (mlir::Attribute attr : w.getParts()) {
      auto p = mlir::cast<ops::PartAttr>(attr);
      const uint32_t tensor = plan_.tensor_index[p.getKey().str()];
      weight->dtype = plan_.tables.tensors[tensor]->dtype;
      weight->parts.emplace_back(p.getRowBegin(), p.getRowEnd(), p.getColBegin(), p.getColEnd(), row, tensor);
      row += static_cast<uint64_t>(p.getRowEnd() - p.getRowBegin());
    }
    if (plan_.embed_weights) {
      LLM_ASSIGN(weight->segment, embed(*weight));
    }
    weight_index_[weight->name] = static_cast<uint32_t>(out_->weights.size());
    out_->weights.push_back(std::move(weight));
  }
  return {};
}

llm::Status TargetEmitter::add_constants(mlir::ModuleOp module) {
  for (auto c : module.getOps<exec::ConstantOp>()) {
    auto constant = std::make_unique<fb::ConstantT>();
    constant->name = c.getSymName().str();
    const auto bytes = std::as_bytes(std::span(c.getValues().data(), c.getValues().size()));
    constant->bytes = bytes.size();
    LLM_ASSIGN(constant->segment, plan_.writer->add(fb::SegmentKind::constant, bytes, fb::Compression::none));
    constant_index_[constant->name] = static_cast<uint32_t>(out_->constants.size());
    out_->constants.push_back(std::move(constant));
  }
  return {};
}

// Embeds a weight as it is used; weights with the same recipe (of several targets) share one segment.
llm::Result<int32_t> TargetEmitter::embed(const fb::WeightT& w) {
  std::string recipe = std::to_string(static_cast<int>(w.layout));
  for (const fb::WeightPart& p : w.parts)
    for (uint64_t n : {uint64_t{p.tensor()}, p.row_begin(), p.row_end(), p.col_begin(), p.col_end()}) recipe += "," + std::to_string(n);
  const auto it = plan_.embedded.find(recipe);
  if (it != plan_.embedded.end()) return it->second;
  LLM_ASSIGN(const uint32_t segment, embed_weight(*plan_.writer, plan_.checkpoint, plan_.tables, w));
  plan_.embedded[recipe] = static_cast<int32_t>(segment);
  return static_cast<int32_t>(segment);
}

void TargetEmitter::add_states(mlir::ModuleOp module) {
  const fb::LimitsT& limits = *plan_.tables.limits;
  const uint64_t l = limits.max_logits, vocab = plan_.tables.model->vocab, s = limits.max_batch;
  struct State {
    const char* name;
    uint64_t bytes;
    bool host;
  };
  std::vector<State> states = {
      {"prev", l * 4, false},
      {"block_table", plan_.tables.kv_groups.size() * s * limits.table_stride * 4, false},
      {"penalty_counts", s * vocab * 4, false},
      {"logits", l * vocab * 4, false},
      {"hidden", l * plan_.tables.model->hidden * 4, false},
      {"sample_scratch", l * vocab * 4, false},
      {"ring", limits.ring_entries * l * sizeof(llm_abi::SampleOut), true},
  };
  if (module.walk([](exec::GemmOp) { return mlir::WalkResult::interrupt(); }).wasInterrupted())
    states.push_back({"gemm_workspace", kGemmWorkspaceBytes, false});
  const auto is_arrivals = [](exec::StateOp state) {
    return state.getName() == "arrivals" ? mlir::WalkResult::interrupt() : mlir::WalkResult::advance();
  };
  // One a query and head of a split attention, two a tile of a split product.
  constexpr uint64_t kMaxSplitTiles = 8192;
  if (module.walk(is_arrivals).wasInterrupted())
    states.push_back({"arrivals", std::max(limits.max_step_tokens * plan_.tables.model->heads, 2 * kMaxSplitTiles) * sizeof(uint32_t), false});
  if (llvm::any_of(module.getOps<exec::ProgramOp>(), [](exec::ProgramOp p) { return p.getPersistent().has_value(); })) {
    exchange_ = exchange_layout(*plan_.tables.model);
    for (const auto& [name, bytes] : {std::pair{"step_sync", (2 * kMaxPhases + 1) * sizeof(uint32_t)}, {"step_times", (kMaxPhases + 1) * sizeof(uint64_t)},
                                      {"step_exchange", exchange_.back()}})
      states.push_back({name, bytes, false});
  }
  for (const auto& [name, bytes, host] : states) {
    auto state = std::make_unique<fb::StateBufferT>();
    state->name = name;
    state->bytes = bytes;
    state->host = host;
    state_index_[name] = static_cast<uint32_t>(out_->states.size());
    out_->states.push_back(std::move(state));
  }
}

llm::Result<fb::Slot> TargetEmitter::pointer_slot(mlir::Value pointer, int64_t offset) const {
  mlir::Operation* op = pointer.getDefiningOp();
  const auto value = static_cast<uint64_t>(offset);
  if (auto o = mlir::dyn_cast<exec::BufferOp>(op)) return fb::Slot(value + o.getOffset().value_or(0), 0, fb::SlotKind::arena);
  const auto named = [&](fb::SlotKind kind, const auto& index, llvm::StringRef name) -> llm::Result<fb::Slot> {
    LLM_ASSIGN(const uint32_t number, number_of(index, name, fb::EnumNameSlotKind(kind)));
    return fb::Slot(value, number, kind);
  };
  if (auto o = mlir::dyn_cast<exec::WeightPtrOp>(op))
    return named(fb::SlotKind::weight, weight_index_, o.getWeight());
  if (auto o = mlir::dyn_cast<exec::SourceOp>(op)) return named(fb::SlotKind::source, plan_.tensor_index, o.getKey());
  if (auto o = mlir::dyn_cast<exec::ConstantPtrOp>(op))
    return named(fb::SlotKind::constant, constant_index_, o.getConstant());
  if (auto o = mlir::dyn_cast<exec::IoOp>(op)) return named(fb::SlotKind::io, plan_.io_index, o.getField());
  if (auto o = mlir::dyn_cast<exec::StateOp>(op)) return named(fb::SlotKind::state, state_index_, o.getName());
  return fb::Slot(value, static_cast<uint32_t>(mlir::cast<exec::KvBaseOp>(op).getLayer()), fb::SlotKind::kv_base);
}

llm::Status TargetEmitter::add_slots(fb::LaunchT& out, exec::LaunchOpInterface launch) const {
  for (mlir::Attribute slot : launch.getSlots()) {
    if (auto map = mlir::dyn_cast<exec::TensorMapAttr>(slot)) {
      const mlir::Value value = launch.getPointers()[static_cast<size_t>(map.getOperand())];
      LLM_ASSIGN(const fb::Slot resolved, pointer_slot(value, map.getOffset()));
      out.slots.emplace_back(0, static_cast<uint32_t>(out.maps.size()), fb::SlotKind::tensor_map);
      out.maps.push_back(tensor_map(map, resolved));
    } else if (auto pointer = mlir::dyn_cast<exec::SlotAttr>(slot)) {
      const mlir::Value value = launch.getPointers()[static_cast<size_t>(pointer.getOperand())];
      LLM_ASSIGN(const fb::Slot resolved, pointer_slot(value, pointer.getOffset()));
      out.slots.push_back(resolved);
    } else if (auto f = mlir::dyn_cast<mlir::FloatAttr>(slot)) {
      const double value = f.getValueAsDouble();
      out.slots.push_back(value_slot(&value));
    } else {
      auto integer = mlir::dyn_cast<mlir::IntegerAttr>(slot);
      const int64_t value = integer ? integer.getInt() : 0;
      out.slots.push_back(value_slot(&value));
    }
  }
  return {};
}

llm::Status TargetEmitter::add_program(exec::ProgramOp program) {
  auto p = std::make_unique<fb::ProgramT>();
  p->kind = program.getKind() == "sample" ? fb::ProgramKind::sample : program.getKind() == "init" ? fb::ProgramKind::init : fb::ProgramKind::forward;
  p->tokens = static_cast<uint32_t>(program.getTokens());
  p->seqs = static_cast<uint32_t>(program.getSeqs());
  p->logits = static_cast<uint32_t>(program.getLogits());
  out_->arena_bytes = std::max(out_->arena_bytes, program.getArenaBytes().value_or(0));

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
    LLM_TRY(add_slots(*l, launch));
    if (auto after = launch.getAfter())
      for (int64_t i : *after) l->after.push_back(static_cast<uint32_t>(i));
    l->op = launch.getOp().str();
    l->layer = launch.getLayer().str();
    l->bytes = cost(launch.getBytes());
    l->flops = cost(launch.getFlops());
    if (auto runner_up = launch.getRunnerUp()) l->runner_up = runner_up->str();
    if (program.getPersistent()) l->phase_body = static_cast<uint8_t>(phase_body(out_->kernels[l->kernel]->family));
    p->launches.push_back(std::move(l));
  }
  if (auto kernel = program.getPersistent()) {
    LLM_ASSIGN(p->persistent, persistent_launch(*kernel, p->launches.size()));
  }
  out_->programs.push_back(std::move(p));
  if (plan_.embed_weights && program.getKind() == "init") return embed_init(program);
  return {};
}

// Runs the program init here, in place of the machine that loads the plan, and leaves it out_->
llm::Status TargetEmitter::embed_init(exec::ProgramOp program) {
  const std::unique_ptr<fb::ProgramT> init = std::move(out_->programs.back());
  out_->programs.pop_back();
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
  InitWeights made(plan_.checkpoint, plan_.tables, *out_);
  for (const bool orders : {true, false}) {
    for (const auto& [index, list] : launches) {
      fb::WeightT& w = *out_->weights[index];
      if ((w.layout == fb::WeightLayout::order) != orders) continue;
      // Names follow from the source tensors.
      const std::string recipe = w.name + "," + std::to_string(w.quantization ? w.quantization->interleave : 0) + "," + std::to_string(w.bytes);
      const auto it = plan_.embedded.find(recipe);
      LLM_ASSIGN(const std::span<const std::byte> bytes, made.make(index, list));
      if (it == plan_.embedded.end()) {
        LLM_ASSIGN(const uint32_t segment, plan_.writer->add(fb::SegmentKind::weights, bytes, fb::Compression::none));
        plan_.embedded[recipe] = static_cast<int32_t>(segment);
      }
      w.segment = plan_.embedded[recipe];
    }
  }
  return {};
}

llm::Result<std::unique_ptr<fb::LaunchT>> TargetEmitter::persistent_launch(llvm::StringRef kernel, size_t phases) {
  if (phases > kMaxPhases) return llm::Error{std::to_string(phases) + " phases of a persistent kernel; at most " + std::to_string(kMaxPhases)};
  auto l = std::make_unique<fb::LaunchT>();
  LLM_ASSIGN(l->kernel, number_of(kernel_index_, kernel, "kernel"));
  LLM_ASSIGN(const uint32_t counts, number_of(plan_.io_index, "counts", "io"));
  LLM_ASSIGN(const uint32_t sync, number_of(state_index_, "step_sync", "state"));
  LLM_ASSIGN(const uint32_t times, number_of(state_index_, "step_times", "state"));
  l->slots = {fb::Slot(0, counts, fb::SlotKind::io), fb::Slot(0, 0, fb::SlotKind::phases), fb::Slot(phases, 0, fb::SlotKind::value),
              fb::Slot(0, sync, fb::SlotKind::state), fb::Slot(0, times, fb::SlotKind::state)};
  LLM_ASSIGN(const uint32_t exchange, number_of(state_index_, "step_exchange", "state"));
  for (size_t part = 0; part < llm_abi::kExchangeParts; ++part) l->slots.emplace_back(exchange_[part], exchange, fb::SlotKind::state);
  constexpr uint32_t kAnyNumberOfUnits = 1 << 16;
  l->grid_x = kAnyNumberOfUnits;
  l->blocks_per_sm = 1;
  l->cooperative = true;
  l->op = "persistent", l->layer = "step";
  l->bytes = cost({0, 0, 0, 0, 0}), l->flops = cost({0, 0, 0, 0, 0});
  return l;
}

}  // namespace llmc
