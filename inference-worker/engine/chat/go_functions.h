// What a Go template may call: Go's own functions and Ollama's.
#pragma once

#include <span>
#include <string_view>

#include "engine/chat/go_value.h"

namespace conclave::engine::gotmpl {

class Interpreter;

struct Function {
  std::string_view name;
  size_t arguments_min = 0;
  size_t arguments_max = 0;
  bool texts_only = false;  // every argument must be a string
  bool first_is_text = false;
  absl::StatusOr<Value> (*call)(Interpreter& in, std::span<const Value> arguments) = nullptr;
};

// nullptr: there is none of that name.
const Function* FindFunction(std::string_view name);

// Ollama's name for a JSON schema's type.
std::string_view TypeScriptName(std::string_view json_type);

}  // namespace conclave::engine::gotmpl
