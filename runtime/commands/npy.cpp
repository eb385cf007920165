#include "runtime/commands/npy.h"

#include <span>

#include "plan/file_io.h"

namespace llmrt::commands {

llm::Status write_npy(const std::string& path, const std::vector<float>& data, size_t rows, size_t cols) {
  constexpr size_t kAlignment = 64, kPrelude = 10;  // magic, version, header length
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(rows) + ", " + std::to_string(cols) + "), }";
  header.append((kAlignment - (kPrelude + header.size() + 1) % kAlignment) % kAlignment, ' ');
  header += '\n';
  std::string head("\x93NUMPY\x01\x00", 8);
  head += static_cast<char>(header.size() & 0xff);
  head += static_cast<char>(header.size() >> 8);
  head += header;
  LLM_ASSIGN(auto file, llm::AtomicFile::create(path));
  LLM_TRY(file->append(std::as_bytes(std::span(head.data(), head.size()))));
  LLM_TRY(file->append(std::as_bytes(std::span(data))));
  return file->commit();
}

}  // namespace llmrt::commands
