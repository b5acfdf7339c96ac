#include "engine/chat/parsers/xml_calls.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/json.h"
#include "base/log.h"
#include "engine/chat/parsers/call_stream.h"
#include "engine/chat/parsers/tag_scanner.h"

namespace conclave::engine {
namespace {

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
}

// One line break at each end belongs to the markup.
std::string_view WithoutBreaks(std::string_view text) {
  if (text.starts_with('\n')) text.remove_prefix(1);
  if (text.ends_with('\n')) text.remove_suffix(1);
  return text;
}

class XmlParser final : public OutputParser {
 public:
  XmlParser(const XmlForm& form, const ParserOptions& options)
      : form_(form), schemas_(options.schemas), calls_(options.make_id) {}

  void Feed(std::string_view text, std::vector<OutputEvent>* events) override {
    scanner_.Append(text);
    while (Advance(events)) {
    }
  }

  void FeedControl(std::string_view token_text, std::vector<OutputEvent>* events) override {
    if (token_text == form_.begin || token_text == form_.end || token_text == form_.key_begin ||
        token_text == form_.key_end || token_text == form_.value_begin ||
        token_text == form_.value_end) {
      Feed(token_text, events);
    }
  }

  void Finish(std::vector<OutputEvent>* events) override {
    if (place_ == Place::kText) {
      AppendText(OutputEvent::Kind::kContent, scanner_.TakeAll(), events);
    } else if (place_ != Place::kAfter) {
      Fail(scanner_.TakeAll(), events);
    }
    place_ = Place::kAfter;
  }

 private:
  enum class Place {
    kText,  // content
    kHead,  // after the opening tag: the name's tag
    kName,
    kBody,  // between arguments
    kKey,
    kBeforeValue,
    kValue,
    kBroken,  // up to the closing tag
    kAfter,   // spaces, the closing tag
  };

  bool Advance(std::vector<OutputEvent>* events) {
    bool found = false;
    switch (place_) {
      case Place::kText:
        AppendText(OutputEvent::Kind::kContent, scanner_.TakeUntil(form_.begin, true, &found),
                   events);
        if (found) Enter(form_.name_begin.empty() ? Place::kName : Place::kHead);
        return found;
      case Place::kHead:
        return Expect(form_.name_begin, Place::kName);
      case Place::kName:
        return TakeName(events);
      case Place::kBody:
        return TellBody(events);
      case Place::kKey:
        key_ += scanner_.TakeUntil(form_.key_end, false, &found);
        if (found) place_ = form_.value_begin.empty() ? Place::kValue : Place::kBeforeValue;
        return found;
      case Place::kBeforeValue:
        return Expect(form_.value_begin, Place::kValue);
      case Place::kValue:
        value_ += scanner_.TakeUntil(form_.value_end, false, &found);
        if (found) PassArgument(events);
        return found;
      case Place::kBroken:
        raw_ += scanner_.TakeUntil(form_.end, false, &found);
        if (found) {
          Fail("", events);
          place_ = Place::kText;
        }
        return found;
      case Place::kAfter:
        return TakeAfter();
    }
    return false;
  }

  void Enter(Place place) {
    place_ = place;
    raw_.clear();
    name_.clear();
    arguments_ = 0;
  }

  // A tag that must come next; anything else breaks the call.
  bool Expect(std::string_view tag, Place next) {
    if (!scanner_.SkipSpaces()) return false;
    if (scanner_.text().starts_with(tag)) {
      scanner_.Drop(tag.size());
      value_.clear();
      place_ = next;
      return true;
    }
    if (scanner_.CouldBegin(tag)) return false;
    place_ = Place::kBroken;
    return true;
  }

  bool TakeName(std::vector<OutputEvent>* events) {
    if (!form_.name_end.empty()) {
      bool found = false;
      name_ += scanner_.TakeUntil(form_.name_end, false, &found);
      if (!found) return false;
    } else {
      // Right after the opening tag, up to a line break or the next tag.
      if (name_.empty() && !scanner_.SkipSpaces()) return false;
      const size_t end = scanner_.text().find_first_of("\n<");
      const size_t taken = std::min(end, scanner_.text().size());
      name_ += scanner_.text().substr(0, taken);
      scanner_.Drop(taken);
      if (end == std::string_view::npos) return false;
    }
    name_ = Trimmed(name_);
    raw_ = name_;
    if (name_.empty()) {
      place_ = Place::kBroken;
      return true;
    }
    calls_.Start(name_, events);
    place_ = Place::kBody;
    return true;
  }

  bool TellBody(std::vector<OutputEvent>* events) {
    if (!scanner_.SkipSpaces()) return false;
    const std::string_view ending = form_.call_end.empty() ? form_.end : form_.call_end;
    if (scanner_.text().starts_with(ending)) {
      scanner_.Drop(ending.size());
      calls_.Arguments(arguments_ == 0 ? "{}" : "}", events);
      calls_.End(raw_, events);
      place_ = Place::kAfter;
      return true;
    }
    if (scanner_.text().starts_with(form_.key_begin)) {
      scanner_.Drop(form_.key_begin.size());
      key_.clear();
      value_.clear();
      place_ = Place::kKey;
      return true;
    }
    if (scanner_.CouldBegin(ending) || scanner_.CouldBegin(form_.key_begin)) return false;
    place_ = Place::kBroken;
    return true;
  }

  void PassArgument(std::vector<OutputEvent>* events) {
    const std::string key(Trimmed(key_));
    raw_ += "\n" + key + "=" + value_;
    calls_.Arguments((arguments_++ == 0 ? "{" : ", ") + base::JsonQuote(key) + ": " + JsonOf(key),
                     events);
    place_ = Place::kBody;
  }

  // The value as JSON: a string where the schema says so or where it is nothing else. Without a
  // schema a text in quotes is taken for what it is, quotes included.
  std::string JsonOf(const std::string& key) const {
    const std::string_view text = WithoutBreaks(value_);
    const std::optional<bool> bare = IsBare(key);
    if (bare != true) {
      const std::string trimmed(Trimmed(text));
      const auto document = base::JsonDocument::Parse(trimmed);
      const bool taken = document.ok() && (bare == false || !document->root().is_string());
      if (taken) return document->root().ToJson();
    }
    return base::JsonQuote(text);
  }

  // nullopt: the tool's schema says nothing of this argument.
  std::optional<bool> IsBare(const std::string& key) const {
    for (const auto& [name, schema] : schemas_) {
      if (name != name_) continue;
      const auto document = base::JsonDocument::Parse(schema);
      if (!document.ok()) return std::nullopt;
      const base::JsonValue property = document->root().Get("properties").Get(key);
      if (!property.is_object() || property.size() == 0) return std::nullopt;
      return IsWrittenBare(property);
    }
    return std::nullopt;
  }

  void Fail(std::string_view rest, std::vector<OutputEvent>* events) {
    calls_.Fail(raw_ + std::string(rest), events);
  }

  // After a call: another one in the same tags, or their end.
  bool TakeAfter() {
    if (!scanner_.SkipSpaces()) return false;
    if (scanner_.text().starts_with(form_.end)) {
      scanner_.Drop(form_.end.size());
      return true;
    }
    if (!form_.name_begin.empty() && scanner_.text().starts_with(form_.name_begin)) {
      Enter(Place::kHead);
      return true;
    }
    if (scanner_.CouldBegin(form_.end) || scanner_.CouldBegin(form_.name_begin)) return false;
    place_ = Place::kText;
    return true;
  }

  XmlForm form_;
  std::vector<std::pair<std::string, std::string>> schemas_;
  CallEvents calls_;
  TagScanner scanner_;
  Place place_ = Place::kText;
  std::string name_, key_, value_;
  std::string raw_;    // of the call so far, for its failure
  int arguments_ = 0;  // given out
};

}  // namespace

bool IsWrittenBare(base::JsonValue schema) {
  const base::JsonValue type = schema.Get("type");
  if (type.present()) return type.is_string() && type.AsString().value_or("") == "string";
  const base::JsonValue one = schema.Get("const");
  if (one.present()) return one.is_string();
  const base::JsonValue values = schema.Get("enum");
  for (size_t i = 0; i < values.size(); ++i) {
    if (!values.At(i).is_string()) return false;
  }
  return values.is_array() && values.size() > 0;
}

std::unique_ptr<OutputParser> MakeXmlParser(const XmlForm& form, const ParserOptions& options) {
  return std::make_unique<XmlParser>(form, options);
}

}  // namespace conclave::engine
