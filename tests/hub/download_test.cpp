#include "hub/download.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "base/file.h"
#include "hub/fake_hub.h"
#include "support/errors.h"
#include "support/temporary_directory.h"

namespace incontext::hub {
namespace {

namespace fs = std::filesystem;
using incontext::testing::error_of;
using incontext::testing::TemporaryDirectory;
using testing::FakeHub;
using testing::FakeRequest;

class DownloadTest : public ::testing::Test {
 protected:
  fs::path download(const std::string& revision = "main") {
    return download_model({.repository = "org/tiny", .revision = revision}, hub_.options(cache_.path()));
  }
  fs::path model() const { return cache_.path() / "models--org--tiny"; }

  TemporaryDirectory cache_;
  FakeHub hub_;
};

TEST_F(DownloadTest, FillsTheCacheAsTheHuggingFaceToolsDo) {
  const fs::path snapshot = download();
  EXPECT_EQ(snapshot, model() / "snapshots" / hub_.commit);
  for (const std::string name : {"config.json", "tokenizer.json", "model.safetensors"}) {
    EXPECT_EQ(fs::read_symlink(snapshot / name), "../../blobs/" + hub_.etag_of(name));
    EXPECT_EQ(base::read_file(snapshot / name), hub_.files[name].content) << name;
    EXPECT_TRUE(fs::exists(cache_.path() / ".locks/models--org--tiny" / (hub_.etag_of(name) + ".lock")));
  }
  EXPECT_EQ(base::read_file(model() / "refs/main"), hub_.commit);
  EXPECT_FALSE(fs::exists(snapshot / "README.md"));
  EXPECT_FALSE(fs::exists(snapshot / "pytorch_model.bin"));
  const auto blobs = fs::directory_iterator(model() / "blobs");
  EXPECT_EQ(std::distance(begin(blobs), end(blobs)), 3) << "nothing incomplete is left";
}

TEST_F(DownloadTest, ASecondTimeOnlyTheListIsAskedFor) {
  download();
  const size_t before = hub_.requests().size();
  download();
  EXPECT_EQ(hub_.requests().size(), before + 1);
  // Another revision of the same commit, and a new commit with the same weights.
  hub_.revisions["v1"] = hub_.commit;
  download("v1");
  EXPECT_EQ(base::read_file(model() / "refs/v1"), hub_.commit);
  hub_.commit = std::string(40, 'e');
  hub_.files["config.json"].content = "{}";
  EXPECT_EQ(base::read_file(download() / "config.json"), "{}");
  EXPECT_EQ(base::read_file(model() / "refs/main"), hub_.commit);
  EXPECT_EQ(base::read_file(model() / "refs/v1"), std::string(40, 'a'));
  EXPECT_EQ(hub_.gets("/store/model.safetensors"), 1);
}

TEST_F(DownloadTest, RevisionsWithSlashesAreOneName) {
  hub_.revisions["refs/pr/1"] = hub_.commit;
  download("refs/pr/1");
  EXPECT_EQ(base::read_file(model() / "refs/refs/pr/1"), hub_.commit);
  EXPECT_EQ(hub_.requests()[0].target, "/api/models/org/tiny/revision/refs%2Fpr%2F1?blobs=true");
  download(hub_.commit);
  EXPECT_FALSE(fs::exists(model() / "refs" / hub_.commit));
}

TEST_F(DownloadTest, TheTokenGoesToTheHubAndNowhereElse) {
  hub_.token = "hf_secret";
  DownloadOptions options = hub_.options(cache_.path());
  options.environment.token = "hf_secret";
  download_model({.repository = "org/tiny"}, options);
  int stored = 0;
  for (const FakeRequest& request : hub_.requests()) {
    stored += request.storage ? 1 : 0;
    EXPECT_EQ(request.authorization, request.storage ? "" : "Bearer hf_secret") << request.path;
  }
  EXPECT_EQ(stored, 1);
}

TEST_F(DownloadTest, RenamedModelsAreFollowedWithTheToken) {
  hub_.token = "hf_secret";
  DownloadOptions options = hub_.options(cache_.path());
  options.environment.token = "hf_secret";
  const fs::path snapshot = download_model({.repository = "org/old"}, options);
  EXPECT_EQ(snapshot.parent_path().parent_path().filename(), "models--org--old");
  EXPECT_EQ(base::read_file(snapshot / "model.safetensors"), hub_.files["model.safetensors"].content);
  EXPECT_CONTAINS(error_of([&] { download_model({.repository = "org/loop"}, options); }), "more than 10 redirects");
}

TEST_F(DownloadTest, ListsWhatTheHubHas) {
  const Listing listing = list_files({.repository = "org/tiny"}, hub_.options(cache_.path()));
  EXPECT_EQ(listing.commit, hub_.commit);
  ASSERT_EQ(listing.files.size(), hub_.files.size());
  for (const HubFile& file : listing.files) {
    EXPECT_EQ(file.size, hub_.files.at(file.name).content.size()) << file.name;
    EXPECT_EQ(file.etag, hub_.etag_of(file.name)) << file.name;
  }
  EXPECT_TRUE(fs::is_empty(cache_.path()));
}

TEST_F(DownloadTest, ProxiesAreThoseOfTheUsualVariables) {
  ::setenv("http_proxy", hub_.storage().c_str(), 1);
  ::unsetenv("no_proxy");
  EXPECT_CONTAINS(error_of([&] { download(); }), "answered 404");
  ::unsetenv("http_proxy");
  ASSERT_EQ(hub_.requests().size(), 1U);
  EXPECT_TRUE(hub_.requests()[0].storage);
}

TEST_F(DownloadTest, TellsHowItGoesUnlessTold) {
  const auto told = [&](bool quiet, bool bars) {
    fs::remove_all(model());
    hub_.overloads = 1;
    DownloadOptions options = hub_.options(cache_.path());
    options.quiet = quiet;
    options.environment.progress_bars = bars;
    ::testing::internal::CaptureStderr();
    download_model({.repository = "org/tiny"}, options);
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_CONTAINS(told(false, true), "the server answered 503; again in 0.0 s (2 of 3)");
  EXPECT_CONTAINS(told(false, true), "Downloading org/tiny  100 %  1/1 MiB");
  const std::string notes = told(false, false);
  EXPECT_CONTAINS(notes, "again in");
  EXPECT_EQ(notes.find("Downloading"), std::string::npos);
  EXPECT_EQ(told(true, true), "");
}

TEST_F(DownloadTest, DamagedBytesAreRemoved) {
  std::string damaged = hub_.files["model.safetensors"].content;
  damaged[100'000] ^= 1;
  hub_.files["model.safetensors"].sent = damaged;
  const std::string etag = hub_.etag_of("model.safetensors");
  EXPECT_CONTAINS(error_of([&] { download(); }),
                  "org/tiny: model.safetensors: the bytes are damaged: expected SHA-256 " + etag + ", got ");
  EXPECT_FALSE(fs::exists(model() / "blobs" / etag));
  EXPECT_FALSE(fs::exists(model() / "blobs" / (etag + ".incomplete")));
  EXPECT_FALSE(fs::exists(model() / "refs/main")) << "the name waits for the last file";

  hub_.files["config.json"].sent = R"({"model_type": "evil"})";
  fs::remove_all(model());
  EXPECT_CONTAINS(error_of([&] { download(); }), "org/tiny: config.json: the bytes are damaged: expected git SHA-1");
}

TEST_F(DownloadTest, AnotherSizeIsAnError) {
  const size_t size = hub_.files["model.safetensors"].content.size();
  hub_.files["model.safetensors"].told_size = size + 10;
  EXPECT_CONTAINS(error_of([&] { download(); }), "model.safetensors: expected 200010 bytes, the server has 200000");
  hub_.files["model.safetensors"].told_size = size - 10;
  EXPECT_CONTAINS(error_of([&] { download(); }), "model.safetensors: expected 199990 bytes, the server has 200000");
}

TEST_F(DownloadTest, ADiskTooSmallIsToldBeforeAnythingComes) {
  hub_.files["model.safetensors"].told_size = uint64_t{1} << 60;
  EXPECT_CONTAINS(error_of([&] { download(); }), "org/tiny: needs 1048576.0 TiB more in ");
  EXPECT_EQ(hub_.requests().size(), 1U);
}

TEST_F(DownloadTest, AnswersAboutAnotherCommitAreErrors) {
  hub_.answered_commit = std::string(40, 'f');
  EXPECT_CONTAINS(error_of([&] { download(); }), "org/tiny: config.json: expected commit aaaa");
}

TEST_F(DownloadTest, HostileListsWriteNothing) {
  hub_.listing = R"({"sha": ")" + hub_.commit + R"(", "siblings": [{"rfilename": "../../../config.json"}]})";
  EXPECT_CONTAINS(error_of([&] { download(); }), "would leave its folder");
  EXPECT_TRUE(fs::is_empty(cache_.path()));
}

TEST_F(DownloadTest, ModelsWithoutSafetensorsAreErrors) {
  hub_.files.erase("model.safetensors");
  EXPECT_EQ(error_of([&] { download(); }),
            "org/tiny: expected weights in *.safetensors, found pytorch_model.bin or the like only");
  hub_.files.erase("pytorch_model.bin");
  EXPECT_EQ(error_of([&] { download(); }), "org/tiny: expected weights in *.safetensors, found none");
}

TEST_F(DownloadTest, AnOverloadedServerIsAskedAgain) {
  hub_.overloads = 2;
  EXPECT_NO_THROW(download());
  hub_.overloads = 3;
  EXPECT_CONTAINS(error_of([&] { download(); }), "the server answered 503");
  hub_.overloads = 1;
  hub_.retry_after = "1";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_NO_THROW(download());
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

TEST_F(DownloadTest, TwoDownloadsAtOnceFetchEveryBlobOnce) {
  hub_.storage_delay_ms = 20;
  std::string first_error, second_error;
  std::thread first([&] { first_error = error_of([&] { download(); }); });
  std::thread second([&] { second_error = error_of([&] { download(); }); });
  first.join();
  second.join();
  EXPECT_EQ(first_error, "no error");
  EXPECT_EQ(second_error, "no error");
  EXPECT_EQ(hub_.gets("/store/model.safetensors"), 1);
  EXPECT_EQ(base::read_file(model() / "snapshots" / hub_.commit / "model.safetensors"),
            hub_.files["model.safetensors"].content);
}

}  // namespace
}  // namespace incontext::hub
