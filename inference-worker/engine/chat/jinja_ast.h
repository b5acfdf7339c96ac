// A parsed template: statements and expressions as plain trees. Made by jinja_parser.h, immutable,
// shared by all renderings.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/chat/jinja_value.h"

namespace conclave::engine::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<const Expr>;

// Arguments of a call, a filter or a test.
struct CallNode {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr spread;        // *args
  ExprPtr spread_named;  // **kwargs
};

enum class ExprKind {
  kConstant,   // value
  kName,       // name
  kList,       // items
  kTuple,      // items
  kDict,       // keys, items
  kAttribute,  // left.name
  kItem,       // left[right]
  kSlice,      // left[items[0]:items[1]:items[2]], each perhaps null
  kCall,       // left(call)
  kFilter,     // left|name(call); left is null at the head of a filter block
  kTest,       // left is name(call)
  kNot,        // left
  kNegate,     // left
  kPlus,       // left
  kBinary,     // left name right, name being the operator
  kCompare,    // left, then operators[i] items[i], chained
  kAnd,        // left, right
  kOr,         // left, right
  kCondition,  // left if right else items[0] (perhaps absent)
};

struct Expr {
  ExprKind kind = ExprKind::kConstant;
  int line = 0;
  int depth = 1;  // of the tree
  Value value;
  std::string name;
  ExprPtr left, right;
  std::vector<ExprPtr> items;
  std::vector<ExprPtr> keys;
  std::vector<std::string> operators;
  CallNode call;
};

struct Statement;
using Block = std::vector<std::unique_ptr<const Statement>>;

// What an assignment or a for loop binds: a name, ns.attribute, or a tuple of targets.
struct Target {
  std::string name;
  std::string attribute;  // "" unless ns.attribute
  std::vector<Target> parts;
};

struct MacroNode {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExprPtr> defaults;  // of the last parameters
  // Whether the body speaks of these, and hence takes what fits no parameter.
  bool uses_varargs = false;
  bool uses_kwargs = false;
  bool uses_caller = false;
  Block body;
};

enum class StatementKind {
  kOutput,       // exprs: template data and {{ }}
  kIf,           // branches; otherwise
  kFor,          // target in expr (if condition), body; otherwise; recursive
  kSet,          // target = expr
  kSetBlock,     // target = body, through filter
  kMacro,        // macro
  kCallBlock,    // expr with macro as its caller
  kFilterBlock,  // body through filter
  kWith,         // targets and exprs, body
  kScope,        // body (generation)
  kBreak,
  kContinue,
};

struct Statement {
  StatementKind kind = StatementKind::kOutput;
  int line = 0;
  std::vector<ExprPtr> exprs;
  std::vector<std::pair<ExprPtr, Block>> branches;
  Target target;
  std::vector<Target> targets;
  ExprPtr expr;
  ExprPtr condition;
  ExprPtr filter;  // a chain of filters whose innermost left is null
  bool recursive = false;
  Block body;
  Block otherwise;
  std::shared_ptr<const MacroNode> macro;
};

}  // namespace conclave::engine::jinja
