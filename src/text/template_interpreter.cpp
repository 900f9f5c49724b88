#include "text/template_interpreter.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "text/chat_template.h"
#include "text/template_functions.h"

namespace incontext::text {
namespace {

using Kind = Expression::Kind;

// Levels of blocks, macros and operators together: each takes some of our stack.
constexpr int kMaxDepth = 500;
constexpr size_t kMaxOutput = size_t{64} << 20;

// What a loop's body ended with.
enum class Flow { normal, break_loop, continue_loop };

constexpr std::string_view kGlobals[] = {"namespace", "range", "dict", "raise_exception", "strftime_now"};

class Interpreter {
 public:
  Interpreter(const std::string& name, TemplateVariables variables, std::time_t now, size_t steps)
      : name_(name), now_(now), budget_(steps) {
    scopes_.push_back(std::move(variables));
  }

  // Namespaces are all that could hold itself; emptied one by one they cannot.
  ~Interpreter() {
    for (const auto& space : namespaces_) space->entries.clear();
  }
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  std::string run(const Block& block) {
    std::string out;
    try {
      execute(block, out);
    } catch (const TemplateFault& fault) {
      base::fail("{} line {}: {}", name_, line_, base::printable(fault.message));
    }
    return out;
  }

 private:
  struct Level {
    explicit Level(int& depth) : depth_(depth) {
      template_check(depth_ < kMaxDepth, "the template calls itself too deeply");
      ++depth_;
    }
    ~Level() { --depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    int& depth_;
  };

  // ---- Variables ----

  // In a macro only its own scopes and the outermost are seen.
  const Value* find(const std::string& name) const {
    for (size_t i = scopes_.size(); i > floor_; --i) {
      const auto found = scopes_[i - 1].find(name);
      if (found != scopes_[i - 1].end()) return &found->second;
    }
    const auto found = scopes_.front().find(name);
    return found == scopes_.front().end() ? nullptr : &found->second;
  }

  // Opens a scope as long as it lives.
  struct Scope {
    explicit Scope(Interpreter& interpreter) : scopes_(interpreter.scopes_) { scopes_.emplace_back(); }
    ~Scope() { scopes_.pop_back(); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    std::vector<TemplateVariables>& scopes_;
  };

  void assign_one(const std::string& target, Value value) {
    budget_.charge(target.size() / 64);
    const size_t dot = target.find('.');
    if (dot == std::string::npos) {
      scopes_.back().insert_or_assign(target, std::move(value));
      return;
    }
    const Value* object = find(target.substr(0, dot));
    template_check(object != nullptr && object->name_space() != nullptr,
                   "'{}' cannot be set: only attributes of a namespace can", target);
    budget_.charge((*object->name_space())->entries.size() / 16);
    (*object->name_space())->set(target.substr(dot + 1), std::move(value));
  }

  void assign(const std::vector<std::string>& targets, Value value) {
    if (targets.size() == 1) return assign_one(targets.front(), std::move(value));
    std::vector<Value> items = iterate(value, budget_);
    template_check(items.size() == targets.size(), "expected {} values to unpack, got {}", targets.size(),
                   items.size());
    for (size_t i = 0; i < targets.size(); ++i) assign_one(targets[i], std::move(items[i]));
  }

  // ---- Statements ----

  void write(const std::string& text, std::string& out) {
    budget_.charge_bytes(text.size());
    template_check(out.size() + text.size() <= kMaxOutput, "the text becomes longer than {} MiB", kMaxOutput >> 20);
    out += text;
  }

  std::string text_of(const Value& value) {
    budget_.charge_walk(value);
    return to_text(value);
  }

  Flow execute(const Block& block, std::string& out) {
    const Level level(depth_);
    for (const auto& statement : block) {
      const Flow flow = execute(*statement, out);
      if (flow != Flow::normal) return flow;
    }
    return Flow::normal;
  }

  Flow execute(const Statement& statement, std::string& out) {
    line_ = statement.line;
    budget_.charge(1);
    switch (statement.kind) {
      case Statement::Kind::text:
        write(statement.text, out);
        return Flow::normal;
      case Statement::Kind::output:
        write(text_of(evaluate(*statement.expression)), out);
        return Flow::normal;
      case Statement::Kind::condition:
        return execute(evaluate(*statement.expression).truth() ? statement.body : statement.otherwise, out);
      case Statement::Kind::loop:
        return execute_loop(statement, out);
      case Statement::Kind::assignment:
        assign(statement.targets, evaluate(*statement.expression));
        return Flow::normal;
      case Statement::Kind::captured:
      case Statement::Kind::filtered:
        execute_captured(statement, out);
        return Flow::normal;
      case Statement::Kind::macro:
        define_macro(statement);
        return Flow::normal;
      case Statement::Kind::body:
        return execute_body(statement, out);
      case Statement::Kind::break_loop:
        return Flow::break_loop;
      case Statement::Kind::continue_loop:
        return Flow::continue_loop;
    }
    return Flow::normal;
  }

  void define_macro(const Statement& statement) {
    assign_one(statement.text,
               std::make_shared<const Function>(Function{Function::Kind::macro, statement.text, Value(), &statement}));
  }

  Flow execute_body(const Statement& statement, std::string& out) {
    const Scope scope(*this);
    return execute(statement.body, out);
  }

  void execute_captured(const Statement& statement, std::string& out) {
    std::string text;
    {
      const Scope scope(*this);
      execute(statement.body, text);
    }
    Value value(std::move(text));
    if (statement.expression) {
      captured_.push_back(std::move(value));
      value = evaluate(*statement.expression);
      captured_.pop_back();
    }
    if (statement.kind == Statement::Kind::captured) {
      assign(statement.targets, std::move(value));
    } else {
      write(text_of(value), out);
    }
  }

  Flow execute_loop(const Statement& statement, std::string& out) {
    std::vector<Value> items = iterate(evaluate(*statement.expression), budget_);
    budget_.charge(1 + items.size());
    if (statement.filter) {
      std::vector<Value> kept;
      for (Value& item : items) {
        const Scope scope(*this);
        assign(statement.targets, item);
        if (evaluate(*statement.filter).truth()) kept.push_back(std::move(item));
      }
      items = std::move(kept);
    }
    if (items.empty()) return execute(statement.otherwise, out);
    List list{std::move(items)};
    for (const Value& item : list.items) list.depth = std::max(list.depth, item.depth() + 1);
    const auto shared = std::make_shared<const List>(std::move(list));
    for (size_t i = 0; i < shared->items.size(); ++i) {
      const Scope scope(*this);
      assign(statement.targets, shared->items[i]);
      assign_one("loop", std::make_shared<const LoopState>(LoopState{shared, i}));
      if (execute(statement.body, out) == Flow::break_loop) break;
    }
    return Flow::normal;
  }

  // ---- Expressions ----

  Value evaluate(const Expression& expression) {
    const Level level(depth_);
    budget_.charge(1);
    line_ = expression.line;
    switch (expression.kind) {
      case Kind::constant:
        return expression.value;
      case Kind::variable:
        return variable(expression.name);
      case Kind::list:
        return list(expression);
      case Kind::dictionary:
        return dictionary(expression);
      case Kind::attribute:
        return attribute_of(evaluate(*expression.parts[0]), expression.name, budget_);
      case Kind::item:
        return item(expression);
      case Kind::slice:
        return slice(expression);
      case Kind::call:
        return call(expression);
      case Kind::filter:
        return filter(expression);
      case Kind::test:
        return test(expression);
      case Kind::unary:
        return unary(expression);
      case Kind::binary:
        return binary(expression);
      case Kind::comparison:
        return comparison(expression);
      case Kind::conditional:
        return conditional(expression);
    }
    return Value();
  }

  Value variable(const std::string& name) {
    budget_.charge(name.size() / 64);
    if (const Value* found = find(name)) return *found;
    if (std::find(std::begin(kGlobals), std::end(kGlobals), name) != std::end(kGlobals)) {
      return std::make_shared<const Function>(Function{Function::Kind::global, name, Value(), nullptr});
    }
    return Value::undefined(name);
  }

  Value list(const Expression& expression) {
    std::vector<Value> items;
    for (const auto& part : expression.parts) items.push_back(evaluate(*part));
    return Value::list(std::move(items), expression.name == "tuple");
  }

  Value dictionary(const Expression& expression) {
    std::vector<std::pair<std::string, Value>> entries;
    for (size_t i = 0; i < expression.parts.size(); i += 2) {
      const Value key = evaluate(*expression.parts[i]);
      template_check(key.is_string(), "a key of a dictionary is a text here, got {}", key.type_name());
      entries.emplace_back(*key.string(), evaluate(*expression.parts[i + 1]));
    }
    budget_.charge(entries.size() * entries.size() / 16);
    return Value::dictionary(std::move(entries));
  }

  Value item(const Expression& expression) {
    const Value object = evaluate(*expression.parts[0]);
    return item_of(object, evaluate(*expression.parts[1]), budget_);
  }

  Value slice(const Expression& expression) {
    const Value object = evaluate(*expression.parts[0]);
    const auto bound = [&](size_t part) -> std::optional<int64_t> {
      if (!expression.parts[part]) return std::nullopt;
      const Value value = evaluate(*expression.parts[part]);
      if (value.is_none()) return std::nullopt;
      return integer_of(value, "a slice");
    };
    const auto begin = bound(1), end = bound(2), step = bound(3);
    return slice_of(object, begin, end, step.value_or(1), budget_);
  }

  Arguments arguments_of(const Expression& expression, std::string function) {
    std::vector<Value> places;
    for (size_t i = 1; i < expression.parts.size(); ++i) places.push_back(evaluate(*expression.parts[i]));
    std::vector<std::pair<std::string, Value>> named;
    for (const auto& [name, part] : expression.named) named.emplace_back(name, evaluate(*part));
    line_ = expression.line;
    return {std::move(function), std::move(places), std::move(named)};
  }

  Value filter(const Expression& expression) {
    const Value subject = expression.parts[0] ? evaluate(*expression.parts[0]) : captured_.back();
    return apply_filter(expression.name, subject, arguments_of(expression, expression.name), budget_);
  }

  Value test(const Expression& expression) {
    const Value subject = evaluate(*expression.parts[0]);
    return apply_test(expression.name, subject, arguments_of(expression, expression.name), budget_) !=
           expression.negated;
  }

  Value unary(const Expression& expression) {
    const Value value = evaluate(*expression.parts[0]);
    if (expression.name == "not") return !value.truth();
    if (const double* number = value.get<double>()) return expression.name == "-" ? -*number : *number;
    return apply_binary(expression.name, int64_t{0}, integer_of(value, "'" + expression.name + "'"), budget_);
  }

  Value binary(const Expression& expression) {
    Value left = evaluate(*expression.parts[0]);
    if (expression.name == "and") return left.truth() ? evaluate(*expression.parts[1]) : left;
    if (expression.name == "or") return left.truth() ? left : evaluate(*expression.parts[1]);
    const Value right = evaluate(*expression.parts[1]);
    line_ = expression.line;
    return apply_binary(expression.name, left, right, budget_);
  }

  bool compares(const std::string& name, const Value& left, const Value& right) {
    if (name == "in") return is_in(left, right, budget_);
    if (name == "not in") return !is_in(left, right, budget_);
    budget_.charge_comparison(left, right);
    if (name == "==") return values_equal(left, right);
    if (name == "!=") return !values_equal(left, right);
    const int order = compare_values(left, right);
    if (name == "<") return order < 0;
    if (name == "<=") return order <= 0;
    return name == ">" ? order > 0 : order >= 0;
  }

  Value comparison(const Expression& expression) {
    Value left = evaluate(*expression.parts[0]);
    for (size_t i = 0; i < expression.operators.size(); ++i) {
      Value right = evaluate(*expression.parts[i + 1]);
      if (!compares(expression.operators[i], left, right)) return false;
      left = std::move(right);
    }
    return true;
  }

  Value conditional(const Expression& expression) {
    if (evaluate(*expression.parts[1]).truth()) return evaluate(*expression.parts[0]);
    if (expression.parts[2]) return evaluate(*expression.parts[2]);
    return Value::undefined("the else of an inline if");
  }

  // ---- Calls ----

  Value call(const Expression& expression) {
    const Value callee = evaluate(*expression.parts[0]);
    const Function* function = callee.function();
    if (function == nullptr) {
      const Undefined* undefined = callee.get<Undefined>();
      if (undefined != nullptr) template_fail("'{}' is undefined and cannot be called", undefined->name);
      template_fail("a {} cannot be called", callee.type_name());
    }
    Arguments arguments = arguments_of(expression, function->name);
    switch (function->kind) {
      case Function::Kind::macro:
        return call_macro(*function->macro, std::move(arguments));
      case Function::Kind::global:
        return call_global(function->name, std::move(arguments));
      case Function::Kind::method:
        return call_method(function->receiver, function->name, std::move(arguments), budget_);
      case Function::Kind::loop_cycle:
        return cycle(*function->receiver.loop(), std::move(arguments));
    }
    return Value();
  }

  static Value cycle(const LoopState& loop, Arguments arguments) {
    const std::vector<Value> values = arguments.rest();
    arguments.finish();
    template_check(!values.empty(), "loop.cycle: expected values");
    return values[loop.index % values.size()];
  }

  Value call_macro(const Statement& macro, Arguments arguments) {
    budget_.charge(macro.targets.size() * arguments.named_count() / 16);
    TemplateVariables values;
    for (size_t i = 0; i < macro.targets.size(); ++i) {
      auto value = arguments.take(macro.targets[i]);
      if (!value && macro.defaults[i]) value = evaluate(*macro.defaults[i]);
      values.insert_or_assign(macro.targets[i], value.value_or(Value::undefined(macro.targets[i])));
    }
    arguments.finish();
    const int line = line_;
    const size_t floor = std::exchange(floor_, scopes_.size());
    std::string out;
    try {
      const Scope scope(*this);
      scopes_.back() = std::move(values);
      execute(macro.body, out);
    } catch (...) {
      floor_ = floor;
      throw;
    }
    floor_ = floor;
    line_ = line;
    return out;
  }

  Value call_global(const std::string& name, Arguments arguments) {
    if (name == "raise_exception") {
      const auto message = arguments.take("message");
      throw TemplateRefusal(base::printable(message ? text_of(*message) : "the template refuses this conversation"));
    }
    if (name == "strftime_now") return formatted_time(std::move(arguments));
    if (name == "range") return range(std::move(arguments));
    if (name == "dict") {
      auto entries = arguments.rest_named();
      arguments.finish();
      budget_.charge(entries.size() * entries.size() / 16);
      return Value::dictionary(std::move(entries));
    }
    auto space = std::make_shared<Namespace>();
    space->entries = arguments.rest_named();
    arguments.finish();
    namespaces_.push_back(space);
    return Value(std::move(space));
  }

  Value range(Arguments arguments) {
    const std::vector<Value> bounds = arguments.rest();
    arguments.finish();
    template_check(!bounds.empty() && bounds.size() <= 3, "range: expected 1 to 3 numbers, got {}", bounds.size());
    const auto bound = [&](size_t i) { return integer_of(bounds[i], "range"); };
    const int64_t begin = bounds.size() > 1 ? bound(0) : 0, end = bounds.size() > 1 ? bound(1) : bound(0);
    const int64_t step = bounds.size() > 2 ? bound(2) : 1;
    template_check(step != 0, "range: the step is 0");
    std::vector<Value> out;
    for (int64_t i = begin; step > 0 ? i < end : i > end;) {
      // As in transformers' sandbox.
      template_check(out.size() < 100'000, "range: more than 100000 numbers");
      out.emplace_back(i);
      if (__builtin_add_overflow(i, step, &i)) break;
    }
    budget_.charge(1 + out.size());
    return Value::list(std::move(out));
  }

  Value formatted_time(Arguments arguments) const {
    const std::string format = arguments.text("format");
    arguments.finish();
    if (format.empty()) return "";
    template_check(format.size() <= 200 && format.find('\0') == std::string::npos,
                   "strftime_now: the format is too long");
    std::tm time{};
    localtime_r(&now_, &time);
    std::array<char, 4096> buffer{};
    const size_t size = std::strftime(buffer.data(), buffer.size(), format.c_str(), &time);
    return std::string(buffer.data(), size);
  }

  const std::string& name_;
  std::time_t now_;
  TemplateBudget budget_;
  std::vector<TemplateVariables> scopes_;
  size_t floor_ = 0;  // scopes below it are not seen, but for the first
  std::vector<Value> captured_;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  int depth_ = 0;
  int line_ = 0;
};

}  // namespace

std::string run_template(const Block& block, const std::string& name, TemplateVariables variables, std::time_t now,
                         size_t steps) {
  return Interpreter(name, std::move(variables), now, steps).run(block);
}

}  // namespace incontext::text
