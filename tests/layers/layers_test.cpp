#include <gtest/gtest.h>

#include <fstream>

#include "layers/violations.h"
#include "support/errors.h"
#include "support/temporary_directory.h"

namespace incontext::testing {
namespace {

namespace fs = std::filesystem;
using Lines = std::vector<std::string>;

class LayersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    write("src/base/a.h", "#include <vector>\n#include \"base/b.h\"\n");
    write("src/kernels/cpu/a.cpp", "#include \"base/a.h\"\n#include \"kernels/a.h\"\n#include <hwy/highway.h>\n");
    write("src/tensor/a.cpp", "#include <torch/torch.h>\n#include \"kernels/a.h\"\n");
    write("tests/CMakeLists.txt", "foreach(folder base kernels)\nendforeach()\n");
    write("tests/base/CMakeLists.txt", "incontext_tests(base SOURCES one_test.cpp\n  two_test.cpp)\n");
    write("tests/base/one_test.cpp", "");
    write("tests/base/two_test.cpp", "");
  }

  void write(const std::string& name, const std::string& text) {
    fs::create_directories((directory_ / name).parent_path());
    std::ofstream(directory_ / name) << text;
  }
  Lines found() const { return violations(directory_.path()); }

  TemporaryDirectory directory_;
};

TEST_F(LayersTest, AcceptsATreeInOrder) { EXPECT_EQ(found(), Lines{}); }

TEST_F(LayersTest, SeesIncludesUpwards) {
  write("src/base/up.cpp", "\n  #  include <kernels/a.h>\n");
  write("src/tensor/up.h", "#include \"models/deep/a.h\"\n");
  EXPECT_EQ(found(), (Lines{"src/base/up.cpp:2: 'kernels/a.h' is of layer 1, expected one below 0",
                            "src/tensor/up.h:1: 'models/deep/a.h' is of layer 5, expected one below 2"}));
}

TEST_F(LayersTest, SeesIncludesSideways) {
  write("src/report/side.cpp", "#include \"kernels/a.h\"\n#include \"report/a.h\"\n");
  EXPECT_EQ(found(), Lines{"src/report/side.cpp:1: 'kernels/a.h' is of layer 1, expected one below 1"});
}

TEST_F(LayersTest, SeesTorchBelowItsLayer) {
  write("src/kernels/a.cu", "#include <ATen/ATen.h>\n");
  write("src/base/t.h", "#include <torch/script.h>\n");
  EXPECT_EQ(found(), (Lines{"src/base/t.h:1: 'torch/script.h' is torch, which starts at layer 2",
                            "src/kernels/a.cu:1: 'ATen/ATen.h' is torch, which starts at layer 2"}));
}

TEST_F(LayersTest, SeesFoldersWithoutALayerAndWaysAroundTheCheck) {
  write("src/misc/a.h", "");
  write("src/base/around.h", "#include \"../tensor/a.h\"\n");
  EXPECT_EQ(found(), (Lines{"src/base/around.h:1: '../tensor/a.h' leaves its folder by '..'",
                            "src/misc/a.h: folder 'misc' has no layer"}));
}

TEST_F(LayersTest, SeesTestsThatNobodyRuns) {
  write("tests/base/three_test.cpp", "");
  write("tests/base/o_test.cpp", "");  // part of a registered name
  write("tests/base/CMakeLists.txt", "incontext_tests(base SOURCES one_test.cpp two_test.cpp)  # three_test.cpp\n");
  write("tests/fuzz/CMakeLists.txt", "incontext_fuzz(SOURCES a_fuzz.cpp)\n");
  write("tests/fuzz/b_fuzz.cpp", "");
  write("tests/lost/CMakeLists.txt", "incontext_tests(lost SOURCES a_test.cpp)\n");
  write("tests/lost/a_test.cpp", "");
  write("tests/empty/a_test.cpp", "");
  EXPECT_EQ(found(), (Lines{"tests/base/o_test.cpp: not named in tests/base/CMakeLists.txt",
                            "tests/base/three_test.cpp: not named in tests/base/CMakeLists.txt",
                            "tests/empty/a_test.cpp: folder 'empty' is not named in tests/CMakeLists.txt",
                            "tests/empty/a_test.cpp: not named in tests/empty/CMakeLists.txt",
                            "tests/fuzz/b_fuzz.cpp: folder 'fuzz' is not named in tests/CMakeLists.txt",
                            "tests/fuzz/b_fuzz.cpp: not named in tests/fuzz/CMakeLists.txt",
                            "tests/lost/a_test.cpp: folder 'lost' is not named in tests/CMakeLists.txt"}));
}

TEST(Layers, ThisProjectIsInOrder) {
  for (const std::string& violation : violations(INCONTEXT_SOURCE_DIR)) ADD_FAILURE() << violation;
  EXPECT_TRUE(fs::exists(fs::path(INCONTEXT_SOURCE_DIR) / "src/base/error.h")) << "the right tree was looked at";
}

}  // namespace
}  // namespace incontext::testing
