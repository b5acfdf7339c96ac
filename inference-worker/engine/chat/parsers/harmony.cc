#include "engine/chat/parsers/harmony.h"

#include <optional>
#include <utility>

#include "engine/chat/parsers/call_stream.h"

namespace conclave::engine {
namespace {

constexpr size_t kHeaderBytesMax = 4096;

// The word after `mark` in a header, up to a space.
std::string WordAfter(std::string_view header, std::string_view mark) {
  const size_t at = header.find(mark);
  if (at == std::string_view::npos) return "";
  const std::string_view rest = header.substr(at + mark.size());
  return std::string(rest.substr(0, rest.find_first_of(" \t\r\n<")));
}

class HarmonyParser final : public OutputParser {
 public:
  explicit HarmonyParser(const ParserOptions& options)
      : tools_(options.tools), split_(options.split_reasoning), calls_(options.make_id) {}

  void Feed(std::string_view text, std::vector<OutputEvent>* events) override {
    switch (place_) {
      case Place::kStart:
        return TellStart(text, events);
      case Place::kHeader:
        if (header_.size() < kHeaderBytesMax) header_ += text;
        return;
      case Place::kContent:
        return AppendText(OutputEvent::Kind::kContent, std::string(text), events);
      case Place::kReasoning:
        return AppendText(OutputEvent::Kind::kReasoning, std::string(text), events);
      case Place::kCall:
        written_ += text;
        call_->Feed(text, events);
        return;
    }
  }

  void FeedControl(std::string_view token_text, std::vector<OutputEvent>* events) override {
    if (token_text == "<|message|>") {
      if (place_ == Place::kHeader) BeginBody(events);
    } else if (token_text == "<|channel|>" || token_text == "<|constrain|>") {
      if (place_ != Place::kHeader) BeginHeader(events);
      header_ += token_text;
    } else if (token_text == "<|start|>" || token_text == "<|end|>" || token_text == "<|call|>" ||
               token_text == "<|return|>") {
      BeginHeader(events);
    }
  }

  void Finish(std::vector<OutputEvent>* events) override {
    if (place_ == Place::kStart) {
      AppendText(OutputEvent::Kind::kContent, std::exchange(header_, ""), events);
    }
    BeginHeader(events);
  }

 private:
  enum class Place { kStart, kContent, kHeader, kReasoning, kCall };

  // The prompt ends within a header, which may name a recipient before its channel. An output
  // without any header is content.
  void TellStart(std::string_view text, std::vector<OutputEvent>* events) {
    constexpr std::string_view kRecipient = "to=";
    header_ += text;
    const size_t begin = std::min(header_.find_first_not_of(" \t\r\n"), header_.size());
    const std::string_view rest = std::string_view(header_).substr(begin);
    if (rest.starts_with(kRecipient)) {
      place_ = Place::kHeader;
    } else if (!kRecipient.starts_with(rest)) {
      place_ = Place::kContent;
      AppendText(OutputEvent::Kind::kContent, std::exchange(header_, ""), events);
    }
  }

  void BeginHeader(std::vector<OutputEvent>* events) {
    if (place_ == Place::kCall) {
      call_->Feed(written_.find_first_not_of(" \t\r\n") == std::string::npos ? "null}" : "}",
                  events);
      call_->End(written_, events);
      call_.reset();
    }
    if (place_ == Place::kReasoning) {
      events->push_back({.kind = OutputEvent::Kind::kReasoningEnded});
    }
    header_.clear();
    place_ = Place::kHeader;
  }

  // "assistant<|channel|>commentary to=functions.f <|constrain|>json"
  void BeginBody(std::vector<OutputEvent>* events) {
    const std::string recipient = WordAfter(header_, "to=");
    const std::string channel = WordAfter(header_, "<|channel|>");
    if (tools_ && recipient.starts_with("functions.") && recipient.size() > 10) {
      place_ = Place::kCall;
      written_.clear();
      call_.emplace(calls_);
      call_->FeedHead(recipient.substr(10), events);
    } else {
      place_ = channel == "analysis" && split_ ? Place::kReasoning : Place::kContent;
    }
  }

  bool tools_;
  bool split_;
  CallEvents calls_;
  Place place_ = Place::kStart;
  std::string header_;
  std::string written_;  // of a call's arguments
  std::optional<JsonCall> call_;
};

}  // namespace

std::unique_ptr<OutputParser> MakeHarmonyParser(const ParserOptions& options) {
  return std::make_unique<HarmonyParser>(options);
}

}  // namespace conclave::engine
