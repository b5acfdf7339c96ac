// <think>…</think> or [THINK]…[/THINK] in front of the answer: told apart here, the rest goes to
// the family's parser.
#pragma once

#include <memory>

#include "engine/chat/parsers/parser.h"

namespace conclave::engine {

// Wraps `inner`, which sees what is left. Reasoning counts only at the very beginning of an output
// (spaces aside), or where the prompt already opened it.
std::unique_ptr<OutputParser> MakeReasoningParser(std::unique_ptr<OutputParser> inner, bool open,
                                                  ReasoningTags tags = {});

}  // namespace conclave::engine
