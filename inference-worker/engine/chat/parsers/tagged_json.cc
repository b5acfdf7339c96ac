#include "engine/chat/parsers/tagged_json.h"

#include <optional>
#include <utility>

#include "engine/chat/parsers/call_stream.h"
#include "engine/chat/parsers/tag_scanner.h"

namespace conclave::engine {
namespace {

class PlainParser final : public OutputParser {
 public:
  void Feed(std::string_view text, std::vector<OutputEvent>* events) override {
    AppendText(OutputEvent::Kind::kContent, std::string(text), events);
  }
  void FeedControl(std::string_view, std::vector<OutputEvent>*) override {}
  void Finish(std::vector<OutputEvent>*) override {}
};

class TaggedJsonParser final : public OutputParser {
 public:
  TaggedJsonParser(const TaggedJsonForm& form, const ParserOptions& options)
      : form_(form), calls_(options.make_id) {}

  void Feed(std::string_view text, std::vector<OutputEvent>* events) override {
    scanner_.Append(text);
    while (Advance(events)) {
    }
  }

  void FeedControl(std::string_view token_text, std::vector<OutputEvent>* events) override {
    const bool ours = token_text == form_.begin || (!form_.end.empty() && token_text == form_.end);
    if (ours) Feed(token_text, events);
  }

  void Finish(std::vector<OutputEvent>* events) override {
    switch (place_) {
      case Place::kStart:
      case Place::kText:
        AppendText(OutputEvent::Kind::kContent, scanner_.TakeAll(), events);
        break;
      case Place::kCall:
      case Place::kBroken:
        Fail(raw_ + (call_.has_value() ? call_->raw() : "") + scanner_.TakeAll(), events);
        break;
      case Place::kBetween:
        Fail(scanner_.TakeAll(), events);
        break;
      case Place::kAfter:
        break;
    }
    place_ = Place::kAfter;
  }

 private:
  enum class Place {
    kStart,    // of the answer: spaces
    kText,     // content
    kBetween,  // after the opening tag, or between two calls of a list
    kCall,     // inside a call's object
    kBroken,   // inside a call that is no JSON, up to the closing tag
    kAfter,    // after a call: spaces, the closing tag
  };

  // One step; false when more text is needed.
  bool Advance(std::vector<OutputEvent>* events) {
    switch (place_) {
      case Place::kStart:
        return TellStart();
      case Place::kText:
        return TakeContent(events);
      case Place::kBetween:
        return BeginCall();
      case Place::kCall:
        return TakeCall(events);
      case Place::kBroken:
        return TakeBroken(events);
      case Place::kAfter:
        return TakeAfter();
    }
    return false;
  }

  bool TellStart() {
    if (form_.bare) {
      const size_t first = scanner_.text().find_first_not_of(" \t\r\n");
      if (first == std::string_view::npos) return false;
      if (scanner_.text()[first] == '{') {
        place_ = Place::kBetween;
        return true;
      }
    }
    place_ = Place::kText;
    return true;
  }

  // Spaces in front of a call are no content.
  bool TakeContent(std::vector<OutputEvent>* events) {
    bool found = false;
    AppendText(OutputEvent::Kind::kContent, scanner_.TakeUntil(form_.begin, true, &found), events);
    if (found) place_ = Place::kBetween;
    return found;
  }

  bool BeginCall() {
    if (!scanner_.SkipSpaces()) return false;
    const char c = scanner_.text().front();
    if (c == '[' && !in_list_) {
      in_list_ = true;
      scanner_.Drop(1);
      return true;
    }
    if (in_list_ && (c == ',' || c == ']')) {
      if (c == ']') {
        in_list_ = false;
        place_ = Place::kAfter;
      }
      scanner_.Drop(1);
      return true;
    }
    call_.emplace(calls_);
    place_ = Place::kCall;
    return true;
  }

  // A closing tag inside a string is text; anywhere else it ends the call, whole or not. Only the
  // reader of the JSON knows where strings are, so it goes from one possible tag to the next.
  bool TakeCall(std::vector<OutputEvent>* events) {
    while (!scanner_.empty() && call_->running()) {
      if (!form_.end.empty() && !call_->in_string()) {
        if (scanner_.text().starts_with(form_.end)) break;
        if (scanner_.CouldBegin(form_.end)) return false;
      }
      const size_t next =
          form_.end.empty() ? std::string_view::npos : scanner_.text().find(form_.end.front(), 1);
      scanner_.Drop(call_->Feed(scanner_.text().substr(0, next), events));
    }
    if (call_->running() && scanner_.empty()) return false;
    if (call_->running() || call_->broken()) {
      raw_ = call_->raw();
      place_ = Place::kBroken;
    } else {
      EndCall(events);
      place_ = in_list_ ? Place::kBetween : Place::kAfter;
    }
    call_.reset();
    return true;
  }

  void EndCall(std::vector<OutputEvent>* events) {
    std::vector<OutputEvent> ending;
    call_->End(call_->raw(), &ending);
    // An answer that merely is a JSON object is content after all.
    if (form_.bare && ending.front().index < 0) return Fail(call_->raw(), events);
    events->insert(events->end(), ending.begin(), ending.end());
  }

  bool TakeBroken(std::vector<OutputEvent>* events) {
    if (form_.end.empty()) {
      raw_ += scanner_.TakeAll();
      return false;
    }
    bool found = false;
    raw_ += scanner_.TakeUntil(form_.end, false, &found);
    if (!found) return false;
    Fail(std::exchange(raw_, ""), events);
    place_ = Place::kText;
    return true;
  }

  void Fail(std::string raw, std::vector<OutputEvent>* events) {
    in_list_ = false;
    if (form_.bare && !calls_.started()) {
      AppendText(OutputEvent::Kind::kContent, std::move(raw), events);
    } else {
      calls_.Fail(raw, events);
    }
  }

  bool TakeAfter() {
    if (!scanner_.SkipSpaces()) return false;
    const char c = scanner_.text().front();
    if (c == '}' || (form_.bare && c == ';')) {  // a brace too many is a common slip
      scanner_.Drop(1);
      return true;
    }
    if (form_.bare && c == '{') {
      place_ = Place::kBetween;
      return true;
    }
    if (!form_.end.empty()) {
      if (scanner_.text().starts_with(form_.end)) {
        scanner_.Drop(form_.end.size());
        return true;  // spaces after it go as well
      }
      if (scanner_.CouldBegin(form_.end)) return false;
    }
    place_ = Place::kText;
    return true;
  }

  TaggedJsonForm form_;
  CallEvents calls_;
  TagScanner scanner_;
  Place place_ = Place::kStart;
  bool in_list_ = false;
  std::string raw_;  // of a broken call
  std::optional<JsonCall> call_;
};

}  // namespace

std::unique_ptr<OutputParser> MakeTaggedJsonParser(const TaggedJsonForm& form,
                                                   const ParserOptions& options) {
  return std::make_unique<TaggedJsonParser>(form, options);
}

std::unique_ptr<OutputParser> MakePlainParser() { return std::make_unique<PlainParser>(); }

}  // namespace conclave::engine
