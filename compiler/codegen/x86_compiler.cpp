#include "compiler/codegen/x86_compiler.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>

#include "clang/CodeGen/CodeGenAction.h"
#include "clang/Frontend/CompilerInstance.h"
#include "clang/Frontend/CompilerInvocation.h"
#include "clang/Frontend/TextDiagnosticPrinter.h"
#include "clang/Frontend/Utils.h"
#include "compiler/codegen/kernel_sources.h"
#include "lld/Common/CommonLinkerContext.h"
#include "lld/Common/Driver.h"
#include "llvm/ADT/IntrusiveRefCntPtr.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/VirtualFileSystem.h"

LLD_HAS_DRIVER(elf)

namespace llmc {
namespace {

constexpr const char* kRoot = "/kernels/";           // of the in-memory file system
constexpr const char* kSource = "/kernels/kernel.cpp";  // a fixed name: it ends up in the object

void initialize_targets() {
  static std::once_flag once;
  std::call_once(once, [] {
    llvm::InitializeAllTargetInfos();
    llvm::InitializeAllTargets();
    llvm::InitializeAllTargetMCs();
    llvm::InitializeAllAsmParsers();
    llvm::InitializeAllAsmPrinters();
  });
}

llvm::IntrusiveRefCntPtr<llvm::vfs::FileSystem> file_system(const std::string& text) {
  llvm::IntrusiveRefCntPtr<llvm::vfs::InMemoryFileSystem> memory(new llvm::vfs::InMemoryFileSystem);
  for (const EmbeddedText& s : kernel_sources())
    memory->addFile(kRoot + std::string(s.name), 0, llvm::MemoryBuffer::getMemBuffer(llvm::StringRef(s.text), "", false));
  memory->addFile(kSource, 0, llvm::MemoryBuffer::getMemBufferCopy(text));
  return memory;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

llm::Result<std::string> compile_x86(const X86CompileRequest& request) {
  initialize_targets();
  const std::string march = "-march=" + request.arch, include = std::string("-I") + kRoot;
  std::vector<const char*> args = {"clang++", "--target=x86_64-unknown-linux-gnu", "-c", "-x", "c++", "-std=c++20", "-O3", march.c_str(),
                                   "-ffreestanding", "-nostdinc", "-fPIC", "-fno-exceptions", "-fno-rtti", "-fno-math-errno",
                                   "-ffp-contract=fast", "-fvisibility=hidden", "-fno-asynchronous-unwind-tables", "-fno-stack-protector",
                                   "-fno-ident", "-Wno-psabi", include.c_str()};
  for (const std::string& flag : request.flags) args.push_back(flag.c_str());
  args.push_back(kSource);
  args.push_back("-o");
  args.push_back("/kernels/kernel.o");  // never written: the object goes to the stream below

  std::string log;
  llvm::raw_string_ostream log_stream(log);
  auto diagnostics_options = llvm::makeIntrusiveRefCnt<clang::DiagnosticOptions>();
  auto files = file_system(request.text);
  auto printer = std::make_unique<clang::TextDiagnosticPrinter>(log_stream, diagnostics_options.get());
  auto diagnostics = clang::CompilerInstance::createDiagnostics(diagnostics_options.get(), printer.get(), false);
  clang::CreateInvocationOptions options;
  options.VFS = files;
  options.Diags = diagnostics;
  std::shared_ptr<clang::CompilerInvocation> invocation = clang::createInvocation(args, options);
  const auto failure = [&] {
    log_stream.flush();
    return llm::Error{"kernel " + request.kernel + " (" + request.instantiation + ") does not compile for " + request.arch + ": " +
                      first_line(log) + "\n" + log};
  };
  if (!invocation) return failure();

  clang::CompilerInstance instance;
  instance.setInvocation(invocation);
  instance.createDiagnostics(printer.get(), false);
  instance.setVerboseOutputStream(log_stream);  // "1 error generated." belongs to the log, not to standard error
  instance.createFileManager(files);
  llvm::SmallVector<char, 0> object;
  instance.setOutputStream(std::make_unique<llvm::raw_svector_ostream>(object));
  clang::EmitObjAction action;
  if (!instance.ExecuteAction(action)) return failure();
  return std::string(object.data(), object.size());
}

llm::Result<std::string> link_x86(const std::vector<std::string>& objects) {
  static std::mutex lld_mutex;
  const std::lock_guard lock(lld_mutex);
  std::string folder = (std::filesystem::temp_directory_path() / "llmc-link-XXXXXX").string();
  if (!mkdtemp(folder.data())) return llm::Error{"cannot create a temporary folder beside '" + folder + "'"};
  struct Cleanup {
    std::string folder;
    ~Cleanup() {
      std::error_code ignored;
      std::filesystem::remove_all(folder, ignored);
    }
  } cleanup{folder};

  std::vector<std::string> names;
  for (size_t i = 0; i < objects.size(); ++i) {
    names.push_back(folder + "/" + std::to_string(i) + ".o");
    std::ofstream(names.back(), std::ios::binary).write(objects[i].data(), static_cast<std::streamsize>(objects[i].size()));
  }
  const std::string output = folder + "/kernels.so";
  // No undefined symbols, nothing to bind lazily, read-only after relocation; no build id and no names, so that equal objects
  // give equal bytes.
  std::vector<const char*> args = {"ld.lld", "-shared", "--no-undefined", "-z", "now", "-z", "relro", "--gc-sections", "--strip-all",
                                   "--build-id=none", "--hash-style=gnu", "-soname=llm_kernels", "-o", output.c_str()};
  for (const std::string& name : names) args.push_back(name.c_str());
  std::string log;
  llvm::raw_string_ostream stream(log);
  const bool linked = lld::elf::link(args, stream, stream, false, false);
  lld::CommonLinkerContext::destroy();  // after a failure too: the next link starts from nothing
  if (!linked) return llm::Error{"linking the x86 kernels failed: " + log};
  std::ifstream in(output, std::ios::binary);
  std::stringstream bytes;
  bytes << in.rdbuf();
  if (bytes.str().empty()) return llm::Error{"linking the x86 kernels wrote nothing"};
  return bytes.str();
}

}  // namespace llmc
