#include "engine/chat/parsers/section_calls.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/chat/parsers/call_stream.h"
#include "engine/chat/parsers/tag_scanner.h"

namespace conclave::engine {
namespace {

// "functions.get_weather:0" → "get_weather"
std::string CleanName(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return "";
  text = text.substr(begin, text.find_last_not_of(" \t\r\n") + 1 - begin);
  if (text.starts_with("functions.")) text.remove_prefix(10);
  const size_t colon = text.rfind(':');
  const bool numbered = colon != std::string_view::npos && colon + 1 < text.size() &&
                        text.find_first_not_of("0123456789", colon + 1) == std::string_view::npos;
  return std::string(numbered ? text.substr(0, colon) : text);
}

class SectionParser final : public OutputParser {
 public:
  SectionParser(const SectionForm& form, const ParserOptions& options)
      : form_(form), calls_(options.make_id) {}

  void Feed(std::string_view text, std::vector<OutputEvent>* events) override {
    scanner_.Append(text);
    while (Advance(events)) {
    }
  }

  void FeedControl(std::string_view token_text, std::vector<OutputEvent>* events) override {
    for (const std::string_view tag :
         {form_.begin, form_.end, form_.call_begin, form_.separator, form_.call_end}) {
      if (token_text == tag) return Feed(token_text, events);
    }
  }

  void Finish(std::vector<OutputEvent>* events) override {
    if (place_ == Place::kText) {
      AppendText(OutputEvent::Kind::kContent, scanner_.TakeAll(), events);
    } else if (place_ == Place::kArguments) {
      // The end of the output often stands for the closing tag.
      PassArguments(scanner_.TakeAll(), events);
      EndCall(events);
    } else if (place_ == Place::kName || place_ == Place::kFence) {
      calls_.Fail(name_ + scanner_.TakeAll(), events);
    }
    place_ = Place::kText;
  }

 private:
  enum class Place {
    kText,       // content
    kBetween,    // in the section, between calls
    kName,       // of a call
    kFence,      // "name\n```json\n", how the first DeepSeek R1 writes it
    kArguments,  // JSON
    kClosing,    // after a fence: up to the end of the call
  };

  bool Advance(std::vector<OutputEvent>* events) {
    bool found = false;
    switch (place_) {
      case Place::kText:
        AppendText(OutputEvent::Kind::kContent, scanner_.TakeUntil(form_.begin, true, &found),
                   events);
        if (found) place_ = Place::kBetween;
        return found;
      case Place::kBetween:
        return TellNext();
      case Place::kName:
        name_ += scanner_.TakeUntil(form_.separator, false, &found);
        if (found) BeginArguments(events);
        return found;
      case Place::kFence:
        name_ += scanner_.TakeUntil("```json", false, &found);
        if (found) StartCall(events);
        return found;
      case Place::kArguments:
        PassArguments(scanner_.TakeUntil(fenced_ ? "```" : form_.call_end, true, &found), events);
        if (!found) return false;
        EndCall(events);
        place_ = fenced_ ? Place::kClosing : Place::kBetween;
        return true;
      case Place::kClosing:
        static_cast<void>(scanner_.TakeUntil(form_.call_end, false, &found));
        if (found) place_ = Place::kBetween;
        return found;
    }
    return false;
  }

  bool TellNext() {
    if (!scanner_.SkipSpaces()) return false;
    for (const bool call : {true, false}) {
      const std::string_view tag = call ? form_.call_begin : form_.end;
      if (scanner_.text().starts_with(tag)) {
        scanner_.Drop(tag.size());
        place_ = call ? Place::kName : Place::kText;
        name_.clear();
        return true;
      }
    }
    if (scanner_.CouldBegin(form_.call_begin) || scanner_.CouldBegin(form_.end)) return false;
    place_ = Place::kText;
    return true;
  }

  void BeginArguments(std::vector<OutputEvent>* events) {
    fenced_ = CleanName(name_) == "function";
    if (fenced_) {
      name_.clear();
      place_ = Place::kFence;
    } else {
      StartCall(events);
    }
  }

  // The arguments are read as those of a call that begins with its name.
  void StartCall(std::vector<OutputEvent>* events) {
    place_ = Place::kArguments;
    call_.emplace(calls_);
    written_.clear();
    call_->FeedHead(CleanName(name_), events);
  }
  void PassArguments(const std::string& text, std::vector<OutputEvent>* events) {
    written_ += text;
    call_->Feed(text, events);
  }
  void EndCall(std::vector<OutputEvent>* events) {
    call_->Feed(written_.find_first_not_of(" \t\r\n") == std::string::npos ? "null}" : "}", events);
    call_->End(CleanName(name_) + written_, events);
    call_.reset();
  }

  SectionForm form_;
  CallEvents calls_;
  TagScanner scanner_;
  Place place_ = Place::kText;
  std::string name_;
  std::string written_;  // of the arguments
  bool fenced_ = false;
  std::optional<JsonCall> call_;
};

}  // namespace

std::unique_ptr<OutputParser> MakeSectionParser(const SectionForm& form,
                                                const ParserOptions& options) {
  return std::make_unique<SectionParser>(form, options);
}

}  // namespace conclave::engine
