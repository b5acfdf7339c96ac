// From calls being written to events; what all families share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/chat/parsers/parser.h"
#include "engine/chat/parsers/partial_json.h"

namespace conclave::engine {

// Text as an event, when there is any; goes together with an event of the same kind before it.
void AppendText(OutputEvent::Kind kind, std::string text, std::vector<OutputEvent>* events);

// Numbers the calls of one output and keeps the events of each in order: started, arguments,
// finished or failed. Not thread-safe.
class CallEvents final {
 public:
  explicit CallEvents(base::IdSource make_id) : make_id_(std::move(make_id)) {}

  bool started() const { return started_; }
  void Start(std::string_view name, std::vector<OutputEvent>* events);
  // A piece of the arguments' JSON text. Precondition: started.
  void Arguments(std::string_view piece, std::vector<OutputEvent>* events);
  // The whole call at its end: finishes it if the arguments are one JSON object, else fails it with
  // `raw`, what the model wrote.
  void End(std::string_view raw, std::vector<OutputEvent>* events);
  void Fail(std::string_view raw, std::vector<OutputEvent>* events);
  int calls() const { return next_index_; }

 private:
  OutputEvent Event(OutputEvent::Kind kind, std::string_view text) const;

  base::IdSource make_id_;
  int next_index_ = 0;
  bool started_ = false;
  std::string id_, name_, arguments_;
};

// One call written as a JSON object with name and arguments.
class JsonCall final {
 public:
  explicit JsonCall(CallEvents& calls) : calls_(calls) {}

  // Takes text up to the end of the object, and gives events for what is known of the call. Says
  // how many bytes it took.
  size_t Feed(std::string_view text, std::vector<OutputEvent>* events);
  // For families that write the name elsewhere: the object's beginning, up to its arguments.
  void FeedHead(std::string_view name, std::vector<OutputEvent>* events);
  bool running() const { return json_.state() == CallJson::State::kRunning; }
  bool broken() const { return json_.state() == CallJson::State::kBroken; }
  bool in_string() const { return json_.in_string(); }
  const std::string& raw() const { return json_.raw(); }
  // The object is whole, or nothing more of it will come. `raw` as in CallEvents::End.
  void End(std::string_view raw, std::vector<OutputEvent>* events);

 private:
  void PassOn(std::vector<OutputEvent>* events);

  CallEvents& calls_;
  CallJson json_;
  size_t passed_ = 0;  // bytes of the arguments already given out
};

}  // namespace conclave::engine
