// The four normal forms of Unicode against Python's unicodedata (tools/make_golden_unicode.py).
#include "text/normalizer.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <algorithm>

#include "base/digest.h"
#include "base/error.h"
#include "text/golden.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

const std::vector<std::pair<const char*, UnicodeForm>> kForms = {
    {"NFC", UnicodeForm::nfc}, {"NFD", UnicodeForm::nfd}, {"NFKC", UnicodeForm::nfkc}, {"NFKD", UnicodeForm::nfkd}};

std::string utf8(char32_t c) {
  std::string out;
  append_utf8(out, c);
  return out;
}

std::vector<char32_t> members(const nlohmann::json& ranges) {
  std::vector<char32_t> out;
  for (const nlohmann::json& range : ranges) {
    for (auto c = range[0].get<char32_t>(); c <= range[1].get<char32_t>(); ++c) out.push_back(c);
  }
  return out;
}

class Normalization : public ::testing::Test {
 protected:
  // The hashes tell a thousand texts from one that goes wrong, which is then looked for by hand.
  void expect_hashes(const std::vector<std::string>& texts, const nlohmann::json& hashes) const {
    const auto per_hash = golden_["per_hash"].get<size_t>();
    for (const auto& [name, form] : kForms) {
      std::string joined;
      size_t checked = 0;
      for (size_t i = 0; i < texts.size(); ++i) {
        joined += normalize_unicode(texts[i], form) + "\n";
        if ((i + 1) % per_hash != 0 && i + 1 != texts.size()) continue;
        EXPECT_EQ(fmt::format("{:016x}", base::fnv1a(joined)), hashes[name][checked].get<std::string>())
            << name << " of the texts before number " << i + 1;
        ++checked;
        joined.clear();
      }
      EXPECT_EQ(checked, hashes[name].size());
    }
  }

  nlohmann::json golden_ = read_golden("normalization.json");
};

TEST_F(Normalization, TablesAreNotOlderThanTheGoldenOnes) {
  const auto parts = [](const std::string& version) {
    std::vector<int> out;
    for (size_t at = 0; at < version.size(); at = version.find('.', at) + 1) {
      out.push_back(std::stoi(version.substr(at)));
      if (version.find('.', at) == std::string::npos) break;
    }
    return out;
  };
  EXPECT_GE(parts(utf8proc_unicode_version()), parts(golden_["unicode"].get<std::string>()))
      << "utf8proc " << utf8proc_version() << " has the tables of Unicode " << utf8proc_unicode_version();
}

TEST_F(Normalization, CharactersAlone) {
  const std::vector<char32_t> changing = members(golden_["changing"]);
  ASSERT_GT(changing.size(), 16'000U);
  std::vector<std::string> texts;
  for (const char32_t c : changing) texts.push_back(utf8(c));
  expect_hashes(texts, golden_["single"]);
  // All others stay, but for those that a later version of Unicode has assigned.
  std::vector<bool> may_change(0x110000, false);
  for (const char* key : {"changing", "unassigned"}) {
    for (const char32_t c : members(golden_[key])) may_change[c] = true;
  }
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (may_change[c] || (c >= 0xD800 && c < 0xE000)) continue;
    for (const auto& [name, form] : kForms) {
      ASSERT_EQ(normalize_unicode(utf8(c), form), utf8(c)) << name << " of " << static_cast<unsigned>(c);
    }
  }
}

// U+11A7 stands just before the final consonants and is none: utf8proc 2.8 takes it for "no final" and drops it.
TEST_F(Normalization, HangulSyllablesTakeFinalConsonantsOnly) {
  EXPECT_EQ(normalize_unicode("\uAC00\u11A7", UnicodeForm::nfc), "\uAC00\u11A7");
  EXPECT_EQ(normalize_unicode("\u1100\u1161\u11A7\u11A8", UnicodeForm::nfkc), "\uAC00\u11A7\u11A8");
  EXPECT_EQ(normalize_unicode("\uAC00\u11A8\u11A7\u11A7e\u0301", UnicodeForm::nfc), "\uAC01\u11A7\u11A7\u00E9");
  std::vector<std::string> texts;
  for (char32_t syllable = 0xAC00; syllable < 0xD7A4; syllable += 28) {
    for (char32_t last = 0x11A6; last < 0x11C4; ++last) texts.push_back(utf8(syllable) + utf8(last));
  }
  expect_hashes(texts, golden_["hangul"]);
}

TEST_F(Normalization, DrawnSequences) {
  std::vector<char32_t> jamo(0x100), syllables(11'172), letters;
  for (size_t i = 0; i < jamo.size(); ++i) jamo[i] = 0x1100 + static_cast<char32_t>(i);
  for (size_t i = 0; i < syllables.size(); ++i) syllables[i] = 0xAC00 + static_cast<char32_t>(i);
  for (const char c : std::string_view("aceghijklnorsuyzAEIOU")) letters.push_back(static_cast<char32_t>(c));
  const std::vector<std::vector<char32_t>> kinds = {members(golden_["marks"]), jamo, syllables,
                                                    members(golden_["changing"]), letters};
  uint64_t state = 1;
  const auto draw = [&](size_t count) {
    state = state * 6364136223846793005 + 1442695040888963407;
    return static_cast<size_t>(state >> 33) % count;
  };
  std::vector<std::string> texts(golden_["sequences"].get<size_t>());
  for (std::string& text : texts) {
    const size_t size = 2 + draw(5);
    for (size_t i = 0; i < size; ++i) {
      const std::vector<char32_t>& kind = kinds[draw(kinds.size())];
      text += utf8(kind[draw(kind.size())]);
    }
  }
  expect_hashes(texts, golden_["drawn"]);
}

}  // namespace
}  // namespace incontext::text
