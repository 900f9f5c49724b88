#include "calibrate/dictionary_learning.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "calibrate/recording.h"
#include "decode/opened_model.h"
#include "support/errors.h"
#include "support/shared_model.h"
#include "tasks/documents.h"
#include "tensor/device.h"

namespace incontext::calibrate {
namespace {

using torch::Tensor;

/// Vectors with structure: each is a sum of four of `hidden` directions, which are the same for all streams, and noise.
Tensor sparse_sums(int64_t count, int64_t dim, uint64_t stream) {
  constexpr int64_t kHidden = 100;
  const Tensor directions = random_dictionary(kHidden, dim, 77);
  Tensor vectors = torch::zeros({count, dim});
  base::RandomStream random(5, "sparse sums", stream);
  for (int64_t row = 0; row < count; ++row) {
    for (int part = 0; part < 4; ++part) {
      vectors[row] += directions[static_cast<int64_t>(random.below(kHidden))] * random.normal();
    }
  }
  Tensor noise = torch::empty({count, dim});
  base::RandomStream(6, "noise", stream)
      .fill_normal(std::span(noise.data_ptr<float>(), static_cast<size_t>(noise.numel())));
  return vectors + 0.03 * noise;
}

/// Mean of |x - P x| / |x| with the projection P to the `rank` directions in which `fitted` varies most.
double error_of_projection(const Tensor& fitted, const Tensor& vectors, int64_t rank) {
  const Tensor covariance = fitted.t().matmul(fitted);
  const Tensor axes = std::get<1>(torch::linalg_eigh(covariance)).narrow(1, fitted.size(1) - rank, rank);
  const Tensor left = vectors - vectors.matmul(axes).matmul(axes.t());
  return (left.norm(2, {1}) / vectors.norm(2, {1}).clamp_min(1e-20)).mean().item<double>();
}

TEST(DictionaryLearning, LearnedAtomsBeatRandomOnesAndProjections) {
  const Tensor fitted = sparse_sums(6000, 32, 0), other = sparse_sums(1000, 32, 1);
  for (const DictionaryUpdate update : {DictionaryUpdate::direct, DictionaryUpdate::adam}) {
    const Tensor atoms =
        learn_dictionary(fitted, {.atoms = 160, .sparsity = 4, .steps = 80, .batch = 1024, .update = update});
    const double learned = coding_error(other, atoms, 4);
    EXPECT_LE(learned, 0.75 * coding_error(other, random_dictionary(160, 32, 1), 4));
    EXPECT_LT(learned, 0.75 * error_of_projection(fitted, other, 4));
    EXPECT_LE(learned, 1.25 * coding_error(fitted, atoms, 4)) << "on vectors that nothing was learned from";
  }
}

TEST(DictionaryLearning, BothUpdatesImproveOnTheFirstAtoms) {
  const Tensor fitted = sparse_sums(4000, 24, 0), other = sparse_sums(800, 24, 1);
  DictionaryOptions options{.atoms = 128, .sparsity = 4, .steps = 0, .batch = 1024};
  const double first = coding_error(other, learn_dictionary(fitted, options), 4);
  options.steps = 60;
  for (const DictionaryUpdate update : {DictionaryUpdate::direct, DictionaryUpdate::adam}) {
    options.update = update;
    std::vector<double> told;
    const Tensor atoms = learn_dictionary(fitted, options, [&](int64_t step, double error) {
      EXPECT_EQ(step, static_cast<int64_t>(told.size()) + 1);
      told.push_back(error);
      return true;
    });
    EXPECT_EQ(told.size(), 60U);
    EXPECT_LT(told.back(), told.front());
    EXPECT_LT(coding_error(other, atoms, 4), 0.9 * first);
    EXPECT_LT((atoms.norm(2, {1}) - 1).abs().max().item<float>(), 1e-5F);
  }
}

TEST(DictionaryLearning, IsAFunctionOfItsSeedAndNotOfThreads) {
  const Tensor fitted = sparse_sums(1500, 24, 0);
  for (const DictionaryUpdate update : {DictionaryUpdate::direct, DictionaryUpdate::adam}) {
    DictionaryOptions options{.atoms = 150, .sparsity = 3, .steps = 15, .batch = 500, .update = update, .seed = 4};
    tensor::set_kernel_threads(1);
    const Tensor once = learn_dictionary(fitted, options);
    tensor::set_kernel_threads(3);
    EXPECT_TRUE(torch::equal(learn_dictionary(fitted, options), once));
    options.seed = 5;
    EXPECT_FALSE(torch::equal(learn_dictionary(fitted, options), once));
    // Ended early, atoms are those of the steps that were made.
    int64_t steps = 0;
    learn_dictionary(fitted, options, [&](int64_t step, double) {
      steps = step;
      return step < 4;
    });
    EXPECT_EQ(steps, 4);
  }
  tensor::set_kernel_threads(2);
}

TEST(DictionaryLearning, OddDataHasADictionaryToo) {
  // More atoms than vectors, vectors that are zero, and vectors that are all the same.
  const Tensor few = sparse_sums(20, 16, 0);
  Tensor zeros = torch::cat({torch::zeros({50, 16}), few});
  const Tensor same = torch::ones({100, 16});
  for (const Tensor& vectors : {few, zeros, same}) {
    for (const DictionaryUpdate update : {DictionaryUpdate::direct, DictionaryUpdate::adam}) {
      const Tensor atoms =
          learn_dictionary(vectors, {.atoms = 40, .sparsity = 2, .steps = 30, .batch = 64, .update = update});
      EXPECT_TRUE(torch::isfinite(atoms).all().item<bool>());
      EXPECT_LT((atoms.norm(2, {1}) - 1).abs().max().item<float>(), 1e-5F);
      EXPECT_LT(coding_error(vectors, atoms, 2), 0.2);
    }
  }
  EXPECT_CONTAINS(testing::error_of([&] { learn_dictionary(few, {.atoms = 40, .sparsity = 17}); }),
                  "a sparsity of at most 16, got 20 and 17");
  EXPECT_CONTAINS(testing::error_of([&] { learn_dictionary(few, {.atoms = 4, .sparsity = 5}); }), "at most 4");
}

/// What a trained model keeps of two texts of one kind. On texts of another kind errors of values are larger.
struct TwoTexts {
  Recording fitted, other;
};

std::filesystem::path text_file(const char* name) {
  return testing::stories().parent_path().parent_path() / "data" / name;
}
constexpr const char* kFittedText = "wikitext-2-valid.txt.gz";
constexpr const char* kOtherText = "wikitext-2-test.txt.gz";

bool has_texts() {
  return std::filesystem::exists(text_file(kFittedText)) && std::filesystem::exists(text_file(kOtherText));
}

TwoTexts record_texts(const std::filesystem::path& folder, int64_t fitted, int64_t other) {
  const decode::OpenedModel opened = decode::open_model(folder);
  const auto recorded = [&](const char* name, int64_t tokens) {
    const std::string text = tasks::read_documents({text_file(name).string()})[0];
    std::vector<int64_t> ids = opened.tokenizer->encode(text.substr(0, static_cast<size_t>(tokens) * 6));
    ids.resize(std::min(ids.size(), static_cast<size_t>(tokens)));
    return record(*opened.model, ids, 256);
  };
  return {recorded(kFittedText, fitted), recorded(kOtherText, other)};
}

/// Means over layers, each `every` after the one before. Atoms learn from one text.
struct TextErrors {
  double fitted = 0, other = 0;                  // of learned atoms on both texts
  double other_random = 0, other_projected = 0;  // on the other text
};

TextErrors errors_on_texts(const TwoTexts& texts, size_t every, bool values, const DictionaryOptions& options) {
  TextErrors errors;
  double layers = 0;
  for (size_t layer = 0; layer < texts.fitted.layers.size(); layer += every) {
    const auto rows_of = [&](const Recording& recording) {
      const RecordedLayer& of = recording.layers[layer];
      return (values ? of.values : of.keys).to(torch::kFloat32);
    };
    const Tensor mean = rows_of(texts.fitted).mean(0);
    const Tensor fitted = (rows_of(texts.fitted) - mean).flatten(0, 1);
    const Tensor other = (rows_of(texts.other) - mean).flatten(0, 1);
    const Tensor atoms = learn_dictionary(fitted, options);
    const Tensor random = random_dictionary(options.atoms, fitted.size(1), 1);
    errors.fitted += coding_error(fitted, atoms, options.sparsity);
    errors.other += coding_error(other, atoms, options.sparsity);
    errors.other_random += coding_error(other, random, options.sparsity);
    errors.other_projected += error_of_projection(fitted, other, options.sparsity);
    layers += 1;
  }
  return {errors.fitted / layers, errors.other / layers, errors.other_random / layers, errors.other_projected / layers};
}

/// On the text that nothing was learned from. `share`: at most so much of what random atoms leave.
void expect_learned(const TextErrors& errors, double share) {
  EXPECT_LE(errors.other, share * errors.other_random);
  EXPECT_LT(errors.other, share * errors.other_projected);
  EXPECT_LE(errors.other, 1.25 * errors.fitted);
}

TEST(DictionaryLearning, ServesAnotherTextOfASmallTrainedModel) {
  if (!std::filesystem::exists(testing::stories()) || !has_texts()) GTEST_SKIP() << testing::without_stories();
  const TwoTexts texts = record_texts(testing::stories(), 5000, 1500);
  // Two of only eight channels: there random atoms do nearly as well.
  const DictionaryOptions options{.atoms = 128, .sparsity = 2, .steps = 60, .batch = 1024};
  expect_learned(errors_on_texts(texts, 1, /*values=*/false, options), 0.8);
  expect_learned(errors_on_texts(texts, 1, /*values=*/true, options), 0.8);
}

TEST(DictionaryLearning, ServesAnotherTextOfSmolLm2) {
  if (!testing::has_smollm2() || !has_texts()) GTEST_SKIP() << testing::without_smollm2();
  const TwoTexts texts = record_texts(testing::smollm2(), 3000, 400);
  const DictionaryOptions options{.atoms = 256, .sparsity = 4, .steps = 60, .batch = 1024};
  expect_learned(errors_on_texts(texts, 9, /*values=*/false, options), 0.75);
  expect_learned(errors_on_texts(texts, 9, /*values=*/true, options), 0.75);
}

}  // namespace
}  // namespace incontext::calibrate
