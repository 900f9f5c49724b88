#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "text/template_filters.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

using Budget = TemplateBudget;

constexpr size_t kMaxMapArguments = 16;

// The attribute that a filter looks at, nothing where it looks at the item itself.
std::optional<Value> attribute_argument(Arguments& arguments) {
  auto found = arguments.take("attribute");
  if (found && found->is_none()) return std::nullopt;
  return found;
}

// What sorting and its kin look at: the attribute, and texts without regard to case.
Value key_of(const Value& item, const std::optional<Value>& attribute, bool case_sensitive, Budget& budget,
             const Value* fallback = nullptr) {
  Value out = attribute ? path_of(item, *attribute, budget, fallback) : item;
  if (case_sensitive || !out.is_string()) return out;
  budget.charge_walk(out);
  return lower_text(*out.string());
}

// ---- Filters that give what they go through one by one ----

/// What a generator goes through: begun only when the first value is asked for.
class Source {
 public:
  explicit Source(Value value) : value_(std::move(value)) {}

  std::optional<Value> next(Budget& budget) {
    if (Generator* generator = value_.generator()) return next_of(*generator, budget);
    if (!begun_) {
      budget.charge(1);
      begun_ = true;
      if (value_.items() == nullptr) value_ = Value::list(iterate(value_, budget));
    }
    if (at_ == value_.items()->size()) return std::nullopt;
    return (*value_.items())[at_++];
  }

 private:
  Value value_;
  bool begun_ = false;
  size_t at_ = 0;
};

Value generator_over(const Value& value, std::string name, Generator::Next next) {
  return Value::generator({std::move(name), std::move(next), value.depth() + 1});
}

/// select, reject, selectattr, rejectattr: of something false they make nothing, and do not look at their arguments.
class Choice {
 public:
  Choice(const Value& value, Arguments& arguments, bool by_attribute, bool keep)
      : value_(value),
        source_(value),
        function_(arguments.function()),
        places_(arguments.rest()),
        named_(arguments.rest_named()),
        by_attribute_(by_attribute),
        keep_(keep) {}

  std::optional<Value> operator()(Budget& budget) {
    if (!begun_) {
      if (!value_.truth()) return std::nullopt;
      begin(budget);
    }
    while (auto item = source_.next(budget)) {
      budget.charge(1 + places_.size());
      const Value subject = by_attribute_ ? path_of(*item, attribute_, budget) : *item;
      bool holds = false;
      if (test_) {
        template_check(is_test(*test_), kUnknownTest, *test_);
        holds = apply_test(*test_, subject, Arguments(*test_, places_, named_), budget);
      } else {
        holds = subject.truth();
      }
      if (holds == keep_) return item;
    }
    return std::nullopt;
  }

 private:
  void begin(Budget& budget) {
    begun_ = true;
    if (by_attribute_) {
      template_check(!places_.empty(), "{}: the argument 'attribute' is missing", function_);
      attribute_ = places_.front();
      places_.erase(places_.begin());
    }
    if (places_.empty()) return;
    test_ = charged_text(places_.front(), budget);
    places_.erase(places_.begin());
  }

  Value value_;
  Source source_;
  std::string function_;
  std::vector<Value> places_;
  std::vector<std::pair<std::string, Value>> named_;
  bool by_attribute_;
  bool keep_;
  bool begun_ = false;
  Value attribute_;
  std::optional<std::string> test_;
};

Value chosen(const Value& value, Arguments& arguments, bool by_attribute, bool keep) {
  return generator_over(value, "select_or_reject", Choice(value, arguments, by_attribute, keep));
}

class Mapping {
 public:
  Mapping(const Value& value, Arguments& arguments)
      : value_(value), source_(value), places_(arguments.rest()), named_(arguments.rest_named()) {}

  std::optional<Value> operator()(Budget& budget) {
    if (!begun_) {
      if (!value_.truth()) return std::nullopt;
      begin(budget);
    }
    const auto item = source_.next(budget);
    if (!item) return std::nullopt;
    budget.charge(1);
    if (filter_.empty()) return path_of(*item, attribute_, budget, fallback_ ? &*fallback_ : nullptr);
    template_check(is_filter(filter_), kUnknownFilter, filter_);
    return apply_filter(filter_, *item, Arguments(filter_, places_, named_), budget);
  }

 private:
  void begin(Budget& budget) {
    begun_ = true;
    // map('map', 'map', ...) calls itself as often as it has arguments.
    template_check(places_.size() + named_.size() <= kMaxMapArguments, "map: takes at most {} arguments",
                   kMaxMapArguments);
    Arguments arguments("map", places_, named_);
    if (!places_.empty()) {
      filter_ = charged_text(places_.front(), budget);
      places_.erase(places_.begin());
      return;
    }
    attribute_ = arguments.require("attribute");
    fallback_ = arguments.take_named("default");
    if (fallback_ && fallback_->is_none()) fallback_ = std::nullopt;
    arguments.finish();
  }

  Value value_;
  Source source_;
  std::vector<Value> places_;
  std::vector<std::pair<std::string, Value>> named_;
  bool begun_ = false;
  std::string filter_;
  Value attribute_;
  std::optional<Value> fallback_;
};

Value map(const Value& value, Arguments& arguments, Budget&) {
  return generator_over(value, "sync_do_map", Mapping(value, arguments));
}

Value unique(const Value& value, Arguments& arguments, Budget&) {
  const bool case_sensitive = arguments.flag_or("case_sensitive", false);
  const auto attribute = attribute_argument(arguments);
  return generator_over(value, "sync_do_unique",
                        [=, source = Source(value), keys = std::vector<Value>()](Budget& budget) mutable {
                          while (auto item = source.next(budget)) {
                            Value key = key_of(*item, attribute, case_sensitive, budget);
                            check_key(key);
                            budget.charge(1 + keys.size() * key.weight());
                            const auto same = [&](const Value& known) { return values_equal(known, key); };
                            if (std::any_of(keys.begin(), keys.end(), same)) continue;
                            keys.push_back(std::move(key));
                            return item;
                          }
                          return std::optional<Value>();
                        });
}

Value batch(const Value& value, Arguments& arguments, Budget&) {
  const int64_t size = integer_of(arguments.require("linecount"), "batch");
  const Value filler = arguments.take("fill_with").value_or(None{});
  return generator_over(
      value, "do_batch",
      [=, source = Source(value), held = std::vector<Value>(), ended = false](Budget& budget) mutable {
        while (!ended) {
          auto item = source.next(budget);
          if (!item) {
            ended = true;
            break;
          }
          std::vector<Value> full;
          const bool is_full = static_cast<int64_t>(held.size()) == size;
          if (is_full) std::swap(full, held);
          held.push_back(std::move(*item));
          if (is_full) return std::optional(Value::list(std::move(full)));
        }
        if (held.empty()) return std::optional<Value>();
        const auto missing = static_cast<size_t>(std::max<int64_t>(size - static_cast<int64_t>(held.size()), 0));
        if (!filler.is_none()) {
          budget.charge(missing);
          held.resize(held.size() + missing, filler);
        }
        return std::optional(Value::list(std::exchange(held, {})));
      });
}

Value slice(const Value& value, Arguments& arguments, Budget&) {
  const int64_t slices = integer_of(arguments.require("slices"), "slice");
  const Value filler = arguments.take("fill_with").value_or(None{});
  return generator_over(value, "sync_do_slice",
                        [=, source = Source(value), all = std::optional<std::vector<Value>>(), number = int64_t{0},
                         done = size_t{0}](Budget& budget) mutable {
                          if (!all) {
                            all.emplace();
                            while (auto item = source.next(budget)) all->push_back(std::move(*item));
                            template_check(slices != 0, "slice: division by zero");
                          }
                          if (number >= slices) return std::optional<Value>();
                          const auto size = static_cast<int64_t>(all->size());
                          const bool has_one_more = number < size % slices;
                          const auto count = static_cast<size_t>(size / slices + (has_one_more ? 1 : 0));
                          const auto begin = all->begin() + static_cast<std::ptrdiff_t>(done);
                          std::vector<Value> part(begin, begin + static_cast<std::ptrdiff_t>(count));
                          done += count;
                          ++number;
                          budget.charge(1 + count);
                          if (!filler.is_none() && !has_one_more) part.push_back(filler);
                          return std::optional(Value::list(std::move(part)));
                        });
}

Value items(const Value& value, Arguments&, Budget&) {
  return generator_over(
      value, "do_items", [value, source = std::optional<Source>()](Budget& budget) mutable -> std::optional<Value> {
        if (value.is_undefined()) return std::nullopt;
        template_check(value.entries() != nullptr, "items: expected a dictionary, got {}", value.type_name());
        if (!source) source.emplace(call_method(value, "items", Arguments("items", {}, {}), budget));
        return source->next(budget);
      });
}

Value reverse(const Value& value, Arguments&, Budget& budget) {
  if (value.is_string()) {
    std::string text;
    budget.charge_bytes(value.string()->size() * 16);
    for (size_t end = value.string()->size(); end > 0;) {
      const size_t size = code_point_before(*value.string(), end).size;
      end -= size;
      text.append(*value.string(), end, size);
    }
    return text;
  }
  std::vector<Value> all = iterate(value, budget);
  budget.charge(1 + all.size());
  std::reverse(all.begin(), all.end());
  Value list = Value::list(std::move(all));
  if (value.generator() != nullptr) return list;
  return generator_over(list, "reversed", [source = Source(list)](Budget& b) mutable { return source.next(b); });
}

// ---- Filters that give a value ----

Value length(const Value& value, Arguments&, Budget&) { return length_of(value); }

Value join(const Value& value, Arguments& arguments, Budget& budget) {
  const std::string separator = charged_text(arguments.take("d").value_or(Value("")), budget);
  const auto attribute = attribute_argument(arguments);
  std::string out;
  bool first = true;
  for (const Value& item : iterate(value, budget)) {
    const std::string text = charged_text(attribute ? path_of(item, *attribute, budget) : item, budget);
    budget.charge_bytes(text.size() + separator.size());
    if (!first) out += separator;
    first = false;
    out += text;
  }
  return out;
}

Value list(const Value& value, Arguments&, Budget& budget) {
  std::vector<Value> out = iterate(value, budget);
  budget.charge(1 + out.size());
  return Value::list(std::move(out));
}

Value first(const Value& value, Arguments&, Budget& budget) {
  const auto found = Source(value).next(budget);
  return found ? *found : Value::undefined("the first of nothing");
}

Value last(const Value& value, Arguments&, Budget& budget) {
  template_check(value.generator() == nullptr, "last: a {} cannot be gone through backwards", value.type_name());
  if (value.items() != nullptr && !value.items()->empty()) return value.items()->back();
  const std::vector<Value> all = iterate(value, budget);
  return all.empty() ? Value::undefined("the last of nothing") : all.back();
}

void sort_by(std::vector<Value>& values, const std::vector<std::optional<Value>>& attributes, bool case_sensitive,
             bool reverse_order, Budget& budget, bool equal_without_order = false) {
  struct Row {
    std::vector<Value> keys;
    Value value;
  };
  std::vector<Row> rows;
  for (Value& value : values) {
    Row row;
    for (const auto& attribute : attributes) {
      row.keys.push_back(key_of(value, attribute, case_sensitive, budget));
      budget.charge_walk(row.keys.back());
    }
    row.value = std::move(value);
    rows.push_back(std::move(row));
  }
  budget.charge(1 + rows.size() * 20);
  std::stable_sort(rows.begin(), rows.end(), [&](const Row& a, const Row& b) {
    for (size_t i = 0; i < a.keys.size(); ++i) {
      // Keys that several attributes make are lists in Jinja: what is equal needs no order.
      if (equal_without_order && values_equal(a.keys[i], b.keys[i])) continue;
      const int order = compare_values(a.keys[i], b.keys[i]);
      if (order != 0) return reverse_order ? order > 0 : order < 0;
    }
    return false;
  });
  for (size_t i = 0; i < rows.size(); ++i) values[i] = std::move(rows[i].value);
}

Value sort(const Value& value, Arguments& arguments, Budget& budget) {
  const bool reverse_order = integer_of(arguments.take("reverse").value_or(Value(false)), "sort: reverse") != 0;
  const bool case_sensitive = arguments.flag_or("case_sensitive", false);
  std::vector<std::optional<Value>> attributes;
  const auto attribute = attribute_argument(arguments);
  if (attribute && attribute->is_string()) {
    for (const std::string& one : base::split(*attribute->string(), ',')) attributes.emplace_back(one);
  } else {
    attributes.push_back(attribute);
  }
  std::vector<Value> all = iterate(value, budget);
  sort_by(all, attributes, case_sensitive, reverse_order, budget, /*equal_without_order=*/true);
  return Value::list(std::move(all));
}

Value dictsort(const Value& value, Arguments& arguments, Budget& budget) {
  const bool case_sensitive = arguments.flag_or("case_sensitive", false);
  const std::string by = arguments.text_or("by", "key");
  const bool reverse_order = arguments.flag_or("reverse", false);
  template_check(by == "key" || by == "value", "dictsort: expected by key or value, got '{}'", by);
  template_check(value.entries() != nullptr, "dictsort: expected a dictionary, got {}", value.type_name());
  std::vector<Value> pairs = iterate(call_method(value, "items", Arguments("items", {}, {}), budget), budget);
  sort_by(pairs, {Value(int64_t{by == "key" ? 0 : 1})}, case_sensitive, reverse_order, budget);
  return Value::list(std::move(pairs));
}

Value groupby(const Value& value, Arguments& arguments, Budget& budget) {
  const Value attribute = arguments.require("attribute");
  Value fallback = arguments.take("default").value_or(None{});
  const bool case_sensitive = arguments.flag_or("case_sensitive", false);
  const Value* instead = fallback.is_none() ? nullptr : &fallback;
  // Each item behind its key, sorted by it.
  std::vector<Value> pairs;
  for (Value& item : iterate(value, budget)) {
    Value key = key_of(item, attribute, case_sensitive, budget, instead);
    pairs.push_back(Value::list({std::move(key), std::move(item)}));
  }
  sort_by(pairs, {Value(int64_t{0})}, true, false, budget);
  std::vector<Value> groups, members;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const std::vector<Value>& pair = *pairs[i].items();
    members.push_back(pair[1]);
    budget.charge_walk(pair[0]);
    if (i + 1 < pairs.size() && values_equal((*pairs[i + 1].items())[0], pair[0])) continue;
    // The key as the first of the group writes it.
    const Value key = path_of(members.front(), attribute, budget, instead);
    groups.push_back(Value::list({key, Value::list(std::exchange(members, {}))}, ListKind::group));
  }
  return Value::list(std::move(groups));
}

Value sum(const Value& value, Arguments& arguments, Budget& budget) {
  const auto attribute = attribute_argument(arguments);
  Value out = arguments.take("start").value_or(int64_t{0});
  template_check(!out.is_string(), "sum: texts have none");
  for (const Value& item : iterate(value, budget)) {
    out = apply_binary("+", out, attribute ? path_of(item, *attribute, budget) : item, budget);
  }
  return out;
}

Value extreme(const Value& value, Arguments& arguments, int sign, Budget& budget) {
  const bool case_sensitive = arguments.flag_or("case_sensitive", false);
  const auto attribute = attribute_argument(arguments);
  const std::vector<Value> all = iterate(value, budget);
  if (all.empty()) return Value::undefined("an extreme of nothing");
  const Value* best = &all.front();
  Value best_key = key_of(*best, attribute, case_sensitive, budget);
  for (size_t i = 1; i < all.size(); ++i) {
    Value key = key_of(all[i], attribute, case_sensitive, budget);
    budget.charge_comparison(key, best_key);
    if (compare_values(key, best_key) * sign <= 0) continue;
    best = &all[i];
    best_key = std::move(key);
  }
  return *best;
}

Value min(const Value& value, Arguments& arguments, Budget& budget) { return extreme(value, arguments, -1, budget); }
Value max(const Value& value, Arguments& arguments, Budget& budget) { return extreme(value, arguments, 1, budget); }

}  // namespace

Value path_of(const Value& item, const Value& path, TemplateBudget& budget, const Value* fallback) {
  if (path.is_none()) return item;
  Value out = item;
  const auto step = [&](const Value& key) {
    out = item_of(out, key, budget);
    if (fallback != nullptr && out.is_undefined()) out = *fallback;
  };
  if (!path.is_string()) {
    step(path);
    return out;
  }
  budget.charge(1 + path.string()->size() / 16);
  for (const std::string& part : base::split(*path.string(), '.')) {
    const bool is_number =
        !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string::npos;
    step(is_number ? Value(int64_t{std::stoi(part)}) : Value(part));
  }
  return out;
}

const TemplateFilters& sequence_filters() {
  using V = const Value&;
  using A = Arguments&;
  using B = Budget&;
  static const TemplateFilters table = {
      {"batch", batch},
      {"count", length},
      {"dictsort", dictsort},
      {"first", first},
      {"groupby", groupby},
      {"items", items},
      {"join", join},
      {"last", last},
      {"length", length},
      {"list", list},
      {"map", map},
      {"max", max},
      {"min", min},
      {"reject", [](V v, A a, B) { return chosen(v, a, false, false); }},
      {"rejectattr", [](V v, A a, B) { return chosen(v, a, true, false); }},
      {"reverse", reverse},
      {"select", [](V v, A a, B) { return chosen(v, a, false, true); }},
      {"selectattr", [](V v, A a, B) { return chosen(v, a, true, true); }},
      {"slice", slice},
      {"sort", sort},
      {"sum", sum},
      {"unique", unique},
  };
  return table;
}

}  // namespace incontext::text
