// A parsed template of Go's text/template: lists of nodes, and the pipelines inside their actions.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace conclave::engine::gotmpl {

struct Pipe;

// An operand, or one that a chain of fields follows.
struct Operand {
  enum class Kind {
    kDot,
    kNil,
    kBool,
    kInteger,
    kFloat,
    kString,
    kField,     // .A.B: path is {"A", "B"}
    kVariable,  // $x.A: path is {"$x", "A"}
    kFunction,  // path is {"len"}
    kPipe,      // (…)
    kChain,     // (…).A.B: path is {"A", "B"}
  };
  Kind kind = Kind::kDot;
  int line = 1;
  bool truth = false;
  int64_t integer = 0;
  double real = 0;
  std::string text;  // of a string; else as it is written
  std::vector<std::string> path;
  std::shared_ptr<const Pipe> pipe;
};

// The first says what is done, the rest are its arguments.
using Command = std::vector<Operand>;

struct Pipe {
  int line = 1;
  std::vector<std::string> variables;  // declared or assigned, with their "$"
  bool assigns = false;                // = and not :=
  std::vector<Command> commands;
};

struct Node;
using NodeList = std::vector<Node>;

struct Node {
  enum class Kind { kText, kAction, kIf, kRange, kWith, kTemplate, kBreak, kContinue };
  Kind kind = Kind::kText;
  int line = 1;
  std::string text;                  // of kText; of kTemplate its name
  std::shared_ptr<const Pipe> pipe;  // null: {{template "x"}} without one
  NodeList body;
  NodeList otherwise;
};

struct Program {
  NodeList root;
  std::map<std::string, NodeList, std::less<>> defined;  // by {{define}} and {{block}}
};

}  // namespace conclave::engine::gotmpl
