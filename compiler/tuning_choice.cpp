#include "compiler/tuning_choice.h"

#include "compiler/targets/tuning_files.h"
#include "plan/mapped_file.h"

namespace llmc {

llm::Result<Tuning> load_tuning(const std::string& name, std::vector<std::string>& warnings) {
  if (name == "none") return Tuning();
  if (!name.empty()) {
    LLM_ASSIGN(const std::string text, llm::read_text_file(name));
    return Tuning::parse(text, name, warnings);
  }
  Tuning all;
  for (const EmbeddedText& file : tuning_files()) {
    LLM_ASSIGN(const Tuning one, Tuning::parse(file.text, std::string(file.name), warnings));
    for (const auto& shape : one.by_shape())
      for (const Measurement& m : shape) all.add(m);
  }
  return all;
}

}  // namespace llmc
