#include "hub/model_place.h"

#include <gtest/gtest.h>

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

class ModelPlaceTest : public ::testing::Test {
 protected:
  FindOptions options(bool download) const {
    return {.download = download, .download_flag = "--fetch", .transfer = hub_.options(cache_.path())};
  }
  fs::path find(const std::string& model, bool download = false) const { return find_model(model, options(download)); }
  std::string message(const std::string& model, bool download = false) const {
    return error_of([&] { find(model, download); });
  }

  TemporaryDirectory cache_;
  FakeHub hub_;
};

TEST_F(ModelPlaceTest, FoldersAreUsedAsTheyAre) {
  EXPECT_EQ(find(cache_.path()), cache_.path());
  EXPECT_EQ(find("."), ".");
  base::write_file_atomic(cache_ / "file", "");
  EXPECT_EQ(message(cache_ / "file"),
            (cache_ / "file").string() + ": expected a folder, org/name or org/name@revision, got a file");
  EXPECT_EQ(message("./no/such"), "./no/such: no such folder (expected a folder, org/name or org/name@revision)");
}

TEST_F(ModelPlaceTest, NothingIsFetchedUnasked) {
  EXPECT_EQ(message("org/tiny"), "org/tiny: no such folder, and " + cache_.path().string() +
                                     " has no such model; --fetch fetches it from " + hub_.endpoint() + "/");
  EXPECT_EQ(hub_.requests().size(), 0U);
}

TEST_F(ModelPlaceTest, WhatIsCachedIsFoundWithoutTheNetwork) {
  const fs::path snapshot = find("org/tiny", true);
  EXPECT_TRUE(fs::exists(snapshot / "model.safetensors"));
  const size_t asked = hub_.requests().size();
  EXPECT_EQ(find("org/tiny"), snapshot);
  EXPECT_EQ(find("org/tiny", true), snapshot);
  EXPECT_EQ(find("org/tiny@" + hub_.commit), snapshot);
  FindOptions offline = options(true);
  offline.transfer.environment.offline = true;
  EXPECT_EQ(find_model("org/tiny", offline), snapshot);
  EXPECT_EQ(hub_.requests().size(), asked);

  EXPECT_CONTAINS(message("org/tiny@v2"), "has no revision 'v2' of it (it has main); --fetch fetches it");
}

TEST_F(ModelPlaceTest, OfflineForbidsToFetch) {
  FindOptions offline = options(true);
  offline.transfer.environment.offline = true;
  EXPECT_CONTAINS(error_of([&] { find_model("org/tiny", offline); }),
                  "has no such model; HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) forbids to fetch it");
  EXPECT_CONTAINS(error_of([&] { download_model({.repository = "org/tiny"}, offline.transfer); }), "forbids to ask");
  EXPECT_EQ(hub_.requests().size(), 0U);
}

TEST_F(ModelPlaceTest, AnInterruptedDownloadIsNotTakenForAModel) {
  hub_.drops = {100, 0, 0, 0};
  EXPECT_NE(message("org/tiny", true), "no error");
  hub_.drops.clear();
  EXPECT_CONTAINS(message("org/tiny@" + hub_.commit), "is not whole (model.safetensors is missing); --fetch fetches");
  EXPECT_TRUE(fs::exists(find("org/tiny", true) / "model.safetensors"));
}

TEST_F(ModelPlaceTest, WithoutACacheThereIsAnError) {
  FindOptions homeless = options(false);
  homeless.transfer.environment.cache.clear();
  EXPECT_CONTAINS(error_of([&] { find_model("org/tiny", homeless); }), "set HF_HOME or HF_HUB_CACHE");
  homeless.download = true;
  EXPECT_CONTAINS(error_of([&] { find_model("org/tiny", homeless); }), "set HF_HOME or HF_HUB_CACHE");
}

}  // namespace
}  // namespace incontext::hub
