#include "eval/cache/documents.h"

#include "base/digest.h"
#include "base/error.h"
#include "tasks/documents.h"

namespace incontext::eval {

ScoredTexts::ScoredTexts(const std::vector<std::string>& files, const text::Tokenizer& tokenizer)
    : files_(files), prefix_(tokenizer.prefix()) {
  base::check(!files.empty(), "--text: expected at least one file to measure on, got none");
  uint64_t digest = base::kFnv1aStart;
  for (const std::string& file : files) {
    std::string whole;
    for (const std::string& document : tasks::read_documents({file})) {
      if (!whole.empty()) whole += "\n\n";
      whole += document;
    }
    digest = base::fnv1a(whole, digest);
    tokens_.push_back(tokenizer.encode(whole, /*add_special_tokens=*/false));
  }
  digest_ = fmt::format("{:016x}", digest);
}

std::vector<int64_t> ScoredTexts::document(int64_t index, int64_t length) const {
  const auto files = static_cast<int64_t>(files_.size());
  const auto file = static_cast<size_t>(index % files);
  const int64_t of_text = length - static_cast<int64_t>(prefix_.size());
  const int64_t first = index / files * of_text;
  const auto held = static_cast<int64_t>(tokens_[file].size());
  base::check(first + of_text <= held,
              "--text: {}: {} tokens; expected at least {} for {} of {} tokens (see --documents, --context, --scored)",
              files_[file], held, first + of_text,
              index / files == 0 ? "a document" : fmt::format("{} documents", index / files + 1), length);
  std::vector<int64_t> document = prefix_;
  const auto from = tokens_[file].begin() + first;
  document.insert(document.end(), from, from + of_text);
  return document;
}

}  // namespace incontext::eval
