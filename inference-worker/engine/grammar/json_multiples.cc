// multipleOf: by name where there are few, else a walk over the digits that knows the remainder.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/grammar/json_numbers.h"

namespace conclave::engine::grammar {
namespace {

constexpr int kPlacesMax = 9;
constexpr int64_t kNamedMax = 4'096;
constexpr int64_t kUnitsMax = 1'000;
constexpr int kDigitsMax = 15;
constexpr double kUnitsFar = 1e15;

// step = units / 10^places
struct Step {
  int64_t units = 0;
  int places = 0;
};

int64_t PowerOfTen(int exponent) {
  int64_t power = 1;
  while (exponent-- > 0) power *= 10;
  return power;
}

absl::StatusOr<Step> StepOf(double step, bool integer) {
  for (Step exact; exact.places <= kPlacesMax; ++exact.places) {
    const double units = step * static_cast<double>(PowerOfTen(exact.places));
    const double whole = std::round(units);
    // As a reader would divide: 0.07 × 100 is a hair above 7.
    if (whole < 1 || std::fabs(units - whole) > whole * 1e-12) continue;
    if (whole > kUnitsFar) break;
    exact.units = static_cast<int64_t>(whole);
    if (integer) {
      exact.units /= std::gcd(exact.units, PowerOfTen(exact.places));
      exact.places = 0;
    }
    return exact;
  }
  return base::Unimplemented("\"multipleOf\" of more than 9 digits behind the point");
}

// A bound in units of the last place: whole where it was written so (0.3 is three of 0.1).
double UnitsOf(double bound, const Step& step) {
  const double scaled = bound * static_cast<double>(PowerOfTen(step.places));
  const double whole = std::round(scaled);
  return std::fabs(scaled - whole) <= std::fabs(whole) * 1e-12 ? whole : scaled;
}

// A whole number of units as it is written: "-1.5".
std::string Written(int64_t units, int places) {
  std::string digits = absl::StrCat(std::abs(units));
  if (digits.size() <= static_cast<size_t>(places)) {
    digits.insert(0, static_cast<size_t>(places) + 1 - digits.size(), '0');
  }
  if (places > 0) {
    digits.insert(digits.size() - static_cast<size_t>(places), ".");
    digits.erase(digits.find_last_not_of('0') + 1);
    if (digits.ends_with('.')) digits.pop_back();
  }
  return units < 0 ? "-" + digits : digits;
}

absl::StatusOr<ExprId> Named(int64_t first, int64_t last, const Step& step, Rules* rules) {
  std::vector<ExprId> choices;
  for (int64_t n = first; n <= last; ++n) {
    choices.push_back(rules->Text(Written(n * step.units, step.places)));
  }
  if (choices.empty()) return base::InvalidArgument("no multiple is within the bounds");
  return rules->Choice(std::move(choices));
}

// Digits before the point, then up to `places` behind it; the state is how many there are and the
// remainder of what they say, in units.
class DigitWalk final {
 public:
  explicit DigitWalk(const Step& step) : step_(step) {}

  Graph Make() {
    StateOf(0, 0, 0);
    for (size_t i = 0; i < states_.size(); ++i) Expand(static_cast<int32_t>(i));
    return Trimmed(graph_);
  }

 private:
  struct State {
    int before = 0;  // digits in front of the point; -1: a zero, alone
    int behind = 0;  // and behind it; the point counts one
    int64_t remainder = 0;
  };

  int32_t StateOf(int before, int behind, int64_t remainder) {
    const size_t place = Place(before, behind, remainder);
    if (place >= ids_.size()) ids_.resize(place + 1, -1);
    if (ids_[place] < 0) {
      ids_[place] = static_cast<int32_t>(states_.size());
      states_.push_back({before, behind, remainder});
    }
    return ids_[place];
  }
  // Behind the point it no longer matters how many digits are in front of it.
  size_t Place(int before, int behind, int64_t remainder) const {
    const int column = behind > 0 ? kDigitsMax + 1 + behind : before + 1;
    return static_cast<size_t>(column) * static_cast<size_t>(step_.units) +
           static_cast<size_t>(remainder);
  }

  void Expand(int32_t id) {
    const State at = states_[static_cast<size_t>(id)];
    const bool begins = at.before == 0 && at.behind == 0;
    const int digits_behind = std::max(at.behind - 1, 0);
    const bool whole = at.remainder * PowerOfTen(step_.places - digits_behind) % step_.units == 0;
    // No text ends with its point.
    graph_.final.push_back(!begins && at.behind != 1 && whole);
    for (int digit = 0; digit <= 9; ++digit) {
      const int64_t next = (at.remainder * 10 + digit) % step_.units;
      if (at.behind > 0) {
        if (digits_behind < step_.places) Edge(id, digit, StateOf(1, at.behind + 1, next));
      } else if (at.before >= 0 && at.before < kDigitsMax && (digit > 0 || !begins)) {
        Edge(id, digit, StateOf(at.before + 1, 0, next));
      }
    }
    if (begins) Edge(id, 0, StateOf(-1, 0, 0));
    if (at.behind == 0 && !begins && step_.places > 0) {
      graph_.edges.push_back({id, '.', '.', StateOf(1, 1, at.remainder)});
    }
  }

  void Edge(int32_t from, int digit, int32_t to) {
    const auto byte = static_cast<uint8_t>('0' + digit);
    graph_.edges.push_back({from, byte, byte, to});
  }

  const Step step_;
  Graph graph_;
  std::vector<State> states_;
  std::vector<int32_t> ids_;
};

}  // namespace

absl::StatusOr<ExprId> AddMultiples(const NumberBounds& bounds, double step_size, Rules* rules) {
  ASSIGN_OR_RETURN(const Step step, StepOf(step_size, bounds.integer));
  if (bounds.min && bounds.max) {
    const auto units = static_cast<double>(step.units);
    const double low = UnitsOf(*bounds.min, step), high = UnitsOf(*bounds.max, step);
    double first = std::ceil(low / units), last = std::floor(high / units);
    if (bounds.above_min && first * units <= low) ++first;
    if (bounds.below_max && last * units >= high) --last;
    const double far = std::max(std::fabs(first), std::fabs(last)) * units;
    if (last - first < kNamedMax && far < kUnitsFar) {
      return Named(static_cast<int64_t>(first), static_cast<int64_t>(last), step, rules);
    }
  }
  const bool from_zero = bounds.min == 0.0 && !bounds.above_min;
  if (bounds.max || (bounds.min && !from_zero)) {
    return base::Unimplemented("\"multipleOf\" with these bounds");
  }
  if (step.units > kUnitsMax) {
    return base::Unimplemented("\"multipleOf\" of so large a step without bounds");
  }
  const ExprId walk = rules->AddGraph(DigitWalk(step).Make());
  if (from_zero) return walk;
  return rules->Sequence({rules->Optional(rules->Text("-")), walk});
}

}  // namespace conclave::engine::grammar
