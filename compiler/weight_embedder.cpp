#include "compiler/weight_embedder.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "kernels_templates/variant.h"
// The recipe kernel itself, built for this machine.
#include "x86/pack.h"

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

}  // namespace

llm::Result<uint32_t> embed_weight(llm::PlanWriter& writer, const Checkpoint& checkpoint, const fb::PlanT& plan, const fb::WeightT& weight) {
  Embedder embedder(checkpoint, plan, weight);
  return writer.add_streamed(fb::SegmentKind::weights, weight.bytes,
                             [&](uint64_t offset, std::span<std::byte> piece) { return embedder.fill(offset, piece); });
}

}  // namespace llmc
