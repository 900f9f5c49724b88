// The messages that clients send, brought to the form that templates were written for, against what transformers makes
// of them (tools/make_golden_messages.py).

#include "text/template_messages.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "support/errors.h"
#include "text/chat_template.h"
#include "text/golden.h"

namespace incontext::text {
namespace {

using base::Json;

Json prepared(const char* messages, bool takes_parts = false) {
  return prepare_messages(Json::parse(messages), [&](const std::string&) { return takes_parts; });
}

TEST(TemplateMessages, RenderLikeTheReference) {
  const Json golden = Json::parse(base::read_file(golden_folder() / "messages.json"));
  for (const Json& row : golden["rows"]) {
    const auto name = row["template"].get<std::string>();
    SCOPED_TRACE(name + " on " + row["case"].get<std::string>());
    const ChatTemplate chat(base::read_file(golden_folder() / "templates" / (name + ".jinja")), name);
    const Json& asked = golden["cases"][row["case"].get<std::string>()];
    const Json& variables = golden["variables"];
    std::string text;
    const std::string error = testing::error_of([&] {
      const Json messages = chat.prepared(asked["messages"], variables);
      text = asked.contains("open") ? chat.render_open(messages, nullptr, variables)
                                    : chat.render(messages, nullptr, /*add_generation_prompt=*/true, variables);
    });
    if (row.contains("fails")) {
      EXPECT_NE(error, "no error") << text;
    } else {
      EXPECT_EQ(error, "no error");
      EXPECT_EQ(text, row["text"].get<std::string>());
    }
  }
}

TEST(TemplateMessages, LoseTheirNullsButNotTheContent) {
  EXPECT_EQ(prepared(R"([{"role": "assistant", "content": null, "tool_calls": null, "a": {"b": null}}])"),
            Json::parse(R"([{"role": "assistant", "content": null, "a": {"b": null}}])"));
}

TEST(TemplateMessages, TellReasoningUnderEveryName) {
  EXPECT_EQ(prepared(R"([{"role": "assistant", "content": "a", "reasoning": "b"}])").dump(),
            R"([{"thinking":"b","role":"assistant","content":"a","reasoning":"b","reasoning_content":"b"}])");
  EXPECT_EQ(prepared(R"([{"thinking": "b", "reasoning_content": "c"}])").dump(),
            R"([{"thinking":"b","reasoning_content":"c"}])");
}

TEST(TemplateMessages, JoinTextPartsAlone) {
  const char* texts =
      R"([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}])";
  EXPECT_EQ(prepared(texts)[0]["content"], "ab");
  EXPECT_EQ(prepared(texts, /*takes_parts=*/true), Json::parse(texts));
  const char* image = R"([{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "b"}]}])";
  EXPECT_EQ(prepared(image), Json::parse(image));
}

// Roles are looked at one by one: Gemma 3 shows the first part alone of what the system says.
TEST(TemplateMessages, LoseNoPart) {
  const ChatTemplate gemma(base::read_file(golden_folder() / "templates" / "gemma3.jinja"));
  const Json said = Json::parse(R"([
    {"role": "system", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
    {"role": "user", "content": [{"type": "text", "text": "Hello"}]}])");
  const Json messages = gemma.prepared(said, {{"bos_token", "<s>"}});
  EXPECT_EQ(messages[0]["content"], "Be brief.");
  EXPECT_EQ(messages[1]["content"], said[1]["content"]);
}

TEST(TemplateMessages, AreContinuedOnlyWhereTheyAreShown) {
  const ChatTemplate chat("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}");
  const ChatTemplate silent("{% for m in messages %}{{ m.role }}\n{% endfor %}");
  const Json said = Json::parse(R"([{"role": "user", "content": "a"}])");
  EXPECT_EQ(chat.render_open(said, nullptr), "user: a");
  EXPECT_CONTAINS(testing::error_of([&] { silent.render_open(said, nullptr); }), "does not show it");
  EXPECT_CONTAINS(testing::error_of([&] { chat.render_open(Json::parse(R"([{"role": "user"}])"), nullptr); }),
                  "no text to continue");
  EXPECT_CONTAINS(testing::error_of([&] { chat.render_open(Json::array(), nullptr); }), "no last message");
}

}  // namespace
}  // namespace incontext::text
