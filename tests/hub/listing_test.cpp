#include "hub/listing.h"

#include "support/errors.h"

namespace incontext::hub {
namespace {

using incontext::testing::error_of;
using Names = std::vector<std::string>;

const std::string kListedCommit(40, 'c');

std::string listing_of(const std::string& siblings) {
  return R"({"sha": ")" + kListedCommit + R"(", "siblings": [)" + siblings + "]}";
}

Names selected(const Names& names) {
  std::vector<HubFile> files;
  for (const std::string& name : names) files.push_back({.name = name});
  Names out;
  for (const HubFile& file : select_for_inference(files)) out.push_back(file.name);
  return out;
}

TEST(Listing, ReadsCommitNamesSizesAndDigests) {
  const Listing listing = read_listing(listing_of(R"({"rfilename": "a/b.json", "size": 3, "blobId": "11"},
                    {"rfilename": "w", "size": 9, "blobId": "22", "lfs": {"sha256": "33", "size": 9}},
                    {"rfilename": "v"}, {"rfilename": "u", "size": -1, "blobId": "../x"})"),
                                       "here");
  EXPECT_EQ(listing.commit, kListedCommit);
  ASSERT_EQ(listing.files.size(), 4U);
  EXPECT_EQ(listing.files[0].name, "a/b.json");
  EXPECT_EQ(listing.files[0].size, 3U);
  EXPECT_EQ(listing.files[0].etag, "11");
  EXPECT_EQ(listing.files[1].etag, "33");
  EXPECT_EQ(listing.files[2].size, std::nullopt);
  EXPECT_EQ(listing.files[3].size, std::nullopt);
  EXPECT_EQ(listing.files[3].etag, "") << "would leave the folder of blobs";
}

TEST(Listing, AnswersOfAnotherFormAreErrors) {
  const auto message = [](const std::string& json) { return error_of([&] { read_listing(json, "here"); }); };
  EXPECT_EQ(message("<html>"), "here: expected a JSON object about the revision, got '<html>'");
  EXPECT_CONTAINS(message("[]"), "expected a JSON object");
  EXPECT_CONTAINS(message("{}"), "commit as 40 hexadecimal digits, got ''");
  EXPECT_CONTAINS(message(R"({"sha": "../../x"})"), "got '../../x'");
  EXPECT_CONTAINS(message(R"({"sha": ")" + kListedCommit + R"("})"), "expected a list of files");
  EXPECT_CONTAINS(message(listing_of("7")), "a file named ''");
  EXPECT_CONTAINS(message(listing_of(R"({"rfilename": 7})")), "a file named ''");
}

TEST(Listing, NamesThatLeaveTheFolderAreRefused) {
  for (const char* name : {"../config.json", "/etc/passwd", "a/../../b", "a//b", "a\\\\b"}) {
    EXPECT_CONTAINS(
        error_of([&] { read_listing(listing_of(R"({"rfilename": ")" + std::string(name) + R"("})"), "here"); }),
        "would leave its folder");
  }
}

TEST(Listing, SelectsWhatRunningTakesWithWeightsLast) {
  EXPECT_EQ(selected({"model-00002-of-00002.safetensors",
                      "model-00001-of-00002.safetensors",
                      ".gitattributes",
                      "model.safetensors.index.json",
                      "README.md",
                      "config.json",
                      "generation_config.json",
                      "tokenizer.json",
                      "tokenizer_config.json",
                      "tokenizer.model",
                      "vocab.json",
                      "merges.txt",
                      "special_tokens_map.json",
                      "chat_template.jinja",
                      "added_tokens.json",
                      "pytorch_model.bin",
                      "model.gguf",
                      "tf_model.h5",
                      "flax_model.msgpack",
                      "onnx/config.json",
                      "original/x.safetensors"}),
            (Names{"added_tokens.json", "chat_template.jinja", "config.json", "generation_config.json", "merges.txt",
                   "model.safetensors.index.json", "special_tokens_map.json", "tokenizer.json", "tokenizer.model",
                   "tokenizer_config.json", "vocab.json", "model-00001-of-00002.safetensors",
                   "model-00002-of-00002.safetensors"}));
}

TEST(Listing, SelectsOneCopyOfTheWeights) {
  EXPECT_EQ(selected({"consolidated.safetensors", "consolidated.safetensors.index.json", "a.safetensors",
                      "model.safetensors.index.json"}),
            (Names{"model.safetensors.index.json", "a.safetensors"}));
  EXPECT_EQ(selected({"consolidated.safetensors", "model.safetensors", "model.safetensors.index.json",
                      "model-00001-of-00001.safetensors", "model.fp16.safetensors"}),
            Names{"model.safetensors"});
  EXPECT_EQ(selected({"consolidated.safetensors"}), Names{"consolidated.safetensors"});
}

}  // namespace
}  // namespace incontext::hub
