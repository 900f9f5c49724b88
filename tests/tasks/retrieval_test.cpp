#include "tasks/retrieval.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/config_node.h"
#include "support/errors.h"

namespace incontext::tasks {
namespace {

int64_t count_words(const RetrievalPrompt& prompt) {
  const std::string text = prompt.context + " " + prompt.question;
  return 1 + std::count(text.begin(), text.end(), ' ');
}

class RetrievalTask : public ::testing::TestWithParam<std::string> {};

TEST_P(RetrievalTask, HasTheAnswerWhereItSays) {
  for (uint64_t index = 0; index < 8; ++index) {
    const RetrievalPrompt prompt = retrieval_prompt(GetParam(), 1, index, 200);
    ASSERT_EQ(prompt.references.size(), 1U);
    const size_t at = prompt.context.find(prompt.references[0]);
    ASSERT_NE(at, std::string::npos);
    EXPECT_EQ(prompt.context.find(prompt.references[0], at + 1), std::string::npos) << "there once";
    const double place = static_cast<double>(at) / static_cast<double>(prompt.context.size());
    EXPECT_NEAR(place, prompt.depth, 0.05) << index;
    EXPECT_EQ(prompt.question.find(prompt.references[0]), std::string::npos);
    EXPECT_EQ(prompt.answer_start.find(prompt.references[0]), std::string::npos);
  }
}

TEST_P(RetrievalTask, IsAFunctionOfItsName) {
  const RetrievalPrompt prompt = retrieval_prompt(GetParam(), 1, 3, 50), again = retrieval_prompt(GetParam(), 1, 3, 50);
  EXPECT_EQ(prompt.context, again.context);
  EXPECT_NE(retrieval_prompt(GetParam(), 1, 4, 50).references, prompt.references);
  EXPECT_NE(retrieval_prompt(GetParam(), 2, 3, 50).references, prompt.references);
  const RetrievalPrompt longer = retrieval_prompt(GetParam(), 1, 3, 90);
  EXPECT_EQ(longer.question, prompt.question);
  EXPECT_EQ(longer.references, prompt.references);
  EXPECT_GT(longer.context.size(), prompt.context.size());
}

TEST_P(RetrievalTask, IsAsLongAsThereIsRoom) {
  for (const int64_t limit : {100, 317, 1000}) {
    const RetrievalPrompt prompt = longest_retrieval_prompt(GetParam(), 5, 2, limit, count_words);
    EXPECT_LE(count_words(prompt), limit);
    EXPECT_GT(count_words(prompt), limit - 40) << "a sentence more would not fit";
  }
  EXPECT_CONTAINS(testing::error_of([&] { longest_retrieval_prompt(GetParam(), 5, 2, 3, count_words); }),
                  "expected room for");
}

INSTANTIATE_TEST_SUITE_P(All, RetrievalTask, ::testing::ValuesIn(retrieval_tasks()));

TEST(RetrievalPrompt, HasDepthsThatAreSpreadEvenly) {
  std::set<double> depths;
  for (uint64_t index = 0; index < 8; ++index) depths.insert(retrieval_prompt("needle", 0, index, 8).depth);
  EXPECT_EQ(depths, (std::set<double>{0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875}));
}

TEST(RetrievalPrompt, OfSeveralNeedlesAsksForOne) {
  const RetrievalPrompt prompt = retrieval_prompt("needles", 0, 0, 100);
  size_t needles = 0;
  for (size_t at = 0; (at = prompt.context.find("The special number of", at)) != std::string::npos; ++at) ++needles;
  EXPECT_EQ(needles, 4U);
  EXPECT_NE(prompt.context.find(prompt.answer_start + " " + prompt.references[0]), std::string::npos);
}

TEST(RetrievalPrompt, OfKeyValuesIsJson) {
  const RetrievalPrompt prompt = retrieval_prompt("key_values", 0, 5, 30);
  const base::Json object = base::Json::parse(prompt.context);
  EXPECT_EQ(object.size(), 31U);
  const std::string key = prompt.answer_start.substr(1, 8);
  EXPECT_EQ(object.at(key), prompt.references[0]);
}

TEST(RetrievalPrompt, OfAnUnknownTaskIsAnError) {
  EXPECT_CONTAINS(testing::error_of([&] { retrieval_prompt("haystack", 0, 0, 1); }),
                  "unknown retrieval task 'haystack'; known: needle, needles");
}

TEST(RetrievalScore, IsTheShareOfReferencesInTheAnswer) {
  RetrievalPrompt prompt;
  prompt.references = {"1234567", "Ab"};
  EXPECT_EQ(retrieval_score(prompt, "It is 1234567."), 0.5);
  EXPECT_EQ(retrieval_score(prompt, "aB 1234567"), 1);
  EXPECT_EQ(retrieval_score(prompt, "1234568"), 0);
}

}  // namespace
}  // namespace incontext::tasks
