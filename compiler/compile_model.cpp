#include "compiler/compile_model.h"

#include <filesystem>
#include <fstream>

#include "compiler/frontend/checkpoint.h"
#include "compiler/frontend/import.h"
#include "compiler/phase_dump.h"
#include "compiler/plan_emitter.h"
#include "llvm/Support/raw_ostream.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Pass/PassManager.h"
#include "passes/Passes.h"

namespace llmc {
namespace {

constexpr int64_t kMinLogitRows = 16;      // logit rows of a token bucket: at least so many positions can be scored per step
constexpr int64_t kSmallestTokenBucket = 16;

llm::Result<llm::ScalarType> kv_type(const std::string& name, DType weights) {
  if (name == "auto") return scalar_type_of(weights);
  if (name == "f32") return llm::ScalarType::kF32;
  if (name == "f16") return llm::ScalarType::kF16;
  if (name == "bf16") return llm::ScalarType::kBF16;
  if (name == "int8") return llm::ScalarType::kInt8;
  return llm::Error{"--kv-dtype '" + name + "' is not one of auto, f32, f16, bf16, int8"};
}

llm::Status check_kv_type(llm::ScalarType kv, const std::vector<const Target*>& targets) {
  for (const Target* target : targets)
    if (kv == llm::ScalarType::kInt8 && target->kind != TargetKind::kX86)
      return llm::Error{"--kv-dtype int8: target " + std::string(target->name) +
                        " has no kernels for it, x86-64 targets alone have; compile for it with --kv-dtype auto, f16 or bf16"};
  return {};
}

// Decode buckets of 1, 2, 4, ... max_batch sequences with one token each, and token buckets up to max_step_tokens.
std::vector<Bucket> buckets(const StepLimits& l) {
  std::vector<Bucket> list;
  for (int64_t n = 1; n < l.max_batch; n *= 2) list.push_back({n, n, n});
  list.push_back({l.max_batch, l.max_batch, l.max_batch});
  for (int64_t t = kSmallestTokenBucket; t < l.max_step_tokens; t *= 2) list.push_back({t, l.max_batch, l.max_logits});
  list.push_back({l.max_step_tokens, l.max_batch, l.max_logits});
  return list;
}

llm::Result<StepLimits> step_limits(const CompileOptions& o, const ModelConfig& config) {
  StepLimits l;
  l.max_context = o.max_context > 0 ? o.max_context : std::min(config.max_position_embeddings, kDefaultMaxContext);
  l.max_batch = o.max_batch;
  l.max_step_tokens = std::max(o.max_step_tokens, o.max_batch);
  l.max_logits = std::max(l.max_batch, std::min(kMinLogitRows, l.max_step_tokens));
  if (l.max_batch < 1 || l.max_batch > 4096) return llm::Error{"--max-batch must be 1 to 4096, found " + std::to_string(l.max_batch)};
  if (o.max_step_tokens < 1 || o.max_step_tokens > 65536)
    return llm::Error{"--max-step-tokens must be 1 to 65536, found " + std::to_string(o.max_step_tokens)};
  if (l.max_context < 1 || l.max_context > config.max_position_embeddings)
    return llm::Error{"--max-context must be 1 to the model's max_position_embeddings, " + std::to_string(config.max_position_embeddings) +
                      "; found " + std::to_string(l.max_context)};
  return l;
}

llm::Result<std::optional<QuantizeScheme>> quantize_scheme(const CompileOptions& o, const ModelConfig& config,
                                                           const ModelWeights& weights, std::vector<std::string>& warnings) {
  if (o.quantize.empty()) {
    if (o.quantize_head) return llm::Error{"--quantize-head needs --quantize"};
    return std::optional<QuantizeScheme>();
  }
  LLM_ASSIGN(QuantizeScheme scheme, parse_quantize_scheme(o.quantize));
  scheme.head = o.quantize_head;
  LLM_ASSIGN(const std::vector<std::string> found, check_quantize(scheme, weights, config.tie_word_embeddings));
  warnings.insert(warnings.end(), found.begin(), found.end());
  return std::optional(scheme);
}

void set_module_options(mlir::ModuleOp module, const CompileOptions& o, const Target& target, const StepLimits& l, int64_t vocab) {
  mlir::Builder b(module.getContext());
  module->setAttr(kTargetAttr, b.getStringAttr(target.name));
  module->setAttr(kActivationsAttr, b.getStringAttr(o.activations));
  module->setAttr(kGemmAttr, b.getStringAttr(o.gemm));
  std::vector<mlir::Attribute> list;
  for (const Bucket& bucket : buckets(l)) list.push_back(b.getDenseI64ArrayAttr({bucket.tokens, bucket.seqs, bucket.logits}));
  module->setAttr(kBucketsAttr, b.getArrayAttr(list));
  for (const auto& [name, value] : {std::pair{"llm.max_context", l.max_context}, {"llm.max_batch", l.max_batch},
                                    {"llm.max_step_tokens", l.max_step_tokens}, {"llm.max_logits", l.max_logits},
                                    {"llm.block_tokens", l.block_tokens}, {"llm.vocab", vocab}})
    module->setAttr(name, b.getI64IntegerAttr(value));
  std::vector<mlir::NamedAttribute> forced;
  for (const auto& [family, variant] : o.force_variant) forced.push_back(b.getNamedAttr(family, b.getStringAttr(variant)));
  if (!o.tuning.empty()) module->setAttr(kTuningAttr, b.getStringAttr(o.tuning.text(target.name)));
  if (!forced.empty()) module->setAttr(kForceVariantAttr, b.getDictionaryAttr(forced));
}

llm::Status run_passes(mlir::ModuleOp module, const CompileOptions& o, const std::string& dump_dir,
                       std::vector<ChosenProgram>& chosen) {
  mlir::PassManager pm(module.getContext());
  std::string error;
  if (!build_pipeline(pm, o.disabled_passes, error)) return llm::Error{error};
  record_choices(pm, chosen);
  if (!dump_dir.empty()) LLM_TRY(dump_phases(pm, module, dump_dir));
  if (mlir::failed(mlir::applyPassManagerCLOptions(pm))) return llm::Error{"the given MLIR flags cannot be applied"};
  std::string diagnostics;
  mlir::ScopedDiagnosticHandler handler(module.getContext(), [&](mlir::Diagnostic& d) {
    if (d.getSeverity() == mlir::DiagnosticSeverity::Error) diagnostics += (diagnostics.empty() ? "" : "; ") + d.str();
    return mlir::success();
  });
  if (mlir::failed(pm.run(module))) return llm::Error{diagnostics.empty() ? "a pass failed" : diagnostics};
  return {};
}

std::vector<KernelRequest> kernel_requests(mlir::ModuleOp module) {
  std::vector<KernelRequest> requests;
  for (auto k : module.getOps<exec::KernelOp>())
    requests.push_back({k.getSymName().str(), k.getFamily().str(), k.getVariant().str(), k.getFile().str(), k.getInstance().str(),
                        static_cast<int>(k.getThreads())});
  return requests;
}

llm::Status dump_kernels(const std::string& dir, const std::vector<KernelRequest>& requests, const CompiledTarget& code) {
  std::error_code error;
  std::filesystem::create_directories(dir + "/kernels", error);
  if (error) return llm::Error{"--dump: cannot create the folder '" + dir + "/kernels': " + error.message()};
  bool good = true;
  const auto write = [&](const std::string& name, const std::string& bytes) {
    if (!bytes.empty()) good &= bool(std::ofstream(dir + "/kernels/" + name, std::ios::binary) << bytes << std::flush);
  };
  for (size_t i = 0; i < requests.size(); ++i) {
    write(requests[i].entry + ".src", code.kernels[i].source);
    write(requests[i].entry + ".ptx", code.kernels[i].ptx);
    write(requests[i].entry + ".cubin", code.kernels[i].cubin);
  }
  write("kernels.so", code.shared_object);
  if (!good) return llm::Error{"--dump: cannot write to '" + dir + "/kernels'"};
  return {};
}

}  // namespace

llm::Result<CompileReport> compile_model(const CompileOptions& o) {
  CompileReport report;
  LLM_ASSIGN(ModelConfig config, load_model_config(o.model_dir, {.max_context = o.max_context}));
  report.warnings = config.warnings;
  LLM_ASSIGN(Checkpoint checkpoint, Checkpoint::open(o.model_dir));
  LLM_ASSIGN(ModelWeights weights, match_weights(config, checkpoint));
  report.warnings.insert(report.warnings.end(), weights.warnings().begin(), weights.warnings().end());
  LLM_ASSIGN(StepLimits limits, step_limits(o, config));
  LLM_ASSIGN(llm::ScalarType kv, kv_type(o.kv_dtype, weights.linear_dtype()));
  LLM_TRY(check_kv_type(kv, o.targets));

  mlir::MLIRContext context;
  context.loadDialect<ops::LlmDialect, exec::ExecDialect, mlir::func::FuncDialect>();
  if (!o.dump_dir.empty() || o.codegen.jobs == 1) context.disableMultithreading();
  LLM_ASSIGN(const std::optional<QuantizeScheme> quantize, quantize_scheme(o, config, weights, report.warnings));
  LLM_ASSIGN(auto model, import_model(context, config, weights, {.kv_type = kv, .quantize = quantize}));

  LLM_ASSIGN(auto emitter, PlanEmitter::create(o.output, o.model_dir, config, checkpoint, weights, kv_groups(*model), limits,
                                                o.embed_weights));
  if (o.hash_weights) LLM_TRY(emitter->hash_weights(o.codegen.jobs));
  for (const Target* target : o.targets) {
    const std::string dump_dir = o.dump_dir.empty() ? "" : o.dump_dir + "/" + target->name;
    mlir::OwningOpRef<mlir::ModuleOp> module = model->clone();
    set_module_options(*module, o, *target, limits, config.vocab_size);
    if (llm::Status s = run_passes(*module, o, dump_dir, report.chosen[target->name]); !s) return llm::Error{"target " + std::string(target->name) + ": " + s.error().message};
    const std::vector<KernelRequest> requests = kernel_requests(*module);
    auto code = compile_kernels(*target, requests, o.codegen);
    if (!code) return llm::Error{"target " + std::string(target->name) + ": " + code.error().message};
    if (!dump_dir.empty()) LLM_TRY(dump_kernels(dump_dir, requests, *code));
    report.kernels += requests.size();
    LLM_TRY(emitter->add_target(*target, *module, *code));
  }
  LLM_ASSIGN(report.plan_bytes, emitter->finish());
  return report;
}

}  // namespace llmc
