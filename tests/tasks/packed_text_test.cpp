#include "tasks/packed_text.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <fstream>
#include <set>

#include "support/errors.h"
#include "support/temporary_directory.h"
#include "tasks/documents.h"

namespace incontext::tasks {
namespace {

using testing::error_of;

class TextTest : public ::testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return (folder_ / name).string();
  }
  std::string write_compressed(const std::string& name, const std::string& text) const {
    const std::string path = (folder_ / name).string();
    gzFile file = gzopen(path.c_str(), "wb");
    gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
    gzclose(file);
    return path;
  }
  static TextOptions options(std::vector<std::string> files, int64_t context, double held_out = 0) {
    TextOptions options;
    options.files = std::move(files);
    options.context = context;
    options.held_out_fraction = held_out;
    return options;
  }

  testing::TemporaryDirectory folder_;
};

TEST_F(TextTest, ReadsEveryKindOfFile) {
  const std::string text = write("a.txt", "one\ntwo");
  const std::string lines = write("b.jsonl", "{\"text\": \"three\"}\n\n{\"id\": 1, \"text\": \"four\"}");
  const std::string compressed = write_compressed("c.txt.gz", std::string(200000, 'x'));
  const std::string both = write_compressed("d.jsonl.gz", "{\"text\": \"\"}\n");
  write("notes.rst", "not read");
  EXPECT_EQ(read_documents({text, lines}), (std::vector<std::string>{"one\ntwo", "three", "four"}));
  EXPECT_EQ(read_documents({both}), (std::vector<std::string>{""}));
  const std::vector<std::string> all = read_documents({folder_.path().string()});
  ASSERT_EQ(all.size(), 5U);
  EXPECT_EQ(all[3], std::string(200000, 'x'));
}

TEST_F(TextTest, BadFilesAreNamed) {
  const auto fails = [](const std::string& path, const std::string& words) {
    EXPECT_CONTAINS(error_of([&] { read_documents({path}); }), path + words);
  };
  fails((folder_ / "none.txt").string(), ": no such file");
  fails(write("a.pdf", "x"), ": expected a file .txt, .md or .jsonl");
  fails(write("empty.txt", ""), ": holds no text");
  fails(write("a.jsonl", "{\"text\": \"x\"}\n{\"text\": 3}\n"), ":2: expected a JSON object");
  fails(write("b.jsonl", "{\"text\": \"x\""), ":1: expected a JSON object");
  const std::string cut = write_compressed("cut.txt.gz", "some text that is long enough to be compressed");
  std::filesystem::resize_file(cut, std::filesystem::file_size(cut) - 12);
  fails(cut, ": broken or truncated gzip data");
}

TEST_F(TextTest, FoldersPassOverEmptyAndHiddenFiles) {
  write("a.txt", "one");
  write("._a.txt", std::string("\0\5\26\7", 4));  // what macOS leaves beside files on other file systems
  write(".hidden.jsonl", "no JSON");
  write("b.txt", "");
  write("c.jsonl", "\n \n");
  write_compressed("d.md.gz", "");
  write("e.md", "two");
  const std::string folder = folder_.path().string();
  std::vector<std::string> notes;
  EXPECT_EQ(read_documents({folder}, &notes), (std::vector<std::string>{"one", "two"}));
  std::vector<std::string> expected;
  for (const char* name : {"b.txt", "c.jsonl", "d.md.gz"}) {
    expected.push_back((folder_ / name).string() + ": holds no text and is passed over");
  }
  EXPECT_EQ(notes, expected);
  EXPECT_EQ(read_documents({folder}), (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(PackedText(options({folder}, 2)).notes(), expected);
  // A hidden file that is asked for is read; a folder must hold some text.
  EXPECT_EQ(read_documents({write(".asked.txt", "three")}), (std::vector<std::string>{"three"}));
  for (const char* name : {"a.txt", "e.md"}) std::filesystem::remove(folder_ / name);
  EXPECT_CONTAINS(error_of([&] { read_documents({folder}); }), folder + ": no file in it holds text");
  for (const char* name : {"b.txt", "c.jsonl", "d.md.gz"}) std::filesystem::remove(folder_ / name);
  EXPECT_CONTAINS(error_of([&] { read_documents({folder}); }), folder + ": holds no .txt, .md or .jsonl files");
}

TEST_F(TextTest, DocumentsArePackedWithTheirEnds) {
  const PackedText text(
      options({write("a.jsonl", "{\"text\": \"abc\"}\n{\"text\": \"de\"}\n{\"text\": \"fghij\"}\n")}, 2));
  // a b c END d e END f g h i j END: thirteen tokens, six sequences of two, of which one is spared for the cut.
  EXPECT_EQ(text.sequences(), 5);
  EXPECT_EQ(text.held_out_sequences(), 0);
  const torch::Tensor batch = text.sample(0, 0, 5);
  EXPECT_EQ(batch.sizes(), (std::vector<int64_t>{5, 3}));
  const std::vector<int64_t> stream = {'a', 'b', 'c', 256, 'd', 'e', 256, 'f', 'g', 'h', 'i', 'j', 256};
  for (int64_t row = 0; row < 5; ++row) {
    const auto* ids = batch[row].data_ptr<int64_t>();
    EXPECT_NE(std::search(stream.begin(), stream.end(), ids, ids + 3), stream.end());
  }
}

// Sequences of distinct values, told apart by their first token.
TEST_F(TextTest, EveryEpochVisitsEverySequenceOnce) {
  std::string all;
  for (int i = 0; i < 240; ++i) all += static_cast<char>(i % 120 + 1);
  const PackedText text(options({write("a.txt", all)}, 10));
  const int64_t size = text.sequences();
  ASSERT_EQ(size, 23);
  std::set<std::vector<int64_t>> orders;
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    const torch::Tensor batch = text.sample(3, static_cast<uint64_t>(epoch * size), size);
    std::multiset<int64_t> firsts;
    std::vector<int64_t> order;
    for (int64_t row = 0; row < size; ++row) {
      order.push_back(batch[row][0].item<int64_t>());
      firsts.insert(order.back());
      for (int64_t i = 0; i < 10; ++i) {
        const int64_t here = batch[row][i].item<int64_t>(), next = batch[row][i + 1].item<int64_t>();
        EXPECT_TRUE(next == here % 120 + 1 || next == 256);
      }
    }
    int neighbours = 0;  // that follow each other as in the text
    for (size_t row = 0; row + 1 < order.size(); ++row) neighbours += order[row + 1] == (order[row] + 9) % 120 + 1;
    EXPECT_LT(neighbours, size / 2) << "not shuffled";
    // Firsts are ten apart from an offset, modulo 120: each residue at most twice.
    for (const int64_t first : firsts) EXPECT_LE(firsts.count(first), 2U);
    orders.insert(order);
  }
  EXPECT_EQ(orders.size(), 4U);
}

TEST_F(TextTest, ASequenceIsAFunctionOfSeedAndNumber) {
  const PackedText text(options({write("a.txt", std::string(500, 'a') + std::string(500, 'b'))}, 8));
  const torch::Tensor whole = text.sample(1, 100, 40);
  EXPECT_TRUE(torch::equal(text.sample(1, 117, 5), whole.narrow(0, 17, 5)));
  EXPECT_FALSE(torch::equal(text.sample(2, 100, 40), whole));
}

TEST_F(TextTest, HeldOutTextIsTheEndAndNeverTrainedOn) {
  const PackedText text(options({write("a.txt", std::string(900, 'a') + std::string(99, 'b'))}, 10, 0.1));
  EXPECT_EQ(text.held_out_sequences(), 9);
  const torch::Tensor held_out = text.held_out(0, 9);
  EXPECT_TRUE((held_out == 'b').logical_or(held_out == 256).all().item<bool>());
  EXPECT_TRUE((text.sample(0, 0, 500) == 'a').all().item<bool>());
  EXPECT_NEAR(text.held_out_bytes_per_token(), 0.99, 1e-9);  // END has no bytes
}

TEST_F(TextTest, HeldOutFiles) {
  TextOptions with = options({write("a.txt", std::string(100, 'a'))}, 10, 0.1);
  with.held_out_files = {write("b.txt", std::string(30, 'b'))};
  const PackedText text(with);
  EXPECT_EQ(text.sequences(), 9);
  EXPECT_EQ(text.held_out_sequences(), 3);
  EXPECT_EQ(text.held_out(2, 1)[0][0].item<int64_t>(), 'b');
}

TEST_F(TextTest, TooLittleTextIsRefused) {
  const std::string path = write("a.txt", "0123456789");
  EXPECT_CONTAINS(error_of([&] { PackedText(options({path}, 10)); }), "11 tokens to learn from, expected at least 21");
}

}  // namespace
}  // namespace incontext::tasks
