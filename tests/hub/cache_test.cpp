#include "hub/cache.h"

#include "base/file.h"
#include "support/errors.h"
#include "support/temporary_directory.h"

namespace incontext::hub {
namespace {

namespace fs = std::filesystem;
using incontext::testing::error_of;
using incontext::testing::TemporaryDirectory;

const std::string kCommit(40, 'b');

class CacheTest : public ::testing::Test {
 protected:
  void write(const fs::path& name, const std::string& text) {
    const fs::path path = directory_.path() / "models--org--tiny" / name;
    base::make_directories(path.parent_path());
    base::write_file_atomic(path, text);
  }
  void write_snapshot(const std::string& name, const std::string& text = "{}") {
    write(fs::path("snapshots") / kCommit / name, text);
  }
  CachedModel find(const std::string& revision = "main") const {
    return find_cached(directory_.path(), {.repository = "org/tiny", .revision = revision});
  }

  TemporaryDirectory directory_;
  ModelCache cache_{directory_.path(), "org/tiny"};
};

TEST_F(CacheTest, RevisionsNameCommits) {
  write_snapshot("config.json");
  write_snapshot("model.safetensors");
  write("refs/main", kCommit + "\n");
  write("refs/refs/pr/1", kCommit);
  const fs::path snapshot = directory_.path() / "models--org--tiny/snapshots" / kCommit;
  for (const std::string& revision : {std::string("main"), std::string("refs/pr/1"), kCommit}) {
    EXPECT_EQ(find(revision).problem, "");
    EXPECT_EQ(find(revision).snapshot, snapshot) << revision;
  }
  EXPECT_EQ(find("v2").problem, directory_.path().string() + " has no revision 'v2' of it (it has main and refs/pr/1)");
  EXPECT_CONTAINS(find(std::string(40, 'd')).problem, " has no commit dddd");
  EXPECT_CONTAINS(find_cached(directory_.path(), {.repository = "org/big"}).problem, " has no such model");
  write("refs/main", "../../x");
  EXPECT_CONTAINS(error_of([&] { find(); }), "refs/main: expected a commit of 40 hexadecimal digits, got '../../x'");
}

TEST_F(CacheTest, SnapshotsThatLackFilesAreNotWhole) {
  write("refs/main", kCommit);
  EXPECT_CONTAINS(find().problem, " has no commit");
  write_snapshot("tokenizer.json");
  EXPECT_CONTAINS(find().problem, "is not whole (config.json is missing)");
  write_snapshot("config.json");
  EXPECT_CONTAINS(find().problem, "(model.safetensors is missing)");
  write_snapshot("model-00001-of-00002.safetensors");
  EXPECT_CONTAINS(find().problem, "(model.safetensors.index.json is missing)");
  write_snapshot(
      "model.safetensors.index.json",
      R"({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})");
  EXPECT_CONTAINS(find().problem, "(model-00002-of-00002.safetensors is missing)");
  write_snapshot("model-00002-of-00002.safetensors");
  EXPECT_EQ(find().problem, "");
}

TEST_F(CacheTest, LinksAreRelativeAndReplaceBrokenOnes) {
  write("refs/main", kCommit);
  write_snapshot("config.json");
  cache_.link(kCommit, "model.safetensors", "gone");
  EXPECT_CONTAINS(find().problem, "(model.safetensors is missing)");
  write("blobs/123", "weights");
  cache_.link(kCommit, "model.safetensors", "123");
  cache_.link(kCommit, "deep/er/file", "123");
  EXPECT_EQ(fs::read_symlink(cache_.snapshot(kCommit) / "model.safetensors"), "../../blobs/123");
  EXPECT_EQ(base::read_file(cache_.snapshot(kCommit) / "deep/er/file"), "weights");
  EXPECT_EQ(find().problem, "");
  const auto entries = fs::directory_iterator(cache_.snapshot(kCommit));
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 3) << "no temporary link is left";
}

TEST_F(CacheTest, RefsAreWrittenForNamesOnly) {
  cache_.write_ref("refs/pr/2", kCommit);
  cache_.write_ref(kCommit, kCommit);
  EXPECT_EQ(base::read_file(cache_.folder() / "refs/refs/pr/2"), kCommit);
  EXPECT_FALSE(fs::exists(cache_.folder() / "refs" / kCommit));
  EXPECT_EQ(cache_.commit_of("refs/pr/2"), kCommit);
}

}  // namespace
}  // namespace incontext::hub
