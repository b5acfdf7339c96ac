// Object ids: a prefix and 32 lowercase hex digits of randomness ("run_" + 32 = 36 characters).
//   NewId("chatcmpl-"), NewId("asst_"), NewId("thread_"), NewId("run_"), NewId("req_")
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace conclave::base {

// 128 bits from the kernel's generator behind `prefix`. Thread-safe.
std::string NewId(std::string_view prefix);

// prefix + exactly 32 hex digits?
bool IsId(std::string_view text, std::string_view prefix);

// Where code makes ids that a test must know, it takes one of these; NewId is the default.
using IdSource = std::function<std::string(std::string_view prefix)>;

}  // namespace conclave::base
