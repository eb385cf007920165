// clang and lld as libraries: objects, errors, and a shared object that needs nothing from outside.
#include "compiler/codegen/x86_compiler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "compiler/codegen/kernel_compiler.h"
#include "llvm/Object/ELFObjectFile.h"
#include "passes/KernelTable.h"

namespace llmc {
namespace {

using testing::HasSubstr;

X86CompileRequest request(const std::string& text) {
  return {"linear/row1", "linear_rows<float, float, 1, 4>", text, "x86-64-v3", {}};
}

const char* const kNorm =
    "#include \"x86/norm.h\"\n"
    "LLM_KERNEL(norm_entry, RmsNormArgs, rms_norm<float, float>)\n";
const char* const kSupport = "#include \"x86/support.h\"\n";

KernelRequest kernel_request(const llm::Variant& v, const KernelShape& shape) {
  return {entry_name(v, shape), v.family, v.name, v.file, instance_name(v, shape), v.threads};
}

TEST(X86Compiler, AKernelCompiles) {
  const auto object = compile_x86(request(kNorm));
  ASSERT_TRUE(object) << object.error().message;
  EXPECT_EQ(object->substr(0, 4),
            "\x7f"
            "ELF");
  EXPECT_THAT(*object, HasSubstr("norm_entry"));
}

TEST(X86Compiler, SameTextGivesSameBytes) {
  const auto a = compile_x86(request(kNorm)), b = compile_x86(request(kNorm));
  ASSERT_TRUE(a && b);
  EXPECT_EQ(*a, *b);
  const auto other = compile_x86({"", "", kNorm, "x86-64-v4", {}});
  ASSERT_TRUE(other);
  EXPECT_NE(*a, *other);
}

TEST(X86Compiler, ABrokenKernelShowsNameInstantiationAndLog) {
  const auto object = compile_x86(request("int f() {\n  return missing;\n}\n"));
  ASSERT_FALSE(object);
  const std::string& message = object.error().message;
  EXPECT_THAT(message,
              HasSubstr("kernel linear/row1 (linear_rows<float, float, 1, 4>) does not compile for x86-64-v3: "));
  EXPECT_THAT(message, HasSubstr("kernel.cpp:2:10: error: use of undeclared identifier 'missing'"));
  EXPECT_THAT(message, HasSubstr("return missing;"));  // the log quotes the line
}

TEST(X86Compiler, OtherFailuresAreReportedToo) {
  const auto include = compile_x86(request("#include <vector>\n"));  // freestanding: no header of this machine
  ASSERT_FALSE(include);
  EXPECT_THAT(include.error().message, HasSubstr("'vector' file not found"));
  const auto arch = compile_x86({"k", "i", "int x;\n", "x86-64-v9", {}});
  ASSERT_FALSE(arch);
  EXPECT_THAT(arch.error().message, HasSubstr("x86-64-v9"));
}

TEST(X86Compiler, ThreadsDoNotDisturbEachOther) {
  const auto expected = compile_x86(request(kNorm));
  ASSERT_TRUE(expected);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      const auto mine = compile_x86(request(t == 1 ? "error\n" : kNorm));
      EXPECT_EQ(mine.ok(), t != 1);
      EXPECT_TRUE(!mine || *mine == *expected);
    });
  for (std::thread& t : threads) t.join();
}

TEST(X86Compiler, UnresolvedSymbolsAreRefused) {
  const auto object = compile_x86(
      request("extern \"C\" double sin(double);\n"
              "extern \"C\" __attribute__((visibility(\"default\"))) double f(double x) { return sin(x); }\n"));
  ASSERT_TRUE(object) << object.error().message;
  const auto linked = link_x86({*object});
  ASSERT_FALSE(linked);
  EXPECT_THAT(linked.error().message, HasSubstr("linking the x86 kernels failed"));
  EXPECT_THAT(linked.error().message, HasSubstr("undefined symbol: sin"));
  // lld can be used again after a failure.
  const auto support = compile_x86(request(kSupport)), norm = compile_x86(request(kNorm));
  ASSERT_TRUE(support && norm);
  EXPECT_TRUE(link_x86({*norm, *support}));
}

TEST(X86Compiler, GarbageIsNotLinked) { EXPECT_FALSE(link_x86({"not an object"})); }

// Every kernel of the table, in one shared object: entries exported, nothing imported, equal bytes in two runs with
// different -j.
TEST(X86Compiler, TheSharedObjectStandsAlone) {
  const Target& target = **find_target("x86-64-v3", nullptr);
  std::vector<KernelRequest> requests;
  for (const llm::Variant& v : all_variants(TargetKind::kX86)) {
    const KernelShape shape{.family = v.family,
                            .weight = llm::ScalarType::kBF16,
                            .operand = llm::ScalarType::kF32,
                            .kv = llm::ScalarType::kBF16,
                            .head_dim = 64};
    if ((v.needs & ~target.features) == 0) requests.push_back(kernel_request(v, shape));
  }
  CodegenOptions options;
  options.jobs = 1;
  const auto one = compile_kernels(target, requests, options);
  ASSERT_TRUE(one) << one.error().message;
  options.jobs = 3;
  const auto three = compile_kernels(target, requests, options);
  ASSERT_TRUE(three) << three.error().message;
  EXPECT_EQ(one->shared_object, three->shared_object);

  auto file = llvm::object::ObjectFile::createELFObjectFile(llvm::MemoryBufferRef(one->shared_object, "kernels.so"));
  ASSERT_TRUE(static_cast<bool>(file)) << llvm::toString(file.takeError());
  const auto* elf = llvm::dyn_cast<llvm::object::ELFObjectFileBase>(file->get());
  ASSERT_TRUE(elf);
  std::vector<std::string> exported;
  for (const llvm::object::ELFSymbolRef symbol : elf->getDynamicSymbolIterators()) {
    const std::string name = llvm::cantFail(symbol.getName()).str();
    if (name.empty()) continue;
    EXPECT_FALSE(llvm::cantFail(symbol.getFlags()) & llvm::object::SymbolRef::SF_Undefined)
        << name << " comes from outside";
    exported.push_back(name);
  }
  std::vector<std::string> entries;
  for (const KernelRequest& r : requests) entries.push_back(r.entry);
  std::sort(exported.begin(), exported.end());
  std::sort(entries.begin(), entries.end());
  EXPECT_EQ(exported, entries);
  // Neither needed libraries nor an interpreter, and nothing of where it was built.
  for (const auto& section : elf->sections()) EXPECT_NE(llvm::cantFail(section.getName()), ".interp");
  EXPECT_EQ(one->shared_object.find("/tmp"), std::string::npos);
  EXPECT_EQ(one->shared_object.find("/kernels/"), std::string::npos);
}

TEST(X86Compiler, AFailingKernelFailsTheTarget) {
  const Target& target = **find_target("x86-64-v3", nullptr);
  CodegenOptions options;
  options.jobs = 2;
  const std::vector<KernelRequest> requests = {
      {"good", "rms_norm", "row", "x86/norm.h", "rms_norm<float, float>", 1},
      {"bad", "linear", "rows3", "x86/linear.h", "linear_cols<float, float, 3>", 1}};
  const auto code = compile_kernels(target, requests, options);
  ASSERT_FALSE(code);
  EXPECT_THAT(code.error().message,
              HasSubstr("kernel linear/rows3 (linear_cols<float, float, 3>) does not compile for x86-64-v3"));
  EXPECT_THAT(code.error().message, HasSubstr("linear_cols"));
}

}  // namespace
}  // namespace llmc
