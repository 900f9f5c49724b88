// Input, with zero bytes between: tokenizer.json, a text, and the other files of a tokenizer's folder in the order of
// kFiles. Empty ones are not written.
#include <fstream>

#include "fuzz/input.h"
#include "support/temporary_directory.h"
#include "text/stream_decoder.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

using namespace incontext;

namespace {

constexpr const char* kFiles[] = {"tokenizer_config.json",   "vocab.json",        "merges.txt",
                                  "special_tokens_map.json", "added_tokens.json", "generation_config.json"};

void write_file(const std::filesystem::path& path, const std::string& contents) {
  if (contents.empty()) {
    std::filesystem::remove(path);
  } else {
    std::ofstream(path, std::ios::binary) << contents;
  }
}

void use(const std::shared_ptr<const text::Tokenizer>& tokenizer, const std::string& words) {
  for (const bool special : {false, true}) {
    const std::vector<int64_t> ids = tokenizer->encode(words, special);
    for (const int64_t id : ids) INCONTEXT_ASSERT(id >= 0 && id < INT32_MAX);
    const std::string decoded = tokenizer->decode(ids, special);
    INCONTEXT_ASSERT(text::is_valid_utf8(decoded));
    text::StreamDecoder stream(tokenizer, special);
    std::string streamed;
    for (const int64_t id : ids) {
      const std::string piece = stream.push(id);
      INCONTEXT_ASSERT(text::is_valid_utf8(piece));
      streamed += piece;
    }
    INCONTEXT_ASSERT(streamed + stream.finish() == decoded);
  }
  // Any ids, also such as no token has.
  std::vector<int64_t> ids;
  for (const char c : words) ids.push_back(static_cast<unsigned char>(c));
  INCONTEXT_ASSERT(text::is_valid_utf8(tokenizer->decode(ids)));
  for (const int64_t id : ids) tokenizer->is_special(id);
  INCONTEXT_ASSERT(tokenizer->vocab_size() >= 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const testing::TemporaryDirectory folder;
  testing::InputParts parts(data, size);
  write_file(folder / "tokenizer.json", parts.next());
  const std::string words = parts.next();
  for (const char* name : kFiles) write_file(folder / name, parts.next());
  try {
    use(text::Tokenizer::open(folder.path()), words);
  } catch (const base::Error& error) {
    testing::check_message(error);
  }
  return 0;
}
