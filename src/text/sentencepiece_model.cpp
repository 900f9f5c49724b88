#include <sentencepiece_processor.h>

#include "base/error.h"
#include "base/file.h"
#include "text/tokenizer_parts.h"

namespace incontext::text {
namespace {

class SentencePieceModel : public WordModel {
 public:
  SentencePieceModel(const std::filesystem::path& path, bool space_after_special)
      : space_after_special_(space_after_special) {
    const std::string contents = base::read_file(path);
    const auto status = processor_.LoadFromSerializedProto(contents);
    base::check(status.ok(), "{}: is not a SentencePiece model: {}", path.string(), status.ToString());
    newline_size_ = ids_of("\n").size();
  }

  const sentencepiece::SentencePieceProcessor& processor() const { return processor_; }

  void encode(const Piece& word, std::vector<int64_t>& ids) const override {
    if (word.at_start || space_after_special_) {
      const std::vector<int> found = ids_of(word.text);
      ids.insert(ids.end(), found.begin(), found.end());
      return;
    }
    // Without the space that the library puts before a text: encode after a line end, and leave that out.
    const std::vector<int> found = ids_of("\n" + word.text);
    ids.insert(ids.end(), found.begin() + static_cast<std::ptrdiff_t>(std::min(newline_size_, found.size())),
               found.end());
  }

  std::optional<int64_t> id_of(std::string_view token) const override {
    const int id = processor_.PieceToId({token.data(), token.size()});
    if (processor_.IsUnknown(id) && processor_.IdToPiece(id) != token) return std::nullopt;
    return id;
  }

 private:
  std::vector<int> ids_of(std::string_view text) const {
    std::vector<int> ids;
    const auto status = processor_.Encode({text.data(), text.size()}, &ids);
    base::check(status.ok(), "SentencePiece could not encode a text: {}", status.ToString());
    return ids;
  }

  sentencepiece::SentencePieceProcessor processor_;
  bool space_after_special_;
  size_t newline_size_ = 0;
};

}  // namespace

void read_sentencepiece(const std::filesystem::path& path, bool space_after_special, TokenizerParts& parts) {
  auto model = std::make_unique<SentencePieceModel>(path, space_after_special);
  const sentencepiece::SentencePieceProcessor& processor = model->processor();
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    const std::string& piece = processor.IdToPiece(id);
    parts.tokens.emplace(id, piece);
    if (!processor.IsControl(id) && !processor.IsUnknown(id)) continue;
    AddedToken token;
    token.id = id;
    token.content = piece;
    token.special = true;
    parts.added.add(std::move(token));
  }
  parts.model = std::move(model);
  parts.decoder = make_sentencepiece_decoder();
}

}  // namespace incontext::text
