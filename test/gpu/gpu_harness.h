// What the kernel tests share: device arrays with guards and poison, storage types on the host, launches, error limits.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "kernels_templates/abi.h"
#include "runtime/cuda/driver.h"
#include "test/gpu/kernel_instances.h"

namespace llm_test {

using llm::ScalarType;
using Rng = std::mt19937_64;

// Ends the program with the message: a test has nothing to recover.
[[noreturn]] void fail(const std::string& message);

struct Gpu {
  const llmrt::Driver* driver = nullptr;
  CUdevice device = 0;
  CUstream stream = nullptr;
  std::string name;
  int cc = 0;            // compute capability * 10
  int units = 1;         // SMs
  bool verbose = false;  // says what is about to run: a kernel may hang

  static Gpu open();
  void check(CUresult status, const char* what) const;
  void synchronize() const;
  void announce(const std::string& what) const;
};

// Device memory between guards that are checked when it is read; poisoned with 0xff (NaN in every float type) unless
// initialized.
class DeviceBytes {
 public:
  DeviceBytes(const Gpu& gpu, size_t bytes);
  DeviceBytes(const Gpu& gpu, const void* data, size_t bytes);
  ~DeviceBytes();
  DeviceBytes(const DeviceBytes&) = delete;
  DeviceBytes& operator=(const DeviceBytes&) = delete;

  template <typename T = void>
  T* ptr() const {
    return reinterpret_cast<T*>(base_ + kGuardBytes);
  }
  size_t size() const { return bytes_; }
  void write(const void* data, size_t bytes);
  std::vector<uint8_t> read() const;  // fails the program when a guard is damaged

 private:
  static constexpr size_t kGuardBytes = 512;
  const Gpu& gpu_;
  size_t bytes_;
  CUdeviceptr base_ = 0;
};

template <typename T>
class DeviceArray : public DeviceBytes {
 public:
  DeviceArray(const Gpu& gpu, size_t count) : DeviceBytes(gpu, count * sizeof(T)) {}
  DeviceArray(const Gpu& gpu, const std::vector<T>& values)
      : DeviceBytes(gpu, values.data(), values.size() * sizeof(T)) {}
  T* get() const { return ptr<T>(); }
  std::vector<T> values() const {
    const std::vector<uint8_t> bytes = read();
    std::vector<T> out(bytes.size() / sizeof(T));
    if (!out.empty()) std::memcpy(static_cast<void*>(out.data()), bytes.data(), bytes.size());
    return out;
  }
};

// --- Storage types on the host; values travel as double
// ---------------------------------------------------------------

size_t bytes_of(ScalarType type);
double unit_roundoff(ScalarType type);                 // 2^-24, 2^-11, 2^-8
double rounding_limit(double value, ScalarType type);  // of rounding `value`, subnormal numbers included
double rounded(double value, ScalarType type);
std::vector<uint8_t> encode(const std::vector<double>& values, ScalarType type);
std::vector<double> decode(const std::vector<uint8_t>& bytes, ScalarType type);

// Normal values times `scale`, already rounded to the type.
std::vector<double> random_values(Rng& rng, size_t count, double scale, ScalarType type);

// Values in device memory in a storage type.
class TypedArray : public DeviceBytes {
 public:
  TypedArray(const Gpu& gpu, const std::vector<double>& values, ScalarType type)
      : TypedArray(gpu, encode(values, type), type) {}
  TypedArray(const Gpu& gpu, size_t count, ScalarType type) : DeviceBytes(gpu, count * bytes_of(type)), type_(type) {}
  std::vector<double> values() const { return decode(read(), type_); }
  ScalarType type() const { return type_; }

 private:
  TypedArray(const Gpu& gpu, const std::vector<uint8_t>& bytes, ScalarType type)
      : DeviceBytes(gpu, bytes.data(), bytes.size()), type_(type) {}
  ScalarType type_;
};

// Operands [rows, width] of linear layers in device memory: row by row, or in panels (kernels_templates/x86/operand.h).
class OperandArray : public TypedArray {
 public:
  OperandArray(const Gpu& gpu, const std::vector<double>& values, int width, ScalarType type)
      : TypedArray(gpu, stored(values, width, type), type), size_(values.size()), width_(width) {}
  OperandArray(const Gpu& gpu, size_t count, int width, ScalarType type)
      : OperandArray(gpu, std::vector<double>(count, NAN), width, type) {}
  std::vector<double> values() const;  // row by row

 private:
  static std::vector<double> stored(const std::vector<double>& values, int width, ScalarType type);
  size_t size_;
  int width_;
};

// Random values everywhere, for rates: constant ones draw less power, so that the clocks stay higher than a model lets
// them.
void fill_random(const Gpu& gpu, const DeviceBytes& memory, ScalarType type, double scale, Rng& rng);

// StepCounts in device memory.
DeviceArray<llm_abi::StepCounts> make_counts(const Gpu& gpu, int tokens, int sequences, int logits, int flags = 0,
                                             int block_updates = 0, int step = 0, int ring_entries = 1);

// --- Kernels
// ------------------------------------------------------------------------------------------------------------

struct Kernel {
  const Gpu* gpu = nullptr;
  const KernelInstance* instance = nullptr;
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  // Blocks that variants with blocks_per_sm run on: few, so that each loops over several tiles; 0: as many as the
  // device has SMs for.
  mutable int blocks = 0;

  // One launch over ceil(columns / tile_cols) x ceil(rows / tile_rows) x splits blocks.
  template <typename Args>
  void launch(const Args& args, int64_t columns, int64_t rows, int64_t splits = 1) const {
    launch_bytes(&args, columns, rows, splits);
  }
  // Mean microseconds over repeated launches.
  template <typename Args>
  double time_us(const Args& args, int64_t columns, int64_t rows, int64_t splits = 1) const {
    return time_bytes(&args, columns, rows, splits);
  }

 private:
  void launch_bytes(const void* args, int64_t columns, int64_t rows, int64_t splits) const;
  double time_bytes(const void* args, int64_t columns, int64_t rows, int64_t splits) const;
};

// The tensor maps of x [rows, k] and w [n, k] for a variant with box rows, and null pointers for the others.
class LinearMaps {
 public:
  LinearMaps(const Kernel& kernel, const void* x, int64_t rows, const void* w, int64_t n, int64_t k);
  const void* x() const { return maps_.size() ? maps_.ptr<char>() : nullptr; }
  const void* w() const { return maps_.size() ? maps_.ptr<char>() + 128 : nullptr; }

 private:
  DeviceBytes maps_;
};

// What one instance's test found.
struct Outcome {
  double worst = 0;     // largest error / limit
  std::string failure;  // first failures, empty: passed
  int64_t wrong = 0;    // values beyond their limit
  double us = 0;        // time of the large shape
  std::string rate;     // "3010 GB/s"

  // |out - expected| <= limit; NaN fails. `row` and `column` say where.
  void near(double out, double expected, double limit, const char* what, int row = -1, int column = -1);
  void exact(bool equal, std::string_view what);
  void bandwidth(double bytes) { set_rate(bytes / us * 1e-3, "GB/s"); }
  void throughput(double operations) { set_rate(operations / us * 1e-6, "TFLOP/s"); }

 private:
  void set_rate(double value, const char* unit);
};

// FusedLinearArgs::partials and arrivals for a variant that splits K, null for the others.
class SplitSums {
 public:
  SplitSums(const Gpu& gpu, const llm::Variant& variant, int64_t rows, int64_t columns)
      : tiles_(variant.k_splits > 1 && variant.cluster == 1
                   ? count(rows, variant.tile_rows) * count(columns, variant.tile_cols)
                   : 0),
        partials_(gpu, static_cast<size_t>(tiles_) * variant.k_splits * variant.tile_rows * variant.tile_cols),
        arrivals_(gpu, std::vector<llm_abi::u32>(static_cast<size_t>(tiles_) * 2)) {}
  float* partials() const { return tiles_ ? partials_.get() : nullptr; }
  llm_abi::u32* arrivals() const { return tiles_ ? arrivals_.get() : nullptr; }
  bool all_reset() const {
    for (llm_abi::u32 left : arrivals_.values())
      if (left != 0) return false;
    return true;
  }

 private:
  static int64_t count(int64_t n, int tile) { return (n + tile - 1) / tile; }
  int64_t tiles_;
  DeviceArray<float> partials_;
  DeviceArray<llm_abi::u32> arrivals_;
};

// An entry of a KV cache in int8.
struct QuantizedEntry {
  float scale;
  std::vector<int8_t> codes;
  std::vector<double> values() const;
  double limit(double value) const;  // of quantizing `value`, with what float32 adds
};
QuantizedEntry quantized_entry(const std::vector<double>& x);

// A step of several sequences over a paged cache whose blocks are shuffled; entries beyond a sequence's length are NaN.
struct PagedBatch {
  int tokens = 0, sequences = 0, max_slots = 0, table_stride = 0, block_tokens = 0, kv_heads = 0, head_dim = 0,
      blocks = 0;
  ScalarType type = ScalarType::kF32;
  std::vector<int> token_seq, seq_slot, kv_index, query_start, kv_len, block_table;
  std::vector<double> pool;  // [blocks, 2, kv_heads, block_tokens, head_dim]

  // `lengths[s]`: entries before the step; `queries[s]`: tokens of the step. With `fill`, all entries hold random
  // values.
  static PagedBatch make(Rng& rng, const std::vector<int>& lengths, const std::vector<int>& queries, int kv_heads,
                         int head_dim, ScalarType type, bool fill);
  int64_t block_values() const { return 2ll * kv_heads * block_tokens * head_dim; }
  int64_t entry_offset(int sequence, int entry, int head, bool value) const;  // into pool
  int64_t block_bytes() const;
  std::vector<uint8_t> stored() const;                                // the pool in memory
  std::vector<double> read(const std::vector<uint8_t>& bytes) const;  // the other way
};

// The same on the device.
struct DeviceBatch {
  DeviceArray<int> token_seq, seq_slot, kv_index, query_start, kv_len, block_table;
  DeviceArray<uint8_t> pool;
  DeviceArray<llm_abi::StepCounts> counts;

  DeviceBatch(const Gpu& gpu, const PagedBatch& batch);
  llm_abi::KvView view(const PagedBatch& batch) const;
};

// --- The tests, by family
// -------------------------------------------------------------------------------------------------

Outcome test_linear(const Kernel& kernel, Rng& rng, bool timing);
Outcome test_quantized(const Kernel& kernel, Rng& rng, bool timing);
Outcome test_linear_rope(const Kernel& kernel, Rng& rng, bool timing);
Outcome test_linear_fused(const Kernel& kernel, Rng& rng, bool timing);  // linear_fused, linear_glu, linear_add
Outcome test_attention(const Kernel& kernel, Rng& rng, bool timing);
Outcome test_sample(const Kernel& kernel, Rng& rng, bool timing);
Outcome test_row_wise(const Kernel& kernel, Rng& rng, bool timing);    // embed, norms, glu, elementwise, rope, ...
Outcome test_step_input(const Kernel& kernel, Rng& rng, bool timing);  // prepare, advance, row_scale

// Rates of attention at an 8B model's heads.
void time_attention(const Kernel& kernel, Rng& rng, Outcome& outcome);

// Rates of a linear layer at the projections of an 8B model; for variants of many rows.
void time_projections(const Kernel& kernel, Rng& rng, Outcome& outcome);

// Weights [n, k] in the order in which the kernel reads them: rows, or on x86 interleaved with zeros for padding (the
// formula of kernels_templates/x86/pack.h, written down a second time).
std::vector<double> stored_weights(const KernelInstance& instance, const std::vector<double>& w, int n, int k);

// One shape of test_linear, and one head layout of test_attention.
struct LinearShape {
  int rows, n, k;
};
void check_linear(const Kernel& kernel, Rng& rng, const LinearShape& shape, bool with_bias, Outcome& outcome);
struct HeadLayout {
  int heads, kv_heads, head_dim;
};
void check_attention(const Kernel& kernel, Rng& rng, const HeadLayout& layout, int window, Outcome& outcome);

// The test of the kernel's family.
Outcome test_kernel(const Kernel& kernel, Rng& rng, bool timing);

}  // namespace llm_test
