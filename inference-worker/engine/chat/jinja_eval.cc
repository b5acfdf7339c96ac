#include "engine/chat/jinja_eval.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "engine/chat/jinja_lexer.h"
#include "engine/chat/jinja_library.h"

namespace conclave::engine::jinja {

const Value* Scope::Find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent.get()) {
    const auto found = scope->names.find(base::Abs(name));
    if (found != scope->names.end()) return &found->second;
  }
  return nullptr;
}

absl::StatusOr<Text> Interpreter::Render(const Block& block, const Variables& variables) {
  const auto root = std::make_shared<Scope>(nullptr);
  for (const auto& [name, value] : variables) root->names.insert_or_assign(name, value);
  Text out;
  RETURN_IF_ERROR(Run(block, root, &out).status());
  return out;
}

// --- expressions
// ------------------------------------------------------------------------------------

absl::StatusOr<Value> Interpreter::Eval(const Expr& expr, const ScopePtr& scope) {
  const Budget::Depth depth(budget_);
  absl::Status allowed = budget_.Step();
  if (allowed.ok()) allowed = depth.Check();
  if (!allowed.ok()) return AtLine(expr.line, allowed);
  absl::StatusOr<Value> value = EvalNode(expr, scope);
  if (!value.ok()) return AtLine(expr.line, value.status());
  return value;
}

absl::StatusOr<Value> Interpreter::EvalNode(const Expr& expr, const ScopePtr& scope) {
  switch (expr.kind) {
    case ExprKind::kConstant:
      return expr.value;
    case ExprKind::kName:
      return EvalName(expr, *scope);
    case ExprKind::kList:
    case ExprKind::kTuple: {
      ASSIGN_OR_RETURN(std::vector<Value> items, EvalAll(expr.items, scope));
      return MakeList(std::move(items),
                      expr.kind == ExprKind::kTuple ? ListKind::kTuple : ListKind::kList);
    }
    case ExprKind::kDict:
      return EvalDict(expr, scope);
    case ExprKind::kAttribute: {
      ASSIGN_OR_RETURN(const Value left, Eval(*expr.left, scope));
      return GetAttribute(*this, left, expr.name);
    }
    case ExprKind::kItem: {
      ASSIGN_OR_RETURN(const Value left, Eval(*expr.left, scope));
      ASSIGN_OR_RETURN(const Value key, Eval(*expr.right, scope));
      return GetItem(*this, left, key);
    }
    case ExprKind::kSlice:
      return EvalSlice(expr, scope);
    case ExprKind::kCall:
      return EvalCall(expr, scope);
    case ExprKind::kFilter:
      return EvalFilter(expr, scope, nullptr);
    case ExprKind::kTest:
      return EvalTest(expr, scope);
    case ExprKind::kNot: {
      ASSIGN_OR_RETURN(const Value left, Eval(*expr.left, scope));
      return Value(!left.truthy());
    }
    case ExprKind::kNegate:
    case ExprKind::kPlus: {
      ASSIGN_OR_RETURN(const Value left, Eval(*expr.left, scope));
      if (expr.kind == ExprKind::kNegate) return Negate(left);
      if (!left.is_number()) return NeedsError("+", "a number", left);
      return left;
    }
    case ExprKind::kBinary: {
      ASSIGN_OR_RETURN(const Value left, Eval(*expr.left, scope));
      ASSIGN_OR_RETURN(const Value right, Eval(*expr.right, scope));
      return Binary(*this, expr.name, left, right);
    }
    case ExprKind::kCompare:
      return EvalCompare(expr, scope);
    case ExprKind::kAnd:
    case ExprKind::kOr: {
      ASSIGN_OR_RETURN(Value left, Eval(*expr.left, scope));
      if (left.truthy() == (expr.kind == ExprKind::kOr)) return left;
      return Eval(*expr.right, scope);
    }
    case ExprKind::kCondition:
      return EvalCondition(expr, scope);
  }
  return base::Internal("unknown expression");
}

absl::StatusOr<Value> Interpreter::EvalName(const Expr& expr, const Scope& scope) {
  if (const Value* found = scope.Find(expr.name)) return *found;
  if (const Value* global = FindGlobal(expr.name)) return *global;
  return Value::UndefinedBecause(absl::StrCat("'", expr.name, "' is undefined"));
}

absl::StatusOr<std::vector<Value>> Interpreter::EvalAll(const std::vector<ExprPtr>& exprs,
                                                        const ScopePtr& scope) {
  std::vector<Value> values;
  values.reserve(exprs.size());
  for (const ExprPtr& expr : exprs) {
    ASSIGN_OR_RETURN(Value value, Eval(*expr, scope));
    values.push_back(std::move(value));
  }
  return values;
}

absl::StatusOr<Value> Interpreter::EvalDict(const Expr& expr, const ScopePtr& scope) {
  RETURN_IF_ERROR(budget_.Items(expr.items.size()));
  Dict dict;
  for (size_t i = 0; i < expr.items.size(); ++i) {
    ASSIGN_OR_RETURN(Value key, Eval(*expr.keys[i], scope));
    ASSIGN_OR_RETURN(Value value, Eval(*expr.items[i], scope));
    if (!key.is_string() && !key.is_number() && !key.is_none()) {
      return NeedsError("a dict", "a string or a number as key", key);
    }
    RETURN_IF_ERROR(CheckStorable(value));
    dict.Set(std::move(key), std::move(value));
  }
  return Value(std::make_shared<const Dict>(std::move(dict)));
}

absl::StatusOr<Value> Interpreter::EvalSlice(const Expr& expr, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value left, Eval(*expr.left, scope));
  Value bounds[3];
  for (size_t i = 0; i < 3; ++i) {
    if (expr.items[i] == nullptr) continue;
    ASSIGN_OR_RETURN(bounds[i], Eval(*expr.items[i], scope));
  }
  return GetSlice(*this, left, bounds[0], bounds[1], bounds[2]);
}

absl::StatusOr<Value> Interpreter::EvalCompare(const Expr& expr, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(Value left, Eval(*expr.left, scope));
  for (size_t i = 0; i < expr.items.size(); ++i) {
    ASSIGN_OR_RETURN(Value right, Eval(*expr.items[i], scope));
    const std::string& op = expr.operators[i];
    bool holds = false;
    if (op == "==" || op == "!=") {
      ASSIGN_OR_RETURN(const bool same, Equals(left, right, budget_));
      holds = same == (op == "==");
    } else if (op == "in" || op == "not in") {
      ASSIGN_OR_RETURN(const bool inside, IsIn(*this, left, right));
      holds = inside == (op == "in");
    } else {
      ASSIGN_OR_RETURN(const int order, Compare(left, right, budget_));
      holds = op == "<" ? order < 0 : op == "<=" ? order <= 0 : op == ">" ? order > 0 : order >= 0;
    }
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

absl::StatusOr<Value> Interpreter::EvalCondition(const Expr& expr, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value condition, Eval(*expr.right, scope));
  if (condition.truthy()) return Eval(*expr.left, scope);
  if (!expr.items.empty()) return Eval(*expr.items[0], scope);
  return Value::UndefinedBecause("the inline if has no else and its condition is false");
}

absl::StatusOr<Value> Interpreter::EvalCall(const Expr& expr, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value callee, Eval(*expr.left, scope));
  ASSIGN_OR_RETURN(const Arguments arguments, EvalArguments(expr.call, scope));
  return Call(callee, arguments);
}

absl::StatusOr<Value> Interpreter::EvalFilter(const Expr& expr, const ScopePtr& scope,
                                              const Value* head) {
  Value input;
  if (expr.left == nullptr) {
    if (head == nullptr) return base::Internal("filter without input");
    input = *head;
  } else if (expr.left->kind == ExprKind::kFilter && head != nullptr) {
    ASSIGN_OR_RETURN(input, EvalFilter(*expr.left, scope, head));
  } else {
    ASSIGN_OR_RETURN(input, Eval(*expr.left, scope));
  }
  ASSIGN_OR_RETURN(const Arguments arguments, EvalArguments(expr.call, scope));
  return ApplyFilter(expr.name, input, arguments);
}

absl::StatusOr<Value> Interpreter::EvalTest(const Expr& expr, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value input, Eval(*expr.left, scope));
  ASSIGN_OR_RETURN(const Arguments arguments, EvalArguments(expr.call, scope));
  ASSIGN_OR_RETURN(const bool holds, ApplyTest(expr.name, input, arguments));
  return Value(holds);
}

absl::StatusOr<Arguments> Interpreter::EvalArguments(const CallNode& call, const ScopePtr& scope) {
  Arguments arguments;
  ASSIGN_OR_RETURN(arguments.positional, EvalAll(call.positional, scope));
  if (call.spread != nullptr) {
    ASSIGN_OR_RETURN(const Value spread, Eval(*call.spread, scope));
    ASSIGN_OR_RETURN(const std::vector<Value> more, Iterate(spread));
    arguments.positional.insert(arguments.positional.end(), more.begin(), more.end());
  }
  for (const auto& [name, expr] : call.named) {
    ASSIGN_OR_RETURN(Value value, Eval(*expr, scope));
    arguments.named.emplace_back(name, std::move(value));
  }
  if (call.spread_named != nullptr) {
    ASSIGN_OR_RETURN(const Value spread, Eval(*call.spread_named, scope));
    if (!spread.is_dict()) return NeedsError("**", "a dict", spread);
    for (const auto& [key, value] : spread.as_dict().items) {
      if (!key.is_string()) return NeedsError("**", "strings as keys", key);
      arguments.named.emplace_back(std::string(key.as_string()), value);
    }
  }
  return arguments;
}

// --- what library functions need
// ---------------------------------------------------------------------

absl::StatusOr<Value> Interpreter::Call(const Value& callee, const Arguments& arguments) {
  if (callee.is_undefined()) return base::InvalidArgument(callee.undefined_message());
  const Budget::Depth depth(budget_);
  RETURN_IF_ERROR(depth.Check());
  if (const auto loop = callee.as_loop(); loop != nullptr && loop->recurse != nullptr) {
    return loop->recurse->call(*this, arguments);
  }
  const std::shared_ptr<const Callable> callable = callee.as_callable();
  if (callable == nullptr) {
    return base::InvalidArgument(
        absl::StrCat("'", std::string(callee.type_name()), "' object is not callable"));
  }
  return callable->call(*this, arguments);
}

absl::StatusOr<Value> Interpreter::ApplyFilter(std::string_view name, const Value& input,
                                               const Arguments& arguments) {
  const FilterFunction filter = FindFilter(name);
  if (filter == nullptr) {
    return base::InvalidArgument(absl::StrCat("no filter named '", std::string(name), "'"));
  }
  return filter(*this, input, arguments);
}

absl::StatusOr<bool> Interpreter::ApplyTest(std::string_view name, const Value& input,
                                            const Arguments& arguments) {
  const TestFunction test = FindTest(name);
  if (test == nullptr) {
    return base::InvalidArgument(absl::StrCat("no test named '", std::string(name), "'"));
  }
  return test(*this, input, arguments);
}

absl::StatusOr<Value> Interpreter::MakeString(Text text) {
  RETURN_IF_ERROR(budget_.String(text.bytes.size()));
  return Value(std::move(text));
}

absl::StatusOr<Value> Interpreter::MakeList(std::vector<Value> items, ListKind kind) {
  RETURN_IF_ERROR(budget_.Items(items.size()));
  for (const Value& item : items) RETURN_IF_ERROR(CheckStorable(item));
  return Value::ListOf(std::move(items), kind);
}

absl::StatusOr<std::vector<Value>> Interpreter::Iterate(const Value& value) {
  std::vector<Value> items;
  if (value.is_undefined()) return items;
  if (value.is_list()) {
    const List& list = value.as_list();
    if (list.kind == ListKind::kLazy && std::exchange(list.visited, true)) return items;
    RETURN_IF_ERROR(budget_.Items(list.items.size()));
    return list.items;
  }
  if (value.is_dict()) {
    RETURN_IF_ERROR(budget_.Items(value.as_dict().items.size()));
    for (const auto& [key, item] : value.as_dict().items) items.push_back(key);
    return items;
  }
  if (value.is_string()) {
    return CharactersOf(*this, value.as_text());
  }
  return base::InvalidArgument(
      absl::StrCat("'", std::string(value.type_name()), "' object is not iterable"));
}

}  // namespace conclave::engine::jinja
