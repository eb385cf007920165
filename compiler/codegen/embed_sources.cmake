# Writes OUTPUT, a C++ file that holds the texts of FILES (relative to ROOT) as raw string literals.
set(text "// Generated from kernels_templates/ by embed_sources.cmake.\n#include \"compiler/codegen/kernel_sources.h\"\n\nnamespace llmc {\nnamespace {\n\nconstexpr KernelSource kSources[] = {\n")
foreach(file IN LISTS FILES)
  file(READ ${ROOT}/${file} content)
  string(APPEND text "{\"${file}\", R\"LLM_SOURCE(${content})LLM_SOURCE\"},\n")
endforeach()
string(APPEND text "};\n\n}  // namespace\n\nstd::span<const KernelSource> kernel_sources() { return kSources; }\n\n}  // namespace llmc\n")
file(WRITE ${OUTPUT} "${text}")
