#include "engine/chat/jinja_expression_parser.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/chat/jinja_parser.h"

namespace conclave::engine::jinja {
namespace {

// Long chains (a + b + c …) are trees too, leaning to the left; they may be deeper than brackets.
constexpr int kChainDepthMax = 250;

std::unique_ptr<Expr> NewExpr(ExprKind kind, int line) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  return expr;
}

// The finished node; refuses trees that evaluation would have to descend too far into.
absl::StatusOr<ExprPtr> Finish(std::unique_ptr<Expr> expr) {
  int depth = 0;
  const auto see = [&](const ExprPtr& child) {
    if (child != nullptr) depth = std::max(depth, child->depth);
  };
  see(expr->left);
  see(expr->right);
  for (const ExprPtr& item : expr->items) see(item);
  for (const ExprPtr& key : expr->keys) see(key);
  for (const ExprPtr& argument : expr->call.positional) see(argument);
  for (const auto& [name, argument] : expr->call.named) see(argument);
  expr->depth = depth + 1;
  if (expr->depth > kChainDepthMax) return FailAt(expr->line, "expression is too deep");
  return ExprPtr(std::move(expr));
}

absl::StatusOr<ExprPtr> Constant(Value value, int line) {
  auto expr = NewExpr(ExprKind::kConstant, line);
  expr->value = std::move(value);
  return Finish(std::move(expr));
}

constexpr std::string_view kCompareOperators[] = {"==", "!=", "<", "<=", ">", ">="};

}  // namespace

absl::Status ExpressionParser::Nesting::Check() const {
  if (parser_.depth_ <= kTreeDepthMax) return absl::OkStatus();
  return FailAt(parser_.line(), "nested too deeply");
}

// --- tokens
// -----------------------------------------------------------------------------------------

const Token& ExpressionParser::Peek(size_t ahead) const {
  return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
}
Token ExpressionParser::Next() {
  Token token = Peek();
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}
bool ExpressionParser::IsOperator(std::string_view op, size_t ahead) const {
  return Peek(ahead).kind == TokenKind::kOperator && Peek(ahead).text == op;
}
bool ExpressionParser::IsName(std::string_view name, size_t ahead) const {
  return Peek(ahead).kind == TokenKind::kName && Peek(ahead).text == name;
}
bool ExpressionParser::SkipOperator(std::string_view op) {
  const bool is = IsOperator(op);
  if (is) Next();
  return is;
}
bool ExpressionParser::SkipName(std::string_view name) {
  const bool is = IsName(name);
  if (is) Next();
  return is;
}
absl::Status ExpressionParser::ExpectOperator(std::string_view op) {
  return SkipOperator(op) ? absl::OkStatus() : Unexpected(absl::StrCat("'", std::string(op), "'"));
}
absl::StatusOr<std::string> ExpressionParser::ExpectName(std::string_view what) {
  if (Peek().kind != TokenKind::kName) return Unexpected(what);
  return Next().text;
}
absl::Status ExpressionParser::Unexpected(std::string_view expected) const {
  const Token& token = Peek();
  std::string found = "the end of the tag";
  if (token.kind == TokenKind::kEnd) found = "the end of the template";
  if (token.kind == TokenKind::kName || token.kind == TokenKind::kOperator) {
    found = absl::StrCat("'", token.text.substr(0, 64), "'");
  }
  if (token.kind == TokenKind::kString) found = "a string";
  if (token.kind == TokenKind::kInteger || token.kind == TokenKind::kFloat) found = "a number";
  return FailAt(token.line, absl::StrCat("expected ", std::string(expected), ", found ", found));
}

// --- from the loosest binding to the tightest
// --------------------------------------------------------

absl::StatusOr<ExprPtr> ExpressionParser::ParseTuple(bool with_condition) {
  const int first_line = line();
  ASSIGN_OR_RETURN(ExprPtr first, ParseExpression(with_condition));
  if (!IsOperator(",")) return first;
  auto tuple = NewExpr(ExprKind::kTuple, first_line);
  tuple->items.push_back(std::move(first));
  while (SkipOperator(",")) {
    const TokenKind kind = Peek().kind;
    if (kind == TokenKind::kBlockEnd || kind == TokenKind::kOutputEnd || IsOperator(")") ||
        IsName("in") || IsOperator("=")) {
      break;
    }
    ASSIGN_OR_RETURN(ExprPtr item, ParseExpression(with_condition));
    tuple->items.push_back(std::move(item));
  }
  return Finish(std::move(tuple));
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseExpression(bool with_condition) {
  const Nesting nesting(*this);
  RETURN_IF_ERROR(nesting.Check());
  return with_condition ? ParseCondition() : ParseOr();
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseCondition() {
  ASSIGN_OR_RETURN(ExprPtr expr, ParseOr());
  while (IsName("if")) {
    auto condition = NewExpr(ExprKind::kCondition, line());
    Next();
    condition->left = std::move(expr);
    ASSIGN_OR_RETURN(condition->right, ParseOr());
    if (SkipName("else")) {
      ASSIGN_OR_RETURN(ExprPtr otherwise, ParseExpression());
      condition->items.push_back(std::move(otherwise));
    }
    ASSIGN_OR_RETURN(expr, Finish(std::move(condition)));
  }
  return expr;
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseOr() {
  return ParseLeftAssociative(ExprKind::kOr, {"or"}, &ExpressionParser::ParseAnd);
}
absl::StatusOr<ExprPtr> ExpressionParser::ParseAnd() {
  return ParseLeftAssociative(ExprKind::kAnd, {"and"}, &ExpressionParser::ParseNot);
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseNot() {
  if (!IsName("not")) return ParseCompare();
  const Nesting nesting(*this);
  RETURN_IF_ERROR(nesting.Check());
  auto expr = NewExpr(ExprKind::kNot, line());
  Next();
  ASSIGN_OR_RETURN(expr->left, ParseNot());
  return Finish(std::move(expr));
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseCompare() {
  ASSIGN_OR_RETURN(ExprPtr first, ParseSum());
  auto compare = NewExpr(ExprKind::kCompare, line());
  for (;;) {
    std::string op;
    for (const std::string_view candidate : kCompareOperators) {
      if (IsOperator(candidate)) op = candidate;
    }
    if (IsName("in")) op = "in";
    if (IsName("not") && IsName("in", 1)) {
      Next();
      op = "not in";
    }
    if (op.empty()) break;
    Next();
    ASSIGN_OR_RETURN(ExprPtr operand, ParseSum());
    compare->operators.push_back(std::move(op));
    compare->items.push_back(std::move(operand));
  }
  if (compare->items.empty()) return first;
  compare->left = std::move(first);
  return Finish(std::move(compare));
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseLeftAssociative(
    ExprKind kind, std::initializer_list<std::string_view> operators,
    absl::StatusOr<ExprPtr> (ExpressionParser::*next)()) {
  ASSIGN_OR_RETURN(ExprPtr left, (this->*next)());
  for (;;) {
    // "and" and "or" are names to the lexer.
    const auto* op =
        std::find_if(operators.begin(), operators.end(), [&](std::string_view candidate) {
          return kind == ExprKind::kBinary ? IsOperator(candidate) : IsName(candidate);
        });
    if (op == operators.end()) return left;
    auto expr = NewExpr(kind, line());
    Next();
    if (kind == ExprKind::kBinary) expr->name = *op;
    expr->left = std::move(left);
    ASSIGN_OR_RETURN(expr->right, (this->*next)());
    ASSIGN_OR_RETURN(left, Finish(std::move(expr)));
  }
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseSum() {
  return ParseLeftAssociative(ExprKind::kBinary, {"+", "-"}, &ExpressionParser::ParseConcat);
}
absl::StatusOr<ExprPtr> ExpressionParser::ParseConcat() {
  return ParseLeftAssociative(ExprKind::kBinary, {"~"}, &ExpressionParser::ParseProduct);
}
absl::StatusOr<ExprPtr> ExpressionParser::ParseProduct() {
  return ParseLeftAssociative(ExprKind::kBinary, {"*", "/", "//", "%"},
                              &ExpressionParser::ParsePower);
}
absl::StatusOr<ExprPtr> ExpressionParser::ParsePower() {
  return ParseLeftAssociative(ExprKind::kBinary, {"**"}, &ExpressionParser::ParseOperand);
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseOperand() { return ParseUnary(true); }

absl::StatusOr<ExprPtr> ExpressionParser::ParseUnary(bool with_filter) {
  const Nesting nesting(*this);
  RETURN_IF_ERROR(nesting.Check());
  ExprPtr expr;
  if (IsOperator("-") || IsOperator("+")) {
    auto unary = NewExpr(IsOperator("-") ? ExprKind::kNegate : ExprKind::kPlus, line());
    Next();
    ASSIGN_OR_RETURN(unary->left, ParseUnary(false));
    ASSIGN_OR_RETURN(expr, Finish(std::move(unary)));
  } else {
    ASSIGN_OR_RETURN(expr, ParsePrimary());
  }
  ASSIGN_OR_RETURN(expr, ParsePostfix(std::move(expr)));
  return with_filter ? ParseFiltersAndTests(std::move(expr)) : std::move(expr);
}

absl::StatusOr<ExprPtr> ExpressionParser::ParsePrimary() {
  const Token& token = Peek();
  const int at = token.line;
  switch (token.kind) {
    case TokenKind::kName: {
      const std::string name = Next().text;
      if (name == "true" || name == "True") return Constant(Value(true), at);
      if (name == "false" || name == "False") return Constant(Value(false), at);
      if (name == "none" || name == "None") return Constant(Value(None{}), at);
      auto expr = NewExpr(ExprKind::kName, at);
      expr->name = name;
      return Finish(std::move(expr));
    }
    case TokenKind::kString: {
      std::string text;
      while (Peek().kind == TokenKind::kString) text += Next().text;
      return Constant(Value::Own(std::move(text)), at);
    }
    case TokenKind::kInteger:
      return Constant(Value::Integer(Next().text), at);
    case TokenKind::kFloat:
      return Constant(Value(Next().real), at);
    default:
      if (IsOperator("(")) return ParseParenthesized();
      if (IsOperator("[")) return ParseList();
      if (IsOperator("{")) return ParseDict();
      return Unexpected("an expression");
  }
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseParenthesized() {
  const int at = line();
  Next();
  if (SkipOperator(")")) return Finish(NewExpr(ExprKind::kTuple, at));
  ASSIGN_OR_RETURN(ExprPtr expr, ParseTuple());
  RETURN_IF_ERROR(ExpectOperator(")"));
  return expr;
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseList() {
  auto list = NewExpr(ExprKind::kList, line());
  Next();
  while (!IsOperator("]")) {
    if (!list->items.empty()) {
      RETURN_IF_ERROR(ExpectOperator(","));
      if (IsOperator("]")) break;
    }
    ASSIGN_OR_RETURN(ExprPtr item, ParseExpression());
    list->items.push_back(std::move(item));
  }
  Next();
  return Finish(std::move(list));
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseDict() {
  auto dict = NewExpr(ExprKind::kDict, line());
  Next();
  while (!IsOperator("}")) {
    if (!dict->items.empty()) {
      RETURN_IF_ERROR(ExpectOperator(","));
      if (IsOperator("}")) break;
    }
    ASSIGN_OR_RETURN(ExprPtr key, ParseExpression());
    RETURN_IF_ERROR(ExpectOperator(":"));
    ASSIGN_OR_RETURN(ExprPtr value, ParseExpression());
    dict->keys.push_back(std::move(key));
    dict->items.push_back(std::move(value));
  }
  Next();
  return Finish(std::move(dict));
}

// --- what follows a primary
// --------------------------------------------------------------------------

absl::StatusOr<ExprPtr> ExpressionParser::ParsePostfix(ExprPtr left) {
  for (;;) {
    const int at = line();
    if (SkipOperator(".")) {
      auto attribute = NewExpr(ExprKind::kAttribute, at);
      if (Peek().kind == TokenKind::kInteger) {  // a.0 is a[0]
        attribute->kind = ExprKind::kItem;
        ASSIGN_OR_RETURN(attribute->right, Constant(Value::Integer(Next().text), at));
      } else {
        ASSIGN_OR_RETURN(attribute->name, ExpectName("an attribute"));
      }
      attribute->left = std::move(left);
      ASSIGN_OR_RETURN(left, Finish(std::move(attribute)));
    } else if (IsOperator("[")) {
      ASSIGN_OR_RETURN(left, ParseSubscript(std::move(left)));
    } else if (IsOperator("(")) {
      ASSIGN_OR_RETURN(left, ParseCall(std::move(left)));
    } else {
      return left;
    }
  }
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseSubscript(ExprPtr left) {
  auto item = NewExpr(ExprKind::kItem, line());
  Next();
  item->left = std::move(left);
  ExprPtr first;
  if (!IsOperator(":")) {
    ASSIGN_OR_RETURN(first, ParseExpression());
  }
  if (!IsOperator(":")) {
    item->right = std::move(first);
    RETURN_IF_ERROR(ExpectOperator("]"));
    return Finish(std::move(item));
  }
  item->kind = ExprKind::kSlice;
  item->items.push_back(std::move(first));
  while (SkipOperator(":")) {
    ExprPtr bound;
    if (!IsOperator(":") && !IsOperator("]")) {
      ASSIGN_OR_RETURN(bound, ParseExpression());
    }
    item->items.push_back(std::move(bound));
  }
  if (item->items.size() > 3) return Unexpected("at most start, stop and step");
  item->items.resize(3);
  RETURN_IF_ERROR(ExpectOperator("]"));
  return Finish(std::move(item));
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseCall(ExprPtr callee) {
  auto call = NewExpr(ExprKind::kCall, line());
  call->left = std::move(callee);
  ASSIGN_OR_RETURN(call->call, ParseCallArguments());
  return Finish(std::move(call));
}

absl::StatusOr<CallNode> ExpressionParser::ParseCallArguments() {
  CallNode call;
  RETURN_IF_ERROR(ExpectOperator("("));
  for (bool first = true; !SkipOperator(")"); first = false) {
    if (!first) {
      RETURN_IF_ERROR(ExpectOperator(","));
      if (SkipOperator(")")) break;
    }
    if (SkipOperator("**")) {
      ASSIGN_OR_RETURN(call.spread_named, ParseExpression());
    } else if (SkipOperator("*")) {
      ASSIGN_OR_RETURN(call.spread, ParseExpression());
    } else if (Peek().kind == TokenKind::kName && IsOperator("=", 1)) {
      std::string name = Next().text;
      Next();
      ASSIGN_OR_RETURN(ExprPtr argument, ParseExpression());
      call.named.emplace_back(std::move(name), std::move(argument));
    } else {
      if (!call.named.empty()) return Unexpected("a named argument after named ones");
      ASSIGN_OR_RETURN(ExprPtr argument, ParseExpression());
      call.positional.push_back(std::move(argument));
    }
  }
  return call;
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseFiltersAndTests(ExprPtr left) {
  for (;;) {
    if (IsOperator("|")) {
      ASSIGN_OR_RETURN(left, ParseOneFilter(std::move(left)));
    } else if (IsName("is")) {
      ASSIGN_OR_RETURN(left, ParseOneTest(std::move(left)));
    } else if (IsOperator("(")) {
      ASSIGN_OR_RETURN(left, ParseCall(std::move(left)));
    } else {
      return left;
    }
  }
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseFilters(ExprPtr left) {
  while (IsOperator("|")) {
    ASSIGN_OR_RETURN(left, ParseOneFilter(std::move(left)));
  }
  return left;
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseOneFilter(ExprPtr left) {
  auto filter = NewExpr(ExprKind::kFilter, line());
  Next();
  ASSIGN_OR_RETURN(filter->name, ExpectName("a filter"));
  filter->left = std::move(left);
  if (IsOperator("(")) {
    ASSIGN_OR_RETURN(filter->call, ParseCallArguments());
  }
  return Finish(std::move(filter));
}

bool ExpressionParser::StartsTestArgument() const {
  switch (Peek().kind) {
    case TokenKind::kName:
      return !IsName("else") && !IsName("or") && !IsName("and");
    case TokenKind::kString:
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return true;
    default:
      return IsOperator("[") || IsOperator("{");
  }
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseOneTest(ExprPtr left) {
  const int at = line();
  Next();
  const bool negated = SkipName("not");
  auto test = NewExpr(ExprKind::kTest, at);
  ASSIGN_OR_RETURN(test->name, ExpectName("a test"));
  test->left = std::move(left);
  if (IsOperator("(")) {
    ASSIGN_OR_RETURN(test->call, ParseCallArguments());
  } else if (StartsTestArgument()) {
    // "x is defined if y" is no sentence of Jinja's: `if` would be the argument.
    if (IsName("is")) return Unexpected("no second test");
    ASSIGN_OR_RETURN(ExprPtr argument, ParsePrimary());
    ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
    test->call.positional.push_back(std::move(argument));
  }
  ASSIGN_OR_RETURN(ExprPtr expr, Finish(std::move(test)));
  if (!negated) return expr;
  auto inverse = NewExpr(ExprKind::kNot, at);
  inverse->left = std::move(expr);
  return Finish(std::move(inverse));
}

absl::StatusOr<Target> ExpressionParser::ParseTarget() {
  const auto one = [&]() -> absl::StatusOr<Target> {
    Target target;
    if (SkipOperator("(")) {
      ASSIGN_OR_RETURN(target, ParseTarget());
      RETURN_IF_ERROR(ExpectOperator(")"));
      return target;
    }
    ASSIGN_OR_RETURN(target.name, ExpectName("a name"));
    if (SkipOperator(".")) {
      ASSIGN_OR_RETURN(target.attribute, ExpectName("an attribute"));
    }
    return target;
  };
  const Nesting nesting(*this);
  RETURN_IF_ERROR(nesting.Check());
  ASSIGN_OR_RETURN(Target first, one());
  if (!IsOperator(",")) return first;
  Target tuple;
  tuple.parts.push_back(std::move(first));
  while (SkipOperator(",")) {
    if (IsName("in") || IsOperator("=") || IsOperator(")")) break;
    ASSIGN_OR_RETURN(Target part, one());
    tuple.parts.push_back(std::move(part));
  }
  return tuple;
}

}  // namespace conclave::engine::jinja
