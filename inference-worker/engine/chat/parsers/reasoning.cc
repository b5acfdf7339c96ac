#include "engine/chat/parsers/reasoning.h"

#include <utility>

#include "engine/chat/parsers/call_stream.h"
#include "engine/chat/parsers/tag_scanner.h"

namespace conclave::engine {
namespace {

class ReasoningParser final : public OutputParser {
 public:
  ReasoningParser(std::unique_ptr<OutputParser> inner, bool open, ReasoningTags tags)
      : inner_(std::move(inner)), tags_(tags), place_(open ? Place::kOpened : Place::kStart) {}

  void Feed(std::string_view text, std::vector<OutputEvent>* events) override {
    if (place_ == Place::kAnswer) return inner_->Feed(text, events);
    scanner_.Append(text);
    if (place_ == Place::kStart) TellStart(events);
    if (place_ == Place::kOpened) TellOpened();
    if (place_ == Place::kReasoning) TakeReasoning(events);
    if (place_ == Place::kEnded) TakeAnswer(events);
  }

  void FeedControl(std::string_view token_text, std::vector<OutputEvent>* events) override {
    if (place_ != Place::kAnswer && (token_text == tags_.begin || token_text == tags_.end)) {
      return Feed(token_text, events);
    }
    if (place_ == Place::kStart || place_ == Place::kEnded) {
      if (place_ == Place::kStart) inner_->Feed(scanner_.TakeAll(), events);
      place_ = Place::kAnswer;
    }
    if (place_ == Place::kAnswer) inner_->FeedControl(token_text, events);
  }

  void Finish(std::vector<OutputEvent>* events) override {
    if (place_ == Place::kReasoning) {
      AppendText(OutputEvent::Kind::kReasoning, scanner_.TakeAll(), events);
    } else if (place_ == Place::kStart) {
      inner_->Feed(scanner_.TakeAll(), events);
    }
    place_ = Place::kAnswer;
    inner_->Finish(events);
  }

 private:
  enum class Place {
    kStart,      // nothing but spaces so far
    kOpened,     // just inside: spaces, or the opening tag once more
    kReasoning,  // inside
    kEnded,      // just outside again: spaces
    kAnswer,
  };

  void TellStart(std::vector<OutputEvent>* events) {
    const size_t begin =
        std::min(scanner_.text().find_first_not_of(" \t\r\n"), scanner_.text().size());
    const std::string_view rest = scanner_.text().substr(begin);
    if (rest.starts_with(tags_.begin)) {
      scanner_.Drop(begin + tags_.begin.size());
      place_ = Place::kOpened;
    } else if (!tags_.begin.starts_with(rest)) {
      place_ = Place::kAnswer;
      inner_->Feed(scanner_.TakeAll(), events);
    }
  }

  void TellOpened() {
    if (!scanner_.SkipSpaces()) return;
    if (scanner_.text().starts_with(tags_.begin)) {
      scanner_.Drop(tags_.begin.size());
      return TellOpened();
    }
    if (!scanner_.CouldBegin(tags_.begin)) place_ = Place::kReasoning;
  }

  void TakeReasoning(std::vector<OutputEvent>* events) {
    bool found = false;
    AppendText(OutputEvent::Kind::kReasoning, scanner_.TakeUntil(tags_.end, true, &found), events);
    if (!found) return;
    place_ = Place::kEnded;
    events->push_back({.kind = OutputEvent::Kind::kReasoningEnded});
  }

  void TakeAnswer(std::vector<OutputEvent>* events) {
    if (!scanner_.SkipSpaces()) return;
    place_ = Place::kAnswer;
    inner_->Feed(scanner_.TakeAll(), events);
  }

  std::unique_ptr<OutputParser> inner_;
  ReasoningTags tags_;
  Place place_;
  TagScanner scanner_;
};

}  // namespace

std::unique_ptr<OutputParser> MakeReasoningParser(std::unique_ptr<OutputParser> inner, bool open,
                                                  ReasoningTags tags) {
  return std::make_unique<ReasoningParser>(std::move(inner), open, tags);
}

ReasoningTags ReasoningTagsOf(std::string_view template_source) {
  constexpr ReasoningTags kMagistral = {.begin = "[THINK]", .end = "[/THINK]"};
  const bool magistral = template_source.find(kMagistral.begin) != std::string_view::npos;
  return magistral ? kMagistral : ReasoningTags();
}

bool EndsInOpenReasoning(std::string_view prompt, ReasoningTags tags) {
  const size_t end = prompt.find_last_not_of(" \t\r\n");
  return end != std::string_view::npos && prompt.substr(0, end + 1).ends_with(tags.begin);
}

}  // namespace conclave::engine
