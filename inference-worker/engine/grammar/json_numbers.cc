#include "engine/grammar/json_numbers.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace conclave::engine::grammar {
namespace {

constexpr int64_t kIntegerMax = 999'999'999'999'999;
constexpr int kFractionMax = 16;

// A magnitude: the digits before and behind the point.
struct Decimal {
  int64_t whole = 0;
  std::string fraction;  // without zeros at its end
  bool is_zero() const { return whole == 0 && fraction.empty(); }
};

// One end of a range; not there = open.
struct End {
  Decimal at;
  bool out = false;  // the end itself does not belong
};
using Ends = std::optional<End>;

absl::StatusOr<Decimal> DecimalOf(double magnitude) {
  char text[64];
  snprintf(text, sizeof(text), "%.12f", magnitude);
  if (std::strtod(text, nullptr) != magnitude) {
    return base::InvalidArgument("a bound of more than 12 digits behind the point");
  }
  std::string digits = text;
  const size_t point = digits.find('.');
  Decimal decimal{.whole = std::atoll(digits.substr(0, point).c_str()),
                  .fraction = digits.substr(point + 1)};
  decimal.fraction.erase(decimal.fraction.find_last_not_of('0') + 1);
  return decimal;
}

class Builder final {
 public:
  explicit Builder(Rules* rules, int fraction_max = kFractionMax)
      : rules_(*rules), fraction_max_(fraction_max) {}

  ExprId Digits(int32_t min, int32_t max) { return rules_.Repeat(Digit('0', '9'), min, max); }
  ExprId Digit(char first, char last) {
    return rules_.Set({{static_cast<uint32_t>(first), static_cast<uint32_t>(last)}});
  }

  // Whole numbers from low to high without leading zeros; none when low > high.
  ExprId Whole(int64_t low, int64_t high) {
    std::vector<ExprId> choices;
    while (low <= high) {
      const std::string first = absl::StrCat(low);
      const std::string nines(first.size(), '9');
      const int64_t last = std::min<int64_t>(high, std::atoll(nines.c_str()));
      choices.push_back(Between(first, absl::StrCat(last)));
      low = last + 1;
    }
    return rules_.Choice(std::move(choices));
  }

  // Magnitudes between two ends with a point or without. A high end that is not there is as far as
  // whole numbers go.
  ExprId Magnitude(const End& low, const Ends& high) {
    std::vector<ExprId> choices;
    const int64_t top = high ? high->at.whole : kIntegerMax + 1;
    const bool same = top == low.at.whole;
    choices.push_back(rules_.Sequence(
        {rules_.Text(absl::StrCat(low.at.whole)),
         Fraction(low.at.fraction, low.out, same ? std::optional(high->at.fraction) : std::nullopt,
                  same && high->out)}));
    choices.push_back(rules_.Sequence(
        {Whole(low.at.whole + 1, top - 1), Fraction(std::nullopt, false, std::nullopt, false)}));
    if (high && !same) {
      choices.push_back(
          rules_.Sequence({rules_.Text(absl::StrCat(top)),
                           Fraction(std::nullopt, false, high->at.fraction, high->out)}));
    }
    return rules_.Choice(std::move(choices));
  }

 private:
  using Bound = std::optional<std::string>;

  // Of equally many digits.
  ExprId Between(const std::string& low, const std::string& high) {
    const auto count = static_cast<int32_t>(low.size());
    if (count == 0) return rules_.Text("");
    if (low == std::string(low.size(), '0') && high == std::string(high.size(), '9')) {
      return Digits(count, count);
    }
    const std::string low_rest = low.substr(1), high_rest = high.substr(1);
    if (low[0] == high[0]) {
      return rules_.Sequence({rules_.Text(low.substr(0, 1)), Between(low_rest, high_rest)});
    }
    const std::string nines(low_rest.size(), '9'), zeros(low_rest.size(), '0');
    std::vector<ExprId> choices = {
        rules_.Sequence({rules_.Text(low.substr(0, 1)), Between(low_rest, nines)}),
        rules_.Sequence({rules_.Text(high.substr(0, 1)), Between(zeros, high_rest)})};
    if (low[0] + 1 < high[0]) {
      choices.push_back(
          rules_.Sequence({Digit(static_cast<char>(low[0] + 1), static_cast<char>(high[0] - 1)),
                           Digits(count - 1, count - 1)}));
    }
    return rules_.Choice(std::move(choices));
  }

  static bool NothingMore(const Bound& low, bool low_out, const Bound& high, bool high_out) {
    return !(low && (low_out || !low->empty())) && !(high && high->empty() && high_out);
  }

  // Nothing, or a point and digits whose value is between the fractions.
  ExprId Fraction(Bound low, bool low_out, const Bound& high, bool high_out) {
    if (low && low->empty() && !low_out) low.reset();
    std::vector<ExprId> choices;
    if (NothingMore(low, low_out, high, high_out)) choices.push_back(rules_.Text(""));
    choices.push_back(rules_.Sequence(
        {rules_.Text("."), NextDigit(low, low_out, high, high_out, fraction_max_)}));
    return rules_.Choice(std::move(choices));
  }

  // A digit and what may follow it; `left` digits at most, this one included.
  ExprId NextDigit(const Bound& low, bool low_out, const Bound& high, bool high_out, int left) {
    if (left == 0) return rules_.Choice({});
    if (!low && !high) return Digits(1, left);
    const char from = low && !low->empty() ? (*low)[0] : '0';
    const char to = high ? (high->empty() ? '0' : (*high)[0]) : '9';
    std::vector<ExprId> choices;
    for (char digit = from; digit <= to; ++digit) {
      Bound next_low, next_high;
      if (low && digit == from) next_low = low->empty() ? "" : low->substr(1);
      if (high && digit == to) next_high = high->empty() ? "" : high->substr(1);
      if (next_low && next_low->empty() && !low_out) next_low.reset();
      std::vector<ExprId> rest;
      if (NothingMore(next_low, low_out, next_high, high_out)) rest.push_back(rules_.Text(""));
      rest.push_back(NextDigit(next_low, low_out, next_high, high_out, left - 1));
      choices.push_back(
          rules_.Sequence({rules_.Text(std::string(1, digit)), rules_.Choice(std::move(rest))}));
    }
    return rules_.Choice(std::move(choices));
  }

  Rules& rules_;
  const int fraction_max_;
};

// Next to a bound that is out a number must not be read as the bound: 99.9999999999999999 is 100 to
// a reader of 64 bits. 15 digits are kept by all of them.
int FractionMax(double min, double max, bool above, bool below) {
  int fraction_max = kFractionMax;
  for (const double bound : {above ? min : 0, below ? max : 0}) {
    const int whole = static_cast<int>(absl::StrCat(static_cast<int64_t>(std::fabs(bound))).size());
    if (bound != 0) fraction_max = std::min(fraction_max, std::max(15 - whole, 1));
  }
  return fraction_max;
}

ExprId Unbounded(bool integer, Builder& build, Rules* rules) {
  const ExprId minus = rules->Optional(rules->Text("-"));
  const ExprId whole = build.Whole(0, kIntegerMax);
  if (integer)
    return rules->Choice({rules->Sequence({rules->Text("-"), build.Whole(1, kIntegerMax)}), whole});
  const ExprId fraction =
      rules->Optional(rules->Sequence({rules->Text("."), build.Digits(1, kFractionMax)}));
  const ExprId exponent = rules->Optional(
      rules->Sequence({rules->Set({{'e', 'e'}, {'E', 'E'}}),
                       rules->Optional(rules->Set({{'+', '+'}, {'-', '-'}})), build.Digits(1, 2)}));
  return rules->Sequence({minus, whole, fraction, exponent});
}

ExprId Integers(double min, double max, Builder& build, Rules* rules) {
  const auto low = static_cast<int64_t>(min), high = static_cast<int64_t>(max);
  return rules->Choice(
      {build.Whole(std::max<int64_t>(low, 0), high),
       rules->Sequence({rules->Text("-"), build.Whole(std::max<int64_t>(-high, 1), -low)})});
}

}  // namespace

absl::StatusOr<ExprId> AddNumber(const NumberBounds& bounds, Rules* rules) {
  Builder whole(rules);
  if (!bounds.min && !bounds.max) return Unbounded(bounds.integer, whole, rules);
  constexpr auto kFar = static_cast<double>(kIntegerMax);
  // Bounds beyond what is written at all are none.
  double min = std::max(bounds.min.value_or(-kFar), -kFar);
  double max = std::min(bounds.max.value_or(kFar), kFar);
  if (min > kFar || max < -kFar) {
    return base::InvalidArgument("a bound of more than 15 digits before the point");
  }
  const bool above = bounds.above_min && bounds.min && min == *bounds.min;
  const bool below = bounds.below_max && bounds.max && max == *bounds.max;
  if (bounds.integer) {
    min = above ? std::floor(min) + 1 : std::ceil(min);
    max = below ? std::ceil(max) - 1 : std::floor(max);
    if (min > max) return base::InvalidArgument("no integer is within the bounds");
    return Integers(min, max, whole, rules);
  }
  if (min > max || (min == max && (above || below))) {
    return base::InvalidArgument("no number is within the bounds");
  }
  Builder build(rules, FractionMax(min, max, above, below));
  std::vector<ExprId> choices;
  const End zero{.at = {}, .out = false};
  if (max >= 0) {
    ASSIGN_OR_RETURN(const Decimal high, DecimalOf(max));
    End low = zero;
    if (min >= 0) {
      ASSIGN_OR_RETURN(low.at, DecimalOf(min));
      low.out = above;
    }
    choices.push_back(build.Magnitude(low, End{.at = high, .out = below}));
  }
  if (min < 0) {
    ASSIGN_OR_RETURN(const Decimal far, DecimalOf(-min));
    End near{.at = {}, .out = true};  // no -0
    if (max < 0) {
      ASSIGN_OR_RETURN(near.at, DecimalOf(-max));
      near.out = below;
    }
    choices.push_back(
        rules->Sequence({rules->Text("-"), build.Magnitude(near, End{.at = far, .out = above})}));
  }
  return rules->Choice(std::move(choices));
}

}  // namespace conclave::engine::grammar
