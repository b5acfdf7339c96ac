// Reads one JSON object {"name": …, "arguments": …} as it is being written, so that the arguments
// can be passed on before the object is whole.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace conclave::engine {

// Not thread-safe. Follows the structure only as far as it must; whether the text is valid JSON is
// decided over the whole of it, in the end.
class CallJson final {
 public:
  enum class State { kRunning, kDone, kBroken };

  // Takes text up to the end of the object and says how many bytes that was. Spaces before the
  // object are taken too. Once done or broken it takes nothing.
  size_t Feed(std::string_view text);

  State state() const { return state_; }
  // "name" (or "function"), as soon as its value is whole.
  const std::optional<std::string>& name() const { return name_; }
  // The JSON text of "arguments" (or "parameters", "input") as far as it is there. Control
  // characters that a model wrote into strings as they are come escaped.
  const std::string& arguments() const { return arguments_; }
  // The arguments' value began with something else than '{': text to be looked at when it is whole.
  bool arguments_are_object() const { return arguments_.empty() || arguments_.front() == '{'; }
  // Inside a string, where a tag would be text.
  bool in_string() const { return in_string_; }
  // All that was taken.
  const std::string& raw() const { return raw_; }
  // All that was taken, with control characters in strings escaped.
  const std::string& repaired() const { return repaired_; }

 private:
  enum class Place {
    kBeforeObject,
    kBeforeKey,
    kKey,
    kBeforeColon,
    kBeforeValue,
    kValue,
    kAfterValue
  };
  enum class Target { kNone, kName, kArguments };

  void Byte(char c);
  void Structure(char c);
  void BeginValue(char c);
  void EndValue();
  void Keep(std::string_view text);

  State state_ = State::kRunning;
  Place place_ = Place::kBeforeObject;
  Target target_ = Target::kNone;
  int depth_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
  std::string key_;
  std::string value_;  // of the name
  std::string arguments_;
  std::string raw_;
  std::string repaired_;
  std::optional<std::string> name_;
};

}  // namespace conclave::engine
