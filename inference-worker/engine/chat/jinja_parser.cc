#include "engine/chat/jinja_parser.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/chat/jinja_expression_parser.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine::jinja {
namespace {

// Whether any expression or statement of a macro's body speaks of `name`.
struct NameSearch {
  std::string_view name;

  bool In(const ExprPtr& expr) const {
    if (expr == nullptr) return false;
    if (expr->kind == ExprKind::kName && expr->name == name) return true;
    const auto in_any = [&](const std::vector<ExprPtr>& exprs) {
      return std::any_of(exprs.begin(), exprs.end(), [&](const ExprPtr& e) { return In(e); });
    };
    return In(expr->left) || In(expr->right) || in_any(expr->items) || in_any(expr->keys) ||
           in_any(expr->call.positional) || In(expr->call.spread) || In(expr->call.spread_named) ||
           std::any_of(expr->call.named.begin(), expr->call.named.end(),
                       [&](const auto& named) { return In(named.second); });
  }
  bool In(const Block& block) const {
    return std::any_of(block.begin(), block.end(), [&](const auto& s) { return In(*s); });
  }
  bool In(const Statement& s) const {
    return std::any_of(s.exprs.begin(), s.exprs.end(), [&](const ExprPtr& e) { return In(e); }) ||
           std::any_of(s.branches.begin(), s.branches.end(),
                       [&](const auto& b) { return In(b.first) || In(b.second); }) ||
           In(s.expr) || In(s.condition) || In(s.filter) || In(s.body) || In(s.otherwise) ||
           (s.macro != nullptr && In(s.macro->body));
  }
};

class Parser final : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  absl::StatusOr<Block> Run() {
    ASSIGN_OR_RETURN(Block block, ParseBlock({}));
    if (Peek().kind == TokenKind::kEnd) return block;
    return Unexpected("no such tag here");
  }

 private:
  using Ends = std::initializer_list<std::string_view>;

  // Statements up to the tag that begins with one of `ends`, whose name is left to be read.
  absl::StatusOr<Block> ParseBlock(Ends ends) {
    const Nesting nesting(*this);
    RETURN_IF_ERROR(nesting.Check());
    Block block;
    for (;;) {
      const Token& token = Peek();
      if (token.kind == TokenKind::kEnd) {
        if (ends.size() == 0) return block;
        return FailAt(token.line, absl::StrCat("expected {% ", std::string(*(ends.end() - 1)),
                                               " %}, found the end of the template"));
      }
      if (token.kind == TokenKind::kData || token.kind == TokenKind::kOutputBegin) {
        ASSIGN_OR_RETURN(auto output, ParseOutput());
        block.push_back(std::move(output));
        continue;
      }
      Next();  // {%
      for (const std::string_view end : ends) {
        if (IsName(end)) return block;
      }
      ASSIGN_OR_RETURN(auto statement, ParseStatement());
      block.push_back(std::move(statement));
    }
  }

  std::unique_ptr<Statement> New(StatementKind kind) const {
    auto statement = std::make_unique<Statement>();
    statement->kind = kind;
    statement->line = line();
    return statement;
  }

  absl::StatusOr<std::unique_ptr<Statement>> ParseOutput() {
    auto output = New(StatementKind::kOutput);
    for (;;) {
      if (Peek().kind == TokenKind::kData) {
        auto data = std::make_unique<Expr>();
        data->line = line();
        data->value = Value::Own(Next().text);
        output->exprs.push_back(std::move(data));
      } else if (Peek().kind == TokenKind::kOutputBegin) {
        Next();
        ASSIGN_OR_RETURN(ExprPtr expr, ParseTuple());
        if (Peek().kind != TokenKind::kOutputEnd) return Unexpected("'}}'");
        Next();
        output->exprs.push_back(std::move(expr));
      } else {
        return output;
      }
    }
  }

  absl::Status ExpectTagEnd() {
    if (Peek().kind != TokenKind::kBlockEnd) return Unexpected("'%}'");
    Next();
    return absl::OkStatus();
  }
  // The name of an end tag, and its end.
  absl::Status EndTag() {
    Next();
    return ExpectTagEnd();
  }

  absl::StatusOr<std::unique_ptr<Statement>> ParseStatement() {
    if (IsName("if")) return ParseIf();
    if (IsName("for")) return ParseFor();
    if (IsName("set")) return ParseSet();
    if (IsName("macro")) return ParseMacro();
    if (IsName("call")) return ParseCallBlock();
    if (IsName("filter")) return ParseFilterBlock();
    if (IsName("with")) return ParseWith();
    if (IsName("generation")) return ParseGeneration();
    if (IsName("break") || IsName("continue")) {
      auto statement = New(IsName("break") ? StatementKind::kBreak : StatementKind::kContinue);
      if (loops_ == 0) return Unexpected("a loop around it");
      Next();
      RETURN_IF_ERROR(ExpectTagEnd());
      return statement;
    }
    return Unexpected("a tag that is known here");
  }

  absl::StatusOr<std::unique_ptr<Statement>> ParseIf() {
    auto statement = New(StatementKind::kIf);
    for (;;) {
      Next();  // if, elif
      ASSIGN_OR_RETURN(ExprPtr condition, ParseTuple(false));
      RETURN_IF_ERROR(ExpectTagEnd());
      ASSIGN_OR_RETURN(Block body, ParseBlock({"elif", "else", "endif"}));
      statement->branches.emplace_back(std::move(condition), std::move(body));
      if (!IsName("elif")) break;
    }
    if (IsName("else")) {
      RETURN_IF_ERROR(EndTag());
      ASSIGN_OR_RETURN(statement->otherwise, ParseBlock({"endif"}));
    }
    RETURN_IF_ERROR(EndTag());
    return statement;
  }

  absl::StatusOr<std::unique_ptr<Statement>> ParseFor() {
    auto statement = New(StatementKind::kFor);
    Next();
    ASSIGN_OR_RETURN(statement->target, ParseTarget());
    if (!SkipName("in")) return Unexpected("'in'");
    ASSIGN_OR_RETURN(statement->expr, ParseTuple(false));
    if (SkipName("if")) {
      ASSIGN_OR_RETURN(statement->condition, ParseExpression());
    }
    statement->recursive = SkipName("recursive");
    RETURN_IF_ERROR(ExpectTagEnd());
    ++loops_;
    auto body = ParseBlock({"else", "endfor"});
    --loops_;
    ASSIGN_OR_RETURN(statement->body, std::move(body));
    if (IsName("else")) {
      RETURN_IF_ERROR(EndTag());
      ASSIGN_OR_RETURN(statement->otherwise, ParseBlock({"endfor"}));
    }
    RETURN_IF_ERROR(EndTag());
    return statement;
  }

  absl::StatusOr<std::unique_ptr<Statement>> ParseSet() {
    auto statement = New(StatementKind::kSet);
    Next();
    ASSIGN_OR_RETURN(statement->target, ParseTarget());
    if (SkipOperator("=")) {
      ASSIGN_OR_RETURN(statement->expr, ParseTuple());
      RETURN_IF_ERROR(ExpectTagEnd());
      return statement;
    }
    statement->kind = StatementKind::kSetBlock;
    ASSIGN_OR_RETURN(statement->filter, ParseFilters(nullptr));
    RETURN_IF_ERROR(ExpectTagEnd());
    ASSIGN_OR_RETURN(statement->body, ParseBlock({"endset"}));
    RETURN_IF_ERROR(EndTag());
    return statement;
  }

  absl::Status ParseParameters(MacroNode* macro) {
    RETURN_IF_ERROR(ExpectOperator("("));
    while (!SkipOperator(")")) {
      if (!macro->parameters.empty()) RETURN_IF_ERROR(ExpectOperator(","));
      ASSIGN_OR_RETURN(std::string name, ExpectName("a parameter"));
      macro->parameters.push_back(std::move(name));
      if (SkipOperator("=")) {
        ASSIGN_OR_RETURN(ExprPtr fallback, ParseExpression());
        macro->defaults.push_back(std::move(fallback));
      } else if (!macro->defaults.empty()) {
        return Unexpected("a default as the parameter before has one");
      }
    }
    return absl::OkStatus();
  }
  // The rest of a macro: tag end, body, end tag.
  absl::Status ParseMacroBody(std::string_view end, MacroNode* macro) {
    RETURN_IF_ERROR(ExpectTagEnd());
    const int loops = std::exchange(loops_, 0);
    auto body = ParseBlock({end});
    loops_ = loops;
    ASSIGN_OR_RETURN(macro->body, std::move(body));
    macro->uses_varargs = NameSearch{"varargs"}.In(macro->body);
    macro->uses_kwargs = NameSearch{"kwargs"}.In(macro->body);
    macro->uses_caller = NameSearch{"caller"}.In(macro->body);
    Next();
    if (Peek().kind == TokenKind::kName) Next();  // {% endmacro name %}
    return ExpectTagEnd();
  }

  absl::StatusOr<std::unique_ptr<Statement>> ParseMacro() {
    auto statement = New(StatementKind::kMacro);
    auto macro = std::make_shared<MacroNode>();
    Next();
    ASSIGN_OR_RETURN(macro->name, ExpectName("the macro's name"));
    RETURN_IF_ERROR(ParseParameters(macro.get()));
    RETURN_IF_ERROR(ParseMacroBody("endmacro", macro.get()));
    statement->macro = std::move(macro);
    return statement;
  }

  absl::StatusOr<std::unique_ptr<Statement>> ParseCallBlock() {
    auto statement = New(StatementKind::kCallBlock);
    auto caller = std::make_shared<MacroNode>();
    caller->name = "caller";
    Next();
    if (IsOperator("(")) RETURN_IF_ERROR(ParseParameters(caller.get()));
    ASSIGN_OR_RETURN(statement->expr, ParseExpression());
    if (statement->expr->kind != ExprKind::kCall) return Unexpected("a call");
    RETURN_IF_ERROR(ParseMacroBody("endcall", caller.get()));
    statement->macro = std::move(caller);
    return statement;
  }

  absl::StatusOr<std::unique_ptr<Statement>> ParseFilterBlock() {
    auto statement = New(StatementKind::kFilterBlock);
    Next();
    auto first = std::make_unique<Expr>();
    first->kind = ExprKind::kFilter;
    first->line = line();
    ASSIGN_OR_RETURN(first->name, ExpectName("a filter"));
    if (IsOperator("(")) {
      ASSIGN_OR_RETURN(first->call, ParseCallArguments());
    }
    ASSIGN_OR_RETURN(statement->filter, ParseFilters(ExprPtr(std::move(first))));
    RETURN_IF_ERROR(ExpectTagEnd());
    ASSIGN_OR_RETURN(statement->body, ParseBlock({"endfilter"}));
    RETURN_IF_ERROR(EndTag());
    return statement;
  }

  absl::StatusOr<std::unique_ptr<Statement>> ParseWith() {
    auto statement = New(StatementKind::kWith);
    Next();
    while (Peek().kind != TokenKind::kBlockEnd) {
      if (!statement->targets.empty()) RETURN_IF_ERROR(ExpectOperator(","));
      Target target;
      ASSIGN_OR_RETURN(target.name, ExpectName("a name"));
      RETURN_IF_ERROR(ExpectOperator("="));
      ASSIGN_OR_RETURN(ExprPtr expr, ParseExpression());
      statement->targets.push_back(std::move(target));
      statement->exprs.push_back(std::move(expr));
    }
    RETURN_IF_ERROR(ExpectTagEnd());
    ASSIGN_OR_RETURN(statement->body, ParseBlock({"endwith"}));
    RETURN_IF_ERROR(EndTag());
    return statement;
  }

  // {% generation %} marks what the assistant said, for training; here it is only a scope.
  absl::StatusOr<std::unique_ptr<Statement>> ParseGeneration() {
    auto statement = New(StatementKind::kScope);
    RETURN_IF_ERROR(EndTag());
    ASSIGN_OR_RETURN(statement->body, ParseBlock({"endgeneration"}));
    RETURN_IF_ERROR(EndTag());
    return statement;
  }

  int loops_ = 0;  // around the statement, within its macro
};

}  // namespace

absl::StatusOr<Block> ParseTemplate(std::string_view source) {
  if (source.size() > kSourceBytesMax) {
    return base::InvalidArgument(absl::StrCat("longer than ", kSourceBytesMax, " bytes"));
  }
  int line = 1;
  for (size_t at = 0; at < source.size();) {
    const DecodedScalar scalar = DecodeUtf8(source, at);
    if (scalar.value == kInvalidScalar) return FailAt(line, "not UTF-8");
    line += scalar.value == '\n' ? 1 : 0;
    at += scalar.length;
  }
  ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return Parser(std::move(tokens)).Run();
}

}  // namespace conclave::engine::jinja
