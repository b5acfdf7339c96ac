// Regular expressions as trees, and the parser that makes them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/tokenizer/regex_program.h"

namespace conclave::engine::regex {

enum class NodeKind {
  kEmpty,
  kScalar,     // value, any_case
  kSet,        // set
  kAssertion,  // assertion
  kSequence,   // children
  kChoice,     // children
  kRepeat,     // children[0], min, max, lazy
  kAhead,      // children[0], negated
  kBehind,     // children[0], negated
  kAtomic,     // children[0]
};

struct Node {
  static constexpr uint32_t kUnbounded = UINT32_MAX;

  NodeKind kind = NodeKind::kEmpty;
  uint32_t value = 0;
  bool any_case = false;
  bool negated = false;
  bool lazy = false;
  Op assertion = Op::kMatch;
  uint32_t min = 0;
  uint32_t max = 0;
  CharSet set;
  std::vector<std::unique_ptr<Node>> children;
};

// INVALID_ARGUMENT or UNIMPLEMENTED, naming the byte.
absl::StatusOr<std::unique_ptr<Node>> ParseRegex(std::string_view pattern);

// The set that an escape (after the backslash: "d", "S", "p{Lu}", …) or a POSIX name stands for.
std::optional<CharSet> ClassOfEscape(char letter);
std::optional<CharSet> ClassOfProperty(std::string_view name);
std::optional<CharSet> ClassOfPosix(std::string_view name);

}  // namespace conclave::engine::regex
