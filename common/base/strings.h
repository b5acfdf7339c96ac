// Debian builds Abseil with its own string_view, other distributions use the std one; these two
// converters compile with both, so the rest of the code writes std::string_view only.
#pragma once

#include <string_view>

#include "absl/strings/string_view.h"

namespace conclave::base {

inline absl::string_view Abs(std::string_view s) { return {s.data(), s.size()}; }
inline std::string_view Std(absl::string_view s) { return {s.data(), s.size()}; }

}  // namespace conclave::base
