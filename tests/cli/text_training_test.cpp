// Language models trained from text, from the command line.

#include <cmath>

#include "cli/program.h"

namespace incontext::testing {
namespace {

namespace fs = std::filesystem;
using base::Json;

// A text that a tiny model learns within a few hundred steps.
std::string counting(int lines) {
  std::string text;
  for (int i = 0; i < lines; ++i) text += "one two three four five six seven\n";
  return text;
}

std::string text_config(const fs::path& file) {
  return "task:\n  name: text\n  text: {files: [" + file.string() +
         "], context: 32}\n"
         "model: {width: 32, layers: 1, position: rotary, bias: false, attention: {heads: 2}, norm: {type: rms}, "
         "mlp: {type: gated}}\n"
         "training:\n"
         "  steps: 150\n"
         "  batch_size: 8\n"
         "  learning_rate: 1e-2\n"
         "  schedule: {name: cosine, warmup_steps: 10}\n"
         "  log_every: 10\n"
         "  checkpoint_every: 100\n"
         "  evaluate_every: 50\n";
}

class TextTraining : public ::testing::Test {
 protected:
  std::string config() const {
    return write_text(place_ / "config.yaml", text_config(write_text(place_ / "count.txt", counting(200))));
  }
  std::vector<std::string> train(const std::string& out) const {
    return {"train", config(), "--out", (place_ / out).string(), "--quiet"};
  }
  std::string path(const std::string& name) const { return (place_ / name).string(); }

  TemporaryDirectory place_;
};

TEST_F(TextTraining, LearnsOpensAndIsMeasured) {
  const CommandResult trained = incontext_with(train("run"));
  ASSERT_EQ(trained.status, 0) << trained.err;
  for (const char* file : {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                           "tokenizer_config.json", "trainer_state.safetensors"}) {
    EXPECT_TRUE(fs::exists(place_ / "run/checkpoint-000150" / file)) << file;
  }
  // The run's directory opens as its latest checkpoint.
  for (const std::string& model : {path("run"), path("run/checkpoint-000150")}) {
    const CommandResult generated =
        incontext_with({"generate", model, "--prompt", "one two three", "--max-tokens", "19", "--json"});
    ASSERT_EQ(generated.status, 0) << generated.err;
    EXPECT_EQ(Json::parse(generated.out)["text"], " four five six seve");  // the context of 32 is full
  }
  const CommandResult measured = incontext_with({"eval", path("run"), "--json", "--quiet"});
  ASSERT_EQ(measured.status, 0) << measured.err;
  double loss = -1, perplexity = -1, bits = -1, first = -1, last = -1;
  const Json parsed = Json::parse(measured.out);
  for (const Json& record : parsed["records"]) {
    const double value = record["value"];
    if (record["what"] == "held_out_loss") loss = value;
    if (record["what"] == "perplexity") perplexity = value;
    if (record["what"] == "bits_per_byte") bits = value;
    if (record["what"] != "token_loss") continue;
    if (record["setting"]["position"] == 1) first = value;
    if (record["setting"]["position"] == 32) last = value;
  }
  EXPECT_GT(loss, 0);
  EXPECT_LT(loss, 0.3);
  EXPECT_NEAR(perplexity, std::exp(loss), 1e-9);
  EXPECT_NEAR(bits, loss / std::log(2.0), 0.01 * bits);  // bytes are tokens, but for the one END
  EXPECT_GT(first, 2 * last);                            // with context the text is known
  const CommandResult table = incontext_with({"eval", path("run"), "--quiet"});
  EXPECT_NE(table.out.find("perplexity"), std::string::npos) << table.out;
  const CommandResult page = incontext_with({"report", path("run"), "--out", path("page.html")});
  EXPECT_EQ(page.status, 0) << page.err;
  EXPECT_NE(base::read_file(path("page.html")).find("Loss against the position in the text"), std::string::npos);
}

TEST_F(TextTraining, ResumedEqualsUninterrupted) {
  const auto losses = [&](const std::string& run) {
    std::vector<std::string> lines;
    for (const base::Record& record : base::read_records(place_ / run / "records.jsonl")) {
      if (record.what == "training_loss") lines.push_back(std::to_string(record.value));
    }
    return lines;
  };
  ASSERT_EQ(incontext_with(train("whole")).status, 0);
  std::vector<std::string> part = train("parts");
  part.insert(part.end(), {"--set", "training.steps=70", "--set", "training.schedule.name=constant"});
  std::vector<std::string> whole = train("constant");
  whole.insert(whole.end(), {"--set", "training.schedule.name=constant"});
  ASSERT_EQ(incontext_with(whole).status, 0);
  ASSERT_EQ(incontext_with(part).status, 0);
  part = train("parts");
  part.insert(part.end(), {"--set", "training.schedule.name=constant", "--resume"});
  const CommandResult rest = incontext_with(part);
  ASSERT_EQ(rest.status, 0) << rest.err;
  EXPECT_EQ(losses("parts"), losses("constant"));
  EXPECT_EQ(base::read_file(place_ / "parts/checkpoint-000150/model.safetensors"),
            base::read_file(place_ / "constant/checkpoint-000150/model.safetensors"));
}

TEST_F(TextTraining, GoesOnFromAnotherModelsWeights) {
  ASSERT_EQ(incontext_with(train("first")).status, 0);
  std::vector<std::string> again = train("second");
  again.insert(again.end(), {"--set", "training.initial_weights=" + path("first"), "--set", "training.steps=1", "--set",
                             "training.learning_rate=1e-6", "--json"});
  const CommandResult result = incontext_with(again);
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_LT(Json::parse(result.out)["loss"].get<double>(), 0.3);
}

TEST_F(TextTraining, BadInput) {
  const auto fails = [&](const std::vector<std::string>& assignments, const std::vector<std::string>& words) {
    std::vector<std::string> arguments = train("bad");
    for (const std::string& assignment : assignments) arguments.insert(arguments.end(), {"--set", assignment});
    expect_one_line_error(incontext_with(arguments), words);
    EXPECT_FALSE(fs::exists(place_ / "bad/records.jsonl"));
  };
  fails({"task.text.files=[]"}, {"task.text.files"});
  fails({"task.text.files=[/nowhere.txt]"}, {"/nowhere.txt: no such file"});
  fails({"task.text.tokenizer=/nowhere"}, {"/nowhere: expected a folder with a tokenizer"});
  fails({"task.text.context=100000"}, {"tokens to learn from, expected at least 200001"});
  fails({"model.norm.type=layer", "model.family=llama"}, {"model.norm.type: expected rms"});
  fails({"model.family=opt"}, {"a model of the family opt can be trained from a folder"});
  fails({"model.tokens.vocabulary=100"},
        {"model.tokens.vocabulary: expected at least the 257 tokens of bytes, got 100"});
  fails({"training.curriculum.points.end=5"}, {"training.curriculum", "text"});
  fails({"training.initial_weights=/nowhere"}, {"/nowhere: no such directory"});
}

}  // namespace
}  // namespace incontext::testing
