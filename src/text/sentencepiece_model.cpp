#include "base/error.h"
#include "base/file.h"
#include "text/sentencepiece_library.h"
#include "text/tokenizer_parts.h"

namespace incontext::text {
namespace {

class SentencePieceModel : public WordModel {
 public:
  SentencePieceModel(const std::filesystem::path& path, bool space_after_special)
      : space_after_special_(space_after_special) {
    const std::string contents = base::read_file(path);
    char message[256] = "";
    model_ = library_.open(contents.data(), contents.size(), message, sizeof message);
    base::check(model_ != nullptr, "{}: is not a SentencePiece model: {}", path.string(), message);
    newline_size_ = ids_of("\n").size();
  }
  ~SentencePieceModel() override {
    if (model_ != nullptr) library_.close(model_);
  }
  SentencePieceModel(const SentencePieceModel&) = delete;
  SentencePieceModel& operator=(const SentencePieceModel&) = delete;

  int size() const { return library_.size(model_); }
  std::string piece(int id) const {
    size_t length = 0;
    const char* text = library_.piece(model_, id, &length);
    return {text, length};
  }
  bool is_special(int id) const { return library_.is_control(model_, id) != 0 || library_.is_unknown(model_, id) != 0; }

  void encode(const Piece& word, std::vector<int64_t>& ids) const override {
    if (word.at_start || space_after_special_) {
      const std::vector<int64_t> found = ids_of(word.text);
      ids.insert(ids.end(), found.begin(), found.end());
      return;
    }
    // Without the space that the library puts before a text: encode after a line end, and leave that out.
    const std::vector<int64_t> found = ids_of("\n" + word.text);
    ids.insert(ids.end(), found.begin() + static_cast<std::ptrdiff_t>(std::min(newline_size_, found.size())),
               found.end());
  }

  std::optional<int64_t> id_of(std::string_view token) const override {
    const int id = library_.id(model_, token.data(), token.size());
    if (library_.is_unknown(model_, id) != 0 && piece(id) != token) return std::nullopt;
    return id;
  }

 private:
  std::vector<int64_t> ids_of(std::string_view text) const {
    std::vector<int64_t> ids;
    const auto take = [](void* context, int id) { static_cast<std::vector<int64_t>*>(context)->push_back(id); };
    base::check(library_.encode(model_, text.data(), text.size(), take, &ids) != 0,
                "SentencePiece could not encode a text");
    return ids;
  }

  const IncontextSentencePiece& library_ = sentencepiece_library();
  void* model_ = nullptr;
  bool space_after_special_;
  size_t newline_size_ = 0;
};

}  // namespace

void read_sentencepiece(const std::filesystem::path& path, bool space_after_special, TokenizerParts& parts) {
  auto model = std::make_unique<SentencePieceModel>(path, space_after_special);
  for (int id = 0; id < model->size(); ++id) {
    const std::string piece = model->piece(id);
    parts.tokens.emplace(id, piece);
    if (!model->is_special(id)) continue;
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
