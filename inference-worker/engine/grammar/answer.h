// What a whole answer may be: reasoning, then tool calls in the model's own form, or a final text
// of some format, or whatever the caller leaves open between them. What response_format, tools and
// tool_choice say together becomes one grammar here.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/chat/parsers/call_syntax.h"
#include "engine/grammar/automaton.h"
#include "engine/grammar/compile.h"

namespace conclave::engine::grammar {

struct AnswerShape {
  struct Format {
    Language language = Language::kJsonObject;
    std::string definition;
    std::string place;  // what the caller calls it; refusals begin with it
  };
  struct Function {
    std::string name;
    std::string schema;   // of the arguments; "" = none
    std::string place;    // as above
    bool held = false;    // to the schema; else any JSON object will do
    bool strict = false;  // what of the schema cannot be promised is refused, not left out
  };
  enum class Calls { kNone, kAllowed, kRequired };
  enum class Reasoning {
    kNone,
    kAllowed,  // the answer may begin with a block of it
    kOpen,     // the prompt has opened the block
  };

  std::optional<Format> format;  // of the final text; nullopt = free
  Calls calls = Calls::kNone;
  bool parallel = true;  // more than one call
  const CallSyntax* syntax = nullptr;
  std::vector<Function> functions;
  Reasoning reasoning = Reasoning::kNone;
  std::string reasoning_begin = "<think>";
  std::string reasoning_end = "</think>";
};

// Tells the control tokens of the vocabulary, by their text.
using IsControl = std::function<bool(std::string_view token_text)>;

// As Compile; the param of a refusal is the `place` of what was refused.
absl::StatusOr<Automaton> CompileAnswer(const AnswerShape& shape, const IsControl& is_control);

// Equal for shapes that compile to the same.
std::string KeyOf(const AnswerShape& shape);

}  // namespace conclave::engine::grammar
