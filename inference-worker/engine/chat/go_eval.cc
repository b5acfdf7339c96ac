#include "engine/chat/go_eval.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/utf8.h"
#include "engine/chat/go_print.h"
#include "engine/chat/jinja_lexer.h"

namespace conclave::engine::gotmpl {
namespace {

using jinja::AtLine;

absl::Status Fail(std::string what) { return base::InvalidArgument(std::move(what)); }

// For complaints: names may be long, and are the template's own.
std::string Shown(const std::string& name) { return std::string(base::Utf8Prefix(name, 40)); }

absl::Status CheckCount(const Function& function, size_t given) {
  if (given >= function.arguments_min && given <= function.arguments_max) return absl::OkStatus();
  const bool any = function.arguments_max != function.arguments_min;
  return Fail(absl::StrCat("wrong number of args for ", std::string(function.name), ": want ",
                           any ? "at least " : "", function.arguments_min, " got ", given));
}

absl::Status CheckTypes(const Function& function, const std::vector<Value>& arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    const bool text = function.texts_only || (function.first_is_text && i == 0);
    if (!text || arguments[i].is_string()) continue;
    return Fail(absl::StrCat("wrong type for value of ", std::string(function.name),
                             "; expected string; got ", arguments[i].type_name()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Interpreter::Execute(const Program& program, const NodeList& nodes,
                                  const Value& data) {
  program_ = &program;
  variables_ = {{"$", data}};
  return Walk(nodes, data).status();
}

absl::Status Interpreter::Write(const Text& text) {
  RETURN_IF_ERROR(budget_.Bytes(text.bytes.size()));
  output_.Append(text);
  const size_t size = output_.bytes.size();
  return size > budget_.limits().output_bytes_max ? budget_.String(size) : absl::OkStatus();
}

absl::StatusOr<Interpreter::Flow> Interpreter::Walk(const NodeList& nodes, const Value& dot) {
  const Budget::Depth depth(budget_);
  RETURN_IF_ERROR(depth.Check());
  for (const Node& node : nodes) {
    absl::Status step = budget_.Step();
    if (!step.ok()) return AtLine(node.line, step);
    absl::StatusOr<Flow> flow = WalkNode(node, dot);
    if (!flow.ok()) return AtLine(node.line, flow.status());
    if (*flow != Flow::kNext) return *flow;
  }
  return Flow::kNext;
}

absl::StatusOr<Interpreter::Flow> Interpreter::WalkNode(const Node& node, const Value& dot) {
  switch (node.kind) {
    case Node::Kind::kText:
      RETURN_IF_ERROR(budget_.Bytes(node.text.size()));
      output_.Append(node.text);
      RETURN_IF_ERROR(Write(Text()));
      return Flow::kNext;
    case Node::Kind::kAction: {
      ASSIGN_OR_RETURN(const Value value, Evaluate(*node.pipe, dot));
      if (!node.pipe->variables.empty()) return Flow::kNext;
      ASSIGN_OR_RETURN(const Text text, Printed(value, budget_));
      RETURN_IF_ERROR(Write(text));
      return Flow::kNext;
    }
    case Node::Kind::kIf:
    case Node::Kind::kWith:
      return WalkBranch(node, dot);
    case Node::Kind::kRange:
      return WalkRange(node, dot);
    case Node::Kind::kTemplate:
      RETURN_IF_ERROR(CallTemplate(node, dot));
      return Flow::kNext;
    case Node::Kind::kBreak:
      return Flow::kBreak;
    case Node::Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

absl::StatusOr<Interpreter::Flow> Interpreter::WalkBranch(const Node& node, const Value& dot) {
  const size_t mark = variables_.size();
  ASSIGN_OR_RETURN(const Value value, Evaluate(*node.pipe, dot));
  const bool with = node.kind == Node::Kind::kWith;
  absl::StatusOr<Flow> flow =
      value.truthy() ? Walk(node.body, with ? value : dot) : Walk(node.otherwise, dot);
  variables_.resize(mark);
  return flow;
}

absl::StatusOr<Interpreter::Flow> Interpreter::Turn(const Node& node, const Value& index,
                                                    const Value& element) {
  RETURN_IF_ERROR(budget_.Step());
  const std::vector<std::string>& names = node.pipe->variables;
  const size_t mark = variables_.size();
  // The pipeline has declared them, or they are older ones.
  if (names.size() > 1) {
    ASSIGN_OR_RETURN(Variable* const first, Find(names.front()));
    first->value = index;
  }
  if (!names.empty()) {
    ASSIGN_OR_RETURN(Variable* const last, Find(names.back()));
    last->value = element;
  }
  absl::StatusOr<Flow> flow = Walk(node.body, element);
  variables_.resize(mark);
  return flow;
}

absl::StatusOr<Interpreter::Flow> Interpreter::WalkRange(const Node& node, const Value& dot) {
  const size_t mark = variables_.size();
  ASSIGN_OR_RETURN(const Value value, Evaluate(*node.pipe, dot));
  size_t turns = 0;
  // False: no more turns.
  const auto turn = [&](const Value& index, const Value& element) -> absl::StatusOr<bool> {
    ++turns;
    ASSIGN_OR_RETURN(const Flow flow, Turn(node, index, element));
    return flow != Flow::kBreak;
  };
  if (value.is_list()) {
    int64_t index = 0;
    for (const Value& item : value.as_list().values()) {
      ASSIGN_OR_RETURN(const bool more, turn(Value(index++), item));
      if (!more) break;
    }
  } else if (value.is_map()) {
    for (const auto& [key, item] : value.as_map().items) {
      ASSIGN_OR_RETURN(const bool more, turn(Value(key), item));
      if (!more) break;
    }
  } else if (value.is_int()) {
    if (node.pipe->variables.size() > 1) {
      return Fail("can't use an integer to iterate over more than one variable");
    }
    for (int64_t i = 0; i < value.as_int(); ++i) {
      ASSIGN_OR_RETURN(const bool more, turn(Value(), Value(i)));
      if (!more) break;
    }
  } else if (!value.is_nothing()) {
    return Fail("range can't iterate over a value of type " + value.type_name());
  }
  absl::StatusOr<Flow> flow = Flow::kNext;
  if (turns == 0) flow = Walk(node.otherwise, dot);
  variables_.resize(mark);
  // Even there a {{break}} is of this range; a {{continue}} is of the one around it.
  if (flow.ok() && *flow == Flow::kBreak) return Flow::kNext;
  return flow;
}

absl::Status Interpreter::CallTemplate(const Node& node, const Value& dot) {
  const auto found = program_->defined.find(node.text);
  if (found == program_->defined.end()) {
    return Fail(absl::StrCat("template \"", Shown(node.text), "\" not defined"));
  }
  Value data;
  if (node.pipe != nullptr) {
    ASSIGN_OR_RETURN(data, Evaluate(*node.pipe, dot));
  }
  std::vector<Variable> outer = std::exchange(variables_, {{"$", data}});
  absl::Status status = Walk(found->second, data).status();
  variables_ = std::move(outer);
  return status;
}

absl::StatusOr<Interpreter::Variable*> Interpreter::Find(const std::string& name) {
  for (auto it = variables_.rbegin(); it != variables_.rend(); ++it) {
    if (it->name == name) return &*it;
  }
  return Fail(absl::StrCat("undefined variable \"", Shown(name), "\""));
}

absl::Status Interpreter::SetVariables(const Pipe& pipe, const Value& value) {
  for (const std::string& name : pipe.variables) {
    if (!pipe.assigns) {
      variables_.push_back({name, value});
      continue;
    }
    ASSIGN_OR_RETURN(Variable* const variable, Find(name));
    variable->value = value;
  }
  return absl::OkStatus();
}

absl::StatusOr<Value> Interpreter::Evaluate(const Pipe& pipe, const Value& dot) {
  const Budget::Depth depth(budget_);
  RETURN_IF_ERROR(depth.Check());
  Value value;
  bool first = true;
  for (const Command& command : pipe.commands) {
    absl::StatusOr<Value> next = Run(command, dot, first ? nullptr : &value);
    if (!next.ok()) return AtLine(command.front().line, next.status());
    first = false;
    value = *std::move(next);
    if (value.is_nil()) value = Value();
  }
  RETURN_IF_ERROR(SetVariables(pipe, value));
  return value;
}

absl::StatusOr<Value> Interpreter::Run(const Command& command, const Value& dot,
                                       const Value* last) {
  const Operand& word = command.front();
  if (word.kind == Operand::Kind::kFunction) return Call(command, dot, last);
  if (word.kind == Operand::Kind::kNil) return Fail("nil is not a command");
  ASSIGN_OR_RETURN(Value value, Argument(word, dot));
  if (command.size() > 1 || last != nullptr) {
    return Fail(absl::StrCat("can't give argument to non-function ", Shown(word.text)));
  }
  return value;
}

// What the path of an operand starts from, or what it is without one.
absl::StatusOr<Value> Interpreter::Base(const Operand& operand, const Value& dot) {
  switch (operand.kind) {
    case Operand::Kind::kDot:
    case Operand::Kind::kField:
      return dot;
    case Operand::Kind::kNil:
      return Value();
    case Operand::Kind::kBool:
      return Value(operand.truth);
    case Operand::Kind::kInteger:
      return Value(operand.integer);
    case Operand::Kind::kFloat:
      return Value(operand.real);
    case Operand::Kind::kString:
      return Value::Own(operand.text);
    case Operand::Kind::kFunction:
      return Call({operand}, dot, nullptr);
    case Operand::Kind::kPipe:
    case Operand::Kind::kChain:
      return Evaluate(*operand.pipe, dot);
    case Operand::Kind::kVariable:
      break;
  }
  ASSIGN_OR_RETURN(const Variable* const variable, Find(operand.path.front()));
  return variable->value;
}

absl::StatusOr<Value> Interpreter::Argument(const Operand& operand, const Value& dot) {
  RETURN_IF_ERROR(budget_.Step());
  ASSIGN_OR_RETURN(Value value, Base(operand, dot));
  if (operand.kind == Operand::Kind::kFunction) return value;
  const size_t begin = operand.kind == Operand::Kind::kVariable ? 1 : 0;
  for (size_t i = begin; i < operand.path.size(); ++i) {
    RETURN_IF_ERROR(budget_.Step());
    ASSIGN_OR_RETURN(value, Field(value, operand.path[i]));
  }
  return value;
}

absl::StatusOr<Value> Interpreter::Field(const Value& of, const std::string& name) {
  if (of.is_nothing()) return Value();
  if (of.is_nil() || of.is_nil_pointer()) {
    return Fail(absl::StrCat("nil pointer evaluating ", of.type_name(), ".", Shown(name)));
  }
  if (of.is_struct()) {
    const Struct& fields = of.as_struct();
    for (const auto& [method, result] : fields.methods) {
      if (method == name) return result;
    }
    if (const Struct::Field* const field = fields.Find(name)) return field->value;
  }
  if (name == "String") {
    ASSIGN_OR_RETURN(std::optional<Text> words, OwnWords(of, budget_));
    if (words) return Value(*std::move(words));
  }
  if (of.is_map()) {
    const Map& map = of.as_map();
    if (const Value* const item = map.Find(name)) return *item;
    return map.absent == nullptr ? Value::Nil() : *map.absent;
  }
  return Fail(absl::StrCat("can't evaluate field ", Shown(name), " in type ", of.type_name()));
}

absl::StatusOr<Value> Interpreter::Call(const Command& command, const Value& dot,
                                        const Value* last) {
  RETURN_IF_ERROR(budget_.Step());
  const std::string& name = command.front().path.front();
  const Function* const function = FindFunction(name);
  if (function == nullptr) return Fail(absl::StrCat("\"", name, "\" is not a defined function"));
  const size_t given = command.size() - 1 + (last != nullptr ? 1 : 0);
  RETURN_IF_ERROR(CheckCount(*function, given));
  if (function->call == nullptr) return CallLogic(*function, command, dot, last);
  std::vector<Value> arguments;
  for (size_t i = 1; i < command.size(); ++i) {
    ASSIGN_OR_RETURN(Value argument, Argument(command[i], dot));
    arguments.push_back(std::move(argument));
  }
  if (last != nullptr) arguments.push_back(*last);
  for (Value& argument : arguments) {
    if (argument.is_nil()) argument = Value();
  }
  RETURN_IF_ERROR(CheckTypes(*function, arguments));
  absl::StatusOr<Value> result = function->call(*this, arguments);
  if (!result.ok()) {
    return base::Annotate(result.status(), absl::StrCat("error calling ", name));
  }
  return result;
}

// `and` and `or` evaluate no further than they must.
absl::StatusOr<Value> Interpreter::CallLogic(const Function& function, const Command& command,
                                             const Value& dot, const Value* last) {
  const bool stops_at = function.name == "or";
  Value value;
  for (size_t i = 1; i < command.size(); ++i) {
    ASSIGN_OR_RETURN(value, Argument(command[i], dot));
    if (value.truthy() == stops_at) return value;
  }
  return last == nullptr ? value : *last;
}

}  // namespace conclave::engine::gotmpl
