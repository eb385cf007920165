// Rates of linear layers at the projections of an 8B model, for buckets from 64 to 8192 rows.
#include <algorithm>
#include <cstdio>

#include "test/gpu/quantized_weight.h"

namespace llm_test {
namespace {

using namespace llm_abi;

struct Projection {
  int n, k;
};

std::vector<Projection> projections_of(const std::string& family) {
  if (family.ends_with("_glu")) return {{28672, 4096}};
  if (family.ends_with("_add")) return {{4096, 4096}, {4096, 14336}};
  if (family.ends_with("_fused")) return {{6144, 4096}, {128256, 4096}};
  return {{6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}};
}

// Microseconds of a launch with all that a decoder layer fuses.
double time_projection(const Kernel& kernel, const Projection& p, int rows, Rng& rng) {
  const Gpu& gpu = *kernel.gpu;
  const std::string family = kernel.instance->variant->family;
  const ScalarType weight = kernel.instance->weight, operand = kernel.instance->operand;
  const llm::Variant& v = *kernel.instance->variant;
  // Groups of 128; with a byte a code a scale per row.
  const int bits = v.code_types ? bits_of(kernel.instance->code) : 0, group = v.fp8_group ? v.fp8_group : bits == 8 ? p.k : v.k_multiple;
  const int width = family.ends_with("_glu") ? p.n / 2 : p.n, parts = (std::max(p.k, p.n) + 15) / 16;
  const size_t outputs = static_cast<size_t>(rows) * width;
  DeviceBytes x(gpu, static_cast<size_t>(rows) * p.k * bytes_of(operand)),
      w(gpu, bits ? static_cast<size_t>(p.n) * p.k * bits / 8 : static_cast<size_t>(p.n) * p.k * bytes_of(weight));
  DeviceBytes scales(gpu, bits ? static_cast<size_t>(p.n) * (p.k / group) * bytes_of(weight) : 0);
  DeviceBytes out(gpu, outputs * sizeof(float));
  fill_random(gpu, x, operand, 1.0, rng);
  fill_random(gpu, w, weight, 0.02, rng);
  const auto counts = make_counts(gpu, rows, 1, 1);
  gpu.announce(kernel.instance->entry() + " for its rate at " + std::to_string(rows) + " x " + std::to_string(p.n));
  const LinearMaps maps(kernel, x.ptr(), rows, w.ptr(), p.n, p.k);
  if (family == "linear") {
    const LinearArgs args = {counts.get(), x.ptr(), w.ptr(), nullptr, out.ptr<float>(), nullptr, nullptr,
                             kRowsTokens,  p.n,     p.k,     1,       maps.x(),         maps.w()};
    return kernel.time_us(args, width, rows);
  }
  const bool add = family.ends_with("_add");
  DeviceBytes squares(gpu, static_cast<size_t>(parts) * rows * sizeof(float)), squares_out(gpu, squares.size());
  DeviceBytes residual(gpu, add ? outputs * sizeof(float) : 0), scaled(gpu, add ? outputs * bytes_of(operand) : 0);
  DeviceBytes norm_weight(gpu, static_cast<size_t>(p.n) * bytes_of(weight));
  gpu.driver->cuMemsetD8Async(reinterpret_cast<CUdeviceptr>(squares.ptr()), 0x3f, squares.size(), gpu.stream);
  if (add) fill_random(gpu, residual, ScalarType::kF32, 1.0, rng);
  fill_random(gpu, norm_weight, weight, 1.0, rng);
  FusedLinearArgs args = {};
  args.counts = counts.get(), args.x = x.ptr(), args.w = w.ptr(), args.out = out.ptr();
  args.row_count = kRowsTokens, args.n = p.n, args.k = p.k, args.square_stride = rows, args.eps = 1e-5;
  const SplitSums splits(gpu, *kernel.instance->variant, rows, width);
  DeviceBytes x_scales(gpu, v.fp8_rows ? rows * (p.k / group) * sizeof(float) : 0);
  args.partials = v.fp8_rows ? x_scales.ptr<float>() : splits.partials(), args.arrivals = splits.arrivals();
  args.x_map = maps.x(), args.w_map = maps.w();
  if (add) {  // behind attention or the activation, ahead of a norm
    args.residual = residual.ptr<float>(), args.norm_weight = norm_weight.ptr();
    args.scaled = scaled.ptr(), args.squares_out = squares_out.ptr<float>();
  } else {  // behind a norm
    args.squares = squares.ptr<float>(), args.square_parts = (p.k + 15) / 16;
  }
  if (!bits) return kernel.time_us(args, width, rows);
  fill_random(gpu, scales, weight, 0.01, rng);
  return kernel.time_us(QuantizedFusedArgs{args, {scales.ptr(), nullptr, group, 1 << (bits - 1)}}, width, rows);
}

}  // namespace

void fill_random(const Gpu& gpu, const DeviceBytes& memory, ScalarType type, double scale, Rng& rng) {
  constexpr size_t kValues = 1 << 20;
  const std::vector<uint8_t> block = encode(random_values(rng, kValues, scale, type), type);
  const auto base = reinterpret_cast<CUdeviceptr>(memory.ptr());
  size_t filled = std::min(block.size(), memory.size());
  gpu.check(gpu.driver->cuMemcpyHtoDAsync(base, block.data(), filled, gpu.stream), "copy to the device");
  gpu.synchronize();
  while (filled < memory.size()) {
    const size_t more = std::min(filled, memory.size() - filled);
    gpu.check(gpu.driver->cuMemcpyDtoDAsync(base + filled, base, more, gpu.stream), "copy on the device");
    filled += more;
  }
}

void time_projections(const Kernel& kernel, Rng& rng, Outcome& outcome) {
  const llm::Variant& v = *kernel.instance->variant;
  for (int rows : {32, 64, 128, 256, 512, 1024, 2048, 8192}) {
    if (rows < v.min_rows || (v.max_rows && rows > v.max_rows)) continue;
    for (const Projection& p : projections_of(v.family)) {
      if (static_cast<int64_t>(rows) * p.n > int64_t{1} << 29) continue;  // 2 GiB of output
      outcome.us = time_projection(kernel, p, rows, rng);
      const double weight_bytes = v.code_types ? bits_of(kernel.instance->code) / 8.0 : 2.0;
      const double tflops = 2.0 * rows * p.n * p.k / outcome.us * 1e-6, gb_s = weight_bytes * p.n * p.k / outcome.us * 1e-3;
      char text[120];
      std::snprintf(text, sizeof(text), "\n         %5d x %6d x %5d: %8.1f us %5.0f TFLOP/s, weights %5.0f GB/s", rows,
                    p.n, p.k, outcome.us, tflops, gb_s);
      outcome.rate += text;
    }
  }
}

}  // namespace llm_test
