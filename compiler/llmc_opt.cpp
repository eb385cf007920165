// llmc-opt: runs single passes on text, as mlir-opt does.
#include "dialects/exec/ExecDialect.h"
#include "dialects/llm/LlmDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"
#include "passes/Passes.h"

int main(int argc, char** argv) {
  mlir::DialectRegistry registry;
  registry.insert<llmc::ops::LlmDialect, llmc::exec::ExecDialect, mlir::func::FuncDialect>();
  mlir::registerTransformsPasses();
  llmc::registerLlmcPasses();
  llmc::register_pipelines();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "llmc-opt: the passes of llmc on text\n", registry));
}
