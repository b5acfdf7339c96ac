// The channels of gpt-oss:
// <|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final…
#pragma once

#include <memory>

#include "engine/chat/parsers/parser.h"

namespace conclave::engine {

// Headers are told from bodies by control tokens alone, so the decoder must hand those over.
std::unique_ptr<OutputParser> MakeHarmonyParser(const ParserOptions& options);

}  // namespace conclave::engine
