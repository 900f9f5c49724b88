#include <gtest/gtest.h>

#include "hub/download.h"
#include "hub/fake_hub.h"
#include "support/errors.h"
#include "support/temporary_directory.h"

namespace incontext::hub {
namespace {

using incontext::testing::error_of;
using incontext::testing::TemporaryDirectory;
using testing::FakeHub;

class RefusalTest : public ::testing::Test {
 protected:
  std::string message(const std::string& token = "", const std::string& revision = "main") {
    DownloadOptions options = hub_.options(cache_.path());
    options.environment.token = token;
    return error_of([&] { download_model({.repository = "org/tiny", .revision = revision}, options); });
  }
  std::string refused(int status, const std::string& code = "", const std::string& token = "") {
    hub_.refuse_status = status;
    hub_.refuse_code = code;
    return message(token);
  }

  TemporaryDirectory cache_;
  FakeHub hub_;
};

TEST_F(RefusalTest, UnknownOrPrivateModels) {
  EXPECT_EQ(refused(401), "org/tiny: " + hub_.endpoint() +
                              "/api/models/org/tiny/revision/main answered 401: there is no such model, or it is "
                              "private: check the name, or set HF_TOKEN");
  EXPECT_CONTAINS(refused(401, "", "hf_x"), "or the token (HF_TOKEN) is wrong or may not read it");
  EXPECT_CONTAINS(refused(404), "there is no such model or no revision 'main'");
  EXPECT_CONTAINS(refused(418), "answered 418: expected 200");
}

TEST_F(RefusalTest, GatedModelsNameTheLicence) {
  hub_.refuse_message = "Access to model org/tiny is restricted\tto the authorized list";
  const std::string gated = refused(403, "GatedRepo");
  EXPECT_CONTAINS(gated, "the model is gated: accept its licence at " + hub_.endpoint() + "/org/tiny and set HF_TOKEN");
  EXPECT_CONTAINS(gated, "(it says: Access to model org/tiny is restricted to the authorized list)");
  EXPECT_CONTAINS(refused(403), "access refused: accept the licence at");
}

TEST_F(RefusalTest, UnknownRevisions) {
  EXPECT_CONTAINS(message("", "v9"), "org/tiny@v9: ");
  EXPECT_CONTAINS(message("", "v9"), "answered 404: the model has no revision 'v9'");
}

TEST_F(RefusalTest, AWrongTokenIsRefusedAndNotShown) {
  hub_.token = "hf_right";
  EXPECT_EQ(message("hf_right"), "no error");
  const std::string wrong = message("hf_wrong");
  EXPECT_CONTAINS(wrong, "answered 401");
  EXPECT_EQ(wrong.find("hf_wrong"), std::string::npos);
}

TEST_F(RefusalTest, RefusalsAreNotAskedTwice) {
  refused(404);
  EXPECT_EQ(hub_.requests().size(), 1U);
}

TEST_F(RefusalTest, AFileThatIsListedButGone) {
  hub_.listing = R"({"sha": ")" + hub_.commit + R"(", "siblings": [{"rfilename": "config.json"},
                     {"rfilename": "x.safetensors"}]})";
  EXPECT_CONTAINS(message(), "x.safetensors answered 404: the revision has no such file");
}

TEST_F(RefusalTest, NobodyListens) {
  DownloadOptions options = hub_.options(cache_.path());
  options.environment.endpoint = "http://127.0.0.1:1";
  EXPECT_CONTAINS(error_of([&] { download_model({.repository = "org/tiny"}, options); }),
                  "http://127.0.0.1:1/api/models/org/tiny/revision/main: Failed to connect");
}

}  // namespace
}  // namespace incontext::hub
