#include "engine/chat/go_parser.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/utf8.h"
#include "engine/chat/go_functions.h"
#include "engine/chat/go_lexer.h"
#include "engine/chat/go_strconv.h"
#include "engine/chat/jinja_lexer.h"

namespace conclave::engine::gotmpl {
namespace {

using jinja::FailAt;

constexpr size_t kSourceBytesMax = 1u << 20;
constexpr int kNestingMax = 200;
constexpr size_t kVariablesMax = 256;  // in scope at once: looking one up walks over them

// For complaints, which are not to be as long as a template.
std::string Shown(const std::string& text) { return std::string(base::Utf8Prefix(text, 40)); }

bool IsKeyword(std::string_view word) {
  constexpr std::string_view kKeywords[] = {"block", "break", "continue", "define",   "else",
                                            "end",   "if",    "range",    "template", "with"};
  return std::find(std::begin(kKeywords), std::end(kKeywords), word) != std::end(kKeywords);
}

absl::Status ReadNumber(const Token& token, Operand* to) {
  std::string text = token.text;
  const bool hex = text.find_first_of("xX") != std::string::npos;
  if (!UnderscoresFit(text)) return FailAt(token.line, "bad number syntax: " + Shown(text));
  text = absl::StrReplaceAll(text, {{"_", ""}});
  to->kind = Operand::Kind::kInteger;
  if (ReadInteger(text, &to->integer)) return absl::OkStatus();
  if (!hex && text.back() == 'i') {
    return FailAt(token.line, "complex numbers are not served: " + Shown(token.text));
  }
  if (text.find_first_of(hex ? ".pP" : ".eE") == std::string::npos ||
      (hex && text.find_first_of("pP") == std::string::npos)) {
    const bool digits = text.find_first_not_of("+-0123456789") == std::string::npos;
    return FailAt(token.line,
                  (digits ? "integer overflow: " : "bad number syntax: ") + Shown(token.text));
  }
  to->kind = Operand::Kind::kFloat;
  char* end = nullptr;
  to->real = std::strtod(text.c_str(), &end);
  if (*end != '\0' || !std::isfinite(to->real)) {
    return FailAt(token.line, "bad number syntax: " + Shown(token.text));
  }
  return absl::OkStatus();
}

class Parser final {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  absl::StatusOr<Program> Run() {
    variables_ = {"$"};
    RETURN_IF_ERROR(ParseTop());
    return std::move(program_);
  }

 private:
  enum class Stop { kEnd, kElse };

  // ---- tokens
  const Token& Peek() const { return tokens_[at_]; }
  const Token& PeekBehindSpace() {
    SkipSpace();
    return Peek();
  }
  Token Next() {
    Token token = tokens_[at_];
    if (token.kind != TokenKind::kEnd) ++at_;
    return token;
  }
  void SkipSpace() {
    while (Peek().kind == TokenKind::kSpace) ++at_;
  }
  static bool Is(const Token& token, std::string_view op) {
    return token.kind == TokenKind::kOperator && token.text == op;
  }
  static bool IsWord(const Token& token, std::string_view word) {
    return token.kind == TokenKind::kWord && token.text == word;
  }
  static std::string Name(const Token& token) {
    if (token.kind == TokenKind::kEnd) return "the end of the template";
    if (token.kind == TokenKind::kRight) return "the end of the action";
    if (token.kind == TokenKind::kLeft) return "{{";
    if (token.kind == TokenKind::kDot) return ".";
    return absl::StrCat("\"", token.kind == TokenKind::kField ? "." : "", token.text.substr(0, 40),
                        "\"");
  }
  absl::Status Unexpected(const Token& token, std::string_view where) const {
    return FailAt(token.line, absl::StrCat("unexpected ", Name(token), " in ", std::string(where)));
  }
  absl::Status ExpectRight(std::string_view where) {
    const Token token = (SkipSpace(), Next());
    return token.kind == TokenKind::kRight ? absl::OkStatus() : Unexpected(token, where);
  }
  absl::StatusOr<std::string> TemplateName(std::string_view where) {
    const Token token = (SkipSpace(), Next());
    if (token.kind != TokenKind::kString) return Unexpected(token, where);
    return token.text;
  }

  // ---- lists of nodes

  // The whole template; {{define}} may only stand here.
  absl::Status ParseTop() {
    while (Peek().kind != TokenKind::kEnd) {
      if (Peek().kind == TokenKind::kLeft) {
        const size_t begin = at_;
        Next();
        if (IsWord(PeekBehindSpace(), "define")) {
          Next();
          RETURN_IF_ERROR(ParseDefine());
          continue;
        }
        at_ = begin;
      }
      std::optional<Stop> stop;
      RETURN_IF_ERROR(ParseNode(&program_.root, &stop));
      if (stop) {
        return FailAt(Peek().line,
                      *stop == Stop::kEnd ? "unexpected {{end}}" : "unexpected {{else}}");
      }
    }
    return absl::OkStatus();
  }

  absl::Status ParseDefine() {
    ASSIGN_OR_RETURN(std::string name, TemplateName("define clause"));
    const int line = Peek().line;
    RETURN_IF_ERROR(ExpectRight("define clause"));
    return ParseNamed(std::move(name), line, "define clause");
  }

  // A template of its own, to its {{end}}: it sees no variables from outside.
  absl::Status ParseNamed(std::string name, int line, std::string_view where) {
    std::vector<std::string> outer = std::exchange(variables_, {"$"});
    const int depth = std::exchange(range_depth_, 0);
    NodeList body;
    ASSIGN_OR_RETURN(const Stop stop, ParseList(&body));
    variables_ = std::move(outer);
    range_depth_ = depth;
    if (stop != Stop::kEnd) {
      return FailAt(Peek().line, absl::StrCat("unexpected {{else}} in ", std::string(where)));
    }
    NodeList& known = program_.defined[name];
    if (IsEmpty(body)) return absl::OkStatus();
    if (!IsEmpty(known)) {
      return FailAt(line, absl::StrCat("multiple definition of template \"", Shown(name), "\""));
    }
    known = std::move(body);
    return absl::OkStatus();
  }

  static bool IsEmpty(const NodeList& nodes) {
    return std::all_of(nodes.begin(), nodes.end(), [](const Node& node) {
      return node.kind == Node::Kind::kText &&
             node.text.find_first_not_of(" \t\r\n\v\f") == std::string::npos;
    });
  }

  absl::StatusOr<Stop> ParseList(NodeList* nodes) {
    const Nesting nesting(&nesting_);
    if (nesting_ > kNestingMax) return FailAt(Peek().line, "nested too deeply");
    while (Peek().kind != TokenKind::kEnd) {
      std::optional<Stop> stop;
      RETURN_IF_ERROR(ParseNode(nodes, &stop));
      if (stop) return *stop;
    }
    return FailAt(Peek().line, "unexpected end of the template: an {{end}} is missing");
  }

  // One text or action; or an {{end}} or {{else}}, which ends a list.
  absl::Status ParseNode(NodeList* nodes, std::optional<Stop>* stop) {
    Token token = Next();
    if (token.kind == TokenKind::kText) {
      nodes->push_back(
          {.kind = Node::Kind::kText, .line = token.line, .text = std::move(token.text)});
      return absl::OkStatus();
    }
    const Token first = PeekBehindSpace();
    const bool keyword = first.kind == TokenKind::kWord && IsKeyword(first.text);
    if (!keyword || first.text == "define") return ParseAction(first.line, nodes);
    Next();
    const std::string& word = first.text;
    if (word == "end") {
      *stop = Stop::kEnd;
      return ExpectRight("end");
    }
    if (word == "else") {
      *stop = Stop::kElse;
      const Token& behind = PeekBehindSpace();
      // The `if` of {{else if}} is left to the caller.
      return IsWord(behind, "if") || IsWord(behind, "with") ? absl::OkStatus()
                                                            : ExpectRight("else");
    }
    if (word == "break" || word == "continue") return ParseJump(first, nodes);
    if (word == "template" || word == "block") return ParseTemplateCall(first, nodes);
    return ParseControl(first, nodes);
  }

  absl::Status ParseAction(int line, NodeList* nodes) {
    ASSIGN_OR_RETURN(auto pipe, ParsePipe("command", TokenKind::kRight));
    nodes->push_back({.kind = Node::Kind::kAction, .line = line, .pipe = std::move(pipe)});
    return absl::OkStatus();
  }

  absl::Status ParseJump(const Token& word, NodeList* nodes) {
    const std::string action = "{{" + word.text + "}}";
    RETURN_IF_ERROR(ExpectRight(action));
    if (range_depth_ == 0) return FailAt(word.line, action + " outside {{range}}");
    const auto kind = word.text == "break" ? Node::Kind::kBreak : Node::Kind::kContinue;
    nodes->push_back({.kind = kind, .line = word.line});
    return absl::OkStatus();
  }

  absl::Status ParseTemplateCall(const Token& word, NodeList* nodes) {
    const std::string where = word.text + " clause";
    ASSIGN_OR_RETURN(std::string name, TemplateName(where));
    Node node{.kind = Node::Kind::kTemplate, .line = word.line, .text = name};
    if (word.text == "template" && PeekBehindSpace().kind == TokenKind::kRight) {
      Next();
    } else {
      ASSIGN_OR_RETURN(node.pipe, ParsePipe(where, TokenKind::kRight));
    }
    nodes->push_back(std::move(node));
    return word.text == "block" ? ParseNamed(std::move(name), word.line, where) : absl::OkStatus();
  }

  absl::Status ParseControl(const Token& word, NodeList* nodes) {
    const Nesting nesting(&nesting_);
    if (nesting_ > kNestingMax) return FailAt(word.line, "nested too deeply");
    Node node{.kind = word.text == "if"     ? Node::Kind::kIf
                      : word.text == "with" ? Node::Kind::kWith
                                            : Node::Kind::kRange,
              .line = word.line};
    const bool loops = node.kind == Node::Kind::kRange;
    const size_t mark = variables_.size();
    ASSIGN_OR_RETURN(node.pipe, ParsePipe(word.text, TokenKind::kRight));
    range_depth_ += loops;
    ASSIGN_OR_RETURN(Stop stop, ParseList(&node.body));
    range_depth_ -= loops;
    if (stop == Stop::kElse) {
      const Token next = PeekBehindSpace();
      if (IsWord(next, "if") || IsWord(next, "with")) {
        if (next.text != word.text) return Unexpected(next, "else of " + word.text);
        Next();
        RETURN_IF_ERROR(ParseControl(next, &node.otherwise));  // its {{end}} is ours too
      } else {
        ASSIGN_OR_RETURN(stop, ParseList(&node.otherwise));
        if (stop != Stop::kEnd) return FailAt(Peek().line, "expected {{end}}; found {{else}}");
      }
    }
    variables_.resize(mark);
    nodes->push_back(std::move(node));
    return absl::OkStatus();
  }

  // ---- pipelines

  absl::StatusOr<std::shared_ptr<const Pipe>> ParsePipe(const std::string& where, TokenKind end) {
    const Nesting nesting(&nesting_);
    if (nesting_ > kNestingMax) return FailAt(Peek().line, "nested too deeply");
    auto pipe = std::make_shared<Pipe>();
    pipe->line = PeekBehindSpace().line;
    RETURN_IF_ERROR(ParseDeclarations(where, pipe.get()));
    while (true) {
      const Token& token = PeekBehindSpace();
      if (token.kind == end && (end == TokenKind::kRight || token.text == ")")) {
        Next();
        RETURN_IF_ERROR(CheckPipe(*pipe, where));
        if (variables_.size() > kVariablesMax) {
          return FailAt(pipe->line, absl::StrCat("more than ", kVariablesMax, " variables"));
        }
        return pipe;
      }
      Command command;
      RETURN_IF_ERROR(ParseCommand(where, &command));
      pipe->commands.push_back(std::move(command));
    }
  }

  // $x :=, $x =, and of a range also $i, $x :=. What follows may use them.
  absl::Status ParseDeclarations(const std::string& where, Pipe* pipe) {
    while (PeekBehindSpace().kind == TokenKind::kVariable) {
      const size_t begin = at_;
      const std::string name = Next().text;
      const Token next = PeekBehindSpace();
      if (Is(next, ":=") || Is(next, "=")) {
        Next();
        pipe->variables.push_back(name);
        pipe->assigns = next.text == "=";
        if (pipe->assigns) {
          for (const std::string& variable : pipe->variables) {
            RETURN_IF_ERROR(CheckVariable(variable, next.line));
          }
        } else {
          variables_.insert(variables_.end(), pipe->variables.begin(), pipe->variables.end());
        }
        return absl::OkStatus();
      }
      if (!Is(next, ",")) {
        at_ = begin;
        break;
      }
      Next();
      pipe->variables.push_back(name);
      if (where != "range" || pipe->variables.size() > 1) {
        return FailAt(next.line, "too many declarations in " + where);
      }
      if (PeekBehindSpace().kind != TokenKind::kVariable) {
        return FailAt(next.line, "range can only initialize variables");
      }
    }
    return pipe->variables.empty() ? absl::OkStatus()
                                   : FailAt(pipe->line, "range can only initialize variables");
  }

  // What gives a value of its own accord can take none from the stage before.
  static absl::Status CheckPipe(const Pipe& pipe, const std::string& where) {
    if (pipe.commands.empty()) return FailAt(pipe.line, "missing value for " + where);
    for (size_t i = 1; i < pipe.commands.size(); ++i) {
      using enum Operand::Kind;
      const Operand& first = pipe.commands[i].front();
      switch (first.kind) {
        case kBool:
        case kDot:
        case kNil:
        case kInteger:
        case kFloat:
        case kString:
          return FailAt(first.line,
                        absl::StrCat("non executable command in pipeline stage ", i + 1));
        default:
          break;
      }
    }
    return absl::OkStatus();
  }

  absl::Status ParseCommand(const std::string& where, Command* command) {
    while (true) {
      SkipSpace();
      std::optional<Operand> operand;
      RETURN_IF_ERROR(ParseOperand(&operand));
      const bool found = operand.has_value();
      if (operand) command->push_back(*std::move(operand));
      const Token& token = Peek();
      if (token.kind == TokenKind::kSpace) continue;
      if (token.kind == TokenKind::kRight || Is(token, ")")) break;
      if (!Is(token, "|")) return Unexpected(token, found ? "operand" : where);
      Next();
      break;
    }
    return command->empty() ? FailAt(Peek().line, "empty command") : absl::OkStatus();
  }

  // nullopt: no operand begins here.
  absl::Status ParseOperand(std::optional<Operand>* operand) {
    RETURN_IF_ERROR(ParseTerm(operand));
    if (!*operand || Peek().kind != TokenKind::kField) return absl::OkStatus();
    std::vector<std::string> fields;
    while (Peek().kind == TokenKind::kField) fields.push_back(Next().text);
    Operand& term = **operand;
    using enum Operand::Kind;
    if (term.kind == kField || term.kind == kVariable) {
      term.path.insert(term.path.end(), fields.begin(), fields.end());
    } else if (term.kind == kPipe) {
      term.kind = kChain;
      term.path = std::move(fields);
    } else if (term.kind == kFunction) {
      // A function without arguments, and fields of what it gives.
      auto pipe = std::make_shared<Pipe>();
      pipe->line = term.line;
      pipe->commands.push_back({term});
      term = {.kind = kChain,
              .line = term.line,
              .text = term.text,
              .path = std::move(fields),
              .pipe = std::move(pipe)};
    } else {
      return FailAt(term.line, "unexpected . after term");
    }
    return absl::OkStatus();
  }

  absl::Status ParseTerm(std::optional<Operand>* operand) {
    using enum Operand::Kind;
    const Token token = Peek();
    Operand term{.line = token.line, .text = token.text};
    switch (token.kind) {
      case TokenKind::kWord:
        RETURN_IF_ERROR(ReadWord(token, &term));
        break;
      case TokenKind::kDot:
        term.kind = kDot;
        break;
      case TokenKind::kField:
        term.kind = kField;
        term.path = {token.text};
        break;
      case TokenKind::kVariable:
        term.kind = kVariable;
        term.path = {token.text};
        RETURN_IF_ERROR(CheckVariable(token.text, token.line));
        break;
      case TokenKind::kNumber:
        RETURN_IF_ERROR(ReadNumber(token, &term));
        break;
      case TokenKind::kRune:
        term.kind = kInteger;
        if (!ReadRune(token.text, &term.integer)) {
          return FailAt(token.line, "malformed character constant: " + Shown(token.text));
        }
        break;
      case TokenKind::kString:
        term.kind = kString;
        break;
      default:
        if (!Is(token, "(")) return absl::OkStatus();
        Next();
        term.kind = kPipe;
        ASSIGN_OR_RETURN(term.pipe, ParsePipe("parenthesized pipeline", TokenKind::kOperator));
        *operand = std::move(term);
        return absl::OkStatus();
    }
    Next();
    *operand = std::move(term);
    return absl::OkStatus();
  }

  static absl::Status ReadWord(const Token& token, Operand* term) {
    if (token.text == "true" || token.text == "false") {
      term->kind = Operand::Kind::kBool;
      term->truth = token.text == "true";
    } else if (token.text == "nil") {
      term->kind = Operand::Kind::kNil;
    } else if (IsKeyword(token.text)) {
      return FailAt(token.line, absl::StrCat("unexpected <", token.text, "> in command"));
    } else if (FindFunction(token.text) == nullptr) {
      return FailAt(token.line, absl::StrCat("function \"", Shown(token.text), "\" not defined"));
    } else {
      term->kind = Operand::Kind::kFunction;
      term->path = {token.text};
    }
    return absl::OkStatus();
  }

  absl::Status CheckVariable(const std::string& name, int line) const {
    if (std::find(variables_.rbegin(), variables_.rend(), name) != variables_.rend()) {
      return absl::OkStatus();
    }
    return FailAt(line, absl::StrCat("undefined variable \"", Shown(name), "\""));
  }

  struct Nesting {
    explicit Nesting(int* depth) : depth(depth) { ++*depth; }
    ~Nesting() { --*depth; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    int* depth;
  };

  std::vector<Token> tokens_;
  size_t at_ = 0;
  Program program_;
  std::vector<std::string> variables_;
  int range_depth_ = 0;
  int nesting_ = 0;
};

}  // namespace

absl::StatusOr<Program> ParseTemplate(std::string_view source) {
  if (source.size() > kSourceBytesMax) {
    return base::InvalidArgument(absl::StrCat("longer than ", kSourceBytesMax, " bytes"));
  }
  ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return Parser(std::move(tokens)).Run();
}

}  // namespace conclave::engine::gotmpl
