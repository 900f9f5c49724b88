#include "text/pre_tokenizer.h"

#include <functional>

#include "text/byte_level.h"
#include "text/components.h"
#include "text/pattern.h"
#include "text/regex.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

constexpr const char* kGpt2Regex = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// A range of the text that matches what one looks for, or lies between two that do.
struct Section {
  Range range;
  bool matches = false;
};

enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

Behavior behavior_of(const JsonField& field) {
  const std::string name = field.text();
  if (name == "Removed") return Behavior::removed;
  if (name == "Isolated") return Behavior::isolated;
  if (name == "MergedWithPrevious") return Behavior::merged_with_previous;
  if (name == "MergedWithNext") return Behavior::merged_with_next;
  if (name == "Contiguous") return Behavior::contiguous;
  field.fail_expecting("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

std::vector<Section> sections_between(const std::vector<Range>& matches, size_t size) {
  std::vector<Section> out;
  size_t end = 0;
  for (const Range& match : matches) {
    if (match.begin > end) out.push_back({{end, match.begin}, false});
    out.push_back({match, true});
    end = match.end;
  }
  if (end < size) out.push_back({{end, size}, false});
  return out;
}

// Every character for which `wanted` holds is a match of its own.
std::vector<Section> sections_by_character(std::string_view text, const std::function<bool(char32_t)>& wanted) {
  std::vector<Range> matches;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    if (wanted(c.value)) matches.push_back({i, i + c.size});
    i += c.size;
  }
  return sections_between(matches, text.size());
}

std::vector<Range> ranges_of(const std::vector<Section>& sections, Behavior behavior) {
  std::vector<Range> out;
  bool previous = false;
  if (behavior == Behavior::merged_with_next) {
    for (auto section = sections.rbegin(); section != sections.rend(); ++section) {
      if (section->matches && !previous && !out.empty()) {
        out.back().begin = section->range.begin;
      } else {
        out.push_back(section->range);
      }
      previous = section->matches;
    }
    return {out.rbegin(), out.rend()};
  }
  for (const Section& section : sections) {
    bool joins = false;
    if (behavior == Behavior::merged_with_previous) joins = section.matches && !previous;
    if (behavior == Behavior::contiguous) joins = section.matches == previous;
    previous = section.matches;
    if (behavior == Behavior::removed && section.matches) continue;
    if (joins && !out.empty()) {
      out.back().end = section.range.end;
    } else {
      out.push_back(section.range);
    }
  }
  return out;
}

void cut_at(const Piece& piece, const std::vector<Section>& sections, Behavior behavior, std::vector<Piece>& words) {
  for (const Range& range : ranges_of(sections, behavior)) {
    if (range.begin == range.end) continue;
    words.push_back({piece.text.substr(range.begin, range.end - range.begin), piece.at_start && range.begin == 0});
  }
}

class Split : public PreTokenizer {
 public:
  explicit Split(const JsonField& field)
      : pattern_(field.at("pattern")),
        behavior_(behavior_of(field.at("behavior"))),
        invert_(field.flag_or("invert", false)) {}
  void cut(Piece piece, std::vector<Piece>& words) const override {
    std::vector<Section> sections = sections_between(pattern_.find_all(piece.text), piece.text.size());
    if (invert_) {
      for (Section& section : sections) section.matches = !section.matches;
    }
    cut_at(piece, sections, behavior_, words);
  }

 private:
  Pattern pattern_;
  Behavior behavior_;
  bool invert_;
};

class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool use_regex)
      : add_prefix_space_(add_prefix_space), use_regex_(use_regex), regex_(kGpt2Regex, "GPT-2") {}
  void cut(Piece piece, std::vector<Piece>& words) const override {
    if (add_prefix_space_ && !piece.text.starts_with(' ')) piece.text.insert(0, 1, ' ');
    const size_t first = words.size();
    if (use_regex_) {
      cut_at(piece, sections_between(regex_.find_all(piece.text), piece.text.size()), Behavior::isolated, words);
    } else {
      words.push_back(std::move(piece));
    }
    for (size_t i = first; i < words.size(); ++i) words[i].text = bytes_to_characters(words[i].text);
  }

 private:
  bool add_prefix_space_;
  bool use_regex_;
  Regex regex_;
};

class Metaspace : public PreTokenizer {
 public:
  explicit Metaspace(const JsonField& field)
      : replacement_(field.text_or("replacement", "\xE2\x96\x81")), split_(field.flag_or("split", true)) {
    base::check(count_code_points(replacement_) == 1, "{}.replacement: expected one character, got '{}'", field.where(),
                replacement_);
    // Older files say add_prefix_space, and nothing of where.
    scheme_ = field.text_or("prepend_scheme", field.flag_or("add_prefix_space", true) ? "always" : "never");
    if (scheme_ != "always" && scheme_ != "never" && scheme_ != "first") {
      field.at("prepend_scheme").fail_expecting("always, never or first");
    }
  }
  void cut(Piece piece, std::vector<Piece>& words) const override {
    std::string text;
    for (const char c : piece.text) {
      if (c == ' ') {
        text += replacement_;
      } else {
        text += c;
      }
    }
    const bool wanted = scheme_ == "always" || (scheme_ == "first" && piece.at_start);
    if (wanted && !text.starts_with(replacement_)) text.insert(0, replacement_);
    piece.text = std::move(text);
    if (!split_) {
      words.push_back(std::move(piece));
      return;
    }
    const char32_t mark = code_point_at(replacement_, 0).value;
    cut_at(piece, sections_by_character(piece.text, [&](char32_t c) { return c == mark; }), Behavior::merged_with_next,
           words);
  }

 private:
  std::string replacement_;
  std::string scheme_;
  bool split_;
};

// Cuts at characters of a kind.
class CharacterSplit : public PreTokenizer {
 public:
  CharacterSplit(std::function<bool(char32_t)> wanted, Behavior behavior)
      : wanted_(std::move(wanted)), behavior_(behavior) {}
  void cut(Piece piece, std::vector<Piece>& words) const override {
    cut_at(piece, sections_by_character(piece.text, wanted_), behavior_, words);
  }

 private:
  std::function<bool(char32_t)> wanted_;
  Behavior behavior_;
};

// Runs of word characters and runs of other characters, without the spaces between.
class Whitespace : public PreTokenizer {
 public:
  void cut(Piece piece, std::vector<Piece>& words) const override {
    const std::vector<Range> matches = regex_.find_all(piece.text);
    std::vector<Section> sections;
    sections.reserve(matches.size());
    for (const Range& match : matches) sections.push_back({match, false});
    cut_at(piece, sections, Behavior::isolated, words);
  }

 private:
  // The reference's other regular expressions have the joiners U+200C and U+200D among the word characters.
  Regex regex_{R"([\w\x{200C}\x{200D}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}\s]+)", "Whitespace"};
};

class PreTokenizerSequence : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(std::vector<std::unique_ptr<const PreTokenizer>> parts) : parts_(std::move(parts)) {}
  void cut(Piece piece, std::vector<Piece>& words) const override {
    const size_t before = piece.text.size();
    std::vector<Piece> now;
    now.push_back(std::move(piece));
    for (const auto& part : parts_) {
      std::vector<Piece> next;
      for (Piece& word : now) part->cut(std::move(word), next);
      now = std::move(next);
      size_t after = 0;
      for (const Piece& word : now) after += word.text.size();
      check_growth(before, after);
    }
    std::move(now.begin(), now.end(), std::back_inserter(words));
  }

 private:
  std::vector<std::unique_ptr<const PreTokenizer>> parts_;
};

std::unique_ptr<const PreTokenizer> make_character_split(const JsonField& field, const std::string& type) {
  if (type == "Digits") {
    const bool individual = field.flag_or("individual_digits", false);
    return std::make_unique<CharacterSplit>(is_numeric, individual ? Behavior::isolated : Behavior::contiguous);
  }
  if (type == "Punctuation") {
    const auto behavior = field.find("behavior");
    return std::make_unique<CharacterSplit>(is_punctuation, behavior ? behavior_of(*behavior) : Behavior::isolated);
  }
  if (type == "CharDelimiterSplit") {
    const std::string delimiter = field.text("delimiter");
    base::check(count_code_points(delimiter) == 1, "{}.delimiter: expected one character, got '{}'", field.where(),
                delimiter);
    const char32_t mark = code_point_at(delimiter, 0).value;
    return std::make_unique<CharacterSplit>([mark](char32_t c) { return c == mark; }, Behavior::removed);
  }
  return std::make_unique<CharacterSplit>(is_whitespace, Behavior::removed);
}

std::unique_ptr<const PreTokenizer> one_pre_tokenizer(const JsonField& field) {
  const std::string type = field.text("type");
  if (type == "Split") return std::make_unique<Split>(field);
  if (type == "ByteLevel") {
    return std::make_unique<ByteLevel>(field.flag_or("add_prefix_space", true), field.flag_or("use_regex", true));
  }
  if (type == "Metaspace") return std::make_unique<Metaspace>(field);
  if (type == "Whitespace") return std::make_unique<Whitespace>();
  if (type == "Digits" || type == "Punctuation" || type == "CharDelimiterSplit" || type == "WhitespaceSplit") {
    return make_character_split(field, type);
  }
  if (type == "BertPreTokenizer") {
    std::vector<std::unique_ptr<const PreTokenizer>> parts;
    parts.push_back(std::make_unique<CharacterSplit>(is_whitespace, Behavior::removed));
    parts.push_back(std::make_unique<CharacterSplit>(is_punctuation, Behavior::isolated));
    return std::make_unique<PreTokenizerSequence>(std::move(parts));
  }
  fail_unknown_type(field, "pre-tokenizer",
                    "Sequence, Split, ByteLevel, Metaspace, Whitespace, WhitespaceSplit, Digits, Punctuation, "
                    "CharDelimiterSplit and BertPreTokenizer");
}

}  // namespace

std::unique_ptr<const PreTokenizer> make_pre_tokenizer(const JsonField& field) {
  std::vector<std::unique_ptr<const PreTokenizer>> parts;
  collect_parts(field, "pretokenizers", 0, one_pre_tokenizer, parts);
  return std::make_unique<PreTokenizerSequence>(std::move(parts));
}

std::unique_ptr<const PreTokenizer> make_gpt2_pre_tokenizer(bool add_prefix_space) {
  return std::make_unique<ByteLevel>(add_prefix_space, true);
}

}  // namespace incontext::text
