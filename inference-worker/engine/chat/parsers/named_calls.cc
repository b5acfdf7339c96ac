#include "engine/chat/parsers/named_calls.h"

#include <optional>
#include <utility>

#include "engine/chat/parsers/call_stream.h"
#include "engine/chat/parsers/tag_scanner.h"

namespace conclave::engine {
namespace {

constexpr std::string_view kSpaces = " \t\r\n";

std::string Stripped(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(kSpaces) + 1 - begin));
}

// Where a JSON object ends, told by its braces and strings alone.
class ObjectEnd final {
 public:
  // How much of `text` belongs to the object; it has ended when done().
  size_t Feed(std::string_view text) {
    for (size_t i = 0; i < text.size(); ++i) {
      Byte(text[i]);
      if (done()) return i + 1;
    }
    return text.size();
  }
  bool done() const { return depth_ == 0; }

 private:
  void Byte(char c) {
    if (in_string_) {
      if (!std::exchange(escaped_, false)) {
        escaped_ = c == '\\';
        in_string_ = c != '"';
      }
      return;
    }
    if (c == '"') in_string_ = true;
    if (c == '{' || c == '[') ++depth_;
    if (c == '}' || c == ']') --depth_;
  }

  int depth_ = 0;
  bool in_string_ = false, escaped_ = false;
};

class NamedParser final : public OutputParser {
 public:
  NamedParser(const NamedForm& form, const ParserOptions& options)
      : form_(form), calls_(options.make_id) {}

  void Feed(std::string_view text, std::vector<OutputEvent>* events) override {
    scanner_.Append(text);
    while (Advance(events)) {
    }
  }

  void FeedControl(std::string_view token_text, std::vector<OutputEvent>* events) override {
    for (const std::string_view tag : {form_.begin, form_.id, form_.separator}) {
      if (token_text == tag) return Feed(token_text, events);
    }
  }

  void Finish(std::vector<OutputEvent>* events) override {
    switch (place_) {
      case Place::kText:
      case Place::kAfter:
        AppendText(OutputEvent::Kind::kContent, scanner_.TakeAll(), events);
        break;
      case Place::kName:
      case Place::kBeforeArguments:
      case Place::kBroken:
        calls_.Fail(raw_ + scanner_.TakeAll(), events);
        break;
      case Place::kArguments:
        call_->End(raw_, events);
        break;
    }
    call_.reset();
    place_ = Place::kText;
  }

 private:
  enum class Place {
    kText,             // content
    kName,             // after the opening tag: up to the separator
    kBeforeArguments,  // spaces
    kArguments,        // in the object
    kBroken,           // no object where one must be: up to the next call
    kAfter,            // after a call: spaces, the next one
  };

  // One step; false when more text is needed.
  bool Advance(std::vector<OutputEvent>* events) {
    bool found = false;
    switch (place_) {
      case Place::kText:
        AppendText(OutputEvent::Kind::kContent, scanner_.TakeUntil(form_.begin, true, &found),
                   events);
        if (found) BeginCall();
        return found;
      case Place::kName:
        raw_ += scanner_.TakeUntil(form_.separator, false, &found);
        if (found) place_ = Place::kBeforeArguments;
        return found;
      case Place::kBeforeArguments:
        if (!scanner_.SkipSpaces()) return false;
        if (scanner_.text().front() == '{') {
          StartArguments(events);
        } else {
          place_ = Place::kBroken;
        }
        return true;
      case Place::kArguments:
        return TakeArguments(events);
      case Place::kBroken:
        raw_ += scanner_.TakeUntil(form_.begin, false, &found);
        if (!found) return false;
        calls_.Fail(raw_, events);
        BeginCall();
        return true;
      case Place::kAfter:
        return TakeAfter();
    }
    return false;
  }

  void BeginCall() {
    raw_.clear();
    place_ = Place::kName;
  }

  // The arguments are read as those of a call that begins with its name.
  void StartArguments(std::vector<OutputEvent>* events) {
    call_.emplace(calls_);
    end_ = {};
    call_->FeedHead(Stripped(std::string_view(raw_).substr(0, raw_.find(form_.id))), events);
    place_ = Place::kArguments;
  }

  bool TakeArguments(std::vector<OutputEvent>* events) {
    if (scanner_.empty()) return false;
    const size_t taken = end_.Feed(scanner_.text());
    const std::string piece(scanner_.text().substr(0, taken));
    scanner_.Drop(taken);
    raw_ += piece;
    call_->Feed(piece, events);
    if (!end_.done()) return false;
    call_->Feed("}", events);
    call_->End(raw_, events);
    call_.reset();
    place_ = Place::kAfter;
    return true;
  }

  bool TakeAfter() {
    if (!scanner_.SkipSpaces()) return false;
    if (scanner_.text().starts_with(form_.begin)) {
      scanner_.Drop(form_.begin.size());
      BeginCall();
      return true;
    }
    if (scanner_.CouldBegin(form_.begin)) return false;
    place_ = Place::kText;
    return true;
  }

  const NamedForm form_;
  CallEvents calls_;
  TagScanner scanner_;
  Place place_ = Place::kText;
  std::string raw_;  // of a call: its name, then its arguments
  ObjectEnd end_;
  std::optional<JsonCall> call_;
};

}  // namespace

std::unique_ptr<OutputParser> MakeNamedParser(const NamedForm& form, const ParserOptions& options) {
  return std::make_unique<NamedParser>(form, options);
}

}  // namespace conclave::engine
