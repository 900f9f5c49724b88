#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace incontext::eval {

/// Text files, encoded, and cut into documents of any length at fixed places.
class ScoredTexts {
 public:
  /// A file that is missing, empty or of an unknown kind is an Error that names it (tasks/documents.h).
  ScoredTexts(const std::vector<std::string>& files, const text::Tokenizer& tokenizer);

  /// `length` tokens: documents go round the files, and those of a file follow one another without gaps. Each begins
  /// with what the tokenizer puts before a text. One that its file is too short for is an Error that tells how long it
  /// is.
  std::vector<int64_t> document(int64_t index, int64_t length) const;

  /// Tells these texts from others, in records.
  const std::string& digest() const { return digest_; }

 private:
  std::vector<std::string> files_;
  std::vector<std::vector<int64_t>> tokens_;
  std::vector<int64_t> prefix_;
  std::string digest_;
};

}  // namespace incontext::eval
