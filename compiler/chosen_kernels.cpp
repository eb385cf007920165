#include "compiler/chosen_kernels.h"

namespace llmc {
namespace {

// Behind select-kernels operations know their shape and their kernel; behind lower-to-exec only launches are left.
struct ChoiceRecorder : mlir::PassInstrumentation {
  explicit ChoiceRecorder(std::vector<ChosenProgram>& programs) : programs(programs) {}

  void runBeforePass(mlir::Pass* pass, mlir::Operation* op) override {
    auto module = mlir::dyn_cast<mlir::ModuleOp>(op);
    if (!module || pass->getArgument() != "lower-to-exec") return;
    for (auto function : module.getOps<mlir::func::FuncOp>()) {
      ChosenProgram program{bucket_of(function), function.getSymName().starts_with("sample"), {}};
      for (mlir::Operation& operation : function.getBody().front())
        if (auto kernel = operation.getAttrOfType<mlir::DictionaryAttr>(kKernelAttr))
          program.kernels.push_back({work_of(&operation, program.bucket)->shape, kernel.getAs<mlir::StringAttr>("variant").str()});
      programs.push_back(std::move(program));
    }
  }

  std::vector<ChosenProgram>& programs;
};

}  // namespace

void record_choices(mlir::PassManager& pm, std::vector<ChosenProgram>& programs) {
  pm.addInstrumentation(std::make_unique<ChoiceRecorder>(programs));
}

}  // namespace llmc
