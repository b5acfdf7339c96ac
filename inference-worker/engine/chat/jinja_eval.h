// Runs a parsed template. The sandbox is the interpreter itself: a template reaches the variables
// it is given, the filters, tests, methods and globals listed in the tables, and nothing else.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/chat/jinja_ast.h"
#include "engine/chat/jinja_budget.h"
#include "engine/chat/jinja_value.h"

namespace conclave::engine::jinja {

using Variables = std::vector<std::pair<std::string, Value>>;

// Names and their values; a name is looked for here, then in the parents.
struct Scope {
  explicit Scope(std::shared_ptr<Scope> outer) : parent(std::move(outer)) {}
  const Value* Find(std::string_view name) const;

  std::shared_ptr<Scope> parent;
  absl::flat_hash_map<std::string, Value> names;
};

// One rendering. Not thread-safe; the block must outlive it.
class Interpreter final {
 public:
  Interpreter(const Limits& limits, std::chrono::system_clock::time_point now)
      : budget_(limits), now_(now) {}

  // INVALID_ARGUMENT "line 12: …".
  absl::StatusOr<Text> Render(const Block& block, const Variables& variables);

  // What filters, tests, methods and globals need of the interpreter.
  Budget& budget() { return budget_; }
  std::chrono::system_clock::time_point now() const { return now_; }
  absl::StatusOr<Value> Call(const Value& callee, const Arguments& arguments);
  absl::StatusOr<Value> ApplyFilter(std::string_view name, const Value& input,
                                    const Arguments& arguments);
  absl::StatusOr<bool> ApplyTest(std::string_view name, const Value& input,
                                 const Arguments& arguments);
  // A string value, counted against the budget.
  absl::StatusOr<Value> MakeString(Text text);
  // A list value, counted likewise; refuses what nests too deeply.
  absl::StatusOr<Value> MakeList(std::vector<Value> items, ListKind kind = ListKind::kList);
  // What a for loop over the value visits: items, keys, characters. Undefined has none.
  absl::StatusOr<std::vector<Value>> Iterate(const Value& value);

 private:
  enum class Flow { kNormal, kBreak, kContinue };
  using ScopePtr = std::shared_ptr<Scope>;

  absl::StatusOr<Flow> Run(const Block& block, const ScopePtr& scope, Text* out);
  absl::StatusOr<Flow> RunOne(const Statement& statement, const ScopePtr& scope, Text* out);
  absl::Status RunOutput(const Statement& statement, const ScopePtr& scope, Text* out);
  absl::StatusOr<Flow> RunIf(const Statement& statement, const ScopePtr& scope, Text* out);
  absl::Status RunFor(const Statement& statement, const ScopePtr& scope, Text* out);
  absl::Status RunLoop(const Statement& statement, const ScopePtr& scope, const Value& over,
                       int64_t depth0, Text* out);
  absl::StatusOr<std::vector<Value>> LoopItems(const Statement& statement, const ScopePtr& scope,
                                               const Value& over);
  absl::Status RunSetBlock(const Statement& statement, const ScopePtr& scope);
  absl::Status RunCallBlock(const Statement& statement, const ScopePtr& scope, Text* out);
  absl::StatusOr<Value> RunFiltered(const Statement& statement, const ScopePtr& scope);
  absl::StatusOr<Value> Capture(const Block& block, const ScopePtr& scope);
  absl::Status Append(const Value& value, Text* out);
  absl::Status Assign(const Target& target, const Value& value, Scope* scope);
  Value MakeMacro(const std::shared_ptr<const MacroNode>& macro, const ScopePtr& scope);
  absl::StatusOr<Value> CallMacro(const MacroNode& macro, const ScopePtr& scope,
                                  const Arguments& arguments);

  absl::StatusOr<Value> Eval(const Expr& expr, const ScopePtr& scope);
  absl::StatusOr<Value> EvalNode(const Expr& expr, const ScopePtr& scope);
  absl::StatusOr<Value> EvalName(const Expr& expr, const Scope& scope);
  absl::StatusOr<std::vector<Value>> EvalAll(const std::vector<ExprPtr>& exprs,
                                             const ScopePtr& scope);
  absl::StatusOr<Value> EvalDict(const Expr& expr, const ScopePtr& scope);
  absl::StatusOr<Value> EvalSlice(const Expr& expr, const ScopePtr& scope);
  absl::StatusOr<Value> EvalCompare(const Expr& expr, const ScopePtr& scope);
  absl::StatusOr<Value> EvalCondition(const Expr& expr, const ScopePtr& scope);
  absl::StatusOr<Value> EvalCall(const Expr& expr, const ScopePtr& scope);
  // `head` stands for the missing left of a filter chain.
  absl::StatusOr<Value> EvalFilter(const Expr& expr, const ScopePtr& scope, const Value* head);
  absl::StatusOr<Value> EvalTest(const Expr& expr, const ScopePtr& scope);
  absl::StatusOr<Arguments> EvalArguments(const CallNode& call, const ScopePtr& scope);

  Budget budget_;
  std::chrono::system_clock::time_point now_;
};

}  // namespace conclave::engine::jinja
