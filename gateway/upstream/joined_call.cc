#include "gateway/upstream/joined_call.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <set>
#include <utility>

namespace conclave::gateway {
namespace {

namespace net = boost::asio;

// Prompts of one request that are with the workers at once: enough to fill a batch, too few to take
// a worker's queue from everybody else.
constexpr size_t kCallsMax = 8;

// Lives on the strand, held by its coroutines; only the feed is read from elsewhere.
class Join final : public std::enable_shared_from_this<Join> {
 public:
  using Feed = EventStream<v1::GenerateEvent>::Feed;

  Join(InferenceUpstream* upstream, std::vector<v1::GenerateRequest> requests,
       base::SteadyTime deadline, const net::any_io_executor& executor)
      : upstream_(upstream),
        requests_(std::move(requests)),
        n_(std::max(requests_.front().n(), 1)),
        deadline_(deadline),
        executor_(executor),
        room_(executor, net::steady_timer::time_point::max()) {}

  Call<v1::GenerateEvent> Start() {
    const size_t count = std::min(kCallsMax, requests_.size());
    num_running_ = count;
    // A coroutine may begin at once, and end before the next one is there.
    for (size_t i = 0; i < count; ++i) {
      net::co_spawn(
          executor_, [self = shared_from_this()] { return self->Run(); }, net::detached);
    }
    const auto on_strand = [self = shared_from_this()](void (Join::*what)()) {
      net::post(self->executor_, [self, what] { ((*self).*what)(); });
    };
    return std::make_unique<EventStream<v1::GenerateEvent>>(
        feed_, [on_strand] { on_strand(&Join::MakeRoom); },
        [on_strand] { on_strand(&Join::CancelAll); });
  }

 private:
  // One prompt after the other.
  Task<void> Run() {
    const std::shared_ptr<Join> self = shared_from_this();
    while (status_.ok() && next_ < requests_.size()) {
      const size_t prompt = next_++;
      const Call<v1::GenerateEvent> call =
          upstream_->Generate(std::move(requests_[prompt]), deadline_);
      calls_.insert(call.get());
      const absl::Status status = co_await Read(prompt, *call);
      calls_.erase(call.get());
      if (!status.ok() && status_.ok()) {
        status_ = base::Annotate(status, "entry " + std::to_string(prompt));
        for (auto* const other : calls_) other->Cancel();
      }
    }
    if (--num_running_ == 0) feed_->Finish(status_);
  }

  Task<absl::Status> Read(size_t prompt, EventStream<v1::GenerateEvent>& call) {
    std::vector<v1::GenerateEvent> events;
    while (co_await call.Next(&events, base::SteadyTime::max()) != StreamGot::kEnd) {
      for (v1::GenerateEvent& event : events) {
        if (Number(static_cast<int>(prompt), &event)) Push(std::move(event));
      }
      events.clear();
      while (is_full_ && status_.ok()) {
        co_await room_.async_wait(net::as_tuple(net::use_awaitable));
      }
    }
    co_return call.status();
  }

  void Push(v1::GenerateEvent event) {
    const size_t bytes = event.ByteSizeLong();
    if (!feed_->Push(std::move(event), bytes)) is_full_ = true;
  }

  // Puts the event in its place among those of all prompts. False: it is not passed on.
  bool Number(int prompt, v1::GenerateEvent* event) {
    switch (event->event_case()) {
      case v1::GenerateEvent::kAccepted:
        prompt_tokens_ += event->accepted().prompt_tokens();
        return !std::exchange(is_accepted_, true);
      case v1::GenerateEvent::kDelta:
        event->mutable_delta()->set_index(prompt * n_ + event->delta().index());
        return true;
      case v1::GenerateEvent::kPromptLogprobs:
        event->mutable_prompt_logprobs()->set_prompt(prompt);
        return true;
      case v1::GenerateEvent::kFinished: {
        v1::Finished* const finished = event->mutable_finished();
        finished->set_index(prompt * n_ + finished->index());
        v1::Usage* const usage = finished->mutable_usage();
        cached_tokens_ += usage->cached_tokens();  // told by one answer of each prompt
        usage->set_prompt_tokens(prompt_tokens_);
        usage->set_cached_tokens(cached_tokens_);
        return true;
      }
      default:
        return false;
    }
  }

  void MakeRoom() {
    is_full_ = false;
    room_.cancel();
  }

  void CancelAll() {
    if (status_.ok()) status_ = absl::CancelledError("cancelled");
    for (auto* const call : calls_) call->Cancel();
    room_.cancel();
  }

  InferenceUpstream* const upstream_;
  std::vector<v1::GenerateRequest> requests_;
  const int n_;
  const base::SteadyTime deadline_;
  const net::any_io_executor executor_;
  const std::shared_ptr<Feed> feed_ = std::make_shared<Feed>();
  net::steady_timer room_;  // cancelled when the reader has taken what was waiting
  size_t next_ = 0;         // of requests_
  size_t num_running_ = 0;
  std::set<EventStream<v1::GenerateEvent>*> calls_;
  absl::Status status_;
  bool is_full_ = false;
  bool is_accepted_ = false;
  int32_t prompt_tokens_ = 0;
  int32_t cached_tokens_ = 0;
};

}  // namespace

Call<v1::GenerateEvent> JoinGenerations(InferenceUpstream* upstream,
                                        std::vector<v1::GenerateRequest> requests,
                                        base::SteadyTime deadline,
                                        const net::any_io_executor& executor) {
  return std::make_shared<Join>(upstream, std::move(requests), deadline, executor)->Start();
}

}  // namespace conclave::gateway
