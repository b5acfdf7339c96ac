#include "backends/subprocess_jobs.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/log.h"
#include "base/status.h"

namespace conclave::backends {
namespace {

absl::Status Invalid(std::string_view what) {
  return base::WithReason(base::Internal(absl::StrCat("the model's process ", std::string(what))),
                          "upstream_invalid");
}

}  // namespace

ChildJob::Next PredictJob::OnLine(std::string_view line) {
  if (line.empty()) return Next::kMore;
  if (base::JsonDocument::Parse(line).ok()) {
    Tell(std::string(line));
  } else {
    Tell(Invalid("did not answer with JSON"));
  }
  return Next::kDone;
}

void PredictJob::OnFail(const absl::Status& status) {
  // What it was sent it may have done: nobody tries it again by himself.
  const bool lost = base::ReasonOf(status) == "upstream_lost";
  Tell(lost ? base::WithReason(base::Internal(std::string(status.message())), "upstream_lost")
            : status);
}

void PredictJob::Tell(absl::StatusOr<std::string> result) {
  const PredictDone done = std::exchange(done_, nullptr);
  if (done) done(std::move(result));
}

ChatJob::ChatJob(std::string id, const std::string& body, std::shared_ptr<EventSink> sink,
                 std::function<void(const Event&)> before_last, OpenAiStream::Options options)
    : id_(std::move(id)),
      line_(absl::StrCat("{\"id\":", base::JsonQuote(id_), ",\"request\":", body, "}")),
      sink_(std::move(sink), std::move(before_last)),
      stream_(std::move(options)) {}

std::string ChatJob::cancel_line() const {
  return absl::StrCat("{\"id\":", base::JsonQuote(id_), ",\"cancel\":true}");
}

ChildJob::Next ChatJob::OnLine(std::string_view line) {
  if (line.empty()) return Next::kMore;
  const auto document = base::JsonDocument::Parse(line);
  const base::JsonValue root = document.ok() ? document->root() : base::JsonValue();
  const base::JsonValue id = root.Get("id");
  std::vector<Event> events;
  absl::Status status;
  if (!id.is_string()) {
    status = Invalid("wrote a line that is no object with an id");
  } else if (*id.AsStringView() != id_) {
    return Next::kMore;  // of a request that was cancelled
  } else {
    status = stream_.ReadLine(root, &events);
  }
  const bool over = !status.ok() || stream_.finished();
  if (sink_.done()) return over ? Next::kDone : Next::kMore;
  if (status.ok() && over) {
    absl::StatusOr<Finished> finished = stream_.End(&events);
    if (finished.ok()) events.push_back(*std::move(finished));
    status = finished.status();
  }
  if (!status.ok()) events.push_back(FailureOf(std::move(status)));
  for (Event& event : events) sink_.Tell(std::move(event));
  return State();
}

void ChatJob::OnFail(const absl::Status& status) {
  if (sink_.done()) return;
  sink_.Drop();
  if (cancelled) {
    Finished finished;
    finished.reason = Finished::Reason::kCancelled;
    sink_.Tell(finished);
  } else {
    sink_.Tell(FailureOf(status));
  }
}

ChildJob::Next ChatJob::GoOn() {
  sink_.GoOn();
  return State();
}

ChildJob::Next ChatJob::State() const {
  if (sink_.done()) return Next::kDone;
  return sink_.paused() ? Next::kPause : Next::kMore;
}

Event ChatJob::FailureOf(absl::Status status) const {
  // What was told cannot be told again by another worker.
  if (stream_.emitted() && absl::IsUnavailable(status)) {
    status = base::WithReason(base::Internal(std::string(status.message())), "upstream_lost");
  }
  return Failed{std::move(status)};
}

}  // namespace conclave::backends
