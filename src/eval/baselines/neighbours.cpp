#include <algorithm>
#include <utility>

#include "eval/baselines/methods.h"

namespace incontext::eval {
namespace {

class NearestNeighbours final : public PromptwisePredictor {
 public:
  explicit NearestNeighbours(int64_t count) : count_(count) {}
  std::string label() const override { return "nearest_neighbours"; }

 protected:
  void predict_prompt(const PlainPrompt& prompt, std::span<const int64_t> positions,
                      std::span<double> answers) const override {
    std::vector<std::pair<double, int64_t>> nearest;  // distance, example
    for (size_t k = 0; k < positions.size(); ++k) {
      const int64_t n = positions[k];
      nearest.clear();
      for (int64_t i = 0; i < n; ++i) {
        nearest.emplace_back((prompt.xs.row(i) - prompt.query_xs.row(n)).squaredNorm(), i);
      }
      const int64_t taken = std::min(count_, n);
      std::partial_sort(nearest.begin(), nearest.begin() + taken, nearest.end());
      double sum = 0;
      for (int64_t i = 0; i < taken; ++i) sum += prompt.ys[nearest[static_cast<size_t>(i)].second];
      answers[k] = sum / static_cast<double>(taken);
    }
  }

 private:
  int64_t count_;
};

}  // namespace

std::unique_ptr<Predictor> make_nearest_neighbours(const BaselineOptions& options) {
  return std::make_unique<NearestNeighbours>(options.neighbours);
}

}  // namespace incontext::eval
