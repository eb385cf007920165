#include "passes/LowerLinear.h"

namespace llmc {

using ops::element_of;
using ops::width_of;

// Rows of sums of squares, which stand [16 columns, row]: those of different columns, which different blocks write, share no sector of
// 32 bytes of the L2, where writes of parts of one wait for each other.
int64_t LinearLowering::square_stride(mlir::Value x) {
  constexpr int64_t kSectorFloats = 8;
  return ceil_div(rows_of(x), kSectorFloats) * kSectorFloats;
}

mlir::LogicalResult LinearLowering::lower_linear(ops::LinearOp o) {
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
  return emit(l, o);
}

mlir::LogicalResult LinearLowering::lower_linear(ops::FusedLinearOp o) {
  if (ops::int8_rows_of(o.getX())) return lower_quantized(o);
  auto l = launch();
  const auto w = linear_weight(o, o.getWeight());
  if (mlir::failed(w)) return mlir::failure();
  const auto optional = [&](mlir::Value v) { v ? l.read(views_[v]) : l.null(); };
  const auto optional_weight = [&](mlir::Value v) { v ? l.read(weight(v, false)) : l.null(); };
  const auto x = linear_input(o, o.getX());
  if (mlir::failed(x)) return mlir::failure();
  l.read(counts()).read(x->x).read(w->codes);
  optional_weight(o.getBias()), optional(o.getSquares()), optional(o.getResidual()), optional_weight(o.getNormWeight());
  l.write(result(o.getResult()));
  o.getScaled() ? l.write(result(o.getScaled())) : l.null();
  o.getSquaresOut() ? l.write(result(o.getSquaresOut(), square_stride(o.getX()))) : l.null();
  l.i(row_count(o.getX())).i(mlir::cast<mlir::RankedTensorType>(o.getWeight().getType()).getShape()[0]).i(width_of(o.getX()));
  l.i(o.getSquares() ? width_of(o.getSquares()) : 0).i(square_stride(o.getX())).f(o.getEps().convertToDouble());
  split_k(l, o, o.getX(), width_of(o.getResult()), x->scales);
  tensor_maps(l, chosen(o), x->x, o.getX(), o.getWeight(), *w);
  quantized_groups(l, *w);
  return emit(l, o);
}

mlir::LogicalResult LinearLowering::lower_linear(ops::LinearRopeKvOp o) {
  auto l = launch();
  const auto w = linear_weight(o, o.getWeight());
  if (mlir::failed(w)) return mlir::failure();
  const auto x = linear_input(o, o.getX());
  if (mlir::failed(x)) return mlir::failure();
  l.read(counts()).read(x->x).read(w->codes);
  o.getBias() ? l.read(weight(o.getBias(), false)) : l.null();
  o.getSquares() ? l.read(views_[o.getSquares()]) : l.null();
  l.null().null().write(result(o.getQOut())).null().null();
  l.i(row_count(o.getX())).i(mlir::cast<mlir::RankedTensorType>(o.getWeight().getType()).getShape()[0]).i(width_of(o.getX()));
  l.i(o.getSquares() ? width_of(o.getSquares()) : 0).i(square_stride(o.getX())).f(o.getEps().convertToDouble());
  split_k(l, o, o.getX(), mlir::cast<mlir::RankedTensorType>(o.getWeight().getType()).getShape()[0], x->scales);
  tensor_maps(l, chosen(o), x->x, o.getX(), o.getWeight(), *w);
  l.read(views_[o.getTable()]).read(io("token_seq")).read(io("seq_slot")).read(io("kv_index"));
  kv_view(l, o.getCache(), exec::kWrite);
  l.i(o.getHeads()).i(width_of(o.getTable()) / 2);
  quantized_groups(l, *w);
  return emit(l, o);
}

mlir::FailureOr<LinearLowering::LinearWeight> LinearLowering::linear_weight(mlir::Operation* op, mlir::Value v) {
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

mlir::FailureOr<LinearLowering::LinearInput> LinearLowering::linear_input(mlir::Operation* op, mlir::Value x) {
  const llm::Variant* variant = chosen(op);
  if (!variant || !variant->fp8_rows) return LinearInput{views_[x], {}};
  constexpr int64_t kAlignment = 256;
  const int64_t rows = rows_of(x), width = width_of(x), scales = ceil_div(rows * width, kAlignment) * kAlignment;
  const int64_t group = variant->fp8_group ? variant->fp8_group : width, groups = ceil_div(width, group);
  const View codes = buffer(scales + rows * groups * static_cast<int64_t>(sizeof(float)), layer_name(op->getLoc()) + " fp8");
  View scale = codes;
  scale.offset = scales;
  auto l = launch();
  l.read(counts()).read(views_[x]).write(codes).write(scale).i(row_count(x)).i(width).i(group);
  KernelShape shape{.family = "fp8_rows", .weight = {}, .operand = scalar_type(element_of(x)), .kv = {}};
  shape.rows = rows, shape.cols = shape.k = width, shape.group = group, shape.fp8_rows = true;
  if (mlir::failed(emit_extra(l, shape, op))) return mlir::failure();
  return LinearInput{codes, scale};
}

// QuantizedGroups, behind the block of a dense layer.
void LinearLowering::quantized_groups(LaunchBuilder& l, const LinearWeight& w) {
  if (!w.type) return;
  l.read(w.scales);
  w.zeros.base ? l.read(w.zeros) : l.null();
  l.i(w.type.getGroup()).i(w.type.zero());
}

mlir::LogicalResult LinearLowering::lower_linear(ops::DequantizeOp o) {
  const auto w = linear_weight(o, o.getWeight());
  if (mlir::failed(w)) return mlir::failure();
  const auto bytes_of = [](ops::DequantizeOp op) {
    const auto shape = mlir::cast<mlir::RankedTensorType>(op.getResult().getType()).getShape();
    return shape[0] * shape[1] * element_bytes(element_of(op.getResult()));
  };
  if (!dequantized_.base) {
    int64_t bytes = 0;
    function_.walk([&](ops::DequantizeOp op) { bytes = std::max(bytes, bytes_of(op)); });
    dequantized_.base = buffer(bytes, "dequantized weight").base;
  }
  const auto shape = mlir::cast<mlir::RankedTensorType>(o.getResult().getType()).getShape();
  views_[o.getResult()] = {.base = dequantized_.base, .stride = shape[1]};
  auto l = launch();
  l.read(w->codes);
  quantized_groups(l, *w);
  l.write(views_[o.getResult()]).i(shape[0]).i(shape[1]);
  return emit(l, o);
}

// LinearQuantizedArgs.
template <typename Linear>
mlir::LogicalResult LinearLowering::lower_quantized(Linear o) {
  const auto w = linear_weight(o, o.getWeight());
  if (mlir::failed(w)) return mlir::failure();
  const auto type = w->type;
  const auto int8 = ops::int8_rows_of(o.getX());
  const int64_t weight_rows = mlir::cast<mlir::RankedTensorType>(o.getWeight().getType()).getShape()[0];
  auto l = launch();
  l.read(counts());
  int8 ? l.null() : l.read(views_[o.getX()]);
  l.read(w->codes).read(w->scales);
  w->zeros.base ? l.read(w->zeros) : l.null();
  o.getBias() ? l.read(weight(o.getBias(), false)) : l.null();
  l.write(result(o.getResult()));
  l.i(row_count(o.getX())).i(weight_rows).i(width_of(o.getX())).i(type.getGroup()).i(type.zero());
  l.i(o.getBias() ? static_cast<int64_t>(scalar_type(element_of(o.getBias()))) : 0);
  if (int8)
    for (const View& part : int8_parts(o.getX())) l.read(part);
  else
    l.null().null().null();
  l.i(int8 ? int8.getGroup() : 0);
  return emit(l, o);
}

// A linear layer by the vendor's library, and its bias behind it.
mlir::LogicalResult LinearLowering::lower_gemm(ops::LinearOp o) {
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
void LinearLowering::split_k(LaunchBuilder& l, mlir::Operation* o, mlir::Value x, int64_t width, const View& x_scales) {
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
  const View partials = buffer(bytes, layer_name(o->getLoc()) + " splits");
  l.write(partials).read_write(state("arrivals"));
}

// x_map and w_map of LinearArgs and FusedLinearArgs, where the chosen variant takes them.
// Of codes in the order of fragments a row of the map is eight rows of the weight, in elements of 16 bits.
void LinearLowering::tensor_maps(LaunchBuilder& l, const llm::Variant* variant, const View& input, mlir::Value x, mlir::Value w, const LinearWeight& parts) {
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
mlir::LogicalResult LinearLowering::row_scale(LaunchBuilder& l, ops::LinearOp o) {
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

}  // namespace llmc
