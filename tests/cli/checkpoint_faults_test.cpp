// Checkpoints that were cut off, changed or made to harm: one clear line, never a crash.

#include <cstdint>
#include <cstring>
#include <functional>

#include "base/file.h"
#include "cli/program.h"

namespace incontext::testing {
namespace {

namespace fs = std::filesystem;

class CheckpointFaults : public ::testing::Test {
 protected:
  TemporaryDirectory place;
  fs::path checkpoint = place.path() / "run" / "checkpoint-000012";
  fs::path weights = checkpoint / "model.safetensors";

  void SetUp() override {
    ASSERT_EQ(incontext_with({"train", write_text(place / "config.yaml", tiny_config()), "--out",
                              (place / "run").string(), "--quiet"})
                  .status,
              0);
  }

  CommandResult eval() {
    return incontext_with(
        {"eval", (place / "run").string(), "--quiet", "--set", "prompts=4", "--set", "baselines.predictors=[]"});
  }
  CommandResult resume() {
    return incontext_with({"train", (place / "config.yaml").string(), "--out", (place / "run").string(), "--resume",
                           "--quiet", "--set", "training.steps=16"});
  }

  static void overwrite(const fs::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }

  // Replaces the JSON header by what `change` makes of it.
  void change_header(const std::function<void(base::Json&)>& change) {
    const std::string bytes = base::read_file(weights);
    uint64_t size = 0;
    std::memcpy(&size, bytes.data(), 8);
    base::Json header = base::Json::parse(bytes.substr(8, size));
    change(header);
    write_with_header(header.dump(), bytes.substr(8 + size));
  }
  void write_with_header(const std::string& header, const std::string& data) {
    const uint64_t size = header.size();
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &size, 8);
    overwrite(weights, bytes + header + data);
  }
};

TEST_F(CheckpointFaults, Sound) {
  EXPECT_EQ(eval().status, 0);
  EXPECT_EQ(resume().status, 0);
}

TEST_F(CheckpointFaults, Truncated) {
  const std::string bytes = base::read_file(weights);
  for (const size_t size : {size_t{0}, size_t{5}, size_t{100}, bytes.size() / 2, bytes.size() - 1}) {
    overwrite(weights, bytes.substr(0, size));
    expect_one_line_error(eval(), {"model.safetensors"});
    expect_one_line_error(resume(), {"model.safetensors"});
  }
}

TEST_F(CheckpointFaults, TruncatedTrainerState) {
  const fs::path state = checkpoint / "trainer_state.safetensors";
  overwrite(state, base::read_file(state).substr(0, 300));
  expect_one_line_error(resume(), {"trainer_state.safetensors"});
}

TEST_F(CheckpointFaults, BitFlipsInTheHeaderNeverCrash) {
  const std::string bytes = base::read_file(weights);
  int refused = 0;
  for (size_t position = 0; position < 400; position += 13) {
    std::string flipped = bytes;
    flipped[position] = static_cast<char>(flipped[position] ^ (1 << (position % 7)));
    overwrite(weights, flipped);
    const CommandResult result = eval();
    ASSERT_LT(result.status, 128) << "position " << position << ": " << result.err;
    if (result.status != 0) {
      expect_one_line_error(result, {"model.safetensors"});
      ++refused;
    }
  }
  EXPECT_GT(refused, 20);
}

TEST_F(CheckpointFaults, HostileHeaders) {
  const std::vector<std::pair<std::string, std::function<void(base::Json&)>>> cases = {
      {"overflow",
       [](base::Json& header) {
         header["norm.weight"]["shape"] = {4611686018427387904, 16};
       }},
      {"negative", [](base::Json& header) { header["norm.weight"]["shape"] = {-16}; }},
      {"overlap",
       [](base::Json& header) {
         header["norm.weight"]["data_offsets"] = {0, 64};
       }},
      {"hole",
       [](base::Json& header) {
         header["norm.weight"]["data_offsets"] = {1000000, 1000064};
       }},
      {"dtype", [](base::Json& header) { header["norm.weight"]["dtype"] = "F17"; }},
      {"other dtype", [](base::Json& header) { header["norm.weight"]["dtype"] = "I32"; }},
      {"shape",
       [](base::Json& header) {
         header["norm.weight"]["shape"] = {4, 4};
       }},
      {"missing",
       [](base::Json& header) {
         base::Json entry = header["norm.weight"];
         header.erase("norm.weight");
         header["norm.wait"] = entry;
       }},
  };
  const std::string sound = base::read_file(weights);
  for (const auto& [name, change] : cases) {
    SCOPED_TRACE(name);
    overwrite(weights, sound);
    change_header(change);
    expect_one_line_error(eval(), {"model.safetensors", "tensor"});
  }
}

TEST_F(CheckpointFaults, DuplicateNames) {
  write_with_header(
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
      std::string(8, '\0'));
  expect_one_line_error(eval(), {"model.safetensors", "a"});
}

TEST_F(CheckpointFaults, ConfigurationOfAnotherModel) {
  const fs::path config = checkpoint / "config.json";
  const std::string sound = base::read_file(config);
  base::Json json = base::Json::parse(sound);
  json["model"]["layers"] = 1000000;
  overwrite(config, json.dump());
  expect_one_line_error(eval(), {"model.safetensors"});
  json = base::Json::parse(sound);
  json["model"]["width"] = 4611686018427387904;
  overwrite(config, json.dump());
  expect_one_line_error(eval(), {"safetensors"});
  json = base::Json::parse(sound);
  json["model_type"] = "llama";
  overwrite(config, json.dump());
  expect_one_line_error(eval(), {"config.json", "model_type", "llama"});
  overwrite(config, "{");
  expect_one_line_error(eval(), {"config.json", "JSON"});
}

}  // namespace
}  // namespace incontext::testing
