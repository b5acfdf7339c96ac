// keep_alive, as Ollama's clients write it.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>

#include "gateway/dialects/ollama/options.h"

namespace conclave::gateway::ollama {
namespace {

constexpr int64_t kForeverMs = -1;
constexpr double kLongestMs = 100.0 * 365 * 24 * 3600 * 1000;
constexpr size_t kTextMax = 64;

int64_t Clamped(double millis) {
  return millis < 0 || millis > kLongestMs ? kForeverMs : std::llround(millis);
}

absl::Status Invalid(std::string_view text) {
  return base::InvalidArgument("keep_alive: invalid duration \"" +
                               std::string(text.substr(0, kTextMax)) +
                               "\"; expected one such as 5m, 1h30m, 0 or -1");
}

struct Unit {
  std::string_view name;
  double millis;
};
// The longer name first where one begins like another.
constexpr Unit kUnits[] = {{"ns", 1e-6}, {"us", 1e-3},   {"µs", 1e-3}, {"μs", 1e-3},
                           {"ms", 1},    {"s", 1'000.0}, {"m", 60e3},  {"h", 3'600e3}};

// Go's time.ParseDuration, and, without any unit, seconds.
absl::StatusOr<int64_t> ParseKeepAlive(const std::string& whole) {
  std::string_view text = whole;
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text.empty() || whole.size() > kTextMax) return Invalid(whole);
  double millis = 0;
  const bool bare = text.find_first_not_of("0123456789.") == std::string_view::npos;
  while (!text.empty()) {
    const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + digits, value);
    if (digits == 0 || error != std::errc() || end != text.data() + digits) return Invalid(whole);
    text.remove_prefix(digits);
    double scale = bare ? 1'000 : 0;
    for (const Unit& unit : kUnits) {
      if (bare || !text.starts_with(unit.name)) continue;
      scale = unit.millis;
      text.remove_prefix(unit.name.size());
      break;
    }
    if (scale == 0) return Invalid(whole);
    millis += value * scale;
  }
  return negative && millis > 0 ? kForeverMs : Clamped(millis);
}

}  // namespace

absl::StatusOr<std::optional<int64_t>> ReadKeepAlive(base::JsonValue keep_alive) {
  if (keep_alive.missing()) return std::optional<int64_t>();
  if (keep_alive.is_number()) {
    ASSIGN_OR_RETURN(const double seconds, keep_alive.AsNumber());
    return std::optional(Clamped(seconds * 1'000));
  }
  if (!keep_alive.is_string()) return keep_alive.Error("expected a duration or seconds");
  ASSIGN_OR_RETURN(const std::string text, keep_alive.AsString());
  ASSIGN_OR_RETURN(const int64_t millis, ParseKeepAlive(text));
  return std::optional(millis);
}

}  // namespace conclave::gateway::ollama
