// The pipeline, as prose.
//
//   1. Clean up what the frontend wrote: canonical forms, one copy of equal operations (weights, rope tables), no dead code.
//   2. Make few large operations out of many small ones: merge projections, fuse neighbours, have values made in the order in which they
//      are taken.
//   3. Decide the operand types of this target, and check that only what lowering knows is left.
//   4. Copy the functions per bucket, quantize activations, dequantize weights for many tokens, order operands in panels, fuse around projections where the bucket's kernels can, choose
//      kernels, lower to launches.
//   5. Name the kernel that can run a whole program, where there is one; order, place, check.
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"
#include "passes/Passes.h"

namespace llmc {
namespace {

struct Stage {
  const char* name;
  bool optional;  // may be named by --disable-pass: the numbers must be the same without it
  bool on_function;
  std::unique_ptr<mlir::Pass> (*create)();
};

const Stage kStages[] = {
    {"canonicalize", true, true, [] { return mlir::createCanonicalizerPass(); }},
    {"cse", true, true, [] { return mlir::createCSEPass(); }},
    {"merge-qkv", true, true, [] { return createMergeQkv(); }},
    {"merge-gate-up", true, true, [] { return createMergeGateUp(); }},
    {"fuse-glu", true, true, [] { return createFuseGlu(); }},
    {"order-glu-rows", true, true, [] { return createOrderGluRows(); }},
    {"fuse-rope-kv-write", true, true, [] { return createFuseRopeKvWrite(); }},
    {"fuse-add-rms-norm", true, true, [] { return createFuseAddRmsNorm(); }},
    {"narrow-scales", false, false, [] { return createNarrowScales(); }},
    {"narrow-operands", false, false, [] { return createNarrowOperands(); }},
    {"canonicalize", true, true, [] { return mlir::createCanonicalizerPass(); }},
    {"cse", true, true, [] { return mlir::createCSEPass(); }},
    {"verify-model", false, false, [] { return createVerifyModel(); }},
    {"expand-buckets", false, false, [] { return createExpandBuckets(); }},
    {"quantize-activations", false, false, [] { return createQuantizeActivations(); }},
    {"dequantize-weights", false, false, [] { return createDequantizeWeights(); }},
    {"panel-operands", true, false, [] { return createPanelOperands(); }},
    {"fuse-epilogues", true, false, [] { return createFuseEpilogues(); }},
    {"select-kernels", false, false, [] { return createSelectKernels(); }},
    {"lower-to-exec", false, false, [] { return createLowerToExec(); }},
    {"form-persistent", true, false, [] { return createFormPersistent(); }},
    {"schedule", false, false, [] { return createSchedule(); }},
    {"plan-memory", false, false, [] { return createPlanMemory(); }},
    {"verify-exec", false, false, [] { return createVerifyExec(); }},
};

}  // namespace

const Target* module_target(mlir::ModuleOp module) {
  auto name = module->getAttrOfType<mlir::StringAttr>(kTargetAttr);
  if (!name) {
    module.emitError("the module names no target; set the attribute ") << kTargetAttr;
    return nullptr;
  }
  const llm::Result<const Target*> target = find_target(name.getValue(), nullptr);
  if (!target) {
    module.emitError(target.error().message);
    return nullptr;
  }
  return *target;
}

int64_t module_int(mlir::ModuleOp module, llvm::StringRef name, int64_t fallback) {
  auto attr = module->getAttrOfType<mlir::IntegerAttr>(name);
  return attr ? attr.getInt() : fallback;
}

bool wants_cublas(mlir::ModuleOp module, const Target& target) {
  auto gemm = module->getAttrOfType<mlir::StringAttr>(kGemmAttr);
  return gemm && gemm.getValue() == "cublas" && target.kind == TargetKind::kCuda;
}

std::vector<std::string> optional_passes() {
  std::vector<std::string> names;
  for (const Stage& s : kStages)
    if (s.optional && std::find(names.begin(), names.end(), s.name) == names.end()) names.push_back(s.name);
  return names;
}

bool build_pipeline(mlir::OpPassManager& pm, const std::vector<std::string>& disabled, std::string& error) {
  const std::vector<std::string> known = optional_passes();
  for (const std::string& name : disabled) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    error = "no optional pass is named '" + name + "'; these can be disabled:";
    for (const std::string& k : known) error += " " + k;
    return false;
  }
  for (const Stage& s : kStages) {
    if (s.optional && std::find(disabled.begin(), disabled.end(), s.name) != disabled.end()) continue;
    if (s.on_function)
      pm.nest<mlir::func::FuncOp>().addPass(s.create());
    else
      pm.addPass(s.create());
  }
  return true;
}

void register_pipelines() {
  mlir::PassPipelineRegistration<> all("llmc-pipeline", "Everything from the model to planned programs", [](mlir::OpPassManager& pm) {
    std::string error;
    build_pipeline(pm, {}, error);
  });
}

}  // namespace llmc
