// lower-to-exec: see Passes.td.
#include "llvm/ADT/TypeSwitch.h"
#include "passes/LowerLinear.h"
#include "passes/Passes.h"

namespace llmc {
#define GEN_PASS_DEF_LOWERTOEXEC
#include "passes/Passes.h.inc"

namespace {

using ops::element_of;
using ops::width_of;

// Lowers one bucket function to one program.
class ProgramLowering : LinearLowering {
 public:
  using LinearLowering::LinearLowering;

  mlir::LogicalResult run() {
    const bool sample = function_.getSymName().starts_with("sample");
    builder_.setInsertionPointToEnd(symbols_.module().getBody());
    auto program = builder_.create<exec::ProgramOp>(function_.getLoc(), "program_" + function_.getSymName().str(),
                                                    sample ? "sample" : "forward", bucket_.tokens, bucket_.seqs, bucket_.logits,
                                                    mlir::IntegerAttr(), mlir::FlatSymbolRefAttr());
    builder_.setInsertionPointToStart(&program.getBody().emplaceBlock());
    if (sample) {
      views_[function_.getArgument(0)] = state("logits");
    } else {
      views_[function_.getArgument(0)] = io("tokens");
      views_[function_.getArgument(1)] = io("positions");
      views_[function_.getArgument(2)] = io("logit_rows");
    }
    for (mlir::Operation& op : function_.getBody().front())
      if (mlir::failed(lower(&op))) return mlir::failure();
    return mlir::success();
  }

 private:
  mlir::LogicalResult lower(mlir::Operation* op) {
    return llvm::TypeSwitch<mlir::Operation*, mlir::LogicalResult>(op)
        .Case<ops::WeightOp, ops::KvCacheOp, mlir::func::ReturnOp>([](auto) { return mlir::success(); })
        .Case([&](ops::SliceOp o) {
          View v = views_[o.getX()];
          v.offset += static_cast<int64_t>(o.getOffset()) * element_bytes(element_of(o.getX()));
          views_[o.getResult()] = v;
          return mlir::success();
        })
        .Case([&](ops::ResolveIdsOp o) {
          auto l = launch();
          l.read(counts()).read(io("tokens")).read(io("query_start")).read(io("seq_slot")).read(io("seq_flags")).read(io("block_updates"));
          l.read(state("prev")).write(result(o.getResult())).read_write(state("block_table")).read_write(state("penalty_counts"));
          l.i(vocab_).i(max_batch_).i(table_stride_);
          return emit(l, op);
        })
        .Case([&](ops::EmbedOp o) {
          auto l = launch();
          l.read(counts()).read(views_[o.getIds()]).read(weight(o.getTable(), false)).write(result(o.getResult()));
          l.i(width_of(o.getTable())).i(mlir::cast<mlir::RankedTensorType>(o.getTable().getType()).getShape()[0]);
          return emit(l, op);
        })
        .Case([&](ops::GatherRowsOp o) {
          auto l = launch();
          l.read(counts()).read(views_[o.getRows()]).read(views_[o.getX()]).write(result(o.getResult())).i(width_of(o.getX()));
          return emit(l, op);
        })
        .Case([&](ops::GatherColumnsOp o) -> mlir::LogicalResult {
          auto part = mlir::cast<ops::PartAttr>(o.getGroupOf().getDefiningOp<ops::WeightOp>().getParts()[0]);
          const auto order = quantized_.order(part.getKey(), width_of(o.getX()), o.getGroup());
          if (!order) return o.emitError(order.error().message);
          auto l = launch();
          l.read(counts()).read(views_[o.getX()]).read(address_of(*order)).write(result(o.getResult()));
          l.i(row_count(o.getX())).i(width_of(o.getX())).i(views_[o.getX()].stride);
          return emit(l, op);
        })
        .Case([&](ops::RmsNormOp o) {
          auto l = launch();
          const int64_t group = width_of(o.getWeight());
          l.read(counts()).read(views_[o.getX()]).read(weight(o.getWeight(), false)).write(result(o.getResult()));
          l.i(row_count(o.getX())).i(group).i(width_of(o.getX()) / group).i(views_[o.getX()].stride).f(o.getEps().convertToDouble());
          return emit(l, op);
        })
        .Case([&](ops::AddRmsNormOp o) {
          auto l = launch();
          l.read(counts()).read(views_[o.getResidual()]).read(views_[o.getDelta()]).read(weight(o.getWeight(), false));
          l.write(result(o.getSum())).write(result(o.getResult()));
          l.i(row_count(o.getResidual())).i(width_of(o.getWeight())).f(o.getEps().convertToDouble());
          return emit(l, op);
        })
        .Case([&](ops::QuantizeRowsOp o) {
          result(o.getResult());
          const auto type = ops::int8_rows_of(o.getResult());
          auto l = launch();
          l.read(counts()).read(views_[o.getX()]);
          for (const View& part : int8_parts(o.getResult())) l.write(part);
          l.i(row_count(o.getX())).i(width_of(o.getX())).i(views_[o.getX()].stride).i(type.getGroup()).i(type.getBits());
          return emit(l, op);
        })
        .Case<ops::LinearOp, ops::FusedLinearOp, ops::LinearRopeKvOp, ops::DequantizeOp>([&](auto o) { return lower_linear(o); })
        .Case([&](ops::GluOp o) {
          auto l = launch();
          l.read(counts()).read(views_[o.getGate()]).read(views_[o.getUp()]).write(result(o.getResult()));
          l.i(width_of(o.getGate())).i(views_[o.getGate()].stride).i(views_[o.getUp()].stride);
          return emit(l, op);
        })
        .Case<ops::AddOp, ops::MulOp>([&](auto o) {
          auto l = launch();
          l.read(counts()).read(views_[o.getLhs()]).read(views_[o.getRhs()]).write(result(o.getResult()));
          l.i(row_count(o.getLhs())).i(width_of(o.getLhs())).i(views_[o.getLhs()].stride).i(views_[o.getRhs()].stride);
          return emit(l, op);
        })
        .Case([&](ops::SiluOp o) {
          auto l = launch();
          l.read(counts()).read(views_[o.getX()]).null().write(result(o.getResult()));
          l.i(row_count(o.getX())).i(width_of(o.getX())).i(views_[o.getX()].stride).i(0);
          return emit(l, op);
        })
        .Case([&](ops::RopeTableOp o) {
          auto l = launch();
          exec::ConstantOp constant = symbols_.constant(o.getInvFreq());
          l.read(counts()).read(io("positions"));
          l.read(pointer<exec::ConstantPtrOp>("constant " + constant.getSymName().str(), mlir::FlatSymbolRefAttr::get(constant)));
          l.write(result(o.getResult())).i(static_cast<int64_t>(o.getInvFreq().size())).f(o.getFactor().convertToDouble());
          return emit(l, op);
        })
        .Case([&](ops::RopeOp o) {
          auto l = launch();
          l.read(counts()).read(views_[o.getX()]).read(views_[o.getTable()]).write(result(o.getResult()));
          l.i(width_of(o.getX()) / static_cast<int64_t>(o.getHeadDim())).i(o.getHeadDim()).i(width_of(o.getTable()) / 2);
          l.i(views_[o.getX()].stride);
          return emit(l, op);
        })
        .Case([&](ops::KvWriteOp o) {
          auto l = launch();
          l.read(counts()).read(views_[o.getK()]).read(views_[o.getV()]);
          l.read(io("token_seq")).read(io("seq_slot")).read(io("kv_index"));
          kv_view(l, o.getCache(), exec::kWrite);
          l.i(views_[o.getK()].stride).i(views_[o.getV()].stride);
          return emit(l, op);
        })
        .Case([&](ops::RopeKvWriteOp o) {
          auto l = launch();
          l.read(counts()).read(views_[o.getQ()]).read(views_[o.getK()]).read(views_[o.getV()]).read(views_[o.getTable()]);
          o.getQNorm() ? l.read(weight(o.getQNorm(), false)) : l.null();
          o.getKNorm() ? l.read(weight(o.getKNorm(), false)) : l.null();
          l.read(io("token_seq")).read(io("seq_slot")).read(io("kv_index")).write(result(o.getQOut()));
          kv_view(l, o.getCache(), exec::kWrite);
          l.i(width_of(o.getQ()) / static_cast<int64_t>(o.getHeadDim())).i(width_of(o.getTable()) / 2);
          l.i(views_[o.getQ()].stride).i(views_[o.getK()].stride).i(views_[o.getV()].stride).f(o.getEps().convertToDouble());
          return emit(l, op);
        })
        .Case([&](ops::AttentionOp o) { return lower_attention(o); })
        .Case([&](ops::SampleOp o) { return lower_sample(o); })
        .Default([](mlir::Operation* other) { return other->emitError("lower-to-exec: no lowering for this operation"); });
  }

  // Few queries on a long cache cannot fill the machine with one block per query and KV head: their entries are split over the grid's z.
  // The last split of a query to finish merges the partial results.
  mlir::LogicalResult lower_attention(ops::AttentionOp o) {
    const llm::Variant* variant = chosen(o);
    const int64_t heads = static_cast<int64_t>(o.getHeads()), head_dim = static_cast<int64_t>(o.getHeadDim());
    int64_t splits = 1;
    if (variant && variant->max_splits > 1) {
      // As many as run at once: a block more would keep the machine for another wave. The kernel uses fewer on short contexts.
      constexpr int64_t kMaxBlocksPerUnit = 2, kMinEntriesPerSplit = 128, kReservedBytes = 1024;
      const Target& target = symbols_.target();
      const int64_t fitting = (target.shared_bytes + kReservedBytes) / (variant->shared_bytes + kReservedBytes);
      const int64_t blocks_per_unit = std::clamp(fitting, int64_t{1}, kMaxBlocksPerUnit);
      const int64_t blocks = bucket_.tokens * static_cast<int64_t>(o.getKvHeads());
      // How many threads a processor will have is not known here: as many splits as its kernel can use on the longest context.
      constexpr int64_t kMostEntriesPerSplit = 512;
      if (target.kind == TargetKind::kX86)
        splits = std::min(ceil_div(table_stride_ * block_tokens_, kMostEntriesPerSplit), static_cast<int64_t>(variant->max_splits));
      else
        splits = std::clamp(blocks_per_unit * target.units / blocks, int64_t{1},
                          std::min(ceil_div(table_stride_ * block_tokens_, kMinEntriesPerSplit), static_cast<int64_t>(variant->max_splits)));
    }
    auto l = launch();
    l.read(counts()).read(views_[o.getQ()]).write(result(o.getResult()));
    l.read(io("token_seq")).read(io("seq_slot")).read(io("kv_index")).read(io("query_start")).read(io("kv_len"));
    if (splits > 1) {
      const View workspace = buffer(bucket_.tokens * heads * splits * (head_dim + 2) * static_cast<int64_t>(sizeof(float)), layer_name(o->getLoc()) + " splits");
      l.write(workspace);
    } else {
      l.null();
    }
    kv_view(l, o.getCache(), exec::kRead);
    l.i(heads).i(o.getWindow()).i(splits).f(o.getScale().convertToDouble());
    splits > 1 ? l.read_write(state("arrivals")) : l.null();
    return emit(l, o, splits);
  }

  mlir::LogicalResult lower_sample(ops::SampleOp o) {
    auto l = launch();
    l.read(counts()).read(views_[o.getLogits()]).read_write(io("sample_params")).read(io("bias_pairs")).read(io("mask"));
    l.read_write(state("penalty_counts")).write(state("sample_scratch")).write(state("prev")).write(state("ring"));
    l.i(vocab_).i(ceil_div(vocab_, 32)).i(max_logits_);
    if (mlir::failed(emit(l, o))) return mlir::failure();
    auto a = launch();
    a.read_write(counts()).read_write(io("tokens")).read_write(io("positions")).read_write(io("kv_index")).read_write(io("kv_len"));
    a.read_write(io("seq_flags")).read_write(io("sample_params"));
    return emit_extra(a, {.family = "advance", .weight = {}, .operand = {}, .kv = {}}, o);
  }
};

struct LowerToExec : impl::LowerToExecBase<LowerToExec> {
  void runOnOperation() override {
    mlir::ModuleOp module = getOperation();
    const Target* target = module_target(module);
    if (!target) return signalPassFailure();
    const std::vector<KvGroup> groups = kv_groups(module);
    ExecSymbols symbols(module, *target);
    QuantizedWeights quantized(symbols);
    for (auto function : llvm::to_vector(module.getOps<mlir::func::FuncOp>())) {
      if (mlir::failed(ProgramLowering(function, symbols, quantized, groups).run())) return signalPassFailure();
      function.erase();
    }
  }
};

}  // namespace
}  // namespace llmc
