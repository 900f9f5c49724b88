// Chat templates against what transformers makes of them (tools/make_golden_text.py).
#include <gtest/gtest.h>

#include <map>

#include "text/chat_template.h"
#include "text/golden.h"

namespace incontext::text {
namespace {

using base::Json;

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::time_t time_of(const Json& parts) {
  std::tm time{};
  time.tm_year = parts[0].get<int>() - 1900;
  time.tm_mon = parts[1].get<int>() - 1;
  time.tm_mday = parts[2].get<int>();
  time.tm_hour = parts[3].get<int>();
  time.tm_min = parts[4].get<int>();
  time.tm_sec = parts[5].get<int>();
  time.tm_isdst = -1;
  return std::mktime(&time);
}

TEST(ChatTemplateGolden, RendersLikeTheReference) {
  const std::filesystem::path folder = golden_folder() / "templates";
  const Json golden = Json::parse(read_text(folder / "golden.json"));
  std::map<std::string, ChatTemplate> templates;
  size_t texts = 0, refusals = 0;
  for (const Json& row : golden["rows"]) {
    const auto name = row["template"].get<std::string>();
    const auto conversation = row["conversation"].get<std::string>();
    SCOPED_TRACE(name + " on " + conversation + (row["tools"].get<bool>() ? " with tools " : " ") +
                 row["variables"].dump());
    if (!templates.contains(name)) {
      templates.emplace(name, ChatTemplate(read_text(folder / (name + ".jinja")), name));
    }
    Json variables = row["variables"];
    variables["bos_token"] = "<s>";
    variables["eos_token"] = "</s>";
    const auto render = [&] {
      return templates.at(name).render(golden["conversations"][conversation],
                                       row["tools"].get<bool>() ? golden["tools"] : Json(), row["prompt"].get<bool>(),
                                       variables, time_of(golden["now"]));
    };
    if (row.contains("text")) {
      ++texts;
      try {
        EXPECT_EQ(render(), row["text"].get<std::string>());
      } catch (const std::exception& error) {
        ADD_FAILURE() << error.what();
      }
      continue;
    }
    try {
      ADD_FAILURE() << "expected an error, got " << render();
    } catch (const TemplateRefusal& refusal) {
      ++refusals;
      EXPECT_EQ(refusal.what(), row.value("refused", "no refusal"));
    } catch (const base::Error& error) {
      EXPECT_TRUE(row.contains("fails")) << error.what();
      EXPECT_NE(std::string(error.what()).find(name + " line "), std::string::npos) << error.what();
    }
  }
  EXPECT_GT(texts, 150U);
  EXPECT_GT(refusals, 20U);
}

}  // namespace
}  // namespace incontext::text
