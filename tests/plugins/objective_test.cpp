// An objective that a program adds to this one: a student learns regression prompts and imitates a frozen teacher.

#include <gtest/gtest.h>

#include "base/file.h"
#include "eval/measurements.h"
#include "models/model_errors.h"
#include "models/runs.h"
#include "support/errors.h"
#include "support/temporary_directory.h"
#include "support/tensor_close.h"
#include "tensor/device.h"
#include "tensor/safetensors.h"
#include "train/objectives/regression.h"
#include "train/run.h"

namespace incontext::train {
namespace {

namespace fs = std::filesystem;
using base::Json;
using testing::error_of;
using torch::Tensor;

struct ImitationOptions {
  double imitation = 0.5;
  uint64_t teacher_seed = 99;

  template <class Visitor>
  void visit(Visitor& v) {
    v.field("imitation", imitation, "weight of the distance from the teacher", base::at_least(0));
    v.field("teacher_seed", teacher_seed, "of the teacher's weights");
  }
};

class Imitation : public Objective {
 public:
  explicit Imitation(const ObjectiveBuild& build)
      : Objective(build),
        own_(objective_options<ImitationOptions>(build.options)),
        task_(tasks::make_task(build.options.task)),
        student_(add_decoder("", {build.options.model, build.options.task.dims, build.options.seed, build.device})),
        teacher_(
            add_decoder("teacher", {build.options.model, build.options.task.dims, own_.teacher_seed, build.device})),
        offset_(add_tensor("offset", torch::full({1}, 0.25))) {
    freeze("teacher.*", "imitation");
  }

  Samples sample(uint64_t first, int64_t count, const Stage& stage) const override {
    const tasks::Batch batch = task_->sample(training_prompts(options(), first, count, stage), &tensor::kernel_pool());
    return {{"xs", batch.xs}, {"ys", batch.ys}};
  }

  Losses losses(const Samples& samples, const Stage&) const override {
    const Tensor& ys = samples.at("ys");
    const Tensor answers = answers_of(student_, samples) + offset_;
    return {{.name = "fit", .value = (answers - ys).square().mean()},
            {.name = "imitation",
             .value = (answers - answers_of(teacher_, samples)).square().mean(),
             .weight = own_.imitation},
            {.name = "offset", .value = offset_.detach().square().mean(), .weight = 0}};
  }

  std::string evaluate(const std::function<void(base::Record)>& write) const override {
    torch::NoGradGuard no_gradients;
    const Tensor prediction = answers_of(student_, sample(1'000'000, 8, {.dims = 3, .points = 7, .loops = 0}));
    base::Record record;
    record.what = "mean_answer";
    record.value = prediction.mean().item<double>();
    write(record);
    return "measured";
  }

 private:
  static Tensor answers_of(const models::Decoder& decoder, const Samples& samples) {
    Tensor answers;
    models::predict(decoder, samples.at("xs"), samples.at("ys"), {},
                    [&](int64_t, const Tensor& prediction) { answers = prediction; });
    return answers;
  }

  ImitationOptions own_;
  std::unique_ptr<tasks::Task> task_;
  models::Decoder& student_;
  models::Decoder& teacher_;
  Tensor offset_;
};

const bool kRegistered = [] {
  objectives().add({.name = "imitation",
                    .help = "regression beside a frozen teacher",
                    .make = [](const ObjectiveBuild& build) -> std::unique_ptr<Objective> {
                      return std::make_unique<Imitation>(build);
                    },
                    .read_options = read_objective_options<ImitationOptions>,
                    .resolve = resolve_regression,
                    .problem = regression_problem});
  return true;
}();

constexpr const char* kConfig =
    "model: {width: 16, layers: 2, attention: {heads: 2}}\n"
    "task: {dims: 3}\n"
    "objective:\n"
    "  name: imitation\n"
    "  imitation: 0.25\n"
    "training:\n"
    "  batch_size: 8\n"
    "  learning_rate: 1e-2\n"
    "  log_every: 1\n"
    "  evaluate_every: 4\n"
    "  checkpoint_every: 5\n";

RunOptions read(const std::string& yaml, const std::vector<std::string>& assignments = {}) {
  base::ConfigNode node = base::parse_yaml(yaml, "run.yaml");
  for (const std::string& assignment : assignments) base::apply_assignment(node, assignment);
  RunOptions options;
  base::read_options(node, options);
  return options;
}

RunOptions options_for(int64_t steps) {
  EXPECT_TRUE(kRegistered);
  RunOptions options = read(kConfig);
  options.training.steps = steps;
  return options;
}

RunResult run(const fs::path& directory, const RunOptions& options, bool resume = false) {
  return run_training(options, {.directory = directory, .resume = resume, .command = "test", .quiet = true},
                      torch::kCPU, {});
}

// What was measured, as lines; without what the run's length alone decides.
std::vector<std::string> measured(const fs::path& directory) {
  std::vector<std::string> lines;
  for (const base::Record& record : base::read_records(directory / "records.jsonl")) {
    const int64_t step = record.setting["step"];
    if (record.what == "mean_answer" && step % 4 != 0) continue;
    lines.push_back(fmt::format("{} {} {:.17g}", step, record.what, record.value));
  }
  return lines;
}

std::map<std::string, double> at_step(const fs::path& directory, int64_t step) {
  std::map<std::string, double> values;
  for (const base::Record& record : base::read_records(directory / "records.jsonl")) {
    if (record.setting["step"] == step) values[record.what] = record.value;
  }
  return values;
}

TEST(PluginObjective, LogsAllLossesAndTrainsWhatIsNotFrozen) {
  const testing::TemporaryDirectory place;
  run(place / "run", options_for(60));
  for (const int64_t step : {1, 30, 60}) {
    SCOPED_TRACE(step);
    const std::map<std::string, double> values = at_step(place / "run", step);
    EXPECT_NEAR(values.at("training_loss"), values.at("loss_fit") + 0.25 * values.at("loss_imitation"),
                1e-5 * values.at("training_loss"));
    EXPECT_GT(values.at("loss_offset"), 0);
  }
  EXPECT_LT(at_step(place / "run", 60).at("training_loss"), at_step(place / "run", 1).at("training_loss"));
  EXPECT_EQ(at_step(place / "run", 60).count("mean_answer"), 1u) << "its own evaluation";

  const fs::path checkpoint = *models::latest_checkpoint(place / "run");
  const models::Decoder teacher = models::open_decoder(checkpoint / "teacher", torch::kCPU);
  const models::Decoder fresh(teacher.options(), 3, /*seed=*/99, torch::kCPU);
  for (size_t i = 0; i < fresh.parameters().size(); ++i) {
    EXPECT_TRUE(teacher.parameters()[i].tensor.equal(fresh.parameters()[i].tensor)) << fresh.parameters()[i].name;
  }
  EXPECT_NE(tensor::SafetensorsFile(checkpoint / "objective.safetensors").copy("offset").item<float>(), 0.25F);
  const tensor::SafetensorsFile state(checkpoint / "trainer_state.safetensors");
  EXPECT_EQ(state.names().size(), 2 * (fresh.parameters().size() + 1)) << "two moments of student and offset";
  EXPECT_TRUE(state.contains("first.offset"));
  for (const std::string& name : state.names()) EXPECT_EQ(name.find("teacher"), name.npos) << name;
}

TEST(PluginObjective, ResumedEqualsUninterruptedBitForBit) {
  const testing::TemporaryDirectory place;
  run(place / "whole", options_for(17));
  run(place / "parts", options_for(8));
  EXPECT_EQ(run(place / "parts", options_for(17), /*resume=*/true).first_step, 8);
  // A power cut: the last checkpoint was not written.
  run(place / "cut", options_for(17));
  fs::remove_all(place / "cut" / "checkpoint-000017");
  EXPECT_EQ(run(place / "cut", options_for(17), /*resume=*/true).first_step, 15);
  for (const char* name : {"parts", "cut"}) {
    SCOPED_TRACE(name);
    EXPECT_EQ(measured(place / name), measured(place / "whole"));
    for (const char* file : {"model.safetensors", "objective.safetensors", "teacher/model.safetensors"}) {
      EXPECT_TRUE(base::read_file(place / name / "checkpoint-000017" / file) ==
                  base::read_file(place / "whole" / "checkpoint-000017" / file))
          << file;
    }
    // The state tells the size of the records too, in which the directory's name is.
    const tensor::SafetensorsFile state(place / name / "checkpoint-000017" / "trainer_state.safetensors");
    const tensor::SafetensorsFile whole(place / "whole" / "checkpoint-000017" / "trainer_state.safetensors");
    ASSERT_EQ(state.names(), whole.names());
    for (const std::string& tensor : whole.names()) {
      EXPECT_TRUE(state.tensor(tensor).equal(whole.tensor(tensor))) << tensor;
    }
  }
}

TEST(PluginObjective, ItsOptionsAreReadCheckedAndKept) {
  const auto error_for = [](const std::string& yaml, const std::vector<std::string>& assignments = {}) {
    return error_of([&] { read(yaml, assignments); });
  };
  EXPECT_EQ(error_for("seed: 1\nobjective:\n  name: imitation\n  imitatoin: 1"),
            "run.yaml:4: unknown key 'objective.imitatoin'; did you mean 'objective.imitation'?");
  EXPECT_EQ(error_for("objective:\n  name: imitation\n  imitation: -1"),
            "run.yaml:3: objective.imitation: expected a number of at least 0, got '-1'");
  EXPECT_CONTAINS(error_for("objective:\n  name: imitatoin"),
                  "run.yaml:2: objective.name: unknown objective 'imitatoin', did");
  EXPECT_CONTAINS(error_for("objective: nothing"),
                  "run.yaml:1: objective: unknown objective 'nothing'; known: regression, text");
  EXPECT_EQ(error_for("objective: {imitation: 1}"), "run.yaml:1: objective: expected a name beside its options");
  EXPECT_EQ(error_for("objective: {name: regression, imitation: 1}"),
            "run.yaml:1: unknown key 'objective.imitation'; known here: ");
  EXPECT_CONTAINS(error_for("objective: [regression]"), "run.yaml:1: objective: expected text, got a list");
  EXPECT_CONTAINS(error_for(kConfig, {"objective.x=1"}), "--set objective.x=1: unknown key 'objective.x'");

  RunOptions options = read(kConfig, {"objective.teacher_seed=7"});
  options.resolve();
  const Json expected = {{"name", "imitation"}, {"imitation", 0.25}, {"teacher_seed", 7}};
  EXPECT_EQ(base::options_to_json(options)["objective"], expected);
  const Json whole = base::options_to_json(options);
  EXPECT_EQ(base::options_to_json(read(base::json_to_yaml(whole))), whole);
  RunOptions plain = read("objective: imitation");
  plain.resolve();
  EXPECT_EQ(objective_options<ImitationOptions>(plain).imitation, 0.5);
  RunOptions named = read("task: {dims: 3}");
  EXPECT_EQ(base::options_to_json(named)["objective"], "");
  named.resolve();
  EXPECT_EQ(base::options_to_json(named)["objective"], "regression");
}

TEST(PluginObjective, AResumedRunKeepsItsOptions) {
  const testing::TemporaryDirectory place;
  run(place / "run", options_for(2));
  RunOptions other = read(kConfig, {"objective.imitation=0.75"});
  other.training.steps = 4;
  EXPECT_CONTAINS(error_of([&] { run(place / "run", other, /*resume=*/true); }),
                  "the run was begun with objective.imitation = 0.25, now it is 0.75");
}

TEST(PluginObjective, AGpusStepIsTheTrainers) {
  const RunOptions options = options_for(10);
  for (const int64_t parts : {1, 2}) {
    RunOptions in_parts = options;
    in_parts.training.accumulation = parts;
    Trainer trainer(in_parts, torch::kCPU, {});
    const auto objective = make_objective(
        {.options = trainer.options(), .device = torch::kCPU, .operations = trainer.model().operations()});
    Optimizer optimizer(options.training.optimizer, objective->parameters());
    GpuStep step(*objective, optimizer);
    for (int64_t i = 0; i < 3; ++i) {
      SCOPED_TRACE(i);
      const StepStats stats = trainer.step();
      const GpuStep::Result result = step.run({.first = static_cast<uint64_t>(8 * i),
                                               .count = 8,
                                               .parts = parts,
                                               .stage = stats.stage,
                                               .next_stage = stats.stage});
      EXPECT_NEAR(result.loss, stats.loss, 2e-6 * stats.loss);
      ASSERT_EQ(result.losses.size(), 3u);
      for (size_t k = 0; k < 3; ++k) {
        EXPECT_EQ(result.losses[k].name, stats.losses[k].name);
        EXPECT_NEAR(result.losses[k].value, stats.losses[k].value, 2e-6 * stats.losses[k].value);
      }
      optimizer.step(stats.learning_rate, 1, i + 1, /*use_kernels=*/true);
    }
  }
}

TEST(PluginObjective, IsMeasuredAsItsProgramSays) {
  const testing::TemporaryDirectory place;
  run(place / "run", options_for(2));
  const models::RunFolder found = models::find_run(place / "run");
  ASSERT_TRUE(found.run.has_value());
  EXPECT_EQ(found.run->objective, "imitation");
  EXPECT_EQ(found.step, 2);
  const models::Decoder student = models::open_decoder(found.checkpoint, torch::kCPU);
  const eval::Subject subject{.run = "run", .decoder = &student, .trained = *found.run, .step = found.step};
  const auto measure = [&] {
    std::vector<std::string> names;
    eval::measure(subject, {},
                  {.write = [&](const base::Record& record) { names.push_back(record.what); },
                   .progress = [](const std::string&, double) {},
                   .note = [](const std::string&) {}});
    return names;
  };
  EXPECT_CONTAINS(error_of(measure), "run: unknown measured objective 'imitation'; known: regression, text");
  eval::measurements().add(
      {.name = "imitation",
       .help = "",
       .measure = [](const eval::Subject& what, const eval::EvaluationOptions&, const eval::MeasurementEvents& events) {
         base::Record record;
         record.what = "dims";
         record.value = static_cast<double>(what.decoder->input_dims());
         events.write(record);
       }});
  EXPECT_EQ(measure(), std::vector<std::string>{"dims"});
}

}  // namespace
}  // namespace incontext::train
