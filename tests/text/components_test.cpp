// Normalizers, pre-tokenizers and decoders alone against what the tokenizers library gave (tools/make_golden_text.py).
#include <gtest/gtest.h>

#include "text/decoder.h"
#include "text/golden.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"

namespace incontext::text {
namespace {

nlohmann::json pieces_of(const PreTokenizer& cutter, const std::string& text) {
  std::vector<Piece> words;
  cutter.cut({text, true}, words);
  nlohmann::json out = nlohmann::json::array();
  for (const Piece& word : words) out.push_back(word.text);
  return out;
}

std::string decoded(const Decoder& decoder, const nlohmann::json& tokens) {
  DecodeRun run = decoder.start();
  std::string out;
  for (const nlohmann::json& token : tokens) out += run.push(token.get<std::string>());
  return out + run.finish();
}

TEST(Components, DoWhatTheReferenceDoes) {
  const nlohmann::json golden = read_golden("components.json");
  ASSERT_GT(golden["rows"].size(), 60U);
  for (const nlohmann::json& row : golden["rows"]) {
    const auto kind = row[0].get<std::string>();
    const JsonField field(row[1], kind);
    const nlohmann::json& inputs = golden[kind == "decoder" ? "tokens" : "texts"];
    for (size_t i = 0; i < inputs.size(); ++i) {
      SCOPED_TRACE(row[1].dump() + " on " + inputs[i].dump());
      if (row[2][i].is_null()) continue;  // the library itself gave up
      if (kind == "normalizer") {
        Piece piece{inputs[i].get<std::string>(), true};
        make_normalizer(field)->apply(piece);
        EXPECT_EQ(piece.text, row[2][i].get<std::string>());
      } else if (kind == "pre_tokenizer") {
        EXPECT_EQ(pieces_of(*make_pre_tokenizer(field), inputs[i].get<std::string>()), row[2][i]);
      } else {
        EXPECT_EQ(decoded(make_decoder(field), inputs[i]), row[2][i].get<std::string>());
      }
    }
  }
}

}  // namespace
}  // namespace incontext::text
