// The expression half of the parser: Jinja's grammar by recursive descent, one function per level
// of precedence.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/chat/jinja_ast.h"
#include "engine/chat/jinja_lexer.h"

namespace conclave::engine::jinja {

// A place in the token list, and how deep the parser stands in the tree.
class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

 protected:
  // a, b if c else d: an expression, or a tuple without parentheses.
  absl::StatusOr<ExprPtr> ParseTuple(bool with_condition = true);
  absl::StatusOr<ExprPtr> ParseExpression(bool with_condition = true);
  absl::StatusOr<CallNode> ParseCallArguments();
  // |a|b(1) applied to `left`, which may be null.
  absl::StatusOr<ExprPtr> ParseFilters(ExprPtr left);
  absl::StatusOr<Target> ParseTarget();

  const Token& Peek(size_t ahead = 0) const;
  Token Next();
  bool IsOperator(std::string_view op, size_t ahead = 0) const;
  bool IsName(std::string_view name, size_t ahead = 0) const;
  bool SkipOperator(std::string_view op);
  bool SkipName(std::string_view name);
  absl::Status ExpectOperator(std::string_view op);
  absl::StatusOr<std::string> ExpectName(std::string_view what);
  int line() const { return Peek().line; }
  absl::Status Unexpected(std::string_view expected) const;

  // Counts the nesting of parser calls, which is the nesting of the tree.
  class Nesting final {
   public:
    explicit Nesting(ExpressionParser& parser) : parser_(parser) { ++parser_.depth_; }
    ~Nesting() { --parser_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    absl::Status Check() const;

   private:
    ExpressionParser& parser_;
  };

 private:
  absl::StatusOr<ExprPtr> ParseCondition();
  absl::StatusOr<ExprPtr> ParseOr();
  absl::StatusOr<ExprPtr> ParseAnd();
  absl::StatusOr<ExprPtr> ParseNot();
  absl::StatusOr<ExprPtr> ParseCompare();
  absl::StatusOr<ExprPtr> ParseSum();
  absl::StatusOr<ExprPtr> ParseConcat();
  absl::StatusOr<ExprPtr> ParseProduct();
  absl::StatusOr<ExprPtr> ParsePower();
  absl::StatusOr<ExprPtr> ParseOperand();
  absl::StatusOr<ExprPtr> ParseUnary(bool with_filter);
  absl::StatusOr<ExprPtr> ParseCall(ExprPtr callee);
  absl::StatusOr<ExprPtr> ParsePrimary();
  absl::StatusOr<ExprPtr> ParseParenthesized();
  absl::StatusOr<ExprPtr> ParseList();
  absl::StatusOr<ExprPtr> ParseDict();
  absl::StatusOr<ExprPtr> ParsePostfix(ExprPtr left);
  absl::StatusOr<ExprPtr> ParseSubscript(ExprPtr left);
  absl::StatusOr<ExprPtr> ParseFiltersAndTests(ExprPtr left);
  absl::StatusOr<ExprPtr> ParseOneFilter(ExprPtr left);
  absl::StatusOr<ExprPtr> ParseOneTest(ExprPtr left);
  bool StartsTestArgument() const;
  // The operators of one level of precedence, joined from the left: kBinary, kAnd or kOr. `next` is
  // the level that binds tighter.
  absl::StatusOr<ExprPtr> ParseLeftAssociative(ExprKind kind,
                                               std::initializer_list<std::string_view> operators,
                                               absl::StatusOr<ExprPtr> (ExpressionParser::*next)());

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace conclave::engine::jinja
