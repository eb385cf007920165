#include "compiler/weight_embedder.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "kernels_templates/variant.h"
// The recipe kernels themselves, built for this machine.
#include "x86/pack.h"
#include "x86/quantize.h"
#include "x86/repack.h"

namespace llmc {
namespace {

namespace fb = llm::fb;

class Embedder {
 public:
  Embedder(const Checkpoint& checkpoint, const fb::PlanT& plan, const fb::WeightT& weight)
      : checkpoint_(checkpoint), plan_(plan), w_(weight), element_(weight.dtype == static_cast<uint8_t>(llm::ScalarType::kF32) ? 4 : 2) {}

  llm::Status fill(uint64_t offset, std::span<std::byte> piece) {
    // A unit is what is produced at once: a row, or a block of 16 interleaved rows.
    const bool interleaved = w_.layout == fb::WeightLayout::interleaved16;
    const uint64_t unit_rows = interleaved ? kPackRows : 1;
    const uint64_t units = (w_.rows + unit_rows - 1) / unit_rows, unit_bytes = w_.bytes / units;
    std::vector<std::byte> unit(unit_bytes);
    for (uint64_t done = 0; done < piece.size();) {
      const uint64_t index = (offset + done) / unit_bytes, begin = (offset + done) % unit_bytes;
      LLM_TRY(make_unit(index, unit_rows, unit));
      const uint64_t n = std::min<uint64_t>(unit_bytes - begin, piece.size() - done);
      std::memcpy(piece.data() + done, unit.data() + begin, n);
      done += n;
    }
    return {};
  }

 private:
  llm::Status make_unit(uint64_t index, uint64_t unit_rows, std::vector<std::byte>& unit) {
    std::fill(unit.begin(), unit.end(), std::byte{0});
    const uint64_t first = index * unit_rows, last = std::min(first + unit_rows, w_.rows);
    for (const fb::WeightPart& p : w_.parts) {
      const uint64_t part_rows = p.row_end() - p.row_begin();
      const uint64_t begin = std::max(first, p.dst_row()), end = std::min(last, p.dst_row() + part_rows);
      if (begin >= end) continue;
      const fb::SourceTensorT& t = *plan_.tensors[p.tensor()];
      LLM_ASSIGN(const llm::MappedFile* file, map(t.file));
      const uint64_t row = p.row_begin() + begin - p.dst_row();
      const std::byte* src = file->bytes().data() + t.offset + (row * t.cols + p.col_begin()) * element_;
      if (w_.layout == fb::WeightLayout::rows) {
        std::memcpy(unit.data(), src, w_.cols * element_);
      } else {
        llm_abi::PackArgs args{src, unit.data(), static_cast<long long>(end - begin), static_cast<long long>(w_.cols),
                               static_cast<long long>(t.cols), static_cast<long long>(begin - first)};
        element_ == 4 ? pack<float>(args, Tile{0, 0, 0}) : pack<bf16>(args, Tile{0, 0, 0});  // fp16 moves as bits, like bf16
      }
    }
    return {};
  }

  llm::Result<const llm::MappedFile*> map(uint32_t file) {
    const auto it = maps_.find(file);
    if (it != maps_.end()) return &it->second;
    LLM_ASSIGN(llm::MappedFile mapped, checkpoint_.map(file));
    return &maps_.emplace(file, std::move(mapped)).first->second;
  }

  const Checkpoint& checkpoint_;
  const fb::PlanT& plan_;
  const fb::WeightT& w_;
  uint64_t element_;
  std::map<uint32_t, llm::MappedFile> maps_;
};

template <typename Code, typename S>
void quantize_blocks(const llm_abi::QuantizeArgs& args) {
  const i64 blocks = (args.dst_row + args.rows + kRepackRows - 1) / kRepackRows - args.dst_row / kRepackRows;
  for (u32 y = 0; y < blocks; ++y) quantize<Code, S>(args, Tile{0, y, 0});
}
template <typename Code>
void quantize_with(const llm_abi::QuantizeArgs& args, llm::ScalarType scale) {
  switch (scale) {
    case llm::ScalarType::kF32: return quantize_blocks<Code, float>(args);
    case llm::ScalarType::kF16: return quantize_blocks<Code, f16>(args);
    case llm::ScalarType::kBF16: return quantize_blocks<Code, bf16>(args);
  }
}
void quantize_all(const llm_abi::QuantizeArgs& args, llm::CodeType code, llm::ScalarType scale) {
  if (code == llm::CodeType::kU4) return quantize_with<U4>(args, scale);
  if (code == llm::CodeType::kU8) return quantize_with<U8>(args, scale);
  quantize_with<E4m3>(args, scale);  // these three are all that `quantize` makes
}

}  // namespace

llm::Result<uint32_t> embed_weight(llm::PlanWriter& writer, const Checkpoint& checkpoint, const fb::PlanT& plan, const fb::WeightT& weight) {
  Embedder embedder(checkpoint, plan, weight);
  return writer.add_streamed(fb::SegmentKind::weights, weight.bytes,
                             [&](uint64_t offset, std::span<std::byte> piece) { return embedder.fill(offset, piece); });
}

llm::Result<const llm::MappedFile*> InitWeights::map(uint32_t file) {
  const auto it = maps_.find(file);
  if (it != maps_.end()) return &it->second;
  LLM_ASSIGN(llm::MappedFile mapped, checkpoint_.map(file));
  return &maps_.emplace(file, std::move(mapped)).first->second;
}

llm::Result<std::vector<uint64_t>> InitWeights::arguments(const fb::LaunchT& launch, uint32_t weight, std::byte* bytes) {
  std::vector<uint64_t> slots;
  for (const fb::Slot& s : launch.slots) {
    if (s.kind() == fb::SlotKind::value) {
      slots.push_back(s.value());
    } else if (s.kind() == fb::SlotKind::source) {
      const fb::SourceTensorT& t = *plan_.tensors[s.index()];
      LLM_ASSIGN(const llm::MappedFile* file, map(t.file));
      slots.push_back(reinterpret_cast<uint64_t>(file->bytes().data() + t.offset));
    } else {
      const std::byte* base = s.index() == weight ? bytes : orders_.at(s.index()).data();
      slots.push_back(reinterpret_cast<uint64_t>(base) + s.value());
    }
  }
  return slots;
}

llm::Result<std::span<const std::byte>> InitWeights::make(uint32_t index, std::span<const fb::LaunchT* const> launches) {
  const fb::WeightT& w = *target_.weights[index];
  std::vector<std::byte>& bytes = w.layout == fb::WeightLayout::order ? orders_[index] : bytes_;
  bytes.assign(w.bytes, std::byte{0});
  for (const fb::LaunchT* launch : launches) {
    LLM_ASSIGN(const std::vector<uint64_t> slots, arguments(*launch, index, bytes.data()));
    if (w.layout == fb::WeightLayout::order) {
      llm_abi::GroupOrderArgs args;
      std::memcpy(&args, slots.data(), sizeof args);
      group_order(args, Tile{0, 0, 0});
      continue;
    }
    if (target_.kernels[launch->kernel]->family == "quantize") {
      llm_abi::QuantizeArgs args;
      std::memcpy(&args, slots.data(), sizeof args);
      quantize_all(args, static_cast<llm::CodeType>(w.quantization->code), static_cast<llm::ScalarType>(w.dtype));
      continue;
    }
    llm_abi::RepackArgs args;
    static_assert(sizeof args % sizeof(uint64_t) == 0);
    std::memcpy(&args, slots.data(), sizeof args);
    const i64 blocks = (args.dst_row + args.rows + kRepackRows - 1) / kRepackRows - args.dst_row / kRepackRows;
    for (u32 y = 0; y < blocks; ++y) {
      const Tile tile{0, y, 0};
      switch (static_cast<llm::ScalarType>(w.dtype)) {
        case llm::ScalarType::kF32: repack<float>(args, tile); break;
        case llm::ScalarType::kF16: repack<f16>(args, tile); break;
        case llm::ScalarType::kBF16: repack<bf16>(args, tile); break;
      }
    }
  }
  return std::span<const std::byte>(bytes);
}

}  // namespace llmc
