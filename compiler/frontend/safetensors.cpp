#include "compiler/frontend/safetensors.h"

#define XXH_INLINE_ALL
#include <simdjson.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "compiler/frontend/quote.h"
#include "plan/mapped_file.h"

namespace llmc {
namespace {

namespace dom = simdjson::dom;

constexpr uint64_t kLengthBytes = 8;

uint64_t read_u64_le(std::span<const std::byte> bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) value |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  return value;
}

std::string u64_text(uint64_t value) { return std::to_string(value); }

// Reads one header entry. Errors begin with what is wrong; the caller puts file and tensor before it.
class EntryParser {
 public:
  llm::Result<TensorInfo> parse(std::string_view name, dom::element value) {
    tensor_.name = std::string(name);
    dom::object entry;
    if (value.get(entry)) return llm::Error{"found no JSON object, expected {dtype, shape, data_offsets}"};
    for (auto [key, field] : entry) LLM_TRY(read_field(key, field));
    if (!have_dtype_) return llm::Error{"'dtype' is missing"};
    if (!have_shape_) return llm::Error{"'shape' is missing"};
    if (!have_offsets_) return llm::Error{"'data_offsets' is missing"};
    LLM_TRY(check_size());
    return std::move(tensor_);
  }

 private:
  llm::Status read_field(std::string_view key, dom::element field) {
    bool* have = key == "dtype"          ? &have_dtype_
                 : key == "shape"        ? &have_shape_
                 : key == "data_offsets" ? &have_offsets_
                                         : nullptr;
    if (!have) return llm::Error{"unknown key " + quote(key) + ", expected dtype, shape, data_offsets"};
    if (*have) return llm::Error{"key " + quote(key) + " appears twice"};
    *have = true;
    if (have == &have_dtype_) return read_dtype(field);
    if (have == &have_shape_) return read_shape(field);
    return read_offsets(field);
  }

  llm::Status read_dtype(dom::element field) {
    std::string_view name;
    if (field.get(name)) return llm::Error{"'dtype' is not a string"};
    const std::optional<DType> dtype = dtype_from_name(name);
    if (!dtype) return llm::Error{"unknown dtype " + quote(name)};
    tensor_.dtype = *dtype;
    return {};
  }

  llm::Status read_shape(dom::element field) {
    dom::array dims;
    if (field.get(dims)) return llm::Error{"'shape' is not an array"};
    for (dom::element element : dims) {
      uint64_t dim = 0;
      if (element.get(dim) || dim > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return llm::Error{"'shape' holds something other than an integer from 0 to 2^63-1"};
      }
      tensor_.shape.push_back(static_cast<int64_t>(dim));
    }
    return {};
  }

  llm::Status read_offsets(dom::element field) {
    dom::array offsets;
    uint64_t values[2] = {};
    size_t count = 0;
    if (field.get(offsets)) return llm::Error{"'data_offsets' is not an array"};
    for (dom::element element : offsets) {
      if (count == 2 || element.get(values[count])) {
        return llm::Error{"'data_offsets' is not two integers from 0 to 2^64-1"};
      }
      ++count;
    }
    if (count != 2) return llm::Error{"'data_offsets' is not two integers from 0 to 2^64-1"};
    tensor_.begin = values[0];
    tensor_.end = values[1];
    if (tensor_.begin > tensor_.end) {
      return llm::Error{"data_offsets [" + u64_text(tensor_.begin) + ", " + u64_text(tensor_.end) +
                        ") end before they begin"};
    }
    return {};
  }

  llm::Status check_size() const {
    uint64_t bits = static_cast<uint64_t>(dtype_bits(tensor_.dtype));
    for (int64_t dim : tensor_.shape) {
      if (__builtin_mul_overflow(bits, static_cast<uint64_t>(dim), &bits)) {
        return llm::Error{"shape " + shape_text(tensor_.shape) + " overflows 64 bits"};
      }
    }
    const std::string what = "shape " + shape_text(tensor_.shape) + " of " + std::string(dtype_name(tensor_.dtype));
    if (bits % 8 != 0) return llm::Error{what + " is no whole number of bytes"};
    if (bits / 8 != tensor_.bytes()) {
      return llm::Error{what + " needs " + u64_text(bits / 8) + " bytes, data_offsets [" + u64_text(tensor_.begin) +
                        ", " + u64_text(tensor_.end) + ") hold " + u64_text(tensor_.bytes())};
    }
    return {};
  }

  TensorInfo tensor_;
  bool have_dtype_ = false;
  bool have_shape_ = false;
  bool have_offsets_ = false;
};

llm::Status check_metadata(dom::element value) {
  dom::object metadata;
  if (value.get(metadata)) return llm::Error{"'__metadata__' is not a JSON object"};
  for (auto [key, field] : metadata) {
    if (!field.is_string()) return llm::Error{"'__metadata__' key " + quote(key) + " is not a string"};
  }
  return {};
}

llm::Status read_entries(dom::object root, SafetensorsFile& file) {
  std::unordered_set<std::string_view> seen;
  bool have_metadata = false;
  for (auto [key, value] : root) {
    if (key == "__metadata__") {
      if (have_metadata) return llm::Error{file.path + ": '__metadata__' appears twice"};
      have_metadata = true;
      if (llm::Status status = check_metadata(value); !status.ok()) {
        return llm::Error{file.path + ": " + status.error().message};
      }
      continue;
    }
    if (!seen.insert(key).second) return llm::Error{file.path + ": tensor " + quote(key) + " appears twice"};
    if (seen.size() > kMaxSafetensorsTensors) {
      return llm::Error{file.path + ": found more than " + std::to_string(kMaxSafetensorsTensors) +
                        " tensors, expected at most that many"};
    }
    llm::Result<TensorInfo> tensor = EntryParser().parse(key, value);
    if (!tensor.ok()) return llm::Error{file.path + ": tensor " + quote(key) + ": " + tensor.error().message};
    file.tensors.push_back(std::move(*tensor));
  }
  return {};
}

// Sorts by offset and checks that the tensors cover the byte buffer without overlap and without holes.
llm::Status check_layout(SafetensorsFile& file) {
  const uint64_t buffer_bytes = file.file_size - file.data_offset;
  for (const TensorInfo& tensor : file.tensors) {
    if (tensor.end > buffer_bytes) {
      return llm::Error{file.path + ": tensor " + quote(tensor.name) + " ends at byte " + u64_text(tensor.end) +
                        " of the byte buffer, which has " + u64_text(buffer_bytes) +
                        "; the file is truncated or damaged: download it again"};
    }
  }
  std::sort(file.tensors.begin(), file.tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  uint64_t covered = 0;
  const TensorInfo* previous = nullptr;
  for (const TensorInfo& tensor : file.tensors) {
    if (tensor.begin < covered) {
      return llm::Error{file.path + ": tensor " + quote(tensor.name) + " overlaps tensor " + quote(previous->name) +
                        ": it begins at byte " + u64_text(tensor.begin) + ", the other one ends at byte " +
                        u64_text(covered)};
    }
    if (tensor.begin > covered) {
      return llm::Error{file.path + ": hole before tensor " + quote(tensor.name) + ": bytes " + u64_text(covered) +
                        " to " + u64_text(tensor.begin) + " belong to no tensor"};
    }
    covered = tensor.end;
    previous = &tensor;
  }
  if (covered != buffer_bytes) {
    return llm::Error{file.path + ": hole at the end: the tensors cover " + u64_text(covered) + " bytes of " +
                      u64_text(buffer_bytes)};
  }
  return {};
}

std::array<uint8_t, 16> hash_bytes(std::span<const std::byte> bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  std::array<uint8_t, 16> hash;
  static_assert(sizeof(canonical.digest) == sizeof(hash));
  std::memcpy(hash.data(), canonical.digest, sizeof(hash));
  return hash;
}

}  // namespace

llm::Result<SafetensorsFile> parse_safetensors(std::span<const std::byte> head, uint64_t file_size,
                                               const std::string& path) {
  if (file_size < kLengthBytes || head.size() < kLengthBytes) {
    return llm::Error{path + ": truncated: found " + u64_text(file_size) +
                      " bytes, a safetensors file begins with an 8-byte header length"};
  }
  const uint64_t header_bytes = read_u64_le(head);
  if (header_bytes > kMaxSafetensorsHeaderBytes) {
    return llm::Error{path + ": header length " + u64_text(header_bytes) + " is above the format's limit of " +
                      u64_text(kMaxSafetensorsHeaderBytes) + " bytes; is this a safetensors file?"};
  }
  if (header_bytes > file_size - kLengthBytes || header_bytes > head.size() - kLengthBytes) {
    return llm::Error{path + ": truncated: the header length is " + u64_text(header_bytes) + ", the file has only " +
                      u64_text(file_size - kLengthBytes) + " bytes after it"};
  }
  const char* json = reinterpret_cast<const char*>(head.data()) + kLengthBytes;
  if (header_bytes == 0 || json[0] != '{') {
    return llm::Error{path + ": the header does not begin with '{'; is this a safetensors file?"};
  }

  dom::parser parser;
  dom::element document;
  if (simdjson::error_code error = parser.parse(json, header_bytes, /*realloc_if_needed=*/true).get(document)) {
    return llm::Error{path + ": the header is not valid JSON: " + simdjson::error_message(error)};
  }
  dom::object root;
  if (document.get(root)) return llm::Error{path + ": the header is not a JSON object"};

  SafetensorsFile file;
  file.path = path;
  file.file_size = file_size;
  file.data_offset = kLengthBytes + header_bytes;
  file.header_hash = hash_bytes(head.first(file.data_offset));
  LLM_TRY(read_entries(root, file));
  LLM_TRY(check_layout(file));
  return file;
}

llm::Result<SafetensorsFile> open_safetensors(const std::string& path) {
  LLM_ASSIGN(const llm::MappedFile file, llm::MappedFile::open(path));
  return parse_safetensors(file.bytes(), file.bytes().size(), path);
}

}  // namespace llmc
