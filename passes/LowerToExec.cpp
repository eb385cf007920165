// lower-to-exec: see Passes.td.
#include "llvm/ADT/TypeSwitch.h"
#include "passes/KvGroups.h"
#include "passes/LaunchBuilder.h"
#include "passes/Passes.h"
#include "passes/QuantizedWeights.h"

namespace llmc {
#define GEN_PASS_DEF_LOWERTOEXEC
#include "passes/Passes.h.inc"

namespace {

using ops::element_of;
using ops::width_of;

enum RowCount : int64_t { kTokens = 0, kLogits = 2 };  // llm_abi::RowCount

// The name that the frontend gave to an operation, for profiles and memory tables.
std::string layer_name(mlir::Location loc) {
  if (auto name = mlir::dyn_cast<mlir::NameLoc>(loc)) return name.getName().str();
  if (auto fused = mlir::dyn_cast<mlir::FusedLoc>(loc))
    for (mlir::Location inner : fused.getLocations())
      if (std::string name = layer_name(inner); !name.empty()) return name;
  return "";
}

// Lowers one bucket function to one program.
class ProgramLowering {
 public:
  ProgramLowering(mlir::func::FuncOp function, ExecSymbols& symbols, QuantizedWeights& quantized, const std::vector<KvGroup>& groups)
      : function_(function), symbols_(symbols), quantized_(quantized), groups_(groups), bucket_(bucket_of(function)), builder_(function.getContext()) {
    mlir::ModuleOp module = symbols.module();
    block_tokens_ = module_int(module, "llm.block_tokens", 16);
    max_batch_ = module_int(module, "llm.max_batch", 1);
    table_stride_ = ceil_div(module_int(module, "llm.max_context", 1), block_tokens_);
    vocab_ = module_int(module, "llm.vocab", 1);
    max_logits_ = module_int(module, "llm.max_logits", 1);
  }

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
  // --- Pointers ---
  template <typename Op, typename Key>
  View pointer(const std::string& cache_key, Key key) {
    View& view = pointers_[cache_key];
    if (!view.base) {
      mlir::OpBuilder::InsertionGuard guard(builder_);
      builder_.setInsertionPointToStart(builder_.getInsertionBlock());
      view.base = builder_.create<Op>(builder_.getUnknownLoc(), exec::PtrType::get(builder_.getContext()), key).getResult();
    }
    return view;
  }
  View io(const std::string& field) { return pointer<exec::IoOp>("io " + field, builder_.getStringAttr(field)); }
  View state(const std::string& name) { return pointer<exec::StateOp>("state " + name, builder_.getStringAttr(name)); }
  View kv_base(int64_t layer) { return pointer<exec::KvBaseOp>("kv " + std::to_string(layer), builder_.getI64IntegerAttr(layer)); }
  View weight(mlir::Value v, bool as_linear) {
    if (v.getDefiningOp<ops::DequantizeOp>()) return views_[v];
    return address_of(symbols_.weight(v.getDefiningOp<ops::WeightOp>(), as_linear));
  }
  View address_of(exec::WeightOp op) {
    return pointer<exec::WeightPtrOp>("weight " + op.getSymName().str(), mlir::FlatSymbolRefAttr::get(op));
  }
  View counts() { return io("counts"); }

  int64_t rows_of(mlir::Value v) { return is_logit_rows(v) ? bucket_.logits : bucket_.tokens; }
  static int64_t row_count(mlir::Value v) { return is_logit_rows(v) ? kLogits : kTokens; }

  // The buffer of a result. What @forward returns lives in state buffers, which the sampler and the host read.
  View result(mlir::Value v) { return result(v, rows_of(v)); }
  // With room for so many rows.
  View result(mlir::Value v, int64_t rows) {
    View view;
    view.stride = mlir::cast<mlir::RankedTensorType>(v.getType()).getRank() == 1 ? 1 : width_of(v);
    for (mlir::OpOperand& use : v.getUses())
      if (mlir::isa<mlir::func::ReturnOp>(use.getOwner()) && !function_.getSymName().starts_with("sample"))
        view.base = state(use.getOperandNumber() == 0 ? "logits" : "hidden").base;
    if (!view.base) {
      mlir::Type element = element_of(v);
      const auto int8 = ops::int8_rows_of(v);
      const int64_t bytes = int8 ? int8_layout(int8, rows_of(v), view.stride).bytes : stored_rows(element, rows) * view.stride * element_bytes(element);
      view.base = builder_.create<exec::BufferOp>(builder_.getUnknownLoc(), exec::PtrType::get(builder_.getContext()),
                                                  builder_.getI64IntegerAttr(bytes), builder_.getStringAttr(layer_name(v.getLoc())),
                                                  mlir::IntegerAttr());
    }
    views_[v] = view;
    return view;
  }

  // Rows of sums of squares, which stand [16 columns, row]: those of different columns, which different blocks write, share no sector of
  // 32 bytes of the L2, where writes of parts of one wait for each other.
  template <typename Linear>
  int64_t square_stride(Linear op) {
    constexpr int64_t kSectorFloats = 8;
    return ceil_div(rows_of(op.getX()), kSectorFloats) * kSectorFloats;
  }

  LaunchBuilder launch() { return LaunchBuilder(builder_, symbols_); }

  void kv_view(LaunchBuilder& l, mlir::Value cache, exec::Access access) {
    auto op = cache_of(cache);
    const size_t group = group_of(groups_, op.getLayer());
    View base = kv_base(op.getLayer());
    access == exec::kWrite ? l.read_write(base) : l.read(base);  // a write keeps the other entries
    View table = state("block_table");
    table.offset = static_cast<int64_t>(group) * max_batch_ * table_stride_ * static_cast<int64_t>(sizeof(int32_t));
    l.read(table).i(table_stride_).i(groups_[group].block_bytes(block_tokens_)).i(block_tokens_).i(op.getKvHeads()).i(op.getHeadDim());
  }

  static ops::KvCacheOp cache_of(mlir::Value v) {
    while (mlir::Operation* op = v.getDefiningOp()) {
      if (auto cache = mlir::dyn_cast<ops::KvCacheOp>(op)) return cache;
      if (auto write = mlir::dyn_cast<ops::KvWriteOp>(op)) v = write.getCache();
      if (auto fused = mlir::dyn_cast<ops::RopeKvWriteOp>(op)) v = fused.getCache();
      if (auto fused = mlir::dyn_cast<ops::LinearRopeKvOp>(op)) v = fused.getCache();
    }
    return {};
  }

  // The variant that select-kernels chose for `op`; null without one.
  const llm::Variant* chosen(mlir::Operation* op) {
    auto kernel = op->getAttrOfType<mlir::DictionaryAttr>(kKernelAttr);
    if (!kernel) return nullptr;
    const auto choice = choose_kernel(symbols_.target(), work_of(op, bucket_)->shape, kernel.getAs<mlir::StringAttr>("variant").getValue());
    return choice ? choice->best.variant : nullptr;
  }

  // Emits `l` with that variant.
  mlir::LogicalResult emit(LaunchBuilder& l, mlir::Operation* op, int64_t z = 1) {
    const llm::Variant* variant = chosen(op);
    if (!variant) return op->emitError("lower-to-exec: no kernel was selected");
    const std::optional<OpWork> work = work_of(op, bucket_);
    l.emit(*variant, work->shape, origin_of(op, *work), z);
    return mlir::success();
  }

  static LaunchBuilder::Origin origin_of(mlir::Operation* op, const OpWork& work) {
    LaunchBuilder::Origin origin{layer_name(op->getLoc()), work.bytes, work.flops, ""};
    if (auto runner_up = op->getAttrOfType<mlir::DictionaryAttr>(kKernelAttr).getAs<mlir::StringAttr>("runner_up")) origin.runner_up = runner_up.str();
    return origin;
  }

  // A launch that no operation stands for.
  mlir::LogicalResult emit_extra(LaunchBuilder& l, const KernelShape& shape, mlir::Operation* near) {
    const auto choice = choose_kernel(symbols_.target(), shape, "");
    if (!choice) return near->emitError(choice.error().message);
    l.emit(*choice->best.variant, shape, {});
    return mlir::success();
  }

  // --- Operations ---
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
        .Case([&](ops::LinearOp o) {
          if (ops::quantized_of(o.getWeight())) return lower_quantized(o);
          const llm::Variant* variant = chosen(o);
          if (variant && variant->external) return lower_gemm(o);
          auto l = launch();
          l.read(counts()).read(views_[o.getX()]).read(weight(o.getWeight(), true));
          o.getBias() ? l.read(weight(o.getBias(), false)) : l.null();
          l.write(result(o.getResult())).null();
          if (mlir::failed(row_scale(l, o))) return mlir::failure();
          l.i(row_count(o.getX())).i(width_of(o.getResult())).i(width_of(o.getX())).i(1);
          tensor_maps(l, variant, views_[o.getX()], o.getX(), o.getWeight(), {.codes = weight(o.getWeight(), true), .scales = {}, .zeros = {}, .type = {}});
          return emit(l, op);
        })
        .Case([&](ops::DequantizeOp o) { return lower_dequantize(o); })
        .Case([&](ops::FusedLinearOp o) -> mlir::LogicalResult {
          auto l = launch();
          const auto w = linear_weight(op, o.getWeight());
          if (mlir::failed(w)) return mlir::failure();
          const auto optional = [&](mlir::Value v) { v ? l.read(views_[v]) : l.null(); };
          const auto optional_weight = [&](mlir::Value v) { v ? l.read(weight(v, false)) : l.null(); };
          const auto x = linear_input(op, o.getX());
          if (mlir::failed(x)) return mlir::failure();
          l.read(counts()).read(x->x).read(w->codes);
          optional_weight(o.getBias()), optional(o.getSquares()), optional(o.getResidual()), optional_weight(o.getNormWeight());
          l.write(result(o.getResult()));
          o.getScaled() ? l.write(result(o.getScaled())) : l.null();
          o.getSquaresOut() ? l.write(result(o.getSquaresOut(), square_stride(o))) : l.null();
          l.i(row_count(o.getX())).i(mlir::cast<mlir::RankedTensorType>(o.getWeight().getType()).getShape()[0]).i(width_of(o.getX()));
          l.i(o.getSquares() ? width_of(o.getSquares()) : 0).i(square_stride(o)).f(o.getEps().convertToDouble());
          split_k(l, o, o.getX(), width_of(o.getResult()), x->scales);
          tensor_maps(l, chosen(o), x->x, o.getX(), o.getWeight(), *w);
          quantized_groups(l, *w);
          return emit(l, op);
        })
        .Case([&](ops::LinearRopeKvOp o) -> mlir::LogicalResult {
          auto l = launch();
          const auto w = linear_weight(op, o.getWeight());
          if (mlir::failed(w)) return mlir::failure();
          const auto x = linear_input(op, o.getX());
          if (mlir::failed(x)) return mlir::failure();
          l.read(counts()).read(x->x).read(w->codes);
          o.getBias() ? l.read(weight(o.getBias(), false)) : l.null();
          o.getSquares() ? l.read(views_[o.getSquares()]) : l.null();
          l.null().null().write(result(o.getQOut())).null().null();
          l.i(row_count(o.getX())).i(mlir::cast<mlir::RankedTensorType>(o.getWeight().getType()).getShape()[0]).i(width_of(o.getX()));
          l.i(o.getSquares() ? width_of(o.getSquares()) : 0).i(square_stride(o)).f(o.getEps().convertToDouble());
          split_k(l, o, o.getX(), mlir::cast<mlir::RankedTensorType>(o.getWeight().getType()).getShape()[0], x->scales);
          tensor_maps(l, chosen(o), x->x, o.getX(), o.getWeight(), *w);
          l.read(views_[o.getTable()]).read(io("token_seq")).read(io("seq_slot")).read(io("kv_index"));
          kv_view(l, o.getCache(), exec::kWrite);
          l.i(o.getHeads()).i(width_of(o.getTable()) / 2);
          quantized_groups(l, *w);
          return emit(l, op);
        })
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

  // Codes, scales and sums of an activation in int8.
  std::array<View, 3> int8_parts(mlir::Value v) {
    const View codes = views_[v];
    const Int8Layout sections = int8_layout(ops::int8_rows_of(v), rows_of(v), width_of(v));
    View scales = codes, sums = codes;
    scales.offset += sections.scales, sums.offset += sections.sums;
    return {codes, scales, sums};
  }

  // A dense weight, or the sections of a quantized one; without zeros, their view has no base.
  struct LinearWeight {
    View codes, scales, zeros;
    ops::QuantizedType type;
  };
  mlir::FailureOr<LinearWeight> linear_weight(mlir::Operation* op, mlir::Value v) {
    LinearWeight w;
    w.type = ops::quantized_of(v);
    if (!w.type) {
      w.codes = weight(v, true);
      return w;
    }
    const auto weight_op = quantized_.weight(v.getDefiningOp<ops::WeightOp>());
    if (!weight_op) return op->emitError(weight_op.error().message);
    const llm::QuantizedLayout sections = quantized_.layout(*weight_op);
    w.codes = w.scales = address_of(*weight_op);
    w.scales.offset += static_cast<int64_t>(sections.scales);
    if (!w.type.getZeros()) return w;
    w.zeros = w.codes;
    w.zeros.offset += static_cast<int64_t>(sections.zeros);
    return w;
  }
  // What the chosen kernel reads as x: where it takes e4m3, codes and scales that a launch of their own makes before.
  struct LinearInput {
    View x, scales;  // scales: of e4m3
  };
  mlir::FailureOr<LinearInput> linear_input(mlir::Operation* op, mlir::Value x) {
    const llm::Variant* variant = chosen(op);
    if (!variant || !variant->fp8_rows) return LinearInput{views_[x], {}};
    constexpr int64_t kAlignment = 256;
    const int64_t rows = rows_of(x), width = width_of(x), scales = ceil_div(rows * width, kAlignment) * kAlignment;
    View codes;
    codes.base = builder_.create<exec::BufferOp>(builder_.getUnknownLoc(), exec::PtrType::get(builder_.getContext()),
                                                 builder_.getI64IntegerAttr(scales + rows * static_cast<int64_t>(sizeof(float))),
                                                 builder_.getStringAttr(layer_name(op->getLoc()) + " fp8"), mlir::IntegerAttr());
    View scale = codes;
    scale.offset = scales;
    auto l = launch();
    l.read(counts()).read(views_[x]).write(codes).write(scale).i(row_count(x)).i(width);
    KernelShape shape{.family = "fp8_rows", .weight = {}, .operand = scalar_type(element_of(x)), .kv = {}};
    shape.rows = rows, shape.cols = shape.k = width;
    if (mlir::failed(emit_extra(l, shape, op))) return mlir::failure();
    return LinearInput{codes, scale};
  }
  // QuantizedGroups, behind the block of a dense layer.
  static void quantized_groups(LaunchBuilder& l, const LinearWeight& w) {
    if (!w.type) return;
    l.read(w.scales);
    w.zeros.base ? l.read(w.zeros) : l.null();
    l.i(w.type.getGroup()).i(w.type.zero());
  }

  // Into one buffer for all weights of the program, so that one is dequantized when the last is no more needed.
  mlir::LogicalResult lower_dequantize(ops::DequantizeOp o) {
    const auto w = linear_weight(o, o.getWeight());
    if (mlir::failed(w)) return mlir::failure();
    const auto bytes_of = [](ops::DequantizeOp op) {
      const auto shape = mlir::cast<mlir::RankedTensorType>(op.getResult().getType()).getShape();
      return shape[0] * shape[1] * element_bytes(element_of(op.getResult()));
    };
    if (!dequantized_.base) {
      int64_t bytes = 0;
      function_.walk([&](ops::DequantizeOp op) { bytes = std::max(bytes, bytes_of(op)); });
      dequantized_.base = builder_.create<exec::BufferOp>(builder_.getUnknownLoc(), exec::PtrType::get(builder_.getContext()),
                                                          builder_.getI64IntegerAttr(bytes), builder_.getStringAttr("dequantized weight"),
                                                          mlir::IntegerAttr());
    }
    const auto shape = mlir::cast<mlir::RankedTensorType>(o.getResult().getType()).getShape();
    views_[o.getResult()] = {.base = dequantized_.base, .stride = shape[1]};
    auto l = launch();
    l.read(w->codes);
    quantized_groups(l, *w);
    l.write(views_[o.getResult()]).i(shape[0]).i(shape[1]);
    return emit(l, o);
  }

  mlir::LogicalResult lower_quantized(ops::LinearOp o) {
    const auto w = linear_weight(o, o.getWeight());
    if (mlir::failed(w)) return mlir::failure();
    const auto type = w->type;
    const auto int8 = ops::int8_rows_of(o.getX());
    auto l = launch();
    l.read(counts());
    int8 ? l.null() : l.read(views_[o.getX()]);
    l.read(w->codes).read(w->scales);
    w->zeros.base ? l.read(w->zeros) : l.null();
    o.getBias() ? l.read(weight(o.getBias(), false)) : l.null();
    l.write(result(o.getResult()));
    l.i(row_count(o.getX())).i(width_of(o.getResult())).i(width_of(o.getX())).i(type.getGroup()).i(type.zero());
    l.i(o.getBias() ? static_cast<int64_t>(scalar_type(element_of(o.getBias()))) : 0);
    if (int8)
      for (const View& part : int8_parts(o.getX())) l.read(part);
    else
      l.null().null().null();
    l.i(int8 ? int8.getGroup() : 0);
    return emit(l, o);
  }

  // A linear layer by the vendor's library, and its bias behind it.
  mlir::LogicalResult lower_gemm(ops::LinearOp o) {
    const std::optional<OpWork> work = work_of(o, bucket_);
    const View out = result(o.getResult());
    auto l = launch();
    l.read(views_[o.getX()]).read(weight(o.getWeight(), true)).write(out).read_write(state("gemm_workspace"));
    l.emit_gemm(work->shape, element_of(o.getX()), origin_of(o, *work));
    if (!o.getBias()) return mlir::success();
    auto b = launch();
    b.read(counts()).read(weight(o.getBias(), false)).read_write(out).i(row_count(o.getX())).i(work->shape.cols);
    KernelShape shape{.family = "bias_add", .weight = scalar_type(element_of(o.getBias())), .operand = {}, .kv = {}};
    shape.rows = work->shape.rows, shape.cols = work->shape.cols;
    return emit_extra(b, shape, o);
  }

  // FusedLinearArgs::partials and arrivals, where the chosen variant splits K, or takes activations in e4m3.
  void split_k(LaunchBuilder& l, mlir::Operation* o, mlir::Value x, int64_t width, const View& x_scales) {
    const llm::Variant* variant = chosen(o);
    if (x_scales.base) {
      l.read(x_scales).null();
      return;
    }
    if (!variant || variant->k_splits == 1 || variant->cluster > 1) {
      l.null().null();
      return;
    }
    const int64_t tiles = ceil_div(rows_of(x), variant->tile_rows) * ceil_div(width, variant->tile_cols);
    const int64_t bytes = tiles * variant->k_splits * variant->tile_rows * variant->tile_cols * static_cast<int64_t>(sizeof(float));
    View partials;
    partials.base = builder_.create<exec::BufferOp>(builder_.getUnknownLoc(), exec::PtrType::get(builder_.getContext()),
                                                    builder_.getI64IntegerAttr(bytes), builder_.getStringAttr(layer_name(o->getLoc()) + " splits"),
                                                    mlir::IntegerAttr());
    l.write(partials).read_write(state("arrivals"));
  }

  // x_map and w_map of LinearArgs and FusedLinearArgs, where the chosen variant takes them.
  // Of codes in the order of fragments a row of the map is eight rows of the weight, in elements of 16 bits.
  void tensor_maps(LaunchBuilder& l, const llm::Variant* variant, const View& input, mlir::Value x, mlir::Value w, const LinearWeight& parts) {
    if (!variant || !variant->x_box_rows) {
      l.null().null();
      return;
    }
    // Elements of a map have 16 bits, two of activations in e4m3.
    l.map(input, element_of(x), rows_of(x), variant->fp8_rows ? width_of(x) / 2 : width_of(x), variant->x_box_rows);
    const int64_t n = mlir::cast<mlir::RankedTensorType>(w.getType()).getShape()[0];
    if (!parts.type) {
      l.map(parts.codes, element_of(w), n, width_of(x), variant->w_box_rows);
      return;
    }
    const auto bytes = static_cast<int64_t>(llm::fragment_rows_bytes(parts.type.storage(), static_cast<uint64_t>(width_of(x))));
    if (variant->fp8_rows) {  // rows of 64 bytes, eight of them in a tile
      constexpr int64_t kEight = llm::kFragmentRows, kRowBytes = llm::kFragmentAlignmentBits / 8;
      const int64_t row_elements = kRowBytes / element_bytes(element_of(x));
      l.map(parts.codes, element_of(x), {row_elements, bytes / kRowBytes, n / kEight}, {kRowBytes, bytes}, {row_elements, kEight, variant->w_box_rows / kEight},
            kRowBytes);
      return;
    }
    l.map(parts.codes, element_of(x), n / static_cast<int64_t>(llm::kFragmentRows), bytes / element_bytes(element_of(x)), variant->w_box_rows);
  }

  // LinearArgs::w_scale, where the chosen variant takes it.
  mlir::LogicalResult row_scale(LaunchBuilder& l, ops::LinearOp o) {
    const llm::Variant* variant = chosen(o);
    if (!variant || !variant->row_scale) {
      l.null();
      return mlir::success();
    }
    const auto scale = symbols_.row_scale(symbols_.weight(o.getWeight().getDefiningOp<ops::WeightOp>(), true));
    if (!scale) return o.emitError(scale.error().message);
    exec::WeightOp op = *scale;
    l.read(pointer<exec::WeightPtrOp>("weight " + op.getSymName().str(), mlir::FlatSymbolRefAttr::get(op)));
    return mlir::success();
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
      View workspace;
      workspace.base = builder_.create<exec::BufferOp>(
          builder_.getUnknownLoc(), exec::PtrType::get(builder_.getContext()),
          builder_.getI64IntegerAttr(bucket_.tokens * heads * splits * (head_dim + 2) * static_cast<int64_t>(sizeof(float))),
          builder_.getStringAttr(layer_name(o->getLoc()) + " splits"), mlir::IntegerAttr());
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

  mlir::func::FuncOp function_;
  ExecSymbols& symbols_;
  QuantizedWeights& quantized_;
  const std::vector<KvGroup>& groups_;
  Bucket bucket_;
  mlir::OpBuilder builder_;
  llvm::DenseMap<mlir::Value, View> views_;
  std::map<std::string, View> pointers_;
  View dequantized_;
  int64_t block_tokens_, max_batch_, table_stride_, vocab_, max_logits_;
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
