#include "engine/chat/parsers/call_stream.h"

#include <utility>

#include "base/json.h"
#include "base/log.h"

namespace conclave::engine {
namespace {

bool IsJsonObject(std::string_view text) {
  const auto document = base::JsonDocument::Parse(text);
  return document.ok() && document->root().is_object();
}

// Arguments that were not written as an object: null stands for none, a string may hold the object.
std::string ObjectWithin(const std::string& arguments) {
  if (arguments.empty() || arguments == "null") return "{}";
  const auto document = base::JsonDocument::Parse(arguments);
  if (!document.ok() || !document->root().is_string()) return arguments;
  std::string inner = document->root().AsString().value();
  return inner.empty() ? "{}" : inner;
}

}  // namespace

void AppendText(OutputEvent::Kind kind, std::string text, std::vector<OutputEvent>* events) {
  if (text.empty()) return;
  if (!events->empty() && events->back().kind == kind) {
    events->back().text += text;
    return;
  }
  OutputEvent event;
  event.kind = kind;
  event.text = std::move(text);
  events->push_back(std::move(event));
}

// --- CallEvents
// -------------------------------------------------------------------------------------

OutputEvent CallEvents::Event(OutputEvent::Kind kind, std::string_view text) const {
  OutputEvent event;
  event.kind = kind;
  event.text = text;
  if (started_) {
    event.index = next_index_ - 1;
    event.id = id_;
    event.name = name_;
  }
  return event;
}

void CallEvents::Start(std::string_view name, std::vector<OutputEvent>* events) {
  started_ = true;
  ++next_index_;
  name_ = name;
  id_ = make_id_("call_");
  arguments_.clear();
  events->push_back(Event(OutputEvent::Kind::kToolCallStarted, ""));
}

void CallEvents::Arguments(std::string_view piece, std::vector<OutputEvent>* events) {
  if (piece.empty()) return;
  arguments_.append(piece);
  const bool goes_on = !events->empty() &&
                       events->back().kind == OutputEvent::Kind::kToolCallArguments &&
                       events->back().index == next_index_ - 1;
  if (goes_on) {
    events->back().text.append(piece);
  } else {
    events->push_back(Event(OutputEvent::Kind::kToolCallArguments, piece));
  }
}

void CallEvents::End(std::string_view raw, std::vector<OutputEvent>* events) {
  if (!started_ || !IsJsonObject(arguments_)) return Fail(raw, events);
  events->push_back(Event(OutputEvent::Kind::kToolCallFinished, arguments_));
  started_ = false;
}

void CallEvents::Fail(std::string_view raw, std::vector<OutputEvent>* events) {
  events->push_back(Event(OutputEvent::Kind::kToolCallFailed, raw));
  started_ = false;
}

// --- JsonCall
// ---------------------------------------------------------------------------------------

size_t JsonCall::Feed(std::string_view text, std::vector<OutputEvent>* events) {
  const size_t taken = json_.Feed(text);
  PassOn(events);
  return taken;
}

void JsonCall::FeedHead(std::string_view name, std::vector<OutputEvent>* events) {
  Feed("{\"name\":" + base::JsonQuote(name) + ",\"arguments\":", events);
}

void JsonCall::PassOn(std::vector<OutputEvent>* events) {
  // Broken or not: what a call was known to be before must not depend on how the text was cut.
  if (!json_.name().has_value()) return;
  if (!calls_.started()) calls_.Start(*json_.name(), events);
  if (!json_.arguments_are_object()) return;
  const std::string& arguments = json_.arguments();
  calls_.Arguments(std::string_view(arguments).substr(passed_), events);
  passed_ = arguments.size();
}

void JsonCall::End(std::string_view raw, std::vector<OutputEvent>* events) {
  const bool whole = json_.state() == CallJson::State::kDone && IsJsonObject(json_.repaired());
  if (!whole || !calls_.started()) return calls_.Fail(raw, events);
  if (passed_ == 0) calls_.Arguments(ObjectWithin(json_.arguments()), events);
  calls_.End(raw, events);
}

}  // namespace conclave::engine
