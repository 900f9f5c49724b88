#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

namespace {

std::string file_name(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

// Whether `program`, test_<folder>_<stem>, is named after the file <stem>_test.cpp that lies at `path`.
bool named_after(const std::string& program, const std::string& path) {
  const std::string file = file_name(path);
  constexpr const char* kEnd = "_test.cpp";
  if (!file.ends_with(kEnd)) return false;
  const std::string folder = file_name(path.substr(0, path.find_last_of('/')));
  return program == fmt::format("test_{}_{}", folder, file.substr(0, file.size() - std::string(kEnd).size()));
}

// The names of all tests from other files, as patterns separated by colons. Sets `any` when a file fits the program.
std::string others(const std::string& program, bool& any) {
  std::string names;
  const testing::UnitTest& all = *testing::UnitTest::GetInstance();
  for (int i = 0; i < all.total_test_suite_count(); ++i) {
    const testing::TestSuite& suite = *all.GetTestSuite(i);
    for (int j = 0; j < suite.total_test_count(); ++j) {
      const testing::TestInfo& test = *suite.GetTestInfo(j);
      if (named_after(program, test.file())) {
        any = true;
      } else {
        names += fmt::format("{}{}.{}", names.empty() ? "" : ":", suite.name(), test.name());
      }
    }
  }
  return names;
}

}  // namespace

// A binary holds the tests of all files of a folder. Called by the name test_<folder>_<stem>, a link to it, it is the
// program of the tests in <stem>_test.cpp alone. The flags of GoogleTest work as ever.
int main(int count, char** arguments) {
  testing::InitGoogleTest(&count, arguments);
  const std::string program = file_name(arguments[0]);
  if (!program.starts_with("test_")) return RUN_ALL_TESTS();
  bool any = false;
  const std::string hidden = others(program, any);
  if (!any) {
    std::fprintf(stderr, "%s: no test comes from a file of this name\n", program.c_str());
    return 1;
  }
  std::string filter = GTEST_FLAG_GET(filter);
  if (!hidden.empty()) filter += (filter.find('-') == std::string::npos ? "-" : ":") + hidden;
  GTEST_FLAG_SET(filter, filter);
  return RUN_ALL_TESTS();
}
