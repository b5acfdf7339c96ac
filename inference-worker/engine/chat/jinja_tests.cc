// Tests: what may stand after `is` (jinja_library.h).
#include <algorithm>
#include <iterator>

#include "engine/chat/jinja_library.h"
#include "engine/chat/jinja_text.h"

namespace conclave::engine::jinja {
namespace {

using Result = absl::StatusOr<bool>;

// A test that looks at the value's kind alone.
template <bool (*kHolds)(const Value&)>
Result Kind(Interpreter&, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bound::Bind("test", arguments, {}).status());
  return kHolds(input);
}

bool IsDefined(const Value& v) { return !v.is_undefined(); }
bool IsUndefined(const Value& v) { return v.is_undefined(); }
bool IsNone(const Value& v) { return v.is_none(); }
bool IsBoolean(const Value& v) { return v.is_bool(); }
bool IsTrue(const Value& v) { return v.is_bool() && v.as_bool(); }
bool IsFalse(const Value& v) { return v.is_bool() && !v.as_bool(); }
bool IsInteger(const Value& v) { return v.is_int() || v.is_big(); }
bool IsFloat(const Value& v) { return v.is_float(); }
bool IsNumber(const Value& v) { return v.is_number() || v.is_big(); }
bool IsString(const Value& v) { return v.is_string(); }
bool IsMapping(const Value& v) { return v.is_dict(); }
bool IsIterable(const Value& v) {
  return v.is_string() || v.is_list() || v.is_dict() || v.is_undefined();
}
// What has a length and items.
bool IsSequence(const Value& v) {
  return IsIterable(v) && !(v.is_list() && !v.as_list().has_items());
}
// Undefined has a call too, which fails.
bool IsCallable(const Value& v) { return v.as_callable() != nullptr || v.is_undefined(); }
bool IsEscaped(const Value& v) { return v.is_string() && v.as_text().markup; }

template <CharacterClass kClass>
Result Case(Interpreter& in, const Value& input, const Arguments&) {
  ASSIGN_OR_RETURN(const Text text, ToText(input, in.budget()));
  return AllOf(text.bytes, kClass);
}

template <int64_t kRemainder>
Result Parity(Interpreter& in, const Value& input, const Arguments&) {
  if (!input.is_number()) return NeedsError("odd", "a number", input);
  ASSIGN_OR_RETURN(const Value rest, Binary(in, "%", input, Value(int64_t{2})));
  return Equals(rest, Value(kRemainder), in.budget());
}

Result DivisibleBy(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("divisibleby", arguments, {"num"}));
  if (!input.is_number()) return NeedsError("divisibleby", "a number", input);
  ASSIGN_OR_RETURN(const Value rest, Binary(in, "%", input, bound[0]));
  return Equals(rest, Value(int64_t{0}), in.budget());
}

enum class Relation { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual };

template <Relation kRelation>
Result Relate(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("test", arguments, {"other"}));
  if (kRelation == Relation::kEqual || kRelation == Relation::kNotEqual) {
    ASSIGN_OR_RETURN(const bool same, Equals(input, bound[0], in.budget()));
    return same == (kRelation == Relation::kEqual);
  }
  ASSIGN_OR_RETURN(const int order, Compare(input, bound[0], in.budget()));
  switch (kRelation) {
    case Relation::kLess:
      return order < 0;
    case Relation::kLessEqual:
      return order <= 0;
    case Relation::kGreater:
      return order > 0;
    default:
      return order >= 0;
  }
}

Result In(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("in", arguments, {"seq"}));
  return IsIn(in, input, bound[0]);
}

// Python's `is`; for plain values here the same type and value.
Result SameAs(Interpreter& in, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bound::Bind("sameas", arguments, {"other"}));
  if (input.type_name() != bound[0].type_name()) return false;
  return Equals(input, bound[0], in.budget());
}

// Whether there is a filter, or a test, of this name.
template <bool kFilter>
Result IsKnown(Interpreter&, const Value& input, const Arguments&) {
  const bool hashable = !input.is_dict() && !(input.is_plain_list() && !input.as_list().tuple());
  if (!hashable) return NeedsError("a name", "a string", input);
  if (!input.is_string()) return false;
  return kFilter ? FindFilter(input.as_string()) != nullptr
                 : FindTest(input.as_string()) != nullptr;
}

struct Row {
  std::string_view name;
  TestFunction test;
};
constexpr Row kTests[] = {
    {"boolean", Kind<IsBoolean>},
    {"callable", Kind<IsCallable>},
    {"defined", Kind<IsDefined>},
    {"divisibleby", DivisibleBy},
    {"eq", Relate<Relation::kEqual>},
    {"equalto", Relate<Relation::kEqual>},
    {"==", Relate<Relation::kEqual>},
    {"escaped", Kind<IsEscaped>},
    {"even", Parity<0>},
    {"false", Kind<IsFalse>},
    {"filter", IsKnown<true>},
    {"float", Kind<IsFloat>},
    {"ge", Relate<Relation::kGreaterEqual>},
    {">=", Relate<Relation::kGreaterEqual>},
    {"greaterthan", Relate<Relation::kGreater>},
    {"gt", Relate<Relation::kGreater>},
    {">", Relate<Relation::kGreater>},
    {"in", In},
    {"integer", Kind<IsInteger>},
    {"iterable", Kind<IsIterable>},
    {"le", Relate<Relation::kLessEqual>},
    {"<=", Relate<Relation::kLessEqual>},
    {"lessthan", Relate<Relation::kLess>},
    {"lt", Relate<Relation::kLess>},
    {"<", Relate<Relation::kLess>},
    {"lower", Case<CharacterClass::kLower>},
    {"mapping", Kind<IsMapping>},
    {"ne", Relate<Relation::kNotEqual>},
    {"!=", Relate<Relation::kNotEqual>},
    {"none", Kind<IsNone>},
    {"number", Kind<IsNumber>},
    {"odd", Parity<1>},
    {"sameas", SameAs},
    {"sequence", Kind<IsSequence>},
    {"string", Kind<IsString>},
    {"test", IsKnown<false>},
    {"true", Kind<IsTrue>},
    {"undefined", Kind<IsUndefined>},
    {"upper", Case<CharacterClass::kUpper>},
};

}  // namespace

TestFunction FindTest(std::string_view name) {
  const Row* row = std::find_if(std::begin(kTests), std::end(kTests),
                                [&](const Row& candidate) { return candidate.name == name; });
  return row == std::end(kTests) ? nullptr : row->test;
}

}  // namespace conclave::engine::jinja
