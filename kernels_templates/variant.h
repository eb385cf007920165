// One row per kernel variant. A family's variants are listed oldest (slowest, most general) first in
// kernels_templates/{cuda,x86}/variants.inl; selection asks each for its cost and takes the cheapest, the later one among equals.
//
// A variant is a template in `file`: a body function
//     template <types..., params...> KERNEL_FN void body(const Args& args, Tile tile, char* shared)
// and an instance names it with its types in the order code, weight, operand, KV (those that the family has), the head dimension
// where `head_dims` is not empty, then `params`: "linear_gemv<bf16, float, 4>".
#pragma once

#include <cstdint>

namespace llm {

// kBF16Panels: operands of AMX, bf16 in the order of x86/operand.h. kInt8: KV entries, with a scale for each (abi.h).
enum class ScalarType : uint8_t { kF32 = 0, kF16 = 1, kBF16 = 2, kBF16Panels = 3, kInt8 = 4 };

enum TypeMask : uint32_t {
  kNoType = 0, kF32Bit = 1, kF16Bit = 2, kBF16Bit = 4, kAnyType = 7, kBF16PanelsBit = 8, kInt8Bit = 16, kAnyKv = kAnyType | kInt8Bit
};

// How quantized weights are stored: unsigned integers of 2, 4 or 8 bits, float8_e4m3fn, or 4-bit indices into a table of 16 values.
enum class CodeType : uint8_t { kU2 = 0, kU4 = 1, kU8 = 2, kE4M3 = 3, kNf4 = 4, kFp4 = 5 };

enum CodeMask : uint32_t {
  kNoCode = 0, kU2Bit = 1, kU4Bit = 2, kU8Bit = 4, kE4M3Bit = 8, kNf4Bit = 16, kFp4Bit = 32, kAnyCode = 63,
  kFragmentCodes4 = kU4Bit | kNf4Bit | kFp4Bit, kFragmentCodes = kFragmentCodes4 | kU8Bit | kE4M3Bit  // cuda/quantized_fragments.h
};

// What a variant needs of a target; the target rows of compiler/targets say who has it.
enum Feature : uint32_t {
  kNoFeature = 0,
  // CUDA
  kTensorF16 = 1 << 0,    // mma / wmma with fp16 operands, fp32 accumulate (sm_70+)
  kTensorBF16 = 1 << 1,   // the same with bf16 operands (sm_80+)
  kCpAsync = 1 << 2,      // sm_80+
  kFastF16Math = 1 << 3,  // fp16 pairs at twice the fp32 rate (sm_60, sm_70+)
  kDp4a = 1 << 4,         // sm_61+
  kTensorInt8 = 1 << 5,   // sm_75+
  kTma = 1 << 6,          // sm_90
  kWgmma = 1 << 7,        // sm_90a
  kPdl = 1 << 8,          // programmatic dependent launch, sm_90
  kFp8 = 1 << 9,          // sm_89+
  kLdMatrix = 1 << 10,    // sm_75+
  // x86
  kAvx2 = 1 << 16,
  kAvx512 = 1 << 17,
  kAvx512Vnni = 1 << 18,
  kAvx512Bf16 = 1 << 19,
  kAmxBf16 = 1 << 20,
  kAmxInt8 = 1 << 21,
};

struct Variant {
  const char* family;      // "linear": selects the argument block in kernels_templates/abi.h
  const char* name;        // unique within the family: "gemv_r4"
  const char* file;        // below kernels_templates/: "cuda/linear_gemv.h"
  const char* body;        // the body template: "linear_gemv"
  const char* params;      // template arguments after the types: "4", or ""
  uint32_t needs;          // Features
  uint32_t weight_types;   // TypeMasks; kNoType where the family has no such type
  uint32_t operand_types;
  uint32_t kv_types;
  const char* head_dims;   // comma-separated head dimensions it can be instantiated for, or ""
  int threads;             // per block (CUDA)
  int shared_bytes;        // dynamic shared memory per block (CUDA)
  int tile_rows;           // rows of the output that one block computes; grid y = ceil(rows / tile_rows)
  int tile_cols;           // columns that one block computes; grid x = ceil(columns / tile_cols); 0: one block spans all
  int min_rows, max_rows;  // row buckets it serves; max_rows 0: any
  int k_multiple;          // K must be a multiple of this
  // Cost model: achieved shares of the target's memory bandwidth and of the rate of the unit it computes on; of int8 products four are as
  // much as an fp32 FMA, so that their share may reach 4; of fp8 products two are as much as one of 16 bits: 2.
  double bandwidth_share;
  double compute_share;
  bool tensor_cores;       // the unit: matrix units, or fp32 FMA
  int max_splits = 0;      // attention: largest grid z over which one query's KV entries may be split; 0: cannot split
  bool row_scale = false;  // linear: takes LinearArgs::w_scale, made from the weight by the family row_scale
  bool external = false;   // a call into the vendor's library (exec.gemm): no file or body, one type for weight and operand, and never
                           // chosen by cost: the user has to ask for it (llmc compile --gemm)
  int blocks_per_sm = 0;   // grid x is at most this many blocks for each SM of the device, filled in at load, and each block loops over
                           // its share of the column tiles; 0: a block per tile
  int min_blocks = 0;      // __launch_bounds__: blocks that an SM must be able to hold; 1 leaves a block all registers, 0 is the compiler's
                           // choice (which may squeeze registers for occupancy)
  bool waits_itself = false;  // the body calls dependency_wait and dependency_trigger (cuda/ptx.h); else the wrapper does, before it
  int x_box_rows = 0;      // linear: takes tensor maps of x and w, in boxes of so many rows x 128 bytes under the 128-byte swizzle (with
                           // fp8_rows w in boxes of 64 bytes, its rows in eights)
  int w_box_rows = 0;
  int k_splits = 1;        // linear: blocks that share the K of a tile; the last to finish adds their sums, or the cluster that they are
  bool flat_grid = false;  // grid x counts all tiles, of rows and columns, and grid y is 1: blocks take tiles in an order of their own
  uint32_t code_types = kNoCode;  // CodeMasks of quantized weights; the weight type is then that of their scales, and k_multiple goes for
                                  // their groups, too
  int interleave = 1;     // the order of the codes that it reads (quantized_weights.h): 1, 8 or 16 rows interleaved
  int int8_group = 0;      // linear_quantized: takes activations in int8 (LinearQuantizedArgs::int8) in groups of so many columns, on x86 of a multiple;
                           // 0: takes x
  bool int8_panels = false;  // takes, or makes, them in the order of x86/int8_panels.h
  int int16_columns = 0;   // quantized layers: rounds activations to integers of 15 bits, so many columns of a row to a scale (cuda/quantized_operands.h)
  bool fp8_rows = false;   // quantized layers: takes activations in e4m3, which a launch of fp8_rows makes before it
  int fp8_group = 0;       // with fp8_rows: columns of x and of w that share a scale; 0: whole rows
  bool rounds_operands = false;  // rounds operands of a wider type to 16 bits for its matrix units
  int operand_bytes = 0;   // persistent: of shared memory for the tokens of a layer, 64 bytes and 512 for every 256 columns each; 0: it keeps none
  int head_chunk = 0;  // attention: a block takes up to so many query heads, all of one KV head; 0: one
  int cluster = 1;  // consecutive blocks along x that run as a cluster, which takes so many row tiles at once, or with k_splits (then as
                    // many) one tile; above 1 only with flat_grid and waits_itself
};

// The same with activations rounded to integers of 15 bits.
constexpr Variant with_int16(Variant variant, int columns) {
  variant.int16_columns = columns;
  return variant;
}

// A persistent kernel that keeps a layer's tokens in so many bytes.
constexpr Variant with_operand_bytes(Variant variant, int bytes) {
  variant.operand_bytes = bytes;
  return variant;
}

// The same with activations in e4m3, with a scale for `group` columns, or for a row.
constexpr Variant with_fp8_rows(Variant variant, int group = 0) {
  variant.fp8_rows = true;
  variant.fp8_group = group;
  return variant;
}

// Row tiles are handed out in multiples of it.
constexpr int row_tile_cluster(const Variant& variant) { return variant.k_splits > 1 ? 1 : variant.cluster; }

// Attention whose blocks take up to `heads` query heads of a KV head.
constexpr Variant with_head_chunk(Variant variant, int heads) {
  variant.head_chunk = heads;
  return variant;
}

// Blocks of attention along x.
constexpr int64_t head_tiles(const Variant& v, int64_t heads, int64_t kv_heads) {
  return v.head_chunk ? kv_heads * ((heads / kv_heads + v.head_chunk - 1) / v.head_chunk) : heads;
}

// A row for quantized weights with these codes, in that order.
constexpr Variant with_codes(Variant variant, uint32_t code_types, int interleave = 1) {
  variant.code_types = code_types;
  variant.interleave = interleave;
  return variant;
}

// The same with activations in int8.
constexpr Variant with_int8(Variant variant, uint32_t code_types, int int8_group, int interleave = 1) {
  variant = with_codes(variant, code_types, interleave);
  variant.int8_group = int8_group;
  return variant;
}

// Of activations in int8 in panels: the families linear_quantized, linear_int8_glu, quantize_rows.
constexpr Variant in_int8_panels(Variant variant) {
  variant.int8_panels = true;
  return variant;
}
constexpr Variant with_int8_panels(Variant variant, uint32_t code_types) {
  return in_int8_panels(with_int8(variant, code_types, /*int8_group=*/64, /*interleave=*/16));
}

// A row that rounds wider operands.
constexpr Variant rounding(Variant variant) {
  variant.rounds_operands = true;
  return variant;
}

// The same kernel for clusters of `cluster` blocks.
constexpr Variant with_cluster(Variant variant, int cluster) {
  variant.cluster = cluster;
  return variant;
}

}  // namespace llm
