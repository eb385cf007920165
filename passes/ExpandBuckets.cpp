// expand-buckets: see Passes.td.
#include "llvm/ADT/StringSet.h"
#include "passes/Passes.h"

namespace llmc {
#define GEN_PASS_DEF_EXPANDBUCKETS
#include "passes/Passes.h.inc"

namespace {

struct ExpandBuckets : impl::ExpandBucketsBase<ExpandBuckets> {
  void runOnOperation() override {
    mlir::ModuleOp module = getOperation();
    auto buckets = module->getAttrOfType<mlir::ArrayAttr>(kBucketsAttr);
    if (!buckets || buckets.empty()) {
      module.emitError("expand-buckets: the module has no ") << kBucketsAttr;
      return signalPassFailure();
    }
    auto forward = module.lookupSymbol<mlir::func::FuncOp>("forward");
    auto sample = module.lookupSymbol<mlir::func::FuncOp>("sample");
    if (!forward || !sample) {
      module.emitError("expand-buckets: needs @forward and @sample");
      return signalPassFailure();
    }
    llvm::StringSet<> built;          // limits may coincide: a bucket that is listed twice is built once
    llvm::DenseSet<int64_t> sampled;  // one sample program per number of logit rows
    for (mlir::Attribute attr : buckets) {
      auto bucket = mlir::dyn_cast<mlir::DenseI64ArrayAttr>(attr);
      if (!bucket || bucket.size() != 3 || bucket[0] <= 0 || bucket[1] <= 0 || bucket[2] <= 0) {
        module.emitError("expand-buckets: a bucket is array<i64: tokens, sequences, logit rows>, found ") << attr;
        return signalPassFailure();
      }
      const std::string name = ("_t" + llvm::Twine(bucket[0]) + "_s" + llvm::Twine(bucket[1]) + "_l" + llvm::Twine(bucket[2])).str();
      if (!built.insert(name).second) continue;
      clone(forward, "forward" + name, bucket);
      if (sampled.insert(bucket[2]).second) clone(sample, ("sample_l" + llvm::Twine(bucket[2])).str(), bucket);
    }
    forward.erase();
    sample.erase();
  }

  void clone(mlir::func::FuncOp source, const std::string& name, mlir::DenseI64ArrayAttr bucket) {
    mlir::OpBuilder builder(getOperation().getBodyRegion());
    builder.setInsertionPointToEnd(getOperation().getBody());
    auto copy = mlir::cast<mlir::func::FuncOp>(builder.clone(*source));
    copy.setSymName(name);
    copy->setAttr(kBucketAttr, bucket);
  }
};

}  // namespace
}  // namespace llmc
