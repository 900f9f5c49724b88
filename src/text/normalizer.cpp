#include "text/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/components.h"
#include "text/pattern.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

bool is_ascii(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

int options_of(UnicodeForm form) {
  const int composed = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
  const int decomposed = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
  switch (form) {
    case UnicodeForm::nfc:
      return composed;
    case UnicodeForm::nfd:
      return decomposed;
    case UnicodeForm::nfkc:
      return composed | UTF8PROC_COMPAT;
    case UnicodeForm::nfkd:
      return decomposed | UTF8PROC_COMPAT;
  }
  return composed;
}

class UnicodeNormalizer : public Normalizer {
 public:
  explicit UnicodeNormalizer(UnicodeForm form) : form_(form) {}
  void apply(Piece& piece) const override { piece.text = normalize_unicode(piece.text, form_); }

 private:
  UnicodeForm form_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(const JsonField& field) : prefix_(field.text("prepend")) {}
  void apply(Piece& piece) const override {
    if (!piece.text.empty()) piece.text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class Replace : public Normalizer {
 public:
  explicit Replace(const JsonField& field) : pattern_(field.at("pattern")), content_(field.text("content")) {}
  void apply(Piece& piece) const override {
    if (content_.empty() && piece.at_start) {
      // What is taken away at the start takes the start with it.
      const std::vector<Range> matches = pattern_.find_all(piece.text);
      piece.at_start = matches.empty() || matches.front().begin > 0 || matches.front().end == 0;
    }
    piece.text = pattern_.replace_all(piece.text, content_);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Lowercase : public Normalizer {
 public:
  void apply(Piece& piece) const override { piece.text = to_lower(piece.text); }
};

class StripAccents : public Normalizer {
 public:
  void apply(Piece& piece) const override {
    std::string out;
    for (size_t i = 0; i < piece.text.size();) {
      const CodePoint c = code_point_at(piece.text, i);
      if (!is_mark(c.value)) out += std::string_view(piece.text).substr(i, c.size);
      i += c.size;
    }
    piece.text = std::move(out);
  }
};

class Strip : public Normalizer {
 public:
  explicit Strip(const JsonField& field)
      : left_(field.flag_or("strip_left", true)), right_(field.flag_or("strip_right", true)) {}
  void apply(Piece& piece) const override {
    std::string& text = piece.text;
    size_t end = text.size();
    while (right_ && end > 0) {
      const CodePoint c = code_point_before(text, end);
      if (!is_whitespace(c.value)) break;
      end -= c.size;
    }
    text.resize(end);
    size_t begin = 0;
    while (left_ && begin < text.size()) {
      const CodePoint c = code_point_at(text, begin);
      if (!is_whitespace(c.value)) break;
      begin += c.size;
    }
    if (begin > 0) piece.at_start = false;
    text.erase(0, begin);
  }

 private:
  bool left_;
  bool right_;
};

class ByteLevelNormalizer : public Normalizer {
 public:
  void apply(Piece& piece) const override { piece.text = bytes_to_characters(piece.text); }
};

class NormalizerSequence : public Normalizer {
 public:
  explicit NormalizerSequence(std::vector<std::unique_ptr<const Normalizer>> parts) : parts_(std::move(parts)) {}
  void apply(Piece& piece) const override {
    const size_t before = piece.text.size();
    for (const auto& part : parts_) {
      part->apply(piece);
      check_growth(before, piece.text.size());
    }
  }

 private:
  std::vector<std::unique_ptr<const Normalizer>> parts_;
};

std::unique_ptr<const Normalizer> one_normalizer(const JsonField& field) {
  const std::string type = field.text("type");
  if (type == "Prepend") return std::make_unique<Prepend>(field);
  if (type == "Replace") return std::make_unique<Replace>(field);
  if (type == "NFC") return std::make_unique<UnicodeNormalizer>(UnicodeForm::nfc);
  if (type == "NFD") return std::make_unique<UnicodeNormalizer>(UnicodeForm::nfd);
  if (type == "NFKC") return std::make_unique<UnicodeNormalizer>(UnicodeForm::nfkc);
  if (type == "NFKD") return std::make_unique<UnicodeNormalizer>(UnicodeForm::nfkd);
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "Strip") return std::make_unique<Strip>(field);
  if (type == "StripAccents") return std::make_unique<StripAccents>();
  if (type == "ByteLevel") return std::make_unique<ByteLevelNormalizer>();
  fail_unknown_type(field, "normalizer",
                    "Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents and ByteLevel");
}

std::string normalize_piece(std::string_view text, UnicodeForm form) {
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &mapped, static_cast<utf8proc_option_t>(options_of(form)));
  base::check(size >= 0, "Unicode normalization failed: {}", utf8proc_errmsg(size));
  std::string out(reinterpret_cast<const char*>(mapped), static_cast<size_t>(size));
  std::free(mapped);
  return out;
}

}  // namespace

std::string normalize_unicode(std::string_view text, UnicodeForm form) {
  if (is_ascii(text)) return std::string(text);
  // U+11A7 stands before the final consonants of Hangul: utf8proc 2.8 takes it for the lack of one
  // and drops it behind a syllable. It changes in no form and composes with nothing, so that what lies around it can be
  // normalized alone.
  static constexpr std::string_view kBeforeFinals = "\u11A7";
  std::string out;
  while (!text.empty()) {
    const size_t end = std::min(text.find(kBeforeFinals), text.size());
    if (end > 0) out += normalize_piece(text.substr(0, end), form);
    text.remove_prefix(end);
    if (text.empty()) break;
    out += kBeforeFinals;
    text.remove_prefix(kBeforeFinals.size());
  }
  return out;
}

std::string to_lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    // The one letter whose lower case is two code points wherever it stands.
    if (c.value == 0x130) {
      out += "i\xCC\x87";
    } else {
      append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c.value))));
    }
    i += c.size;
  }
  return out;
}

std::unique_ptr<const Normalizer> make_normalizer(const JsonField& field) {
  std::vector<std::unique_ptr<const Normalizer>> parts;
  collect_parts(field, "normalizers", 0, one_normalizer, parts);
  return std::make_unique<NormalizerSequence>(std::move(parts));
}

}  // namespace incontext::text
