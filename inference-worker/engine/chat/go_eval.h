// Executes a parsed Go template, within limits.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "engine/chat/go_ast.h"
#include "engine/chat/go_functions.h"
#include "engine/chat/go_value.h"

namespace conclave::engine::gotmpl {

// One or more executions that write one text. Not thread-safe.
class Interpreter final {
 public:
  Interpreter(const jinja::Limits& limits, std::chrono::system_clock::time_point now)
      : budget_(limits), now_(now) {}

  // Writes behind what was written before. `nodes` are the program's root, or a part of it.
  // INVALID_ARGUMENT "line 3: …": the template failed, or met a limit.
  absl::Status Execute(const Program& program, const NodeList& nodes, const Value& data);
  Text TakeOutput() { return std::move(output_); }

  Budget& budget() { return budget_; }
  std::chrono::system_clock::time_point now() const { return now_; }

 private:
  enum class Flow { kNext, kBreak, kContinue };
  struct Variable {
    std::string name;
    Value value;
  };

  absl::StatusOr<Flow> Walk(const NodeList& nodes, const Value& dot);
  absl::StatusOr<Flow> WalkNode(const Node& node, const Value& dot);
  absl::StatusOr<Flow> WalkBranch(const Node& node, const Value& dot);
  absl::StatusOr<Flow> WalkRange(const Node& node, const Value& dot);
  absl::Status CallTemplate(const Node& node, const Value& dot);
  // One turn of a range; `index` is nothing where there is none.
  absl::StatusOr<Flow> Turn(const Node& node, const Value& index, const Value& element);
  absl::Status Write(const Text& text);

  absl::StatusOr<Value> Evaluate(const Pipe& pipe, const Value& dot);
  // `last`: what the stage before gave, or nullptr.
  absl::StatusOr<Value> Run(const Command& command, const Value& dot, const Value* last);
  absl::StatusOr<Value> Call(const Command& command, const Value& dot, const Value* last);
  absl::StatusOr<Value> CallLogic(const Function& function, const Command& command,
                                  const Value& dot, const Value* last);
  absl::StatusOr<Value> Argument(const Operand& operand, const Value& dot);
  absl::StatusOr<Value> Base(const Operand& operand, const Value& dot);
  absl::StatusOr<Value> Field(const Value& of, const std::string& name);
  absl::StatusOr<Variable*> Find(const std::string& name);
  absl::Status SetVariables(const Pipe& pipe, const Value& value);

  Budget budget_;
  const std::chrono::system_clock::time_point now_;
  const Program* program_ = nullptr;
  std::vector<Variable> variables_;
  Text output_;
};

}  // namespace conclave::engine::gotmpl
