#include "kernels/instruction_set.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace incontext::kernels {
namespace {

TEST(InstructionSet, BestComesFirstAndIsInUse) {
  force_instruction_set("");
  const auto names = available_instruction_sets();
  ASSERT_FALSE(names.empty());
  EXPECT_EQ(instruction_set().substr(0, names.front().size()), names.front());
}

TEST(InstructionSet, CanBeForcedAndRestored) {
  const std::string before = instruction_set();
  const auto names = available_instruction_sets();
  for (const std::string& name : names) {
    force_instruction_set(name);
    EXPECT_EQ(instruction_set().substr(0, name.size()), name);
    EXPECT_EQ(available_instruction_sets(), names) << "the list does not depend on what is forced";
    EXPECT_EQ(instruction_set().substr(0, name.size()), name) << "listing does not change the choice";
  }
  force_instruction_set("");
  EXPECT_EQ(instruction_set(), before);
}

TEST(InstructionSet, RefusesAnUnknownName) {
  const std::string before = instruction_set();
  EXPECT_THROW(force_instruction_set("avx1024"), base::Error);
  EXPECT_EQ(instruction_set(), before);
}

}  // namespace
}  // namespace incontext::kernels
