// The families whose cutting rules are expressions, run by regex.h (pretokenize.h).
#pragma once

#include <span>
#include <string_view>

#include "engine/tokenizer/pretokenize.h"

namespace conclave::engine {

std::span<const CutFamily> ExpressionFamilies();

// Why a name that GGUF files have is not read; "" = the name is not one of those.
std::string_view RefusalOfFamily(std::string_view name);

}  // namespace conclave::engine
