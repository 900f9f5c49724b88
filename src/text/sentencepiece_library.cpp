#include "text/sentencepiece_library.h"

#include <dlfcn.h>

#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/process.h"

namespace incontext::text {
namespace {

namespace fs = std::filesystem;

const IncontextSentencePiece* load() {
  const fs::path built = INCONTEXT_SENTENCEPIECE_MODULE;
  const fs::path place = base::find_program_part(built.filename().string()).value_or(built);
  int mode = RTLD_NOW | RTLD_LOCAL;
#ifndef INCONTEXT_SANITIZED
  mode |= RTLD_DEEPBIND;  // the sanitizers do not allow it
#endif
  void* module = ::dlopen(place.c_str(), mode);
  base::check(module != nullptr, "tokenizer.model needs the module {}: {}", place.string(),
              module == nullptr ? ::dlerror() : "");
  void* symbol = ::dlsym(module, "incontext_sentencepiece");
  base::check(symbol != nullptr, "{}: not a module of this program", place.string());
  return reinterpret_cast<IncontextSentencePieceEntry>(symbol)();
}

}  // namespace

const IncontextSentencePiece& sentencepiece_library() {
  static const IncontextSentencePiece* table = load();
  return *table;
}

}  // namespace incontext::text
