// Go's fmt: how values become text, and the verbs of printf.
#pragma once

#include <span>
#include <string>

#include "engine/chat/go_value.h"

namespace conclave::engine::gotmpl {

// fmt.Sprint: spaces between operands of which neither is a string.
absl::StatusOr<Text> Sprint(std::span<const Value> values, Budget& budget);
// fmt.Sprintln: spaces between all, and a newline.
absl::StatusOr<Text> Sprintln(std::span<const Value> values, Budget& budget);
// fmt.Sprintf. INVALID_ARGUMENT: a limit, or a form that is not served: %#v, %p, [n].
absl::StatusOr<Text> Sprintf(const Text& format, std::span<const Value> values, Budget& budget);
// What {{ value }} writes.
absl::StatusOr<Text> Printed(const Value& value, Budget& budget);

}  // namespace conclave::engine::gotmpl
