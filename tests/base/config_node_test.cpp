#include "base/config_node.h"

#include "base/file.h"
#include "support/errors.h"
#include "support/temporary_directory.h"

namespace incontext::base {
namespace {

using testing::error_of;
using testing::TemporaryDirectory;

std::string scalar_at(const ConfigNode& node, std::initializer_list<const char*> path) {
  const ConfigNode* at = &node;
  for (const char* key : path) {
    at = at->find(key);
    if (at == nullptr) return "absent";
  }
  return at->scalar;
}

TEST(ConfigNode, KnowsTheLineOfEveryValue) {
  const ConfigNode node = parse_yaml("a: 1\n\nb:\n  c: [2,\n    3]\n", "f.yaml");
  EXPECT_EQ(node.find("a")->where, "f.yaml:1");
  EXPECT_EQ(node.find("b")->find("c")->where, "f.yaml:4");
  EXPECT_EQ(node.find("b")->find("c")->items[1].where, "f.yaml:5");
  EXPECT_EQ(parse_yaml("", "f.yaml").where, "f.yaml:1");
}

TEST(ConfigNode, DuplicateKeysAreErrors) {
  EXPECT_EQ(error_of([] { parse_yaml("a: 1\nb: 2\na: 3", "f.yaml"); }),
            "f.yaml:3: key 'a' appears twice (first at f.yaml:1)");
  EXPECT_CONTAINS(error_of([] { parse_yaml("x:\n  a: 1\n  a: 3", "f.yaml"); }), "f.yaml:3: key 'a' appears twice");
}

TEST(ConfigNode, BadYamlNamesTheLine) {
  EXPECT_CONTAINS(error_of([] { parse_yaml("a: 1\nb: [1, 2\nc: 3\n", "f.yaml"); }), "f.yaml:3: not valid YAML");
  EXPECT_CONTAINS(error_of([] { parse_yaml("a: 1\nb: *none\n", "f.yaml"); }), "not valid YAML");
  EXPECT_CONTAINS(error_of([] { parse_yaml("? [1, 2]\n: 3\n", "f.yaml"); }), "f.yaml:1: expected a plain name");
  EXPECT_CONTAINS(error_of([] { parse_yaml("a: 1\n---\nb: 2\n", "f.yaml"); }), "f.yaml:3: expected one YAML document");
}

TEST(ConfigNode, EndlessNestingIsAnError) {
  EXPECT_CONTAINS(error_of([] { parse_yaml("a: &x [*x]", "f.yaml"); }), "levels of nesting");
  EXPECT_CONTAINS(error_of([] { parse_yaml(std::string(100000, '['), "f.yaml"); }), "f.yaml:1");
}

TEST(ConfigNode, RemembersTheGroupThatAValueReplaced) {
  ConfigNode node = parse_yaml("a: {b: 1}\nc: 2\nd: 3\ne:\n", "f.yaml");
  for (const char* assignment : {"a=5", "a=6", "c.x=1", "c.y=2", "d=4", "e.x=1"}) apply_assignment(node, assignment);
  EXPECT_EQ(node.find("a")->scalar, "6");
  EXPECT_EQ(node.find("a")->replaced, "f.yaml:1");
  EXPECT_EQ(node.find("c")->entries.size(), 2U);
  EXPECT_EQ(node.find("c")->replaced, "f.yaml:2");
  EXPECT_EQ(node.find("d")->replaced, "") << "both are plain values";
  EXPECT_EQ(node.find("e")->replaced, "") << "nothing was there";
}

TEST(ConfigNode, LaterFilesWinAndTheFileItselfWinsLast) {
  const TemporaryDirectory directory;
  make_directories(directory / "shared");
  write_file_atomic(directory / "shared/base.yaml", "a: 1\nb: {c: 1, d: 1, e: 1}\nlist: [1, 2, 3]\n");
  write_file_atomic(directory / "shared/middle.yaml", "inherit: base.yaml\nb: {d: 2, e: 2}\n");
  write_file_atomic(directory / "other.yaml", "list: [9]\nextra: 1\n");
  write_file_atomic(directory / "top.yaml", "b: {e: 3}\ninherit: [shared/middle.yaml, other.yaml]\n");
  const ConfigNode node = load_yaml(directory / "top.yaml");
  EXPECT_EQ(scalar_at(node, {"a"}), "1");
  EXPECT_EQ(scalar_at(node, {"b", "c"}), "1");
  EXPECT_EQ(scalar_at(node, {"b", "d"}), "2");
  EXPECT_EQ(scalar_at(node, {"b", "e"}), "3");
  EXPECT_EQ(node.find("list")->items.size(), 1U);
  EXPECT_EQ(node.find("inherit"), nullptr);
  EXPECT_CONTAINS(node.find("b")->find("d")->where, "middle.yaml:2");
}

TEST(ConfigNode, TheSameFileMayBeInheritedTwiceButNotByItself) {
  const TemporaryDirectory directory;
  write_file_atomic(directory / "root.yaml", "a: 1\n");
  write_file_atomic(directory / "left.yaml", "inherit: root.yaml\n");
  write_file_atomic(directory / "right.yaml", "inherit: root.yaml\n");
  write_file_atomic(directory / "both.yaml", "inherit: [left.yaml, right.yaml]\n");
  EXPECT_EQ(scalar_at(load_yaml(directory / "both.yaml"), {"a"}), "1");

  write_file_atomic(directory / "self.yaml", "inherit: ./self.yaml\n");
  EXPECT_CONTAINS(error_of([&] { load_yaml(directory / "self.yaml"); }), "inherits itself: self.yaml -> self.yaml");
  write_file_atomic(directory / "one.yaml", "inherit: two.yaml\n");
  write_file_atomic(directory / "two.yaml", "inherit: one.yaml\n");
  EXPECT_CONTAINS(error_of([&] { load_yaml(directory / "one.yaml"); }), "one.yaml -> two.yaml -> one.yaml");
}

TEST(ConfigNode, InheritErrorsNameTheLine) {
  const TemporaryDirectory directory;
  write_file_atomic(directory / "a.yaml", "x: 1\ninherit: gone.yaml\n");
  EXPECT_CONTAINS(error_of([&] { load_yaml(directory / "a.yaml"); }), "a.yaml:2: inherit: no such file");
  write_file_atomic(directory / "b.yaml", "inherit: {x: 1}\n");
  EXPECT_CONTAINS(error_of([&] { load_yaml(directory / "b.yaml"); }), "b.yaml:1: inherit expects a file name");
  write_file_atomic(directory / "c.yaml", "- 1\n");
  EXPECT_CONTAINS(error_of([&] { load_yaml(directory / "c.yaml"); }), "expected 'key: value' lines");
  EXPECT_CONTAINS(error_of([&] { load_yaml(directory / "gone.yaml"); }), "cannot open: No such file");
}

}  // namespace
}  // namespace incontext::base
