#include "engine/chat/parsers/partial_json.h"

#include "base/json.h"

namespace conclave::engine {
namespace {

constexpr int kDepthMax = 64;  // as the JSON reader's

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// A control character inside a string, as JSON wants it.
std::string Escaped(char c) {
  constexpr char kHex[] = "0123456789abcdef";
  if (c == '\n') return "\\n";
  if (c == '\r') return "\\r";
  if (c == '\t') return "\\t";
  return {'\\', 'u', '0', '0', kHex[(c >> 4) & 15], kHex[c & 15]};
}

std::optional<std::string> StringOf(const std::string& json) {
  const auto document = base::JsonDocument::Parse(json);
  if (!document.ok() || !document->root().is_string()) return std::nullopt;
  return document->root().AsString().value();
}

}  // namespace

size_t CallJson::Feed(std::string_view text) {
  size_t taken = 0;
  while (taken < text.size() && state_ == State::kRunning) {
    raw_.push_back(text[taken]);
    Byte(text[taken++]);
  }
  return taken;
}

void CallJson::Keep(std::string_view text) {
  repaired_.append(text);
  if (place_ == Place::kKey) key_.append(text);
  if (place_ != Place::kValue) return;
  if (target_ == Target::kName) value_.append(text);
  if (target_ == Target::kArguments) arguments_.append(text);
}

void CallJson::Byte(char c) {
  if (!in_string_) return Structure(c);
  const bool control = static_cast<unsigned char>(c) < 0x20;
  if (control && escaped_) {
    // A backslash before a line break stands for the line break.
    Keep(Escaped(c).substr(1));
  } else {
    Keep(control ? Escaped(c) : std::string(1, c));
  }
  if (escaped_) {
    escaped_ = false;
  } else if (c == '\\') {
    escaped_ = true;
  } else if (c == '"') {
    in_string_ = false;
    if (place_ == Place::kKey) place_ = Place::kBeforeColon;
    if (place_ == Place::kValue && depth_ == 1) EndValue();
  }
}

void CallJson::Structure(char c) {
  const std::string_view text(&c, 1);
  switch (place_) {
    case Place::kBeforeObject:
      if (IsSpace(c)) return;
      if (c != '{') {
        state_ = State::kBroken;
        return;
      }
      depth_ = 1;
      place_ = Place::kBeforeKey;
      return Keep(text);
    case Place::kBeforeKey:
    case Place::kAfterValue:
      Keep(text);
      if (c == '"' && place_ == Place::kBeforeKey) {
        key_.clear();
        place_ = Place::kKey;
        key_.push_back(c);
        in_string_ = true;
      } else if (c == ',') {
        place_ = Place::kBeforeKey;
      } else if (c == '}') {
        state_ = State::kDone;
      } else if (!IsSpace(c)) {
        state_ = State::kBroken;
      }
      return;
    case Place::kKey:
      return;
    case Place::kBeforeColon:
      Keep(text);
      if (c == ':') {
        place_ = Place::kBeforeValue;
      } else if (!IsSpace(c)) {
        state_ = State::kBroken;
      }
      return;
    case Place::kBeforeValue:
      if (IsSpace(c)) return Keep(text);
      return BeginValue(c);
    case Place::kValue:
      break;
  }
  // Inside a value. A bare word ends where the object goes on.
  if (depth_ == 1 && (c == ',' || c == '}' || IsSpace(c))) {
    EndValue();
    return Structure(c);
  }
  Keep(text);
  if (c == '"') in_string_ = true;
  if (c == '{' || c == '[') ++depth_;
  if (c == '}' || c == ']') --depth_;
  if (depth_ > kDepthMax || depth_ < 1) state_ = State::kBroken;
  if (depth_ == 1 && (c == '}' || c == ']')) EndValue();
}

void CallJson::BeginValue(char c) {
  place_ = Place::kValue;
  const bool name = key_ == "\"name\"" || key_ == "\"function\"";
  const bool arguments = key_ == "\"arguments\"" || key_ == "\"parameters\"" || key_ == "\"input\"";
  target_ = name && !name_.has_value()        ? Target::kName
            : arguments && arguments_.empty() ? Target::kArguments
                                              : Target::kNone;
  Keep(std::string_view(&c, 1));
  if (c == '"') in_string_ = true;
  if (c == '{' || c == '[') ++depth_;
}

void CallJson::EndValue() {
  if (target_ == Target::kName) {
    name_ = StringOf(value_);
    if (name_ == "") name_.reset();
    if (!name_.has_value()) state_ = State::kBroken;
  }
  target_ = Target::kNone;
  place_ = Place::kAfterValue;
}

}  // namespace conclave::engine
