#include <xgboost/c_api.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "eval/baselines/methods.h"

namespace incontext::eval {
namespace {

/// Turns XGBoost's status into an Error with the first line of its message, less the time and place in XGBoost's
/// sources before it and the stack trace after it.
void check_xgboost(int status, const char* call) {
  if (status == 0) return;
  std::string message = XGBGetLastError();
  message.resize(std::min(message.find('\n'), message.size()));
  const size_t reason = message.find("Check failed");
  base::fail("[xgboost] {}: {}", call, reason == std::string::npos ? message : message.substr(reason));
}

/// A data matrix of XGBoost.
class Data {
 public:
  Data(const float* xs, int64_t rows, int64_t columns) {
    check_xgboost(XGDMatrixCreateFromMat(xs, static_cast<bst_ulong>(rows), static_cast<bst_ulong>(columns),
                                         std::numeric_limits<float>::quiet_NaN(), &handle_),
                  "creating a data matrix");
  }
  ~Data() { XGDMatrixFree(handle_); }
  Data(const Data&) = delete;
  Data& operator=(const Data&) = delete;

  void set_labels(const std::vector<float>& labels) {
    check_xgboost(XGDMatrixSetFloatInfo(handle_, "label", labels.data(), labels.size()), "setting labels");
  }
  DMatrixHandle handle() const { return handle_; }

 private:
  DMatrixHandle handle_ = nullptr;
};

class Booster {
 public:
  explicit Booster(const Data& data) {
    const DMatrixHandle handles[] = {data.handle()};
    check_xgboost(XGBoosterCreate(handles, 1, &handle_), "creating a booster");
  }
  ~Booster() { XGBoosterFree(handle_); }
  Booster(const Booster&) = delete;
  Booster& operator=(const Booster&) = delete;

  void set(const char* name, const std::string& value) {
    check_xgboost(XGBoosterSetParam(handle_, name, value.c_str()), name);
  }
  void train_round(int round, const Data& data) {
    check_xgboost(XGBoosterUpdateOneIter(handle_, round, data.handle()), "training a round");
  }
  /// Prediction for the first row.
  float predict(const Data& data) {
    const char* config =
        R"({"type": 0, "training": false, "iteration_begin": 0, "iteration_end": 0, "strict_shape": false})";
    const bst_ulong* shape = nullptr;
    bst_ulong dimensions = 0;
    const float* result = nullptr;
    check_xgboost(XGBoosterPredictFromDMatrix(handle_, data.handle(), config, &shape, &dimensions, &result),
                  "predicting");
    return result[0];
  }

 private:
  BoosterHandle handle_ = nullptr;
};

/// What distinguishes the two methods.
struct Settings {
  const char* label;
  int64_t rounds;
  int64_t depth;  // 0: as deep as the examples allow
  double learning_rate;
  double l2_penalty;         // on leaf values
  double least_leaf_weight;  // examples in a leaf
};

class Trees final : public PromptwisePredictor {
 public:
  explicit Trees(const Settings& settings) : settings_(settings) {}
  std::string label() const override { return settings_.label; }
  bool slow() const override { return true; }

 protected:
  void predict_prompt(const PlainPrompt& prompt, std::span<const int64_t> positions,
                      std::span<double> answers) const override {
    const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> xs = prompt.xs.cast<float>();
    const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> query_xs =
        prompt.query_xs.cast<float>();
    for (size_t k = 0; k < positions.size(); ++k) {
      const int64_t n = positions[k];
      // Trees are grown on deviations from the mean label: the base score, which XGBoost 1.7 sets to 0.5 and later
      // versions estimate, has no part in the result.
      const double mean = prompt.ys.head(n).mean();
      std::vector<float> labels(static_cast<size_t>(n));
      for (int64_t i = 0; i < n; ++i) labels[static_cast<size_t>(i)] = static_cast<float>(prompt.ys[i] - mean);
      Data examples(xs.data(), n, xs.cols());
      examples.set_labels(labels);
      answers[k] = mean + fit_and_ask(examples, n, Data(query_xs.row(n).data(), 1, query_xs.cols()));
    }
  }

 private:
  double fit_and_ask(const Data& examples, int64_t count, const Data& query) const {
    Booster booster(examples);
    booster.set("verbosity", "0");
    booster.set("nthread", "1");  // prompts are what runs in parallel
    booster.set("objective", "reg:squarederror");
    booster.set("base_score", "0");
    booster.set("tree_method", "exact");
    booster.set("max_depth", fmt::format("{}", settings_.depth == 0 ? count : settings_.depth));
    booster.set("learning_rate", fmt::format("{}", settings_.learning_rate));
    booster.set("reg_lambda", fmt::format("{}", settings_.l2_penalty));
    booster.set("min_child_weight", fmt::format("{}", settings_.least_leaf_weight));
    for (int64_t round = 0; round < settings_.rounds; ++round) booster.train_round(static_cast<int>(round), examples);
    return booster.predict(query);
  }

  Settings settings_;
};

}  // namespace

std::unique_ptr<Predictor> make_decision_tree(const BaselineOptions&) {
  return std::make_unique<Trees>(Settings{
      .label = "decision_tree", .rounds = 1, .depth = 0, .learning_rate = 1, .l2_penalty = 0, .least_leaf_weight = 0});
}

std::unique_ptr<Predictor> make_boosted_trees(const BaselineOptions& options) {
  return std::make_unique<Trees>(Settings{.label = "boosted_trees",
                                          .rounds = options.boosting.rounds,
                                          .depth = options.boosting.depth,
                                          .learning_rate = options.boosting.learning_rate,
                                          .l2_penalty = 1,
                                          .least_leaf_weight = 1});
}

}  // namespace incontext::eval
