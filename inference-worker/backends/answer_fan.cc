#include "backends/answer_fan.h"

#include <deque>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/script.h"
#include "base/ids.h"

namespace conclave::backends {
namespace {

// Every server takes seeds of 31 bits.
constexpr uint64_t kSeedMask = 0x7fffffff;

bool IsEnd(const Event& event) {
  return std::holds_alternative<Finished>(event) || std::holds_alternative<Failed>(event);
}

std::string PartId(std::string_view id, int32_t index) {
  return absl::StrCat(std::string(id), "/", index);
}

// One request of several answers. Its parts' sinks hold it, so that it lives until the last of them
// has ended. Events may come on several threads; one at a time tells them to the caller.
class Fan final {
 public:
  Fan(Backend* backend, std::string id, int32_t n, std::shared_ptr<EventSink> sink,
      std::function<void()> before_last)
      : backend_(backend),
        id_(std::move(id)),
        sink_(std::move(sink)),
        before_last_(std::move(before_last)),
        ended_(static_cast<size_t>(n), false),
        left_(n) {}

  Flow OnPart(int32_t index, Event event);
  // All parts are started; until then nothing is told.
  void Open();
  // One of them was refused: nothing is ever told. The parts before `num_started` are cancelled.
  void Close(int32_t num_started);
  // What the caller has not taken is not told any more, but the ends.
  void Cancel();
  void Resume();

 private:
  void TakeLocked(int32_t index, Event event);
  void Pump();
  std::vector<int32_t> Live();
  void CancelParts(const std::vector<int32_t>& parts);

  Backend* const backend_;
  const std::string id_;
  const std::shared_ptr<EventSink> sink_;
  const std::function<void()> before_last_;

  std::mutex mutex_;
  std::deque<Event> waiting_;  // what the caller pauses for: an event or two of each part
  std::vector<bool> ended_;    // by index
  int32_t left_;
  absl::Status failure_;
  int64_t next_seq_ = 0;
  uint64_t resumes_ = 0;
  bool open_ = false;
  bool closed_ = false;
  bool cancelled_ = false;
  bool paused_ = false;
  bool telling_ = false;
};

class PartSink final : public EventSink {
 public:
  PartSink(std::shared_ptr<Fan> fan, int32_t index) : fan_(std::move(fan)), index_(index) {}
  Flow OnEvent(Event event) override { return fan_->OnPart(index_, std::move(event)); }

 private:
  const std::shared_ptr<Fan> fan_;
  const int32_t index_;
};

Flow Fan::OnPart(int32_t index, Event event) {
  const bool failed = std::holds_alternative<Failed>(event);
  bool cancel_rest = false;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Flow::kContinue;
    cancel_rest = failed && failure_.ok() && open_;
    TakeLocked(index, std::move(event));
  }
  if (cancel_rest) CancelParts(Live());
  Pump();
  const std::lock_guard lock(mutex_);
  return paused_ ? Flow::kPause : Flow::kContinue;
}

void Fan::TakeLocked(int32_t index, Event event) {
  auto* const finished = std::get_if<Finished>(&event);
  auto* const failed = std::get_if<Failed>(&event);
  if (finished != nullptr || failed != nullptr) {
    ended_[static_cast<size_t>(index)] = true;
    --left_;
  }
  if (failed != nullptr && failure_.ok()) failure_ = failed->status;
  if (!failure_.ok()) {
    // Told once nobody else can say anything any more.
    if (left_ == 0) waiting_.push_back(Failed{failure_});
    return;
  }
  if (finished != nullptr) {
    finished->index = index;
    if (index > 0) finished->usage.cached_tokens = 0;  // of the prompt, which counts once
  } else if (auto* const delta = std::get_if<Delta>(&event)) {
    delta->index = index;
    delta->seq = next_seq_++;
  }
  waiting_.push_back(std::move(event));
}

void Fan::Pump() {
  std::unique_lock lock(mutex_);
  if (telling_) return;  // whoever tells goes on with what was added
  while (open_ && !paused_ && !waiting_.empty()) {
    Event event = std::move(waiting_.front());
    waiting_.pop_front();
    const bool last = IsEnd(event) && left_ == 0 && waiting_.empty();
    const uint64_t before = resumes_;
    telling_ = true;
    lock.unlock();
    if (last) before_last_();
    const Flow flow = sink_->OnEvent(std::move(event));
    lock.lock();
    telling_ = false;
    paused_ = !last && !cancelled_ && flow == Flow::kPause && resumes_ == before;
  }
}

void Fan::Open() {
  bool failed = false;
  {
    const std::lock_guard lock(mutex_);
    open_ = true;
    failed = !failure_.ok();
  }
  if (failed) CancelParts(Live());
  Pump();
}

void Fan::Close(int32_t num_started) {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    waiting_.clear();
  }
  for (int32_t index = 0; index < num_started; ++index) backend_->Cancel(PartId(id_, index));
}

void Fan::Cancel() {
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    paused_ = false;
    std::erase_if(waiting_, [](const Event& event) { return !IsEnd(event); });
  }
  CancelParts(Live());
  Pump();
}

void Fan::Resume() {
  {
    const std::lock_guard lock(mutex_);
    ++resumes_;
    paused_ = false;
  }
  Pump();
  {
    const std::lock_guard lock(mutex_);
    if (paused_) return;
  }
  for (const int32_t index : Live()) backend_->Resume(PartId(id_, index));
}

std::vector<int32_t> Fan::Live() {
  const std::lock_guard lock(mutex_);
  std::vector<int32_t> live;
  for (size_t i = 0; i < ended_.size(); ++i) {
    if (!ended_[i]) live.push_back(static_cast<int32_t>(i));
  }
  return live;
}

void Fan::CancelParts(const std::vector<int32_t>& parts) {
  for (const int32_t index : parts) backend_->Cancel(PartId(id_, index));
}

class FannedOut final : public Backend {
 public:
  explicit FannedOut(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}
  ~FannedOut() override { Drain(std::chrono::milliseconds(0)); }

  absl::StatusOr<Accepted> Generate(GenerateRequest request,
                                    std::shared_ptr<EventSink> sink) override;
  void Cancel(std::string_view id) override {
    if (const auto fan = Find(id)) return fan->Cancel();
    backend_->Cancel(id);
  }
  void Resume(std::string_view id) override {
    if (const auto fan = Find(id)) return fan->Resume();
    backend_->Resume(id);
  }
  void Predict(PredictRequest request, PredictDone done) override {
    backend_->Predict(std::move(request), std::move(done));
  }
  absl::StatusOr<Tokenized> Tokenize(const std::variant<ChatPrompt, TextPrompt>& input,
                                     const TokenizeOptions& options) const override {
    return backend_->Tokenize(input, options);
  }
  absl::StatusOr<std::string> Detokenize(std::span<const TokenId> ids) const override {
    return backend_->Detokenize(ids);
  }
  absl::StatusOr<std::shared_ptr<const engine::ChatTemplate>> ParseTemplate(
      std::string_view source) const override {
    return backend_->ParseTemplate(source);
  }
  Load load() const override { return backend_->load(); }
  absl::Status health() const override { return backend_->health(); }
  const ModelDetails& details() const override { return backend_->details(); }
  void Drain(std::chrono::milliseconds timeout) override;

 private:
  std::shared_ptr<Fan> Find(std::string_view id) const {
    const std::lock_guard lock(mutex_);
    const auto found = fans_.find(std::string(id));
    return found == fans_.end() ? nullptr : found->second;
  }
  void Forget(const std::string& id) {
    const std::lock_guard lock(mutex_);
    fans_.erase(id);
  }

  const std::unique_ptr<Backend> backend_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<Fan>> fans_;  // by request id
};

absl::StatusOr<Accepted> FannedOut::Generate(GenerateRequest request,
                                             std::shared_ptr<EventSink> sink) {
  const bool resumed = request.resume && request.resume->begun();
  if (request.n == 1 || resumed) return backend_->Generate(std::move(request), std::move(sink));
  if (request.resume) request.resume->answers.resize(1);  // none has begun
  const std::string id = request.id;
  const int32_t n = std::exchange(request.n, 1);
  const std::optional<uint64_t> seed = request.sampling.seed;
  const auto fan =
      std::make_shared<Fan>(backend_.get(), id, n, std::move(sink), [this, id] { Forget(id); });
  {
    const std::lock_guard lock(mutex_);
    if (!fans_.emplace(id, fan).second) {
      return base::Internal(absl::StrCat("request id ", id, " is already live"));
    }
  }
  Accepted accepted;
  for (int32_t index = 0; index < n; ++index) {
    GenerateRequest part = request;
    part.id = PartId(id, index);
    if (seed && index > 0)
      part.sampling.seed = Draw(*seed, static_cast<uint64_t>(index)) & kSeedMask;
    absl::StatusOr<Accepted> one =
        backend_->Generate(std::move(part), std::make_shared<PartSink>(fan, index));
    if (!one.ok()) {
      fan->Close(index);
      Forget(id);
      return one.status();
    }
    if (index == 0) accepted = *one;
  }
  fan->Open();
  return accepted;
}

void FannedOut::Drain(std::chrono::milliseconds timeout) {
  backend_->Drain(timeout);
  // The parts have ended. A caller that pauses may not have heard of it.
  std::vector<std::shared_ptr<Fan>> left;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, fan] : fans_) left.push_back(fan);
  }
  for (const auto& fan : left) fan->Cancel();
}

}  // namespace

std::unique_ptr<Backend> FanOutAnswers(std::unique_ptr<Backend> backend) {
  return std::make_unique<FannedOut>(std::move(backend));
}

}  // namespace conclave::backends
