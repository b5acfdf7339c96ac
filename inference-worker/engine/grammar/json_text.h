// The pieces of JSON that every schema is made of: whitespace, strings, keys, any value. Each is
// added to the rules once, when it is first asked for. What is written is a part of JSON that any
// reader takes: no lone surrogates, no NUL, whitespace in short runs only.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/grammar/pattern.h"
#include "engine/grammar/rules.h"

namespace conclave::engine::grammar {

class JsonText final : public TextStyle {
 public:
  enum class Escapes { kShared, kWrittenOut };
  // What is to be intersected (intersection.h) must not call rules: its escapes are written out.
  explicit JsonText(Rules* rules, Escapes escapes = Escapes::kShared)
      : rules_(*rules), escapes_(escapes) {}

  Rules& rules() { return rules_; }

  ExprId Space();                           // none, a blank, or a new line and up to 20 blanks
  ExprId Comma();                           // with space around it
  ExprId String();                          // any
  ExprId String(int32_t min, int32_t max);  // scalars; max may be Rules::kUnbounded
  // A key that is none of `names`, written without escapes.
  ExprId KeyBesides(const std::vector<std::string>& names);
  ExprId Member(ExprId key, ExprId value);  // key : value
  ExprId Value();                           // any
  ExprId Object();                          // any
  ExprId Array();                           // any
  ExprId Braces(char open, ExprId inside, char close);

  // Of the text within a string.
  ExprId OneOf(const std::vector<CodeRange>& ranges) override;
  ExprId Anything() override;
  Graph Written(Graph plain) override;

 private:
  ExprId Char();

  Rules& rules_;
  const Escapes escapes_;
  std::optional<ExprId> space_, comma_, string_, char_, anything_, value_, object_, array_;
};

}  // namespace conclave::engine::grammar
