#include "base/json_limits.h"

#include <unordered_set>
#include <vector>

#include "base/exact_json.h"

namespace incontext::base {
namespace {

using Broken = JsonScan::Broken;

// Answers false to end the parse. Goes on past every number that parse_exact_json() reads.
class Scanner : public nlohmann::json_sax<WideJson> {
 public:
  explicit Scanner(const JsonLimits& limits) : limits_(limits) {}

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override {
    if (limits_.unique_keys) keys_.emplace_back();
    return open();
  }
  bool end_object() override {
    if (limits_.unique_keys) keys_.pop_back();
    --depth_;
    return true;
  }
  bool start_array(size_t) override { return open(); }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(string_t& name) override {
    if (++found.keys > limits_.most_keys) return fails(Broken::keys);
    if (!limits_.unique_keys || keys_.back().insert(name).second) return true;
    found.key = name;
    return fails(Broken::repeated_key);
  }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception&) override { return false; }

  JsonScan found;

 private:
  bool open() { return ++depth_ <= limits_.deepest || fails(Broken::depth); }
  bool fails(Broken broken) {
    found.broken = broken;
    return false;
  }

  const JsonLimits& limits_;
  std::vector<std::unordered_set<std::string>> keys_;  // of every object that is open
  int depth_ = 0;
};

}  // namespace

JsonScan scan_json(std::string_view text, const JsonLimits& limits) {
  Scanner scanner(limits);
  WideJson::sax_parse(text, &scanner);
  return std::move(scanner.found);
}

}  // namespace incontext::base
