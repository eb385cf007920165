// The kernel ABI: the argument block of every kernel family and the layout of the step input.
//
// One header for all sides: NVRTC (CUDA kernels), freestanding clang (x86 kernels), the compiler, which fills argument blocks
// by slot, and the runtime. Every field of an argument block occupies one 8-byte slot (pointer, int64, double), so a
// block is an array of slots and a plan stores it as a list of slot values, whatever the target.
//
// Shapes are given as [rows, columns], row-major; T, S, L are the true counts of tokens, sequences and logit rows of the step
// (StepCounts, in device memory); the grid is sized for the bucket, and tiles beyond the true count return at once.
#pragma once

namespace llm_abi {

typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;
typedef unsigned short u16;

// --- Step input -------------------------------------------------------------------------------------------------------

// Which of the true counts bounds the rows of a kernel.
enum RowCount { kRowsTokens = 0, kRowsSeqs = 1, kRowsLogits = 2 };

enum StepFlags {
  kStepAdvance = 1,  // the last launch of `sample` turns this io set into the next decode step (see SampleArgs)
};

// 64 bytes; the first field of an io set.
struct StepCounts {
  i32 rows[3];        // true counts, indexed by RowCount: T, S, L
  i32 flags;          // StepFlags
  i32 block_updates;  // number of valid BlockUpdate records
  i32 step;           // step number; the sampled rows are written to ring entry step % ring_entries
  i32 ring_entries;   // number of entries of the host ring, each of max L SampleOut records
  i32 bias_pairs;     // number of valid (id, bias) pairs
  i32 reserved[8];
};

// Writes block_table[group][slot][index] = block before the step runs.
struct BlockUpdate {
  i32 group, slot, index, block;
};

enum SeqFlags {
  kSeqReset = 1,  // a new sequence takes this slot: its penalty counts are cleared before the step
};

enum SampleFlags {
  kSampleMask = 1,         // the row's vocabulary bitmask applies (bit 0 = forbidden)
  kSampleLogprobs = 2,     // write the log-probability of the sampled id and the top `top_logprobs`
  kSampleRawLogprobs = 4,  // log-probabilities of the raw logits, not of those after penalties, bias and temperature
};

enum { kMaxTopLogprobs = 20 };

// Sampling parameters of one logit row; 64 bytes.
struct SampleParams {
  float temperature;         // 0: argmax
  float top_p;               // 1: off
  float min_p;               // 0: off
  float repetition_penalty;  // 1: off; applies to ids of prompt and output
  float presence_penalty;    // 0: off; output ids only
  float frequency_penalty;   // 0: off; output ids only
  i32 top_k;                 // 0: off
  i32 flags;                 // SampleFlags
  u64 seed;                  // Philox key
  i32 position;              // Philox counter: the position that the sampled token will take
  i32 slot;                  // sequence slot, index into the penalty counts
  i32 bias_begin, bias_end;  // range of this row's (id, bias) pairs
  i32 top_logprobs;          // number of alternatives to report, at most kMaxTopLogprobs
  i32 token_row;             // the token row (0..T-1) whose sequence this row samples for (used by kStepAdvance)
};

struct BiasPair {
  i32 id;
  float bias;
};

// What `sample` reports for one logit row; 192 bytes, written to the host ring.
struct SampleOut {
  i32 step;  // written last, so that a host that polls the ring sees a whole record
  i32 id;
  float logprob;
  i32 count;  // number of valid top entries
  i32 top_id[kMaxTopLogprobs];
  float top_logprob[kMaxTopLogprobs];
  i32 reserved[4];
};

// Penalty counts: u32 [max_slots, vocab]; bit 31 = the id occurs in the prompt, the rest counts its occurrences in the output.
enum : u32 { kInPrompt = 0x80000000u };

// --- KV cache ---------------------------------------------------------------------------------------------------------
// A group's pool is [layers, blocks, block_bytes]. A block holds K [kv_heads, block_tokens, head_dim], then V of the same shape. In int8 an
// entry is its codes times a scale, max |x| / 127 over the head; the float32 scales stand behind V: of K [kv_heads, block_tokens], then of V.
// kv_base points at the layer's first block. The KV entry with index i of the sequence in slot s lies in block
// block_table[s * table_stride + i / block_tokens], at row i % block_tokens.

struct KvView {
  void* base;              // first block of this layer
  const i32* block_table;  // [max_slots, table_stride] of the group
  i64 table_stride;        // blocks per sequence
  i64 block_bytes;
  i64 block_tokens;
  i64 kv_heads;
  i64 head_dim;
};

// --- Families ---------------------------------------------------------------------------------------------------------

// First launch of a step: applies block updates, resolves token ids (a host id, or -1-j: what row j of the last step sampled),
// clears the penalty counts of new sequences and marks prompt ids in them. Grid: max S blocks, one sequence each; block 0
// also applies all block updates.
struct PrepareArgs {
  const StepCounts* counts;
  const i32* tokens;       // [T]: id >= 0, or -1-j
  const i32* query_start;  // [S+1]: the tokens of sequence s are rows query_start[s] .. query_start[s+1]-1
  const i32* seq_slot;     // [S]
  const i32* seq_flags;    // [S]: SeqFlags
  const BlockUpdate* block_updates;
  const i32* prev;         // [max L]: ids sampled by the last step
  i32* ids;                // out [T]
  i32* block_table;        // [groups, max_slots, table_stride]
  u32* penalty_counts;     // [max_slots, vocab]
  i64 vocab;
  i64 max_slots;
  i64 table_stride;
};

// out[t, :] = table[ids[t], :]. Grid: one block a row.
struct EmbedArgs {
  const StepCounts* counts;
  const i32* ids;     // [T]
  const void* table;  // [vocab, width] of the weight type
  void* out;          // [T, width]
  i64 width;
  i64 vocab;
};

// out[r, :] = x[rows[r], :]. Grid: one block a row.
struct GatherRowsArgs {
  const StepCounts* counts;
  const i32* rows;  // [L]
  const float* x;   // [T, width]
  float* out;       // [L, width]
  i64 width;
};

// h = x / sqrt(mean(x^2) + eps); out = h * weight, for each of `groups` consecutive groups of `width` columns of a row (1 for a
// layer norm, the number of heads for a per-head norm). Rows are counted by `row_count`. Grid: one block a row.
struct RmsNormArgs {
  const StepCounts* counts;
  const float* x;      // [rows, groups * width], rows x_stride elements apart
  const void* weight;  // [width] of the weight type
  void* out;           // [rows, groups * width] of the operand type, contiguous
  i64 row_count;       // RowCount
  i64 width;
  i64 groups;
  i64 x_stride;
  double eps;
};

// sum = residual + delta; out = rms_norm(sum) * weight. `sum` may be `residual`. Grid: one block a row.
struct AddRmsNormArgs {
  const StepCounts* counts;
  const float* residual;  // [rows, width]
  const float* delta;     // [rows, width]
  const void* weight;     // [width]
  float* sum;             // out [rows, width]
  void* out;              // out [rows, width] of the operand type
  i64 row_count;
  i64 width;
  double eps;
};

// out[r, n] = sum_k x[r, k] * w[n, k] (+ bias[n]), accumulated in fp32.
// CUDA: w is [N, K] row-major of the weight type. x86: w is interleaved, see kernels_templates/x86/pack.h.
struct LinearArgs {
  const StepCounts* counts;
  const void* x;        // [rows, K] of the operand type
  const void* w;
  const void* bias;     // [N] of the weight type, or null
  float* out;           // [rows, N]
  void* workspace;      // split-K partial sums, or null
  const float* w_scale; // [N] power-of-two scale per weight row (bf16 weights on fp16 tensor cores), or null
  i64 row_count;
  i64 n;
  i64 k;
  i64 k_splits;         // 1: none
  const void* x_map;    // CUDA tensor maps of x and w in device memory, for variants with box rows, or null
  const void* w_map;
};

// Activations [rows, K] in int8: x[r, k] is about code * scales[r, k / group]. Codes of a row stand as the codes of weights unpack
// (int8_position in kernels_templates/quantized_weights.h). x86 has another order for many rows: x86/int8_panels.h.
struct Int8Rows {
  const signed char* codes;  // [rows, K]
  const float* scales;       // [rows, K / group]
  const i32* sums;           // [rows, K / 32]: of the codes
  i64 group;                 // of 32 columns; on x86 a multiple
};

// Makes them from x: scale = max |x| / 127 over a group, code = x * (127 / max |x|), rounded to the nearest, ties to even; both 0 where no |x|
// is above 1e-30. Grid: (column tiles, rows); on x86 a block a row. Groups are of 32 columns, on x86 of a multiple.
struct QuantizeRowsArgs {
  const StepCounts* counts;
  const float* x;      // [rows, width], rows x_stride elements apart
  signed char* codes;  // out: of Int8Rows, as the next two
  float* scales;
  i32* sums;
  i64 row_count;
  i64 width;
  i64 x_stride;
  i64 group;
  i64 bits;            // of the weights' codes
};

// out[r, n] = sum_k x[r, k] * w[n, k] (+ bias[n]) with a quantized w, accumulated in fp32: w[n, k] = (code - zero) * scale for integer codes,
// value(code) * scale for the others; zero and scale are those of row n and group k / group. docs/quantization.md has the layouts:
// CUDA: codes [N, K], scales and zeros [N, groups], row-major. x86: 16 rows interleaved.
struct LinearQuantizedArgs {
  const StepCounts* counts;
  const void* x;               // [rows, K] of the operand type, its columns in the order of the codes
  const void* codes;
  const void* scales;          // of the scale type
  const unsigned char* zeros;  // or null: `zero` everywhere
  const void* bias;            // [N] of bias_type, or null
  float* out;                  // [rows, N]
  i64 row_count;
  i64 n;
  i64 k;
  i64 group;                   // columns that share a scale; the last group may be shorter
  i64 zero;
  i64 bias_type;               // llm::ScalarType
  Int8Rows int8;               // in place of x, or null pointers: products are summed in int32 over each of its groups
};

// out[r, p] = x[r, order[p]]. Grid: (column tiles, row tiles).
struct GatherColumnsArgs {
  const StepCounts* counts;
  const void* x;     // [rows, width] of the operand type, rows x_stride elements apart
  const i32* order;  // [width]
  void* out;         // [rows, width], contiguous
  i64 row_count;
  i64 width;
  i64 x_stride;
};

// A linear layer with what stands around it in a decoder layer. p[r, c] = s[r] * sum_k x[r, k] * w[c, k] (+ bias[c]), where s is 1, or
// with `squares` the scale of an RMS norm whose weight is already in x: s[r] = 1 / sqrt(sum over parts of squares[part, r] / k + eps).
//   linear:     out[r, c] = p[r, c], float32 [rows, N]
//   linear_glu: out[r, c] = silu(p[r, c]) * p[r, c + N / 2], of the operand type, [rows, N / 2]: gate above up in w
//   linear_add: out[r, c] = residual[r, c] + p[r, c], float32 [rows, N]; `out` may be `residual`. With `norm_weight` also
//               scaled[r, c] = out[r, c] * norm_weight[c], rounded to the operand type: the x of the next norm's projection; and
//               squares_out[c / 16, r] = the sum of out[r, c]^2 over these 16 columns, ceil(N / 16) parts: its `squares`.
// Where the kernel splits K, `partials` holds each split's sums, and the last split to finish a tile adds them in split order.
struct FusedLinearArgs {
  const StepCounts* counts;
  const void* x;            // [rows, K] of the operand type
  const void* w;            // [N, K] of the weight type
  const void* bias;         // [N] of the weight type, or null
  const float* squares;     // [square_parts, square_stride], or null
  const float* residual;    // [rows, N]; linear_add only
  const void* norm_weight;  // [N] of the weight type, or null; linear_add only
  void* out;
  void* scaled;             // [rows, N], or null
  float* squares_out;       // [ceil(N / 16), square_stride], or null
  i64 row_count;
  i64 n;
  i64 k;
  i64 square_parts;
  i64 square_stride;        // at least the rows of the bucket
  double eps;
  float* partials;          // [tiles, splits, a tile's sums] of a kernel that splits K; [rows, groups] the scales of x of one that takes it in e4m3; or null
  u32* arrivals;            // two a tile, 0 between launches: how many splits have left their sums; or null
  const void* x_map;        // CUDA tensor maps of x and w in device memory, for variants with box rows, or null
  const void* w_map;
};

// out[r, i] = silu(gate[r, i]) * up[r, i]. Grid: (column tiles, rows).
struct GluArgs {
  const StepCounts* counts;
  const float* gate;  // [T, inter], rows gate_stride elements apart (gate and up are often halves of one buffer)
  const float* up;    // [T, inter], rows up_stride apart
  void* out;          // [T, inter] of the operand type, contiguous
  i64 inter;
  i64 gate_stride;
  i64 up_stride;
};

// What a quantized weight has beside its codes, in the order of matrix fragments (quantized_weights.h).
struct QuantizedGroups {
  const void* scales;          // of the scale type
  const unsigned char* zeros;  // or null: `zero` everywhere
  i64 group;
  i64 zero;
};

// Activations in e4m3, for products with weights in e4m3 in the order of fragments: scale = max |x| / 448 over a group of columns of a row, code =
// x * (448 / max |x|), rounded to the nearest, ties to even; both 0 where no |x| is above 1e-30. Place 16 t + 8 h + i of every 64 codes has column 32 h + 8 t + i, as
// the weights' codes. Grid: one block a row.
struct Fp8RowsArgs {
  const StepCounts* counts;
  const void* x;   // [rows, width] of the operand type
  void* codes;     // out: [rows, width]
  float* scales;   // out: [rows, groups]
  i64 row_count;
  i64 width;       // a multiple of 64
  i64 group;       // 128 (the last group may be shorter), or at least `width`: one for a row
};

// out[n, k] = the weight, of the operand type. Grid: (tiles of columns, tiles of rows).
struct DequantizeArgs {
  const void* codes;
  QuantizedGroups groups;
  void* out;  // [rows, k]
  i64 rows;
  i64 k;
};

// Families quantized_fused, quantized_glu, quantized_add: linear_fused, linear_glu, linear_add with such a weight. `linear.w` are its codes;
// bias and norm weight are of the operand type.
struct QuantizedFusedArgs {
  FusedLinearArgs linear;
  QuantizedGroups groups;
};

// The unfused elementwise kernels: out = a + b, a * b, silu(a). Grid: (column tiles, rows). They run where fusion is disabled.
struct ElementwiseArgs {
  const StepCounts* counts;
  const float* a;
  const float* b;  // unused by silu
  void* out;       // [rows, width], contiguous; fp32, or the operand type for mul
  i64 row_count;
  i64 width;
  i64 a_stride;
  i64 b_stride;
};

// out += bias in every row, behind a matrix product of the vendor's library. Grid: (column tiles, rows).
struct BiasAddArgs {
  const StepCounts* counts;
  const void* bias;  // [width]
  float* out;        // [rows, width], contiguous
  i64 row_count;
  i64 width;
};

// table[t, 0, j] = cos(position[t] * inv_freq[j]) * factor; table[t, 1, j] = sin(...) * factor. Grid: one block a row.
struct RopeTableArgs {
  const StepCounts* counts;
  const i32* positions;   // [T]
  const float* inv_freq;  // [half]
  float* table;           // out [T, 2, half]
  i64 half;
  double factor;
};

// Normalizes q and k per head when the norm weights are given (before RoPE); rotates the first 2 * half dims of every head of q
// and k (half-split convention: dim j pairs with j + half); writes q to q_out and k, v to the cache at kv_index. q, k and v are
// often slices of one merged projection: each has its own pointer and row stride. Grid: (heads + 2 * kv_heads, T).
struct RopeKvWriteArgs {
  const StepCounts* counts;
  const float* q;         // [T, heads * head_dim], rows q_stride elements apart
  const float* k;         // [T, kv_heads * head_dim], rows k_stride apart
  const float* v;         // [T, kv_heads * head_dim], rows v_stride apart
  const float* table;     // [T, 2, half]
  const void* q_norm;     // [head_dim] of the weight type, or null
  const void* k_norm;     // [head_dim], or null
  const i32* token_seq;   // [T]: row of the token's sequence
  const i32* seq_slot;    // [S]
  const i32* kv_index;    // [T]
  float* q_out;           // [T, heads * head_dim], contiguous
  KvView kv;              // of this layer
  i64 heads;
  i64 half;
  i64 q_stride;
  i64 k_stride;
  i64 v_stride;
  double eps;
};

// The projections of q, k and v (one above the other in w, heads of kv.head_dim) with what rope_kv_write does behind them, without
// per-head norms: `linear` gives x, w, bias, squares and row_count; its `out` takes q, rotated, float32 [T, heads * head_dim]. half
// is a multiple of 8, head_dim of 16. Grid: (tiles of all projected columns, tiles of tokens).
struct LinearRopeArgs {
  FusedLinearArgs linear;
  const float* table;      // [T, 2, half]
  const i32* token_seq;    // [T]
  const i32* seq_slot;     // [S]
  const i32* kv_index;     // [T]
  KvView kv;               // of this layer
  i64 heads;
  i64 half;
};

// Family quantized_rope: linear_rope with a quantized weight.
struct QuantizedRopeArgs {
  LinearRopeArgs rope;
  QuantizedGroups groups;
};

// The unfused halves of rope_kv_write. Rotates the first 2 * half dims of every head of x. Grid: (heads, T).
struct RopeArgs {
  const StepCounts* counts;
  const float* x;      // [T, heads * head_dim], rows x_stride elements apart
  const float* table;  // [T, 2, half]
  float* out;          // [T, heads * head_dim], contiguous
  i64 heads;
  i64 head_dim;
  i64 half;
  i64 x_stride;
};

// Writes k and v to the cache at kv_index. Grid: (kv_heads, T).
struct KvWriteArgs {
  const StepCounts* counts;
  const float* k;        // [T, kv_heads * head_dim], rows k_stride elements apart
  const float* v;
  const i32* token_seq;  // [T]
  const i32* seq_slot;   // [S]
  const i32* kv_index;   // [T]
  KvView kv;
  i64 k_stride;
  i64 v_stride;
};

// Token t of sequence s = token_seq[t] attends to KV entries max(0, i - window + 1) .. i with i = kv_index[t]
// (window 0: all). Query head h reads kv head h / (heads / kv_heads). softmax in fp32 over q.k * scale.
struct AttentionArgs {
  const StepCounts* counts;
  const float* q;          // [T, heads * head_dim]
  void* out;               // [T, heads * head_dim] of the operand type
  const i32* token_seq;    // [T]
  const i32* seq_slot;     // [S]
  const i32* kv_index;     // [T]
  const i32* query_start;  // [S+1]
  const i32* kv_len;       // [S]: entries in the cache after this step's writes
  float* workspace;        // decode splits: [T, heads, splits, head_dim + 2] (accumulator, maximum, sum), or null;
                           // the block that finds all of them there merges them, in split order
  KvView kv;
  i64 heads;
  i64 window;
  i64 splits;              // 1: none
  double scale;
  u32* arrivals;           // [T, heads], 0 between launches: how many splits have left their partial results; or null
};

// Samples one id per logit row. Order: penalties and bias and mask on the logits; temperature; top-k; top-p; min-p (relative to the
// largest probability left); then one Philox draw of (seed, position). temperature 0: argmax, lowest id first among equals.
// Writes prev[row], ring[step % ring_entries][row], counts the id in the penalty counts. Grid: max L blocks.
struct SampleArgs {
  const StepCounts* counts;
  const float* logits;         // [L, vocab]
  const SampleParams* params;  // [L]
  const BiasPair* bias;
  const u32* mask;             // [L, mask_words]; word i / 32, bit i % 32
  u32* penalty_counts;         // [max_slots, vocab]
  float* scratch;              // [max L, vocab]: logits after penalties
  i32* prev;                   // out [max L]
  SampleOut* ring;             // [ring_entries, max L]
  i64 vocab;
  i64 mask_words;
  i64 max_rows;                // max L, the row stride of the ring
};

// Last launch of `sample`; does nothing unless counts.flags has kStepAdvance, which demands a pure decode step (T = S = L, row i
// of each belongs to sequence i). Turns the io set into the next step: tokens[i] = -1-i, positions, kv_index, kv_len and the
// sampling positions + 1, step + 1, block_updates = 0, seq_flags = 0. Grid: 1 block.
struct AdvanceArgs {
  StepCounts* counts;
  i32* tokens;
  i32* positions;
  i32* kv_index;
  i32* kv_len;
  i32* seq_flags;
  SampleParams* params;
};

// Init program: interleaves weight rows for x86 (layout in kernels_templates/x86/pack.h).
struct PackArgs {
  const void* src;  // [rows, k] row-major, possibly unaligned
  void* dst;        // start of the packed matrix
  i64 rows;
  i64 k;
  i64 src_stride;   // elements between rows of src
  i64 dst_row;      // first destination row
};

// Integers in a checkpoint, packed into words, lowest bits first: value i of line j takes bits [p * bits, (p + 1) * bits) of the unit
// that it belongs to, a unit being unit_words words that hold unit_values values, p = i % unit_values (or, with an order, its nibble
// number i % unit_values). Word w of line j has index w * word_stride + j * line_stride. What is read is (value + add) mod 2^bits.
struct PackedView {
  const void* words;  // possibly unaligned
  i64 word_bytes;     // 1 or 4
  i64 bits;
  i64 unit_values;
  i64 unit_words;
  i64 word_stride;
  i64 line_stride;
  i64 order;          // 0: none
  i64 add;
  i64 by_column;      // 0: a line is a row of the weight; 1: a column, or a group of columns
};

// Scales in a checkpoint: that of row n and group g has index i = n / row_block * row_stride + g * group_stride, and is values[i] /
// divisor; with a map, values are bytes, and it is map[values[i]] * map_scales[i / map_block] + map_offset.
struct ScaleView {
  const void* values;       // possibly unaligned, as are the others
  i64 type;                 // llm::ScalarType of values
  i64 row_block;
  i64 row_stride;
  i64 group_stride;
  double divisor;
  const void* map;          // float32 [256], or null
  const void* map_scales;   // float32
  i64 map_block;
  double map_offset;
};

// Init program: brings the rows of one source module of a quantized weight into the layout that linear_quantized reads. Column p of the
// weight is column order[p] of the source, row r of the module row row_order[r]. Grid: (1, blocks of 16 destination rows), the first one that of dst_row.
struct RepackArgs {
  PackedView codes;           // [rows, k]
  PackedView zeros;           // [rows, groups]; without words: none
  ScaleView scales;           // [rows, groups]
  const i32* order;           // [k], or null
  const i32* row_order;       // [rows], or null
  void* dst_codes;            // these three: of the whole weight
  void* dst_scales;           // of the scale type
  unsigned char* dst_zeros;
  i64 rows;
  i64 k;
  i64 group;
  i64 dst_bits;               // of a code in dst_codes
  i64 dst_row;
  i64 interleave;             // order of the rows and words: 1, 8 or 16 (quantized_weights.h)
};

// Init program: quantizes the rows of one dense tensor into the layout that linear_quantized reads, by the formulas of quantize_group.h. Column k of
// row r is element src_first + r * src_stride + k. Grid: (1, blocks of 16 destination rows), the first one that of dst_row.
struct QuantizeArgs {
  const void* src;           // possibly unaligned
  i64 src_type;              // llm::ScalarType
  i64 src_first;
  i64 src_stride;
  void* dst_codes;           // these three: of the whole weight
  void* dst_scales;          // of the scale type
  unsigned char* dst_zeros;  // or null: 2^(bits - 1)
  i64 rows;
  i64 k;
  i64 group;                 // a multiple of 16, or k
  i64 dst_row;
  i64 interleave;
};

// Init program: order = 0 .. k-1, sorted by group_of, equal ones in their order. `group` columns are of each group, fewer of the last.
// Grid: one block.
struct GroupOrderArgs {
  const void* group_of;  // int32 [k], possibly unaligned
  i32* order;            // out [k]
  i64 k;
  i64 group;
};

// Init program: scale[n] = the power of two 2^e such that |w[n, :]| * 2^-e fits fp16 with the largest exponent. Grid: one block a row.
struct RowScaleArgs {
  const void* w;  // [n, k] bf16
  float* scale;   // out [n]
  i64 n;
  i64 k;
};

// --- A program as one kernel -------------------------------------------------------------------------------------------

// What a phase of a persistent kernel does: the body of the launch that it stands for.
enum PhaseBody : u32 {
  kPhaseNone = 0,
  kPhasePrepare,
  kPhaseEmbed,
  kPhaseRopeTable,
  kPhaseGatherRows,
  kPhaseRmsNorm,
  kPhaseRopeKvWrite,
  kPhaseAttention,
  kPhaseLinear,  // this and the rest: linear layers, whose weights are fetched ahead
  kPhaseLinearGlu,
  kPhaseLinearAdd,
  kPhaseLinearRope,
};

enum { kPhaseSlots = 34 };

// A launch of the program: its grid, and the argument block that its own kernel would get.
struct Phase {
  u32 body;
  u32 grid[3];
  u64 args[kPhaseSlots];
};

// What blocks of a step of at most kExchangeRows tokens hand to each other, in words of 64 bits (cuda/exchange.h): the parts of the
// exchange, each from a multiple of 16 bytes on.
enum ExchangePart : u32 {
  kExchangeSteps = 0,  // a word: how many phases all steps so far had; 0 at load
  kExchangeScaled,     // [T, hidden / 2]: linear_add's `scaled`, two values a word
  kExchangeResidual,   // [T, hidden]: its `out`
  kExchangeSquares,    // [T, hidden / 16]: its `squares_out`
  kExchangeGated,      // [T, intermediate / 2]: linear_glu's `out`
  kExchangeQueries,    // [T, heads * head_dim / 2]: linear_rope's `out`, rounded to the cache's type
  kExchangeEntries,    // [T, 2 * kv_heads * head_dim / 2]: the entries that it writes, K of all heads before V
  kExchangePartials,   // [T, heads, splits, head_dim + 2]: attention's `workspace`
  kExchangeAttended,   // [T, heads * head_dim / 2]: its `out`
  kExchangeParts
};
enum { kExchangeRows = 2, kExchangeBlocks = 256 };  // blocks: of a launch, at most

// All launches of a decode program, one after the other, in one kernel of a block per SM. `sync` is 0 between launches.
struct PersistentArgs {
  const StepCounts* counts;
  const Phase* phases;  // [count]
  i64 count;
  u32* sync;            // [2 * count + 1]: blocks that finished a phase, units claimed of a phase, blocks that ended
  u64* times;           // out [count + 1]: when each phase began, and the last one ended, in nanoseconds
  u64* exchange[kExchangeParts];
};

}  // namespace llm_abi
