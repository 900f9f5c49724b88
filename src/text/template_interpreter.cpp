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
constexpr int kMaxCalls = 500;
constexpr size_t kMaxOutput = size_t{64} << 20;

// What a loop's body ended with.
enum class Flow { normal, break_loop, continue_loop };

constexpr std::string_view kGlobals[] = {"namespace", "range",           "dict",        "cycler",
                                         "joiner",    "raise_exception", "strftime_now"};

}  // namespace

/// The names of a block. One that a macro or a recursive loop came from lives as long as they do.
struct TemplateScope {
  TemplateVariables variables;
  std::shared_ptr<TemplateScope> outer;
};

bool is_global(const std::string& name) {
  return std::find(std::begin(kGlobals), std::end(kGlobals), name) != std::end(kGlobals);
}

std::vector<std::string> global_names() { return {std::begin(kGlobals), std::end(kGlobals)}; }

namespace {

class Interpreter {
 public:
  Interpreter(const std::string& name, TemplateVariables variables, std::time_t now, size_t steps)
      : name_(name), now_(now), budget_(steps) {
    scope_->variables = std::move(variables);
  }

  // What could hold itself is emptied one by one.
  ~Interpreter() {
    for (const auto& space : namespaces_) space->entries.clear();
    for (const auto& scope : kept_scopes_) scope->variables.clear();
    for (const auto& loop : kept_loops_) {
      loop->scope = nullptr;
      loop->last_changed = std::nullopt;
    }
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
      template_check(depth_ < kMaxCalls, "the template calls itself too deeply");
      ++depth_;
    }
    ~Level() { --depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    int& depth_;
  };

  // ---- Variables ----

  const Value* find(const std::string& name) const {
    for (const TemplateScope* scope = scope_.get(); scope != nullptr; scope = scope->outer.get()) {
      const auto found = scope->variables.find(name);
      if (found != scope->variables.end()) return &found->second;
    }
    return nullptr;
  }

  // Opens a scope within another as long as it lives.
  struct Scope {
    Scope(Interpreter& interpreter, std::shared_ptr<TemplateScope> outer)
        : current_(interpreter.scope_), before_(interpreter.scope_) {
      current_ = std::make_shared<TemplateScope>(TemplateScope{{}, std::move(outer)});
    }
    explicit Scope(Interpreter& interpreter) : Scope(interpreter, interpreter.scope_) {}
    ~Scope() { current_ = std::move(before_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    std::shared_ptr<TemplateScope>& current_;
    std::shared_ptr<TemplateScope> before_;
  };

  // The scope for something that remembers it.
  std::shared_ptr<TemplateScope> kept_scope() {
    budget_.charge(4);
    kept_scopes_.push_back(scope_);
    return scope_;
  }

  void assign_one(const std::string& target, Value value) {
    budget_.charge(target.size() / 64);
    const size_t dot = target.find('.');
    if (dot == std::string::npos) {
      scope_->variables.insert_or_assign(target, std::move(value));
      return;
    }
    const Value* object = find(target.substr(0, dot));
    template_check(object != nullptr && object->name_space() != nullptr,
                   "'{}' cannot be set: only attributes of a namespace can", target);
    budget_.charge((*object->name_space())->entries.size() / 16);
    (*object->name_space())->set(target.substr(dot + 1), std::move(value));
  }

  void assign(const Target& target, Value value) {
    if (!target.unpacks) return assign_one(target.name, std::move(value));
    std::vector<Value> items = iterate(value, budget_);
    template_check(items.size() == target.parts.size(), "expected {} values to unpack, got {}", target.parts.size(),
                   items.size());
    for (size_t i = 0; i < items.size(); ++i) assign(target.parts[i], std::move(items[i]));
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
        assign(statement.target, evaluate(*statement.expression));
        return Flow::normal;
      case Statement::Kind::captured:
      case Statement::Kind::filtered:
        execute_captured(statement, out);
        return Flow::normal;
      case Statement::Kind::macro:
        assign_one(statement.text, macro_of(statement));
        return Flow::normal;
      case Statement::Kind::call:
        write(text_of(call(*statement.expression, macro_of(statement))), out);
        return Flow::normal;
      case Statement::Kind::scope:
        return execute_scope(statement, out);
      case Statement::Kind::break_loop:
        return Flow::break_loop;
      case Statement::Kind::continue_loop:
        return Flow::continue_loop;
    }
    return Flow::normal;
  }

  Value macro_of(const Statement& statement) {
    return std::make_shared<const Function>(
        Function{.kind = Function::Kind::macro, .name = statement.text, .macro = &statement, .scope = kept_scope()});
  }

  Flow execute_scope(const Statement& statement, std::string& out) {
    std::vector<Value> values;  // none of them sees the names of the others
    for (const auto& value : statement.defaults) values.push_back(evaluate(*value));
    const Scope scope(*this);
    for (size_t i = 0; i < values.size(); ++i) assign(statement.target.parts[i], std::move(values[i]));
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
      assign(statement.target, std::move(value));
    } else {
      write(text_of(value), out);
    }
  }

  Flow execute_loop(const Statement& statement, std::string& out) {
    return go_through(statement, iterate(evaluate(*statement.expression), budget_), 0, out);
  }

  Flow go_through(const Statement& statement, std::vector<Value> items, int64_t depth, std::string& out) {
    budget_.charge(1 + items.size());
    if (statement.filter) {
      std::vector<Value> kept;
      for (Value& item : items) {
        const Scope scope(*this);
        assign(statement.target, item);
        if (evaluate(*statement.filter).truth()) kept.push_back(std::move(item));
      }
      items = std::move(kept);
    }
    if (items.empty()) {
      const Scope scope(*this);
      return execute(statement.otherwise, out);
    }
    List list{std::move(items)};
    for (const Value& item : list.items) list.depth = std::max(list.depth, item.depth() + 1);
    const auto loop = std::make_shared<LoopState>(LoopState{std::make_shared<const List>(std::move(list)), 0, depth});
    if (statement.recursive) {
      loop->recursive = &statement;
      loop->scope = kept_scope();
      kept_loops_.push_back(loop);
    }
    for (size_t i = 0; i < loop->items->items.size(); ++i) {
      const Scope scope(*this);
      loop->index = i;
      assign(statement.target, loop->items->items[i]);
      assign_one("loop", loop);
      const Flow flow = execute(statement.body, out);
      if (flow == Flow::break_loop) break;
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
    if (is_global(name)) return std::make_shared<const Function>(Function{.name = name});
    return Value::undefined(name);
  }

  Value list(const Expression& expression) {
    std::vector<Value> items;
    for (const auto& part : expression.parts) items.push_back(evaluate(*part));
    return Value::list(std::move(items), expression.name == "tuple" ? ListKind::tuple : ListKind::list);
  }

  Value dictionary(const Expression& expression) {
    std::vector<std::pair<Value, Value>> entries;
    for (size_t i = 0; i < expression.parts.size(); i += 2) {
      Value key = evaluate(*expression.parts[i]);
      entries.emplace_back(std::move(key), evaluate(*expression.parts[i + 1]));
    }
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

  void spread_named(const Value& value, const std::string& function,
                    std::vector<std::pair<std::string, Value>>& named) {
    const Dictionary* dictionary = value.entries();
    template_check(dictionary != nullptr, "{}: expected a dictionary behind '**', got {}", function, value.type_name());
    budget_.charge(1 + dictionary->entries.size() * (1 + named.size()) / 16);
    const size_t before = named.size();
    for (const auto& [key, entry] : dictionary->entries) {
      template_check(key.is_string(), "{}: the name of an argument is a text, got {}", function, key.type_name());
      for (size_t i = 0; i < before; ++i) {
        template_check(named[i].first != *key.string(), "{}: got the argument '{}' twice", function, *key.string());
      }
      named.emplace_back(*key.string(), entry);
    }
  }

  Arguments arguments_of(const Expression& expression, std::string function) {
    std::vector<Value> places;
    for (size_t i = 1; i < expression.parts.size(); ++i) places.push_back(evaluate(*expression.parts[i]));
    std::vector<std::pair<std::string, Value>> named;
    for (const auto& [name, part] : expression.named) named.emplace_back(name, evaluate(*part));
    if (expression.spread) {
      for (Value& value : iterate(evaluate(*expression.spread), budget_)) places.push_back(std::move(value));
      budget_.charge(places.size());
    }
    if (expression.spread_named) spread_named(evaluate(*expression.spread_named), function, named);
    line_ = expression.line;
    return {std::move(function), std::move(places), std::move(named)};
  }

  Value filter(const Expression& expression) {
    const Value subject = expression.parts[0] ? evaluate(*expression.parts[0]) : captured_.back();
    template_check(is_filter(expression.name), kUnknownFilter, expression.name);
    return apply_filter(expression.name, subject, arguments_of(expression, expression.name), budget_);
  }

  Value test(const Expression& expression) {
    const Value subject = evaluate(*expression.parts[0]);
    template_check(is_test(expression.name), kUnknownTest, expression.name);
    return apply_test(expression.name, subject, arguments_of(expression, expression.name), budget_) !=
           expression.negated;
  }

  Value unary(const Expression& expression) {
    const Value value = evaluate(*expression.parts[0]);
    if (expression.name == "not") return !value.truth();
    if (const double* number = value.get<double>()) return expression.name == "-" ? -*number : *number;
    return apply_binary(expression.name, int64_t{0}, value, budget_);
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

  // `caller` is the body of a call block.
  Value call(const Expression& expression, std::optional<Value> caller = std::nullopt) {
    const Value callee = evaluate(*expression.parts[0]);
    if (LoopState* loop = callee.loop()) return call_loop(*loop, arguments_of(expression, "loop"));
    const Function* function = callee.function();
    if (function == nullptr || function->kind == Function::Kind::cycler) {
      if (const Undefined* undefined = callee.get<Undefined>()) {
        if (!undefined->why.empty()) template_fail("{}", undefined->why);
        template_fail("'{}' is undefined and cannot be called", undefined->name);
      }
      template_fail("a {} cannot be called", callee.type_name());
    }
    Arguments arguments = arguments_of(expression, function->name);
    if (caller) arguments.add_named("caller", std::move(*caller));
    switch (function->kind) {
      case Function::Kind::macro:
        return call_macro(*function, std::move(arguments));
      case Function::Kind::global:
        return call_global(function->name, std::move(arguments));
      case Function::Kind::method:
        return call_method(function->receiver, function->name, std::move(arguments), budget_);
      case Function::Kind::loop_cycle:
        return cycle(*function->receiver.loop(), std::move(arguments));
      case Function::Kind::loop_changed:
        return changed(function->receiver, std::move(arguments));
      case Function::Kind::joiner:
        arguments.finish();
        return (*function->count)++ == 0 ? Value("") : function->receiver;
      case Function::Kind::cycler:
      case Function::Kind::cycler_next:
      case Function::Kind::cycler_reset:
        return call_cycler(*function, std::move(arguments));
    }
    return Value();
  }

  static Value cycle(const LoopState& loop, Arguments arguments) {
    const std::vector<Value> values = arguments.rest();
    arguments.finish();
    template_check(!values.empty(), "loop.cycle: expected values");
    return values[loop.index % values.size()];
  }

  Value changed(const Value& loop, Arguments arguments) {
    Value values = Value::list(arguments.rest());
    arguments.finish();
    std::optional<Value>& last = loop.loop()->last_changed;
    if (last) budget_.charge_comparison(*last, values);
    if (last && values_equal(*last, values)) return false;
    if (!last) kept_loops_.push_back(*loop.get<std::shared_ptr<LoopState>>());
    last = std::move(values);
    return true;
  }

  static Value call_cycler(const Function& function, Arguments arguments) {
    arguments.finish();
    size_t& count = *function.count;
    if (function.kind == Function::Kind::cycler_reset) {
      count = 0;
      return None{};
    }
    const std::vector<Value>& values = *function.receiver.items();
    const Value out = values[count];
    count = (count + 1) % values.size();
    return out;
  }

  // The body of a recursive loop, for other items.
  Value call_loop(const LoopState& loop, Arguments arguments) {
    template_check(loop.recursive != nullptr, "loop: only a loop that is marked 'recursive' can be called");
    std::vector<Value> items = iterate(arguments.require("iterable"), budget_);
    arguments.finish();
    const int line = line_;
    std::string out;
    {
      const Scope scope(*this, loop.scope);
      go_through(*loop.recursive, std::move(items), loop.depth + 1, out);
    }
    line_ = line;
    return out;
  }

  Value call_macro(const Function& function, Arguments arguments) {
    const Statement& macro = *function.macro;
    budget_.charge(macro.parameters.size() * arguments.named_count() / 16);
    const int line = line_;
    std::string out;
    {
      const Scope scope(*this, function.scope);
      std::vector<std::optional<Value>> values;
      for (const std::string& name : macro.parameters) values.push_back(arguments.take(name));
      if (macro.uses_caller) {
        const auto caller = arguments.take_named("caller");
        assign_one("caller", caller && !caller->is_none() ? *caller : Value::undefined("caller", "No caller defined"));
      }
      if (macro.uses_varargs) assign_one("varargs", Value::list(arguments.rest(), ListKind::tuple));
      if (macro.uses_kwargs) assign_one("kwargs", dictionary_of(arguments.rest_named()));
      arguments.finish();
      for (size_t i = 0; i < values.size(); ++i) {
        // A default sees the parameters before it.
        if (!values[i] && macro.defaults[i]) values[i] = evaluate(*macro.defaults[i]);
        const std::string& name = macro.parameters[i];
        assign_one(name, values[i] ? std::move(*values[i])
                                   : Value::undefined(name, "parameter '" + name + "' was not provided"));
      }
      execute(macro.body, out);
    }
    line_ = line;
    return out;
  }

  static Value dictionary_of(std::vector<std::pair<std::string, Value>> named) {
    std::vector<std::pair<Value, Value>> entries;
    entries.reserve(named.size());
    for (auto& [name, value] : named) entries.emplace_back(name, std::move(value));
    return Value::dictionary(std::move(entries));
  }

  Value call_global(const std::string& name, Arguments arguments) {
    if (name == "raise_exception") {
      const auto message = arguments.take("message");
      throw TemplateRefusal(base::printable(message ? text_of(*message) : "the template refuses this conversation"));
    }
    if (name == "strftime_now") return formatted_time(std::move(arguments));
    if (name == "range") return range(std::move(arguments));
    if (name == "dict") return made_dictionary(arguments);
    if (name == "joiner") {
      Function made{.kind = Function::Kind::joiner, .name = name, .count = std::make_shared<size_t>(0)};
      made.receiver = arguments.take("sep").value_or(Value(", "));
      arguments.finish();
      return std::make_shared<const Function>(std::move(made));
    }
    if (name == "cycler") {
      template_check(arguments.rest_count() > 0, "cycler: expected values");
      Function made{.kind = Function::Kind::cycler, .name = name, .count = std::make_shared<size_t>(0)};
      made.receiver = Value::list(arguments.rest(), ListKind::tuple);
      arguments.finish();
      return std::make_shared<const Function>(std::move(made));
    }
    const Value given = made_dictionary(arguments);
    auto space = std::make_shared<Namespace>();
    for (const auto& [key, value] : given.entries()->entries) {
      template_check(key.is_string(), "namespace: the name of an attribute is a text, got {}", key.type_name());
      space->entries.emplace_back(*key.string(), value);
    }
    namespaces_.push_back(space);
    return Value(std::move(space));
  }

  // dict(): of a dictionary or pairs, and of named arguments.
  Value made_dictionary(Arguments& arguments) {
    std::vector<std::pair<Value, Value>> entries;
    if (arguments.rest_count() > 0) {
      const Value from = arguments.rest_count() == 1 ? arguments.require("") : Value();
      if (const Dictionary* dictionary = from.entries()) {
        entries = dictionary->entries;
        budget_.charge(entries.size());
      } else {
        for (const Value& pair : iterate(from, budget_)) {
          std::vector<Value> both = iterate(pair, budget_);
          template_check(both.size() == 2, "dict: expected pairs, got {} values", both.size());
          entries.emplace_back(std::move(both[0]), std::move(both[1]));
        }
      }
    }
    for (auto& [name, value] : arguments.rest_named()) entries.emplace_back(name, std::move(value));
    arguments.finish();
    return Value::dictionary(std::move(entries));
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
    return Value::range(std::move(out), begin, end, step);
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
  std::shared_ptr<TemplateScope> scope_ = std::make_shared<TemplateScope>();
  std::vector<Value> captured_;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  std::vector<std::shared_ptr<TemplateScope>> kept_scopes_;
  std::vector<std::shared_ptr<LoopState>> kept_loops_;
  int depth_ = 0;
  int line_ = 0;
};

}  // namespace

std::string run_template(const Block& block, const std::string& name, TemplateVariables variables, std::time_t now,
                         size_t steps) {
  return Interpreter(name, std::move(variables), now, steps).run(block);
}

}  // namespace incontext::text
