#include "text/python_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "text/utf8.h"

namespace incontext::text {
namespace {

utf8proc_int32_t as_utf8proc(char32_t c) { return static_cast<utf8proc_int32_t>(c); }
utf8proc_category_t python_category(char32_t c) { return utf8proc_category(as_utf8proc(c)); }

struct Range {
  char32_t first;
  char32_t last;
};

template <size_t size>
bool is_in_ranges(const Range (&ranges)[size], char32_t c) {
  const Range* found = std::upper_bound(std::begin(ranges), std::end(ranges), c,
                                        [](char32_t wanted, const Range& range) { return wanted < range.first; });
  return found != std::begin(ranges) && c <= std::prev(found)->last;
}

// Digits by value that are not decimal.
constexpr Range kDigits[] = {{0xB2, 0xB3},       {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},
                             {0x2070, 0x2070},   {0x2074, 0x2079},   {0x2080, 0x2089},   {0x2460, 0x2468},
                             {0x2474, 0x247C},   {0x2488, 0x2490},   {0x24EA, 0x24EA},   {0x24F5, 0x24FD},
                             {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},   {0x278A, 0x2792},
                             {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A}};

// Numbers by value that are of no category of numbers.
constexpr Range kNumerals[] = {
    {0x3405, 0x3405},   {0x3483, 0x3483},   {0x382A, 0x382A},   {0x3B4D, 0x3B4D},   {0x4E00, 0x4E00},
    {0x4E03, 0x4E03},   {0x4E07, 0x4E07},   {0x4E09, 0x4E09},   {0x4E5D, 0x4E5D},   {0x4E8C, 0x4E8C},
    {0x4E94, 0x4E94},   {0x4E96, 0x4E96},   {0x4EBF, 0x4EC0},   {0x4EDF, 0x4EDF},   {0x4EE8, 0x4EE8},
    {0x4F0D, 0x4F0D},   {0x4F70, 0x4F70},   {0x5104, 0x5104},   {0x5146, 0x5146},   {0x5169, 0x5169},
    {0x516B, 0x516B},   {0x516D, 0x516D},   {0x5341, 0x5341},   {0x5343, 0x5345},   {0x534C, 0x534C},
    {0x53C1, 0x53C4},   {0x56DB, 0x56DB},   {0x58F1, 0x58F1},   {0x58F9, 0x58F9},   {0x5E7A, 0x5E7A},
    {0x5EFE, 0x5EFF},   {0x5F0C, 0x5F0E},   {0x5F10, 0x5F10},   {0x62FE, 0x62FE},   {0x634C, 0x634C},
    {0x67D2, 0x67D2},   {0x6F06, 0x6F06},   {0x7396, 0x7396},   {0x767E, 0x767E},   {0x8086, 0x8086},
    {0x842C, 0x842C},   {0x8CAE, 0x8CAE},   {0x8CB3, 0x8CB3},   {0x8D30, 0x8D30},   {0x9621, 0x9621},
    {0x9646, 0x9646},   {0x964C, 0x964C},   {0x9678, 0x9678},   {0x96F6, 0x96F6},   {0xF96B, 0xF96B},
    {0xF973, 0xF973},   {0xF978, 0xF978},   {0xF9B2, 0xF9B2},   {0xF9D1, 0xF9D1},   {0xF9D3, 0xF9D3},
    {0xF9FD, 0xF9FD},   {0x20001, 0x20001}, {0x20064, 0x20064}, {0x200E2, 0x200E2}, {0x20121, 0x20121},
    {0x2092A, 0x2092A}, {0x20983, 0x20983}, {0x2098C, 0x2098C}, {0x2099C, 0x2099C}, {0x20AEA, 0x20AEA},
    {0x20AFD, 0x20AFD}, {0x20B19, 0x20B19}, {0x22390, 0x22390}, {0x22998, 0x22998}, {0x23B1B, 0x23B1B},
    {0x2626D, 0x2626D}, {0x2F890, 0x2F890}};

// Other_Lowercase of the Unicode standard: lower case, though of another category than Ll.
constexpr Range kOtherLower[] = {
    {0xAA, 0xAA},     {0xBA, 0xBA},     {0x2B0, 0x2B8},     {0x2C0, 0x2C1},     {0x2E0, 0x2E4},     {0x345, 0x345},
    {0x37A, 0x37A},   {0x1D2C, 0x1D6A}, {0x1D78, 0x1D78},   {0x1D9B, 0x1DBF},   {0x2071, 0x2071},   {0x207F, 0x207F},
    {0x2090, 0x209C}, {0x2170, 0x217F}, {0x24D0, 0x24E9},   {0x2C7C, 0x2C7D},   {0xA69C, 0xA69D},   {0xA770, 0xA770},
    {0xA7F8, 0xA7F9}, {0xAB5C, 0xAB5F}, {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107B0}, {0x107B2, 0x107BA}};

// Other_Uppercase.
constexpr Range kOtherUpper[] = {
    {0x2160, 0x216F}, {0x24B6, 0x24CF}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};

// Characters whose upper case is several (SpecialCasing.txt), and their title case where that is several, too.
struct SpecialCase {
  char32_t character;
  const char* upper;
  const char* title;
};
constexpr SpecialCase kSpecialCases[] = {{0xDF, "\x53\x53", "\x53\x73"},
                                         {0x149, "\xCA\xBC\x4E", "\xCA\xBC\x4E"},
                                         {0x1F0, "\x4A\xCC\x8C", "\x4A\xCC\x8C"},
                                         {0x390, "\xCE\x99\xCC\x88\xCC\x81", "\xCE\x99\xCC\x88\xCC\x81"},
                                         {0x3B0, "\xCE\xA5\xCC\x88\xCC\x81", "\xCE\xA5\xCC\x88\xCC\x81"},
                                         {0x587, "\xD4\xB5\xD5\x92", "\xD4\xB5\xD6\x82"},
                                         {0x1E96, "\x48\xCC\xB1", "\x48\xCC\xB1"},
                                         {0x1E97, "\x54\xCC\x88", "\x54\xCC\x88"},
                                         {0x1E98, "\x57\xCC\x8A", "\x57\xCC\x8A"},
                                         {0x1E99, "\x59\xCC\x8A", "\x59\xCC\x8A"},
                                         {0x1E9A, "\x41\xCA\xBE", "\x41\xCA\xBE"},
                                         {0x1F50, "\xCE\xA5\xCC\x93", "\xCE\xA5\xCC\x93"},
                                         {0x1F52, "\xCE\xA5\xCC\x93\xCC\x80", "\xCE\xA5\xCC\x93\xCC\x80"},
                                         {0x1F54, "\xCE\xA5\xCC\x93\xCC\x81", "\xCE\xA5\xCC\x93\xCC\x81"},
                                         {0x1F56, "\xCE\xA5\xCC\x93\xCD\x82", "\xCE\xA5\xCC\x93\xCD\x82"},
                                         {0x1F80, "\xE1\xBC\x88\xCE\x99", nullptr},
                                         {0x1F81, "\xE1\xBC\x89\xCE\x99", nullptr},
                                         {0x1F82, "\xE1\xBC\x8A\xCE\x99", nullptr},
                                         {0x1F83, "\xE1\xBC\x8B\xCE\x99", nullptr},
                                         {0x1F84, "\xE1\xBC\x8C\xCE\x99", nullptr},
                                         {0x1F85, "\xE1\xBC\x8D\xCE\x99", nullptr},
                                         {0x1F86, "\xE1\xBC\x8E\xCE\x99", nullptr},
                                         {0x1F87, "\xE1\xBC\x8F\xCE\x99", nullptr},
                                         {0x1F88, "\xE1\xBC\x88\xCE\x99", nullptr},
                                         {0x1F89, "\xE1\xBC\x89\xCE\x99", nullptr},
                                         {0x1F8A, "\xE1\xBC\x8A\xCE\x99", nullptr},
                                         {0x1F8B, "\xE1\xBC\x8B\xCE\x99", nullptr},
                                         {0x1F8C, "\xE1\xBC\x8C\xCE\x99", nullptr},
                                         {0x1F8D, "\xE1\xBC\x8D\xCE\x99", nullptr},
                                         {0x1F8E, "\xE1\xBC\x8E\xCE\x99", nullptr},
                                         {0x1F8F, "\xE1\xBC\x8F\xCE\x99", nullptr},
                                         {0x1F90, "\xE1\xBC\xA8\xCE\x99", nullptr},
                                         {0x1F91, "\xE1\xBC\xA9\xCE\x99", nullptr},
                                         {0x1F92, "\xE1\xBC\xAA\xCE\x99", nullptr},
                                         {0x1F93, "\xE1\xBC\xAB\xCE\x99", nullptr},
                                         {0x1F94, "\xE1\xBC\xAC\xCE\x99", nullptr},
                                         {0x1F95, "\xE1\xBC\xAD\xCE\x99", nullptr},
                                         {0x1F96, "\xE1\xBC\xAE\xCE\x99", nullptr},
                                         {0x1F97, "\xE1\xBC\xAF\xCE\x99", nullptr},
                                         {0x1F98, "\xE1\xBC\xA8\xCE\x99", nullptr},
                                         {0x1F99, "\xE1\xBC\xA9\xCE\x99", nullptr},
                                         {0x1F9A, "\xE1\xBC\xAA\xCE\x99", nullptr},
                                         {0x1F9B, "\xE1\xBC\xAB\xCE\x99", nullptr},
                                         {0x1F9C, "\xE1\xBC\xAC\xCE\x99", nullptr},
                                         {0x1F9D, "\xE1\xBC\xAD\xCE\x99", nullptr},
                                         {0x1F9E, "\xE1\xBC\xAE\xCE\x99", nullptr},
                                         {0x1F9F, "\xE1\xBC\xAF\xCE\x99", nullptr},
                                         {0x1FA0, "\xE1\xBD\xA8\xCE\x99", nullptr},
                                         {0x1FA1, "\xE1\xBD\xA9\xCE\x99", nullptr},
                                         {0x1FA2, "\xE1\xBD\xAA\xCE\x99", nullptr},
                                         {0x1FA3, "\xE1\xBD\xAB\xCE\x99", nullptr},
                                         {0x1FA4, "\xE1\xBD\xAC\xCE\x99", nullptr},
                                         {0x1FA5, "\xE1\xBD\xAD\xCE\x99", nullptr},
                                         {0x1FA6, "\xE1\xBD\xAE\xCE\x99", nullptr},
                                         {0x1FA7, "\xE1\xBD\xAF\xCE\x99", nullptr},
                                         {0x1FA8, "\xE1\xBD\xA8\xCE\x99", nullptr},
                                         {0x1FA9, "\xE1\xBD\xA9\xCE\x99", nullptr},
                                         {0x1FAA, "\xE1\xBD\xAA\xCE\x99", nullptr},
                                         {0x1FAB, "\xE1\xBD\xAB\xCE\x99", nullptr},
                                         {0x1FAC, "\xE1\xBD\xAC\xCE\x99", nullptr},
                                         {0x1FAD, "\xE1\xBD\xAD\xCE\x99", nullptr},
                                         {0x1FAE, "\xE1\xBD\xAE\xCE\x99", nullptr},
                                         {0x1FAF, "\xE1\xBD\xAF\xCE\x99", nullptr},
                                         {0x1FB2, "\xE1\xBE\xBA\xCE\x99", "\xE1\xBE\xBA\xCD\x85"},
                                         {0x1FB3, "\xCE\x91\xCE\x99", nullptr},
                                         {0x1FB4, "\xCE\x86\xCE\x99", "\xCE\x86\xCD\x85"},
                                         {0x1FB6, "\xCE\x91\xCD\x82", "\xCE\x91\xCD\x82"},
                                         {0x1FB7, "\xCE\x91\xCD\x82\xCE\x99", "\xCE\x91\xCD\x82\xCD\x85"},
                                         {0x1FBC, "\xCE\x91\xCE\x99", nullptr},
                                         {0x1FC2, "\xE1\xBF\x8A\xCE\x99", "\xE1\xBF\x8A\xCD\x85"},
                                         {0x1FC3, "\xCE\x97\xCE\x99", nullptr},
                                         {0x1FC4, "\xCE\x89\xCE\x99", "\xCE\x89\xCD\x85"},
                                         {0x1FC6, "\xCE\x97\xCD\x82", "\xCE\x97\xCD\x82"},
                                         {0x1FC7, "\xCE\x97\xCD\x82\xCE\x99", "\xCE\x97\xCD\x82\xCD\x85"},
                                         {0x1FCC, "\xCE\x97\xCE\x99", nullptr},
                                         {0x1FD2, "\xCE\x99\xCC\x88\xCC\x80", "\xCE\x99\xCC\x88\xCC\x80"},
                                         {0x1FD3, "\xCE\x99\xCC\x88\xCC\x81", "\xCE\x99\xCC\x88\xCC\x81"},
                                         {0x1FD6, "\xCE\x99\xCD\x82", "\xCE\x99\xCD\x82"},
                                         {0x1FD7, "\xCE\x99\xCC\x88\xCD\x82", "\xCE\x99\xCC\x88\xCD\x82"},
                                         {0x1FE2, "\xCE\xA5\xCC\x88\xCC\x80", "\xCE\xA5\xCC\x88\xCC\x80"},
                                         {0x1FE3, "\xCE\xA5\xCC\x88\xCC\x81", "\xCE\xA5\xCC\x88\xCC\x81"},
                                         {0x1FE4, "\xCE\xA1\xCC\x93", "\xCE\xA1\xCC\x93"},
                                         {0x1FE6, "\xCE\xA5\xCD\x82", "\xCE\xA5\xCD\x82"},
                                         {0x1FE7, "\xCE\xA5\xCC\x88\xCD\x82", "\xCE\xA5\xCC\x88\xCD\x82"},
                                         {0x1FF2, "\xE1\xBF\xBA\xCE\x99", "\xE1\xBF\xBA\xCD\x85"},
                                         {0x1FF3, "\xCE\xA9\xCE\x99", nullptr},
                                         {0x1FF4, "\xCE\x8F\xCE\x99", "\xCE\x8F\xCD\x85"},
                                         {0x1FF6, "\xCE\xA9\xCD\x82", "\xCE\xA9\xCD\x82"},
                                         {0x1FF7, "\xCE\xA9\xCD\x82\xCE\x99", "\xCE\xA9\xCD\x82\xCD\x85"},
                                         {0x1FFC, "\xCE\xA9\xCE\x99", nullptr},
                                         {0xFB00, "\x46\x46", "\x46\x66"},
                                         {0xFB01, "\x46\x49", "\x46\x69"},
                                         {0xFB02, "\x46\x4C", "\x46\x6C"},
                                         {0xFB03, "\x46\x46\x49", "\x46\x66\x69"},
                                         {0xFB04, "\x46\x46\x4C", "\x46\x66\x6C"},
                                         {0xFB05, "\x53\x54", "\x53\x74"},
                                         {0xFB06, "\x53\x54", "\x53\x74"},
                                         {0xFB13, "\xD5\x84\xD5\x86", "\xD5\x84\xD5\xB6"},
                                         {0xFB14, "\xD5\x84\xD4\xB5", "\xD5\x84\xD5\xA5"},
                                         {0xFB15, "\xD5\x84\xD4\xBB", "\xD5\x84\xD5\xAB"},
                                         {0xFB16, "\xD5\x8E\xD5\x86", "\xD5\x8E\xD5\xB6"},
                                         {0xFB17, "\xD5\x84\xD4\xBD", "\xD5\x84\xD5\xAD"}};

const SpecialCase* special_case(char32_t c) {
  const SpecialCase* found =
      std::lower_bound(std::begin(kSpecialCases), std::end(kSpecialCases), c,
                       [](const SpecialCase& one, char32_t wanted) { return one.character < wanted; });
  return found != std::end(kSpecialCases) && found->character == c ? found : nullptr;
}

void append_upper(char32_t c, std::string& out) {
  if (const SpecialCase* special = c < 0x80 ? nullptr : special_case(c)) {
    out += special->upper;
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_toupper(as_utf8proc(c))));
  }
}

void append_title(char32_t c, std::string& out) {
  const SpecialCase* special = c < 0x80 ? nullptr : special_case(c);
  if (special != nullptr && special->title != nullptr) {
    out += special->title;
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_totitle(as_utf8proc(c))));
  }
}

bool is_cased(char32_t c) { return is_python_lower(c) || is_python_upper(c) || is_python_title(c); }

// Case_Ignorable: what may stand between the letters of a word.
bool is_case_ignorable(char32_t c) {
  const utf8proc_category_t kind = python_category(c);
  static constexpr std::u32string_view kMarks =
      U"'.:\u00B7\u0387\u055F\u05F4\u2018\u2019\u2024\u2027\uFE13\uFE52\uFE55\uFF07\uFF0E\uFF1A";
  return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_ME || kind == UTF8PROC_CATEGORY_CF ||
         kind == UTF8PROC_CATEGORY_LM || kind == UTF8PROC_CATEGORY_SK || kMarks.find(c) != std::u32string_view::npos;
}

// Whether a sigma at this place ends a word: a letter before it and none behind.
bool ends_word(std::string_view text, size_t begin, size_t end) {
  size_t at = begin;
  while (at > 0 && is_case_ignorable(code_point_before(text, at).value)) at -= code_point_before(text, at).size;
  if (at == 0 || !is_cased(code_point_before(text, at).value)) return false;
  at = end;
  while (at < text.size() && is_case_ignorable(code_point_at(text, at).value)) at += code_point_at(text, at).size;
  return at == text.size() || !is_cased(code_point_at(text, at).value);
}

void append_lower(std::string_view text, size_t at, const CodePoint& c, std::string& out) {
  if (c.value == 0x3A3) {
    append_utf8(out, ends_word(text, at, at + c.size) ? 0x3C2 : 0x3C3);
  } else if (c.value == 0x130) {
    out += "i\xCC\x87";  // the one letter whose lower case is two
  } else {
    append_utf8(out, static_cast<char32_t>(utf8proc_tolower(as_utf8proc(c.value))));
  }
}

template <class Append>
std::string changed(std::string_view text, Append append) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    append(i, c, out);
    i += c.size;
  }
  return out;
}

}  // namespace

bool is_python_space(char32_t c) { return is_whitespace(c) || (c >= 0x1C && c <= 0x1F); }

bool is_python_letter(char32_t c) {
  const utf8proc_category_t kind = python_category(c);
  return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

bool is_python_decimal(char32_t c) { return python_category(c) == UTF8PROC_CATEGORY_ND; }
bool is_python_digit(char32_t c) { return is_python_decimal(c) || is_in_ranges(kDigits, c); }
bool is_python_numeric(char32_t c) { return is_numeric(c) || is_in_ranges(kNumerals, c); }
bool is_python_lower(char32_t c) { return python_category(c) == UTF8PROC_CATEGORY_LL || is_in_ranges(kOtherLower, c); }
bool is_python_upper(char32_t c) { return python_category(c) == UTF8PROC_CATEGORY_LU || is_in_ranges(kOtherUpper, c); }
bool is_python_title(char32_t c) { return python_category(c) == UTF8PROC_CATEGORY_LT; }

bool begins_python_name(char32_t c) {
  return c == '_' || is_python_letter(c) || python_category(c) == UTF8PROC_CATEGORY_NL || c == 0x1885 || c == 0x1886 ||
         c == 0x2118 || c == 0x212E;
}

std::string upper_text(std::string_view text) {
  return changed(text, [](size_t, const CodePoint& c, std::string& out) { append_upper(c.value, out); });
}

std::string lower_text(std::string_view text) {
  return changed(text, [&](size_t at, const CodePoint& c, std::string& out) { append_lower(text, at, c, out); });
}

std::string casefold_text(std::string_view text) {
  return changed(text, [](size_t, const CodePoint& c, std::string& out) {
    std::array<utf8proc_int32_t, 8> folded{};
    int boundary = 0;
    const auto count =
        utf8proc_decompose_char(as_utf8proc(c.value), folded.data(), folded.size(), UTF8PROC_CASEFOLD, &boundary);
    for (utf8proc_ssize_t i = 0; i < count; ++i)
      append_utf8(out, static_cast<char32_t>(folded[static_cast<size_t>(i)]));
  });
}

std::string swapcase_text(std::string_view text) {
  return changed(text, [&](size_t at, const CodePoint& c, std::string& out) {
    if (is_python_upper(c.value)) {
      append_lower(text, at, c, out);
    } else if (is_python_lower(c.value)) {
      append_upper(c.value, out);
    } else {
      append_utf8(out, c.value);
    }
  });
}

std::string capitalized(std::string_view text) {
  return changed(text, [&](size_t at, const CodePoint& c, std::string& out) {
    if (at == 0) {
      append_title(c.value, out);
    } else {
      append_lower(text, at, c, out);
    }
  });
}

std::string title_text(std::string_view text) {
  bool in_word = false;
  return changed(text, [&](size_t at, const CodePoint& c, std::string& out) {
    if (in_word) {
      append_lower(text, at, c, out);
    } else {
      append_title(c.value, out);
    }
    in_word = is_cased(c.value);
  });
}

}  // namespace incontext::text
