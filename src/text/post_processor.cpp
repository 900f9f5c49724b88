#include "text/post_processor.h"

#include "base/error.h"
#include "text/components.h"

namespace incontext::text {
namespace {

// ["<s>", 0]
int64_t id_of_pair(const JsonField& field) {
  const std::vector<JsonField> parts = field.items();
  if (parts.size() != 2) field.fail_expecting("a token and its id");
  return parts[1].token_id();
}

Surrounding read_template(const JsonField& field) {
  Surrounding out;
  const JsonField tokens = field.at("special_tokens");
  bool after_text = false;
  for (const JsonField& item : field.at("single").items()) {
    if (const auto sequence = item.find("Sequence")) {
      base::check(!after_text && sequence->text("id") == "A", "{}: expected the text once in a template for one text",
                  item.where());
      after_text = true;
      continue;
    }
    const std::string name = item.at("SpecialToken").text("id");
    for (const JsonField& id : tokens.at(name).at("ids").items()) {
      (after_text ? out.after : out.before).push_back(id.token_id());
    }
  }
  base::check(after_text, "{}.single: expected a Sequence for the text", field.where());
  return out;
}

void wrap(Surrounding& inner, const Surrounding& outer) {
  inner.before.insert(inner.before.begin(), outer.before.begin(), outer.before.end());
  inner.after.insert(inner.after.end(), outer.after.begin(), outer.after.end());
}

Surrounding read(const JsonField& field) {
  const std::string type = field.text("type");
  if (type == "TemplateProcessing") return read_template(field);
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    return {{id_of_pair(field.at("cls"))}, {id_of_pair(field.at("sep"))}};
  }
  if (type == "ByteLevel") return {};
  fail_unknown_type(field, "post-processor",
                    "Sequence, TemplateProcessing, RobertaProcessing, BertProcessing and ByteLevel");
}

}  // namespace

Surrounding read_post_processor(const JsonField& field) {
  std::vector<Surrounding> parts;
  collect_parts(field, "processors", 0, read, parts);
  Surrounding out;
  for (const Surrounding& part : parts) wrap(out, part);
  return out;
}

}  // namespace incontext::text
