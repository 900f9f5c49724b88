#include "base/exact_json.h"

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "base/error.h"

namespace incontext::base {
namespace {

// JSON text holds no binary values, so none can be taken for another thing.
constexpr std::uint64_t kBigInteger = 0x426967496E74;

bool is_integer(std::string_view text) {
  return text.find_first_not_of("0123456789", text.starts_with('-') ? 1 : 0) == std::string_view::npos;
}

[[noreturn]] void too_large(const std::string& text) {
  throw Json::out_of_range::create(406, "number overflow parsing '" + text.substr(0, 40) + "'", nullptr);
}

class Builder : public nlohmann::json_sax<WideJson> {
 public:
  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t, const string_t& text) override {
    if (is_integer(text)) {
      if (text.size() - (text.starts_with('-') ? 1 : 0) > kMostDigits) too_large(text);
      return add(big_integer(text));
    }
    // Not by way of the wider type, which would round twice.
    const double value = std::strtod(text.c_str(), nullptr);
    if (!std::isfinite(value)) too_large(text);
    return add(value);
  }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return open(Json::object()); }
  bool key(string_t& name) override {
    place_ = &(*open_.back())[name];
    return true;
  }
  bool end_object() override { return close(); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception& error) override {
    if (const auto* syntax = dynamic_cast<const Json::parse_error*>(&error)) throw Json::parse_error(*syntax);
    if (const auto* range = dynamic_cast<const Json::out_of_range*>(&error)) throw Json::out_of_range(*range);
    return false;
  }

  Json result;

 private:
  Json& put(Json value) {
    if (!open_.empty() && open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
      return open_.back()->back();
    }
    Json& place = open_.empty() ? result : *place_;
    place = std::move(value);
    return place;
  }
  bool add(Json value) {
    put(std::move(value));
    return true;
  }
  bool open(Json value) {
    open_.push_back(&put(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::vector<Json*> open_;  // nothing is added to a list or object while one inside it is open
  Json* place_ = nullptr;    // of the value that the last key names
};

}  // namespace

Json parse_exact_json(std::string_view text) {
  Builder builder;
  WideJson::sax_parse(text, &builder);
  return std::move(builder.result);
}

Json big_integer(std::string_view digits) {
  INCONTEXT_ASSERT(is_integer(digits) && !digits.empty());
  return Json::binary({digits.begin(), digits.end()}, kBigInteger);
}

std::optional<std::string> big_integer_digits(const Json& json) {
  if (!json.is_binary()) return std::nullopt;
  const Json::binary_t& bytes = json.get_binary();
  if (!bytes.has_subtype() || bytes.subtype() != kBigInteger) return std::nullopt;
  return std::string(bytes.begin(), bytes.end());
}

}  // namespace incontext::base
