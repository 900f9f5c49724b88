#include "hub/environment.h"

#include <map>

#include "base/file.h"
#include "support/errors.h"
#include "support/temporary_directory.h"

namespace incontext::hub {
namespace {

using Variables = std::map<std::string, std::string>;
using incontext::testing::error_of;
using incontext::testing::TemporaryDirectory;

Environment read(const Variables& variables) {
  return read_environment([&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional<std::string>(found->second);
  });
}

TEST(Environment, TheCacheIsNamedByTheFirstVariableThatIsSet) {
  Variables variables;
  EXPECT_EQ(read(variables).cache, "");
  variables["HOME"] = "/home/a";
  EXPECT_EQ(read(variables).cache, "/home/a/.cache/huggingface/hub");
  variables["XDG_CACHE_HOME"] = "/xdg";
  EXPECT_EQ(read(variables).cache, "/xdg/huggingface/hub");
  variables["HF_HOME"] = "~/hf";
  EXPECT_EQ(read(variables).cache, "/home/a/hf/hub");
  variables["HUGGINGFACE_HUB_CACHE"] = "/older";
  EXPECT_EQ(read(variables).cache, "/older");
  variables["HF_HUB_CACHE"] = "/newer";
  EXPECT_EQ(read(variables).cache, "/newer");
  variables["HF_HUB_CACHE"] = "";
  EXPECT_EQ(read(variables).cache, "/older") << "empty is unset";
}

TEST(Environment, TheEndpointLosesItsSlashes) {
  EXPECT_EQ(read({}).endpoint, "https://huggingface.co");
  EXPECT_EQ(read({{"HF_ENDPOINT", "http://mirror:8/hub//"}}).endpoint, "http://mirror:8/hub");
  EXPECT_EQ(error_of([] {
              read({{"HF_ENDPOINT", "mirror"}});
            }),
            "HF_ENDPOINT: expected http://… or https://…, got 'mirror'");
}

TEST(Environment, EitherVariableMeansOffline) {
  EXPECT_FALSE(read({}).offline);
  for (const char* value : {"1", "on", "YES", "True"}) EXPECT_TRUE(read({{"HF_HUB_OFFLINE", value}}).offline) << value;
  EXPECT_FALSE(read({{"HF_HUB_OFFLINE", "no"}}).offline);
  EXPECT_TRUE(read({{"TRANSFORMERS_OFFLINE", "1"}}).offline);
  EXPECT_FALSE(read({{"HF_HUB_OFFLINE", "0"}, {"TRANSFORMERS_OFFLINE", "1"}}).offline);
}

TEST(Environment, TimeoutsAreSeconds) {
  EXPECT_EQ(read({}).etag_timeout.count(), 10'000);
  EXPECT_EQ(read({{"HF_HUB_ETAG_TIMEOUT", "30"}}).etag_timeout.count(), 30'000);
  EXPECT_EQ(read({{"HF_HUB_DOWNLOAD_TIMEOUT", "0.5"}}).download_timeout.count(), 500);
  for (const char* wrong : {"soon", "-1", "0", "nan", "1e9", "5s"}) {
    EXPECT_CONTAINS(error_of([&] {
                      read({{"HF_HUB_DOWNLOAD_TIMEOUT", wrong}});
                    }),
                    "HF_HUB_DOWNLOAD_TIMEOUT: expected a number of seconds");
  }
}

TEST(Environment, ProgressAndCertificates) {
  EXPECT_TRUE(read({}).progress_bars);
  EXPECT_FALSE(read({{"HF_HUB_DISABLE_PROGRESS_BARS", "1"}}).progress_bars);
  EXPECT_EQ(read({{"SSL_CERT_FILE", "/c"}, {"REQUESTS_CA_BUNDLE", "/a"}}).certificates, "/a");
}

TEST(Environment, TheTokenComesFromAVariableOrElseFromAFile) {
  const TemporaryDirectory directory;
  base::write_file_atomic(directory / "token", "hf_file\n");
  base::write_file_atomic(directory / "other", " hf_other ");
  Variables variables = {{"HF_HOME", directory.path().string()}};
  EXPECT_EQ(read_token(read(variables)), "hf_file");
  variables["HF_TOKEN_PATH"] = directory / "other";
  EXPECT_EQ(read_token(read(variables)), "hf_other");
  variables["HUGGING_FACE_HUB_TOKEN"] = "hf_older";
  EXPECT_EQ(read_token(read(variables)), "hf_older");
  variables["HF_TOKEN"] = "hf_newer\n";
  EXPECT_EQ(read_token(read(variables)), "hf_newer");
  variables["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1";
  EXPECT_EQ(read_token(read(variables)), "");
  EXPECT_EQ(read_token(read({{"HF_HOME", directory / "gone"}})), "");
}

TEST(Environment, ATokenThatIsNoWordIsRefusedAndNotShown) {
  const std::string message = error_of([] { read_token(read({{"HF_TOKEN", "secret\r\nX-Evil: 1"}})); });
  EXPECT_CONTAINS(message, "HF_TOKEN: expected a token");
  EXPECT_EQ(message.find("secret"), std::string::npos);
}

}  // namespace
}  // namespace incontext::hub
