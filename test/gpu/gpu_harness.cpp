#include "test/gpu/gpu_harness.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <tuple>

#include "runtime/cuda/tensor_map.h"
#include "test/gpu/float16.h"
#include "test/gpu/quantized_weight.h"

namespace llm_test {

using namespace llm_abi;

void fail(const std::string& message) {
  std::fprintf(stderr, "kernel_test: error: %s\n", message.c_str());
  std::exit(1);
}

Gpu Gpu::open() {
  const auto driver = llmrt::Driver::load();
  if (!driver) fail(driver.error().message);
  Gpu gpu;
  gpu.driver = *driver;
  gpu.check(gpu.driver->cuDeviceGet(&gpu.device, 0), "cuDeviceGet");
  CUcontext context = nullptr;
  gpu.check(gpu.driver->cuDevicePrimaryCtxRetain(&context, gpu.device), "creating the context");
  gpu.check(gpu.driver->cuCtxSetCurrent(context), "cuCtxSetCurrent");
  gpu.check(gpu.driver->cuStreamCreate(&gpu.stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  char name[128] = {};
  gpu.driver->cuDeviceGetName(name, sizeof(name), gpu.device);
  gpu.name = name;
  int major = 0, minor = 0;
  gpu.driver->cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, gpu.device);
  gpu.driver->cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, gpu.device);
  gpu.cc = major * 10 + minor;
  gpu.driver->cuDeviceGetAttribute(&gpu.units, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, gpu.device);
  return gpu;
}

void Gpu::check(CUresult status, const char* what) const {
  if (status != CUDA_SUCCESS) fail(std::string(what) + ": " + driver->error_text(status));
}

void Gpu::synchronize() const { check(driver->cuStreamSynchronize(stream), "running a kernel"); }

void Gpu::announce(const std::string& what) const {
  if (verbose) std::fprintf(stderr, "running %s\n", what.c_str());
}

// --- Device memory
// ------------------------------------------------------------------------------------------------------

namespace {
constexpr uint8_t kPoison = 0xff, kGuard = 0x5a;
}

DeviceBytes::DeviceBytes(const Gpu& gpu, size_t bytes) : gpu_(gpu), bytes_(bytes) {
  gpu.check(gpu.driver->cuMemAlloc(&base_, bytes + 2 * kGuardBytes), "cuMemAlloc");
  gpu.check(gpu.driver->cuMemsetD8Async(base_, kGuard, bytes + 2 * kGuardBytes, gpu.stream), "cuMemset");
  if (bytes) gpu.check(gpu.driver->cuMemsetD8Async(base_ + kGuardBytes, kPoison, bytes, gpu.stream), "cuMemset");
}

DeviceBytes::DeviceBytes(const Gpu& gpu, const void* data, size_t bytes) : DeviceBytes(gpu, bytes) {
  write(data, bytes);
}

DeviceBytes::~DeviceBytes() { gpu_.driver->cuMemFree(base_); }

void DeviceBytes::write(const void* data, size_t bytes) {
  if (bytes == 0) return;
  gpu_.check(gpu_.driver->cuMemcpyHtoDAsync(base_ + kGuardBytes, data, bytes, gpu_.stream), "copy to the device");
  gpu_.synchronize();
}

std::vector<uint8_t> DeviceBytes::read() const {
  std::vector<uint8_t> bytes(bytes_ + 2 * kGuardBytes);
  gpu_.check(gpu_.driver->cuMemcpyDtoHAsync(bytes.data(), base_, bytes.size(), gpu_.stream), "copy from the device");
  gpu_.synchronize();
  for (size_t i = 0; i < kGuardBytes; ++i) {
    if (bytes[i] != kGuard || bytes[bytes.size() - 1 - i] != kGuard) fail("a kernel wrote outside of its buffer");
  }
  return {bytes.begin() + kGuardBytes, bytes.end() - kGuardBytes};
}

// --- Storage types
// ------------------------------------------------------------------------------------------------------

size_t bytes_of(ScalarType type) { return type == ScalarType::kF32 ? 4 : type == ScalarType::kInt8 ? 1 : 2; }

double unit_roundoff(ScalarType type) {
  return type == ScalarType::kF32 ? 0x1p-24 : type == ScalarType::kF16 ? 0x1p-11 : 0x1p-8;
}

double rounding_limit(double value, ScalarType type) {
  return unit_roundoff(type) * std::abs(value) + (type == ScalarType::kF16 ? 0x1p-25 : 0x1p-140);
}

namespace {

uint16_t bf16_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

float from_bf16_bits(uint16_t half_bits) {
  const uint32_t bits = static_cast<uint32_t>(half_bits) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

}  // namespace

double rounded(double value, ScalarType type) {
  switch (type) {
    case ScalarType::kF16:
      return float_of_f16(f16_of_float(static_cast<float>(value)));
    case ScalarType::kBF16:
    case ScalarType::kBF16Panels:
      return from_bf16_bits(bf16_bits(static_cast<float>(value)));
    case ScalarType::kInt8:  // by entries: quantized_entry
    case ScalarType::kF32:
      break;
  }
  return static_cast<float>(value);
}

std::vector<uint8_t> encode(const std::vector<double>& values, ScalarType type) {
  std::vector<uint8_t> bytes(values.size() * bytes_of(type));
  for (size_t i = 0; i < values.size(); ++i) {
    if (type == ScalarType::kF32) {
      const float v = static_cast<float>(values[i]);
      std::memcpy(&bytes[i * 4], &v, 4);
    } else if (std::isnan(values[i])) {
      bytes[i * 2] = bytes[i * 2 + 1] = 0xff;
    } else if (type == ScalarType::kF16) {
      const uint16_t v = f16_of_float(static_cast<float>(values[i]));
      std::memcpy(&bytes[i * 2], &v, 2);
    } else {
      const uint16_t v = bf16_bits(static_cast<float>(values[i]));
      std::memcpy(&bytes[i * 2], &v, 2);
    }
  }
  return bytes;
}

std::vector<double> decode(const std::vector<uint8_t>& bytes, ScalarType type) {
  std::vector<double> values(bytes.size() / bytes_of(type));
  for (size_t i = 0; i < values.size(); ++i) {
    if (type == ScalarType::kF32) {
      float v;
      std::memcpy(&v, &bytes[i * 4], 4);
      values[i] = v;
    } else if (type == ScalarType::kF16) {
      uint16_t v;
      std::memcpy(&v, &bytes[i * 2], 2);
      values[i] = float_of_f16(v);
    } else {
      uint16_t v;
      std::memcpy(&v, &bytes[i * 2], 2);
      values[i] = from_bf16_bits(v);
    }
  }
  return values;
}

namespace {

constexpr size_t kPanelRows = 32, kPanelColumns = 32;

// Where element `index` of a row-major matrix stands in panels.
size_t panel_index(size_t index, size_t width) {
  const size_t row = index / width, column = index % width;
  const size_t panel = row / kPanelRows * (width / kPanelColumns) + column / kPanelColumns;
  return (panel * kPanelRows + row % kPanelRows) * kPanelColumns + column % kPanelColumns;
}

}  // namespace

std::vector<double> OperandArray::stored(const std::vector<double>& values, int width, ScalarType type) {
  if (type != ScalarType::kBF16Panels) return values;
  const size_t columns = static_cast<size_t>(width), rows = values.size() / columns;
  std::vector<double> panels((rows + kPanelRows - 1) / kPanelRows * kPanelRows * columns, NAN);
  for (size_t i = 0; i < values.size(); ++i) panels[panel_index(i, columns)] = values[i];
  return panels;
}

std::vector<double> OperandArray::values() const {
  const std::vector<double> read = TypedArray::values();
  if (type() != ScalarType::kBF16Panels) return read;
  std::vector<double> values(size_);
  for (size_t i = 0; i < values.size(); ++i) values[i] = read[panel_index(i, static_cast<size_t>(width_))];
  return values;
}

namespace {

// To draw normal values from: quicker than a logarithm and two draws for each.
constexpr size_t kNormalValues = size_t{1} << 16;
std::vector<float> normal_values() {
  Rng rng(0);
  std::normal_distribution<float> normal;
  std::vector<float> values(kNormalValues);
  for (float& v : values) v = normal(rng);
  return values;
}

}  // namespace

std::vector<double> random_values(Rng& rng, size_t count, double scale, ScalarType type) {
  static const std::vector<float> kNormal = normal_values();
  const auto spread = static_cast<float>(scale);
  std::vector<double> values(count);
  uint64_t drawn = 0;
  for (size_t i = 0; i < count; ++i) {
    drawn = i % 4 == 0 ? rng() : drawn >> 16;
    values[i] = rounded(kNormal[drawn % kNormalValues] * spread, type);
  }
  return values;
}

DeviceArray<StepCounts> make_counts(const Gpu& gpu, int tokens, int sequences, int logits, int flags, int block_updates,
                                    int step, int ring_entries) {
  StepCounts counts = {};
  counts.rows[kRowsTokens] = tokens;
  counts.rows[kRowsSeqs] = sequences;
  counts.rows[kRowsLogits] = logits;
  counts.flags = flags;
  counts.block_updates = block_updates;
  counts.step = step;
  counts.ring_entries = ring_entries;
  return DeviceArray<StepCounts>(gpu, std::vector<StepCounts>{counts});
}

// --- Launches
// -----------------------------------------------------------------------------------------------------------

void Kernel::launch_bytes(const void* args, int64_t columns, int64_t rows, int64_t splits) const {
  const llm::Variant& v = *instance->variant;
  const auto tiles = [](int64_t n, int tile) { return static_cast<unsigned>(tile ? (n + tile - 1) / tile : 1); };
  unsigned grid_x = tiles(columns, v.tile_cols), grid_y = tiles(rows, v.tile_rows);
  const auto cluster = static_cast<unsigned>(v.cluster);
  const auto whole_clusters = [&](unsigned n) { return (n + cluster - 1) / cluster * cluster; };
  const auto row_tiles = [&](unsigned n) { return v.k_splits > 1 ? n : whole_clusters(n); };
  if (v.flat_grid) grid_x *= row_tiles(grid_y) * static_cast<unsigned>(v.k_splits), grid_y = 1;
  if (v.blocks_per_sm) grid_x = std::min(grid_x, whole_clusters(static_cast<unsigned>(blocks ? blocks : v.blocks_per_sm * gpu->units)));
  void* parameters[] = {const_cast<void*>(args)};
  gpu->check(gpu->driver->cuLaunchKernel(function, grid_x, grid_y,
                                         static_cast<unsigned>(splits), static_cast<unsigned>(v.threads), 1, 1,
                                         static_cast<unsigned>(v.shared_bytes), gpu->stream, parameters, nullptr),
             instance->entry().c_str());
}

double Kernel::time_bytes(const void* args, int64_t columns, int64_t rows, int64_t splits) const {
  CUevent begin, end;
  const llmrt::Driver& d = *gpu->driver;
  d.cuEventCreate(&begin, CU_EVENT_DEFAULT);
  d.cuEventCreate(&end, CU_EVENT_DEFAULT);
  float ms = 0;
  int repeats = 1;
  for (int round = 0; round < 2; ++round) {  // the first round warms up and chooses the number of repeats
    d.cuEventRecord(begin, gpu->stream);
    for (int i = 0; i < repeats; ++i) launch_bytes(args, columns, rows, splits);
    d.cuEventRecord(end, gpu->stream);
    gpu->check(d.cuEventSynchronize(end), instance->entry().c_str());
    d.cuEventElapsedTime(&ms, begin, end);
    if (round == 0) repeats = std::clamp(static_cast<int>(10.0f / std::max(ms, 0.01f)), 3, 100);
  }
  d.cuEventDestroy(begin);
  d.cuEventDestroy(end);
  return ms * 1e3 / repeats;
}

LinearMaps::LinearMaps(const Kernel& kernel, const void* x, int64_t rows, const void* w, int64_t n, int64_t k)
    : maps_(*kernel.gpu, kernel.instance->variant->x_box_rows ? 2 * llmrt::kTensorMapBytes : 0) {
  const llm::Variant& v = *kernel.instance->variant;
  if (!v.x_box_rows) return;
  constexpr uint32_t kBoxBytes = 128;
  CUtensorMap maps[2];
  int i = 0;
  const ScalarType operand = kernel.instance->operand;
  const int64_t code_elements = (k * (v.code_types ? bits_of(kernel.instance->code) : 0) + 511) / 512 * 256;  // of eight rows
  const auto write = [&](const llmrt::TensorMap& map) {
    const auto encoded = llmrt::encode_tensor_map(*kernel.gpu->driver, map);
    if (!encoded) fail(encoded.error().message);
    maps[i++] = *encoded;
  };
  if (v.fp8_rows) {  // bytes as pairs; of the codes rows of 64 bytes, eight rows of a tile, eights
    const auto tiles = static_cast<uint64_t>(k / 64);
    write({reinterpret_cast<uint64_t>(x), operand, {static_cast<uint64_t>(k / 2), static_cast<uint64_t>(rows)}, {static_cast<uint64_t>(k)},
           {64, static_cast<uint32_t>(v.x_box_rows)}, kBoxBytes});
    write({reinterpret_cast<uint64_t>(w), operand, {32, tiles * 8, static_cast<uint64_t>(n / 8)}, {64, tiles * 512},
           {32, 8, static_cast<uint32_t>(v.w_box_rows / 8)}, 64});
    maps_.write(maps, sizeof(maps));
    return;
  }
  for (const auto& [base, map_rows, map_columns, type, box_rows] :
       {std::tuple{x, rows, k, operand, v.x_box_rows}, v.code_types ? std::tuple{w, n / 8, code_elements, operand, v.w_box_rows}
                                                                    : std::tuple{w, n, k, kernel.instance->weight, v.w_box_rows}}) {
    const auto element = static_cast<uint32_t>(bytes_of(type));
    const auto columns = static_cast<uint64_t>(map_columns);
    const llmrt::TensorMap map = {reinterpret_cast<uint64_t>(base),
                                  type,
                                  {columns, static_cast<uint64_t>(map_rows)},
                                  {columns * element},
                                  {kBoxBytes / element, static_cast<uint32_t>(box_rows)},
                                  kBoxBytes};
    write(map);
  }
  maps_.write(maps, sizeof(maps));
}

void Outcome::near(double out, double expected, double limit, const char* what, int row, int column) {
  const double error = std::abs(out - expected);
  const double ratio = error == 0 ? 0 : error / limit;
  if (std::isnan(ratio) || ratio > 1) {
    constexpr int kReported = 4;
    if (++wrong <= kReported) {
      char text[200];
      int length = std::snprintf(text, sizeof(text), "%s%s", wrong > 1 ? "; " : "", what);
      if (row >= 0) length += std::snprintf(text + length, sizeof(text) - length, " [%d, %d]", row, column);
      std::snprintf(text + length, sizeof(text) - length, ": %.9g, expected %.9g, limit %.3g", out, expected, limit);
      failure += text;
    }
  }
  worst = std::isnan(ratio) ? INFINITY : std::max(worst, ratio);
}

void Outcome::exact(bool equal, std::string_view what) {
  if (!equal && failure.empty()) failure = what;
  if (!equal) worst = INFINITY;
}

void Outcome::set_rate(double value, const char* unit) {
  char text[64];
  std::snprintf(text, sizeof(text), value < 10 ? "%.2f %s" : "%.0f %s", value, unit);
  rate = text;
}

Outcome test_kernel(const Kernel& kernel, Rng& rng, bool timing) {
  const std::string family = kernel.instance->variant->family;
  if (family == "linear") return test_linear(kernel, rng, timing);
  if (family == "linear_rope" || family == "quantized_rope") return test_linear_rope(kernel, rng, timing);
  if (family == "linear_quantized" || family == "linear_int8_glu" || family == "repack" || family == "quantize" || family == "dequantize" || family == "group_order" || family == "gather_columns" ||
      family == "quantize_rows" || family == "fp8_rows")
    return test_quantized(kernel, rng, timing);
  if (family.starts_with("linear_") || family.starts_with("quantized_")) return test_linear_fused(kernel, rng, timing);
  if (family == "attention") return test_attention(kernel, rng, timing);
  if (family == "sample") return test_sample(kernel, rng, timing);
  if (family == "prepare" || family == "advance" || family == "row_scale") return test_step_input(kernel, rng, timing);
  return test_row_wise(kernel, rng, timing);
}

// --- Paged batches
// ------------------------------------------------------------------------------------------------------

PagedBatch PagedBatch::make(Rng& rng, const std::vector<int>& lengths, const std::vector<int>& queries, int kv_heads,
                            int head_dim, ScalarType type, bool fill) {
  PagedBatch b;
  b.sequences = static_cast<int>(lengths.size());
  b.max_slots = b.sequences + 2;
  b.block_tokens = 16;
  b.kv_heads = kv_heads;
  b.head_dim = head_dim;
  b.type = type;
  int total_blocks = 0, longest = 0;
  b.query_start.push_back(0);
  for (int s = 0; s < b.sequences; ++s) {
    const int length = lengths[s] + queries[s];
    b.kv_len.push_back(length);
    longest = std::max(longest, length);
    total_blocks += (length + b.block_tokens - 1) / b.block_tokens;
    for (int i = 0; i < queries[s]; ++i) {
      b.token_seq.push_back(s);
      b.kv_index.push_back(lengths[s] + i);
    }
    b.query_start.push_back(b.query_start.back() + queries[s]);
  }
  b.tokens = b.query_start.back();
  b.blocks = total_blocks + 3;
  b.table_stride = (longest + b.block_tokens - 1) / b.block_tokens + 1;
  std::vector<int> slots(b.max_slots), blocks(b.blocks);
  std::iota(slots.begin(), slots.end(), 0);
  std::iota(blocks.begin(), blocks.end(), 0);
  std::shuffle(slots.begin(), slots.end(), rng);
  std::shuffle(blocks.begin(), blocks.end(), rng);
  b.seq_slot.assign(slots.begin(), slots.begin() + b.sequences);
  b.block_table.assign(static_cast<size_t>(b.max_slots) * b.table_stride, 0);
  int next = 0;
  for (int s = 0; s < b.sequences; ++s) {
    for (int i = 0; i * b.block_tokens < b.kv_len[s]; ++i) {
      b.block_table[b.seq_slot[s] * b.table_stride + i] = blocks[next++];
    }
  }
  b.pool.assign(static_cast<size_t>(b.blocks * b.block_values()), NAN);
  if (fill) {
    for (int s = 0; s < b.sequences; ++s) {
      for (int e = 0; e < b.kv_len[s]; ++e) {
        for (int h = 0; h < kv_heads; ++h) {
          for (bool value : {false, true}) {
            std::vector<double> v = random_values(rng, head_dim, 1.0, type);
            if (type == ScalarType::kInt8) v = quantized_entry(v).values();
            std::copy(v.begin(), v.end(), b.pool.begin() + b.entry_offset(s, e, h, value));
          }
        }
      }
    }
  }
  return b;
}

int64_t PagedBatch::entry_offset(int sequence, int entry, int head, bool value) const {
  const int64_t block = block_table[seq_slot[sequence] * table_stride + entry / block_tokens];
  return block * block_values() +
         ((static_cast<int64_t>(value) * kv_heads + head) * block_tokens + entry % block_tokens) * head_dim;
}

double QuantizedEntry::limit(double value) const { return 0.5 * scale + 0x1p-23 * std::abs(value); }

std::vector<double> QuantizedEntry::values() const {
  std::vector<double> v;
  for (int8_t code : codes) v.push_back(static_cast<double>(code) * static_cast<double>(scale));
  return v;
}

QuantizedEntry quantized_entry(const std::vector<double>& x) {
  double maximum = 0;
  for (double v : x) maximum = std::max(maximum, std::abs(v));
  QuantizedEntry e{static_cast<float>(maximum / 127), {}};
  for (double v : x) e.codes.push_back(static_cast<int8_t>(maximum > 0 ? std::nearbyint(v / maximum * 127) : 0));
  return e;
}

// Codes [blocks][entries][head_dim], the scales of a block's entries behind them; entries of NaN get a scale of NaN.
std::vector<uint8_t> PagedBatch::stored() const {
  if (type != ScalarType::kInt8) return encode(pool, type);
  std::vector<uint8_t> bytes(static_cast<size_t>(blocks * block_bytes()));
  for (int64_t block = 0; block < blocks; ++block)
    for (int64_t i = 0; i < block_values(); i += head_dim) {
      const double* values = &pool[static_cast<size_t>(block * block_values() + i)];
      QuantizedEntry e{NAN, std::vector<int8_t>(static_cast<size_t>(head_dim), 1)};
      if (!std::isnan(values[0])) e = quantized_entry({values, values + head_dim});
      uint8_t* begin = &bytes[static_cast<size_t>(block * block_bytes())];
      std::memcpy(begin + i, e.codes.data(), e.codes.size());
      std::memcpy(begin + block_values() + i / head_dim * 4, &e.scale, sizeof e.scale);
    }
  return bytes;
}

std::vector<double> PagedBatch::read(const std::vector<uint8_t>& bytes) const {
  if (type != ScalarType::kInt8) return decode(bytes, type);
  std::vector<double> values;
  for (int64_t i = 0; i < blocks * block_values(); ++i) {
    const uint8_t* begin = &bytes[static_cast<size_t>(i / block_values() * block_bytes())];
    const int64_t within = i % block_values();
    float scale;
    std::memcpy(&scale, begin + block_values() + within / head_dim * 4, sizeof scale);
    values.push_back(static_cast<double>(static_cast<int8_t>(begin[within])) * static_cast<double>(scale));
  }
  return values;
}

int64_t PagedBatch::block_bytes() const {
  const int64_t scales = type == ScalarType::kInt8 ? block_values() / head_dim * 4 : 0;
  return block_values() * static_cast<int64_t>(bytes_of(type)) + scales;
}

DeviceBatch::DeviceBatch(const Gpu& gpu, const PagedBatch& b)
    : token_seq(gpu, b.token_seq),
      seq_slot(gpu, b.seq_slot),
      kv_index(gpu, b.kv_index),
      query_start(gpu, b.query_start),
      kv_len(gpu, b.kv_len),
      block_table(gpu, b.block_table),
      pool(gpu, b.stored()),
      counts(gpu, make_counts(gpu, b.tokens, b.sequences, b.sequences).values()) {}

KvView DeviceBatch::view(const PagedBatch& b) const {
  return {pool.ptr(),     block_table.get(), b.table_stride, b.block_bytes(),
          b.block_tokens, b.kv_heads,        b.head_dim};
}

}  // namespace llm_test
