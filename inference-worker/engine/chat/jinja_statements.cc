// The statement half of the interpreter (jinja_eval.h).
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/chat/jinja_eval.h"
#include "engine/chat/jinja_lexer.h"
#include "engine/chat/jinja_library.h"

namespace conclave::engine::jinja {

absl::StatusOr<Interpreter::Flow> Interpreter::Run(const Block& block, const ScopePtr& scope,
                                                   Text* out) {
  const Budget::Depth depth(budget_);
  for (const auto& statement : block) {
    absl::Status allowed = budget_.Step();
    if (allowed.ok()) allowed = depth.Check();
    if (!allowed.ok()) return AtLine(statement->line, allowed);
    absl::StatusOr<Flow> flow = RunOne(*statement, scope, out);
    if (!flow.ok()) return AtLine(statement->line, flow.status());
    if (*flow != Flow::kNormal) return *flow;
  }
  return Flow::kNormal;
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunOne(const Statement& statement,
                                                      const ScopePtr& scope, Text* out) {
  switch (statement.kind) {
    case StatementKind::kOutput:
      RETURN_IF_ERROR(RunOutput(statement, scope, out));
      return Flow::kNormal;
    case StatementKind::kIf:
      return RunIf(statement, scope, out);
    case StatementKind::kFor:
      RETURN_IF_ERROR(RunFor(statement, scope, out));
      return Flow::kNormal;
    case StatementKind::kSet: {
      ASSIGN_OR_RETURN(const Value value, Eval(*statement.expr, scope));
      RETURN_IF_ERROR(Assign(statement.target, value, scope.get()));
      return Flow::kNormal;
    }
    case StatementKind::kSetBlock:
      RETURN_IF_ERROR(RunSetBlock(statement, scope));
      return Flow::kNormal;
    case StatementKind::kMacro:
      scope->names.insert_or_assign(statement.macro->name, MakeMacro(statement.macro, scope));
      return Flow::kNormal;
    case StatementKind::kCallBlock:
      RETURN_IF_ERROR(RunCallBlock(statement, scope, out));
      return Flow::kNormal;
    case StatementKind::kFilterBlock: {
      ASSIGN_OR_RETURN(const Value text, RunFiltered(statement, scope));
      RETURN_IF_ERROR(Append(text, out));
      return Flow::kNormal;
    }
    case StatementKind::kWith: {
      const auto inner = std::make_shared<Scope>(scope);
      for (size_t i = 0; i < statement.targets.size(); ++i) {
        ASSIGN_OR_RETURN(const Value value, Eval(*statement.exprs[i], scope));
        RETURN_IF_ERROR(Assign(statement.targets[i], value, inner.get()));
      }
      return Run(statement.body, inner, out);
    }
    case StatementKind::kScope:
      return Run(statement.body, std::make_shared<Scope>(scope), out);
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
  }
  return base::Internal("unknown statement");
}

absl::Status Interpreter::RunOutput(const Statement& statement, const ScopePtr& scope, Text* out) {
  for (const ExprPtr& expr : statement.exprs) {
    ASSIGN_OR_RETURN(const Value value, Eval(*expr, scope));
    RETURN_IF_ERROR(AtLine(expr->line, Append(value, out)));
  }
  return absl::OkStatus();
}

absl::Status Interpreter::Append(const Value& value, Text* out) {
  if (value.is_string()) {
    RETURN_IF_ERROR(budget_.Bytes(value.as_string().size()));
    if (out->bytes.size() + value.as_string().size() > budget_.limits().output_bytes_max) {
      return budget_.String(out->bytes.size() + value.as_string().size());
    }
    out->Append(value.as_text());
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const Text text, ToText(value, budget_));
  return text.bytes.empty() ? absl::OkStatus() : Append(Value(text), out);
}

absl::StatusOr<Interpreter::Flow> Interpreter::RunIf(const Statement& statement,
                                                     const ScopePtr& scope, Text* out) {
  for (const auto& [condition, body] : statement.branches) {
    ASSIGN_OR_RETURN(const Value value, Eval(*condition, scope));
    if (value.truthy()) return Run(body, scope, out);
  }
  return Run(statement.otherwise, scope, out);
}

// --- loops
// ------------------------------------------------------------------------------------------

absl::Status Interpreter::RunFor(const Statement& statement, const ScopePtr& scope, Text* out) {
  ASSIGN_OR_RETURN(const Value over, Eval(*statement.expr, scope));
  return RunLoop(statement, scope, over, 0, out);
}

absl::StatusOr<std::vector<Value>> Interpreter::LoopItems(const Statement& statement,
                                                          const ScopePtr& scope,
                                                          const Value& over) {
  ASSIGN_OR_RETURN(std::vector<Value> items, Iterate(over));
  if (statement.condition == nullptr) return items;
  std::vector<Value> kept;
  for (Value& item : items) {
    const auto inner = std::make_shared<Scope>(scope);
    RETURN_IF_ERROR(Assign(statement.target, item, inner.get()));
    ASSIGN_OR_RETURN(const Value keep, Eval(*statement.condition, inner));
    if (keep.truthy()) kept.push_back(std::move(item));
  }
  return kept;
}

absl::Status Interpreter::RunLoop(const Statement& statement, const ScopePtr& scope,
                                  const Value& over, int64_t depth0, Text* out) {
  ASSIGN_OR_RETURN(std::vector<Value> items, LoopItems(statement, scope, over));
  if (items.empty()) {
    return Run(statement.otherwise, std::make_shared<Scope>(scope), out).status();
  }
  Loop loop{.items = std::make_shared<const std::vector<Value>>(std::move(items)),
            .depth0 = depth0,
            .recurse = nullptr,
            .last_changed = std::make_shared<std::vector<Value>>()};
  if (statement.recursive) {
    // The scope is held weakly: it will hold this loop.
    const auto recurse = [this, &statement, depth0, weak = std::weak_ptr<Scope>(scope)](
                             Interpreter&, const Arguments& arguments) -> absl::StatusOr<Value> {
      const ScopePtr outer = weak.lock();
      if (outer == nullptr || arguments.positional.size() != 1) {
        return base::InvalidArgument("loop() takes one argument, inside its loop");
      }
      Text text;
      RETURN_IF_ERROR(RunLoop(statement, outer, arguments.positional[0], depth0 + 1, &text));
      return MakeString(std::move(text));
    };
    loop.recurse = std::make_shared<const Callable>(Callable{"loop", recurse});
  }
  // As in Jinja, `else` is for loops of which no body was run to its end.
  bool ended = false;
  for (size_t i = 0; i < loop.items->size(); ++i) {
    RETURN_IF_ERROR(budget_.Step());
    loop.index0 = i;
    const auto inner = std::make_shared<Scope>(scope);
    inner->names.insert_or_assign("loop", Value(std::make_shared<const Loop>(loop)));
    RETURN_IF_ERROR(Assign(statement.target, (*loop.items)[i], inner.get()));
    ASSIGN_OR_RETURN(const Flow flow, Run(statement.body, inner, out));
    if (flow == Flow::kBreak) break;
    ended = ended || flow == Flow::kNormal;
  }
  if (ended) return absl::OkStatus();
  return Run(statement.otherwise, std::make_shared<Scope>(scope), out).status();
}

// --- assignments
// ------------------------------------------------------------------------------------

absl::Status Interpreter::Assign(const Target& target, const Value& value, Scope* scope) {
  if (!target.parts.empty()) {
    ASSIGN_OR_RETURN(const std::vector<Value> values, Iterate(value));
    if (values.size() != target.parts.size()) {
      return base::InvalidArgument(
          absl::StrCat("expected ", target.parts.size(), " values to unpack, got ", values.size()));
    }
    for (size_t i = 0; i < values.size(); ++i) {
      RETURN_IF_ERROR(Assign(target.parts[i], values[i], scope));
    }
    return absl::OkStatus();
  }
  if (target.attribute.empty()) {
    scope->names.insert_or_assign(target.name, value);
    return absl::OkStatus();
  }
  const Value* found = scope->Find(target.name);
  const auto space = found == nullptr ? nullptr : found->as_namespace();
  if (space == nullptr) {
    return base::InvalidArgument("cannot assign an attribute of anything but a namespace");
  }
  return SetAttribute(*space, target.attribute, value);
}

absl::Status Interpreter::RunSetBlock(const Statement& statement, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(const Value text, RunFiltered(statement, scope));
  return Assign(statement.target, text, scope.get());
}

absl::StatusOr<Value> Interpreter::Capture(const Block& block, const ScopePtr& scope) {
  Text text;
  RETURN_IF_ERROR(Run(block, std::make_shared<Scope>(scope), &text).status());
  return MakeString(std::move(text));
}

absl::StatusOr<Value> Interpreter::RunFiltered(const Statement& statement, const ScopePtr& scope) {
  ASSIGN_OR_RETURN(Value text, Capture(statement.body, scope));
  if (statement.filter == nullptr) return text;
  return EvalFilter(*statement.filter, scope, &text);
}

// --- macros
// -----------------------------------------------------------------------------------------

Value Interpreter::MakeMacro(const std::shared_ptr<const MacroNode>& macro, const ScopePtr& scope) {
  // The scope is held weakly: it will hold this macro.
  return Value::Function(macro->name,
                         [this, macro, weak = std::weak_ptr<Scope>(scope)](
                             Interpreter&, const Arguments& arguments) -> absl::StatusOr<Value> {
                           const ScopePtr outer = weak.lock();
                           if (outer == nullptr) {
                             return base::InvalidArgument(
                                 absl::StrCat("macro '", macro->name, "' has left its block"));
                           }
                           return CallMacro(*macro, outer, arguments);
                         });
}

absl::StatusOr<Value> Interpreter::CallMacro(const MacroNode& macro, const ScopePtr& scope,
                                             const Arguments& arguments) {
  RETURN_IF_ERROR(budget_.Step());
  const auto inner = std::make_shared<Scope>(scope);
  auto& names = inner->names;
  const size_t count = macro.parameters.size();
  for (size_t i = 0; i < std::min(count, arguments.positional.size()); ++i) {
    names.insert_or_assign(macro.parameters[i], arguments.positional[i]);
  }
  if (arguments.positional.size() > count && !macro.uses_varargs) {
    return base::InvalidArgument(
        absl::StrCat("macro '", macro.name, "' takes not more than ", count, " argument(s)"));
  }
  Dict kwargs;
  for (const auto& [name, value] : arguments.named) {
    const bool known =
        std::find(macro.parameters.begin(), macro.parameters.end(), name) != macro.parameters.end();
    if (known && names.contains(name)) {
      return base::InvalidArgument(
          absl::StrCat("macro '", macro.name, "' got two values for '", name, "'"));
    }
    if (known || (name == "caller" && macro.uses_caller)) {
      names.insert_or_assign(name, value);
    } else if (macro.uses_kwargs) {
      RETURN_IF_ERROR(CheckStorable(value));
      kwargs.Set(Value::Own(name), value);
    } else {
      return base::InvalidArgument(
          absl::StrCat("macro '", macro.name, "' takes no argument '", name, "'"));
    }
  }
  const size_t required = count - macro.defaults.size();
  for (size_t i = 0; i < count; ++i) {
    const std::string& name = macro.parameters[i];
    if (names.contains(name)) continue;
    if (i < required) {
      names.insert_or_assign(
          name, Value::UndefinedBecause(absl::StrCat("parameter '", name, "' was not provided")));
    } else {
      ASSIGN_OR_RETURN(Value value, Eval(*macro.defaults[i - required], inner));
      names.insert_or_assign(name, std::move(value));
    }
  }
  if (macro.uses_varargs) {
    std::vector<Value> rest;
    for (size_t i = count; i < arguments.positional.size(); ++i) {
      rest.push_back(arguments.positional[i]);
    }
    ASSIGN_OR_RETURN(Value varargs, MakeList(std::move(rest), ListKind::kTuple));
    names.insert_or_assign("varargs", std::move(varargs));
  }
  if (macro.uses_kwargs) {
    names.insert_or_assign("kwargs", Value(std::make_shared<const Dict>(std::move(kwargs))));
  }
  Text text;
  RETURN_IF_ERROR(Run(macro.body, inner, &text).status());
  return MakeString(std::move(text));
}

absl::Status Interpreter::RunCallBlock(const Statement& statement, const ScopePtr& scope,
                                       Text* out) {
  const Expr& call = *statement.expr;
  ASSIGN_OR_RETURN(const Value callee, Eval(*call.left, scope));
  ASSIGN_OR_RETURN(Arguments arguments, EvalArguments(call.call, scope));
  arguments.named.emplace_back("caller", MakeMacro(statement.macro, scope));
  ASSIGN_OR_RETURN(const Value text, Call(callee, arguments));
  return Append(text, out);
}

}  // namespace conclave::engine::jinja
