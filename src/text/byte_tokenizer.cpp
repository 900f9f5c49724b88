#include "text/byte_tokenizer.h"

#include "text/byte_level.h"
#include "text/tokenizer_parts.h"

namespace incontext::text {
namespace {

constexpr const char* kEnd = "<|endoftext|>";
constexpr int kBytes = 256;

SortedJson make_json() {
  const SortedJson byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  SortedJson vocabulary = SortedJson::object();
  for (int byte = 0; byte < kBytes; ++byte) {
    vocabulary[bytes_to_characters(std::string(1, static_cast<char>(byte)))] = byte;
  }
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", SortedJson::array({{{"id", kBytes},
                                               {"content", kEnd},
                                               {"single_word", false},
                                               {"lstrip", false},
                                               {"rstrip", false},
                                               {"normalized", false},
                                               {"special", true}}})},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"vocab", vocabulary},
            {"merges", SortedJson::array()}}}};
}

}  // namespace

std::string byte_tokenizer_json() { return make_json().dump(2) + "\n"; }

std::string byte_tokenizer_config_json() {
  const SortedJson json = {
      {"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}, {"eos_token", kEnd}};
  return json.dump(2) + "\n";
}

std::shared_ptr<const Tokenizer> byte_tokenizer() {
  auto parts = std::make_unique<TokenizerParts>();
  read_tokenizer_json(make_json(), "byte tokenizer", *parts);
  parts->finish_added_tokens();
  parts->special.eos = kBytes;
  parts->special.stops = {kBytes};
  return std::make_shared<const Tokenizer>(std::move(parts));
}

}  // namespace incontext::text
