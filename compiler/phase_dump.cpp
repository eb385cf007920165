#include "compiler/phase_dump.h"

#include <cstdio>
#include <filesystem>
#include <set>

#include "llvm/Support/raw_ostream.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassInstrumentation.h"

namespace llmc {
namespace {

void write(const std::string& dir, int number, llvm::StringRef pass, mlir::Operation* op) {
  char name[128];
  std::snprintf(name, sizeof name, "/%02d-%s.mlir", number, pass.str().c_str());
  std::error_code error;
  llvm::raw_fd_ostream out(dir + name, error);
  if (!error) op->print(out, mlir::OpPrintingFlags().useLocalScope());
}

struct PhaseDump : mlir::PassInstrumentation {
  explicit PhaseDump(std::string dir) : dir(std::move(dir)) {}

  void runAfterPass(mlir::Pass* pass, mlir::Operation* op) override {
    if (pass->getArgument().empty()) return;  // a pass adaptor
    // Function passes run in a row on @forward, then on @sample: only the first run of each makes a phase.
    if (!seen.insert(pass).second) return;
    mlir::Operation* top = op;
    while (top->getParentOp()) top = top->getParentOp();
    write(dir, static_cast<int>(seen.size()), pass->getArgument(), top);
  }

  std::string dir;
  std::set<mlir::Pass*> seen;
};

}  // namespace

llm::Status dump_phases(mlir::PassManager& pm, mlir::ModuleOp module, const std::string& dir) {
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error) return llm::Error{"--dump: cannot create the folder '" + dir + "': " + error.message()};
  write(dir, 0, "import", module);
  pm.addInstrumentation(std::make_unique<PhaseDump>(dir));
  return {};
}

}  // namespace llmc
