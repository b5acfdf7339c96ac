// The two kinds of requests to a child process (the protocols are described in subprocess.cc).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "backends/backend.h"
#include "backends/child_runner.h"
#include "backends/paced_sink.h"
#include "backends/remote_openai_wire.h"

namespace conclave::backends {

// A line in, a line out.
class PredictJob final : public ChildJob {
 public:
  PredictJob(std::string line, PredictDone done) : line_(std::move(line)), done_(std::move(done)) {}

  const std::string& line() const override { return line_; }
  Next OnLine(std::string_view line) override;
  void OnFail(const absl::Status& status) override;

 private:
  void Tell(absl::StatusOr<std::string> result);

  const std::string line_;
  PredictDone done_;  // empty once told
};

// A generation, in lines that carry its id.
class ChatJob final : public ChildJob {
 public:
  // `body` is the request as EncodeOpenAiCall writes it; `before_last` see PacedSink.
  ChatJob(std::string id, const std::string& body, std::shared_ptr<EventSink> sink,
          std::function<void(const Event&)> before_last, OpenAiStream::Options options);

  const std::string& line() const override { return line_; }
  std::string cancel_line() const override;
  Next OnLine(std::string_view line) override;
  void OnFail(const absl::Status& status) override;
  Next GoOn() override;
  PacedSink& sink() { return sink_; }

 private:
  Next State() const;
  Event FailureOf(absl::Status status) const;

  const std::string id_;
  const std::string line_;
  PacedSink sink_;
  OpenAiStream stream_;
};

}  // namespace conclave::backends
