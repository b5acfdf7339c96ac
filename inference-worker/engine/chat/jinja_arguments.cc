// Binding of arguments to parameters (jinja_library.h).
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/chat/jinja_library.h"

namespace conclave::engine::jinja {

absl::StatusOr<Bound> Bound::Bind(std::string_view callee, const Arguments& arguments,
                                  std::initializer_list<std::string_view> parameters) {
  Bound bound;
  bound.callee_ = callee;
  bound.names_.assign(parameters.begin(), parameters.end());
  bound.values_.resize(parameters.size());
  if (arguments.positional.size() > parameters.size()) {
    return base::InvalidArgument(absl::StrCat(bound.callee_, "() takes at most ", parameters.size(),
                                              " argument(s), got ", arguments.positional.size()));
  }
  std::copy(arguments.positional.begin(), arguments.positional.end(), bound.values_.begin());
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(bound.names_.begin(), bound.names_.end(), name);
    const auto index = static_cast<size_t>(found - bound.names_.begin());
    if (found == bound.names_.end() || index < arguments.positional.size()) {
      return base::InvalidArgument(
          absl::StrCat(bound.callee_, "() has no place for an argument '", name, "'"));
    }
    bound.values_[index] = value;
  }
  return bound;
}

absl::Status Bound::WrongType(size_t i, std::string_view expected) const {
  return base::InvalidArgument(absl::StrCat(callee_, "(): ", names_[i], " must be ",
                                            std::string(expected), ", not ",
                                            std::string(values_[i].type_name())));
}

absl::StatusOr<Text> Bound::TextAt(size_t i) const {
  if (!values_[i].is_string()) return WrongType(i, "a string");
  return values_[i].as_text();
}

absl::StatusOr<Text> Bound::TextAt(size_t i, std::string_view fallback) const {
  if (values_[i].is_undefined()) return Text(std::string(fallback));
  return TextAt(i);
}

absl::StatusOr<int64_t> Bound::IntAt(size_t i, int64_t fallback) const {
  if (values_[i].is_undefined() || values_[i].is_none()) return fallback;
  if (!values_[i].is_int() && !values_[i].is_bool()) return WrongType(i, "an integer");
  return values_[i].as_int();
}

absl::Status NeedsError(std::string_view callee, std::string_view what, const Value& got) {
  if (got.is_undefined()) return base::InvalidArgument(got.undefined_message());
  return base::InvalidArgument(absl::StrCat(std::string(callee), " needs ", std::string(what),
                                            ", got ", std::string(got.type_name())));
}

}  // namespace conclave::engine::jinja
