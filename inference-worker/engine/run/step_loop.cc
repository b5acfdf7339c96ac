#include "engine/run/step_loop.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/sample/sampler.h"
#include "engine/sample/stopping.h"

namespace conclave::engine {
namespace {

// How long an idle loop sleeps at most: sequences may be waiting for blocks of paused ones.
constexpr std::chrono::milliseconds kIdleWait(100);
// After Drain cancelled what was left: several steps of the slowest model.
constexpr std::chrono::seconds kCancelGrace(30);

constexpr int32_t kLogprobsMax = 128;
constexpr size_t kStopIdsMax = 4096;
constexpr size_t kLogitBiasMax = 4096;
constexpr size_t kIdBytesMax = 256;

SchedulerOptions MakeSchedulerOptions(const EngineOptions& options, int32_t score_rows_max) {
  return {.max_sequences = options.max_sequences,
          .step_token_budget = options.step_token_budget,
          .block_tokens = KvLayout::kBlockTokens,
          .score_rows_max = score_rows_max};
}

absl::Status CheckTokens(const char* field, const std::vector<TokenId>& tokens,
                         int32_t vocab_size) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= vocab_size) {
      return base::InvalidArgument(absl::StrCat(field, "[", i, "]: ", tokens[i],
                                                " is outside the vocabulary of ", vocab_size));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckResumed(const GenerateRequest& request) {
  const std::vector<ResumedAnswer>& answers = request.answers;
  if (request.n > 1 && !request.resumed.empty()) {
    return base::InvalidArgument("resumed: is of a single answer");
  }
  if (answers.empty()) return absl::OkStatus();
  if (answers.size() != static_cast<size_t>(request.n)) {
    return base::InvalidArgument("answers: must be as many as n");
  }
  const bool all_ended = std::all_of(answers.begin(), answers.end(),
                                     [](const ResumedAnswer& answer) { return answer.ended; });
  return all_ended ? base::InvalidArgument("answers: all have ended") : absl::OkStatus();
}

// On the caller's thread: a resumed output is followed again from its beginning.
absl::Status StartGrammar(Sequence& sequence) {
  if (sequence.request.grammar == nullptr) return absl::OkStatus();
  sequence.matcher = std::make_unique<grammar::Matcher>(sequence.request.grammar);
  for (const TokenId token : sequence.request.resumed) {
    if (sequence.matcher->Accept(token)) continue;
    return base::InvalidArgument("resumed: is no beginning of what the format asks for");
  }
  return absl::OkStatus();
}

}  // namespace

StepLoop::StepLoop(StepLoopConfig config, std::unique_ptr<Executor> executor,
                   std::shared_ptr<const ModelSource> source)
    : config_(std::move(config)),
      source_(std::move(source)),
      executor_(std::move(executor)),
      chooser_(executor_->hparams().vocab_size, &executor_->kernels()),
      pool_(config_.num_blocks),
      cache_(config_.options.prefix_cache
                 ? std::make_optional<PrefixCache>(&pool_, KvLayout::kBlockTokens)
                 : std::nullopt),
      scheduler_(MakeSchedulerOptions(config_.options, config_.score_rows_max), &pool_,
                 cache_.has_value() ? &*cache_ : nullptr),
      balancer_(executor_->kernels().mover(), config_.balancer) {
  PublishStats();
  thread_ = std::jthread([this] { Loop(); });
}

StepLoop::~StepLoop() {
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
    stopping_ = true;
  }
  inbox_ready_.notify_all();
  thread_.join();
}

absl::Status StepLoop::CheckRequest(const GenerateRequest& request) const {
  const int32_t vocab_size = executor_->hparams().vocab_size;
  if (request.id.empty() || request.id.size() > kIdBytesMax) {
    return base::InvalidArgument(
        absl::StrCat("id: ", request.id.size(), " bytes, must have between 1 and ", kIdBytesMax));
  }
  if (request.prompt.empty()) return base::InvalidArgument("prompt: is empty");
  size_t resumed = request.resumed.size();
  for (const ResumedAnswer& answer : request.answers) {
    resumed = std::max(resumed, answer.output.size());
    RETURN_IF_ERROR(CheckTokens("resumed", answer.output, vocab_size));
  }
  const size_t given = request.prompt.size() + resumed;
  if (given > static_cast<size_t>(config_.context_length)) {
    return absl::OutOfRangeError(
        absl::StrCat("prompt: ", given, " tokens, the context is ", config_.context_length));
  }
  RETURN_IF_ERROR(CheckTokens("prompt", request.prompt, vocab_size));
  RETURN_IF_ERROR(CheckTokens("resumed", request.resumed, vocab_size));
  if (request.stop_ids.size() > kStopIdsMax) {
    return base::InvalidArgument(
        absl::StrCat("stop_token_ids: ", request.stop_ids.size(), ", at most ", kStopIdsMax));
  }
  RETURN_IF_ERROR(CheckTokens("stop_token_ids", request.stop_ids, vocab_size));
  if (request.max_tokens < 0) {
    return base::InvalidArgument(absl::StrCat("max_tokens: ", request.max_tokens, " is below 0"));
  }
  for (const auto& [field, value] :
       {std::pair("num_logprobs", request.num_logprobs),
        std::pair("num_prompt_logprobs", request.num_prompt_logprobs)}) {
    if (value >= -1 && value <= kLogprobsMax) continue;
    return base::InvalidArgument(
        absl::StrCat(field, ": ", value, " is outside [-1, ", kLogprobsMax, "]"));
  }
  if (request.n < 1 || request.n > kAnswersMax) {
    return base::InvalidArgument(
        absl::StrCat("n: ", request.n, " is outside [1, ", kAnswersMax, "]"));
  }
  RETURN_IF_ERROR(CheckResumed(request));
  if (request.sampling.logit_bias.size() > kLogitBiasMax) {
    return base::InvalidArgument(absl::StrCat("logit_bias: ", request.sampling.logit_bias.size(),
                                              " entries, at most ", kLogitBiasMax));
  }
  return Validate(request.sampling, vocab_size);
}

absl::Status StepLoop::Submit(GenerateRequest request, std::shared_ptr<EventSink> sink) {
  RETURN_IF_ERROR(CheckRequest(request));
  const std::string id = request.id;
  ASSIGN_OR_RETURN(std::vector<std::unique_ptr<Sequence>> sequences,
                   MakeSequences(std::move(request), sink));
  const auto n = static_cast<int32_t>(sequences.size());
  {
    const std::lock_guard lock(mutex_);
    if (!failure_.ok()) return failure_;
    if (draining_) return base::Unavailable("the engine is draining");
    if (num_queued_ >= config_.options.max_queued) {
      return base::ResourceExhausted(absl::StrCat("the queue is full: ", num_queued_, " waiting"));
    }
    if (!live_.emplace(id, n).second) {
      return absl::AlreadyExistsError("id: a request of this name is running");
    }
    num_queued_ += n;
    num_unfinished_ += n;
    published_.waiting += n;
    inbox_.push_back({.kind = Message::Kind::kSubmit, .sequences = std::move(sequences)});
  }
  inbox_ready_.notify_one();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::unique_ptr<Sequence>>> StepLoop::MakeSequences(
    GenerateRequest request, const std::shared_ptr<EventSink>& sink) const {
  const StoppingCriteria stopping =
      MakeStoppingCriteria(request, config_.model_stop_ids, config_.context_length);
  std::vector<std::unique_ptr<Sequence>> sequences;
  const int32_t n = request.n;
  std::vector<ResumedAnswer> resumed = std::move(request.answers);
  request.answers.clear();
  for (int32_t index = 0; index < n; ++index) {
    ResumedAnswer* const before = resumed.empty() ? nullptr : &resumed[static_cast<size_t>(index)];
    if (before != nullptr && before->ended) continue;
    // A prompt may be long: one answer alone makes no copy of it.
    GenerateRequest own = index + 1 < n ? request : std::move(request);
    own.sampling.stream = static_cast<uint32_t>(index);
    if (index > 0) own.num_prompt_logprobs = -1;  // one of them tells
    if (before != nullptr) own.resumed = std::move(before->output);
    auto sequence = std::make_unique<Sequence>(std::move(own), stopping);
    sequence->index = index;
    RETURN_IF_ERROR(StartGrammar(*sequence));
    sequence->sink = sink;
    sequence->submitted_at = clock_.Now();
    sequences.push_back(std::move(sequence));
  }
  return sequences;
}

void StepLoop::Cancel(std::string_view id) {
  Post({.kind = Message::Kind::kCancel, .id = std::string(id)});
}

void StepLoop::Resume(std::string_view id) {
  Post({.kind = Message::Kind::kResume, .id = std::string(id)});
}

// Only for live requests, so that the inbox is bounded by them and not by how often somebody calls.
void StepLoop::Post(Message message) {
  {
    const std::lock_guard lock(mutex_);
    if (!live_.contains(message.id)) return;
    const bool posted = std::any_of(inbox_.begin(), inbox_.end(), [&](const Message& other) {
      return other.kind == message.kind && other.id == message.id;
    });
    if (posted) return;
    inbox_.push_back(std::move(message));
  }
  inbox_ready_.notify_one();
}

absl::Status StepLoop::Health() const {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_.ok()) return failure_;
  }
  return source_ == nullptr ? absl::OkStatus() : source_->Health();
}

EngineStats StepLoop::Stats() const {
  const std::lock_guard lock(mutex_);
  return published_;
}

ExpertTable StepLoop::Experts() const {
  const std::lock_guard lock(mutex_);
  return published_experts_;
}

void StepLoop::Drain(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  if (all_gone_.wait_for(lock, timeout, [&] { return num_unfinished_ == 0; })) return;
  std::vector<std::string> left;
  for (const auto& [id, answers] : live_) left.push_back(id);
  lock.unlock();
  for (const std::string& id : left) Cancel(id);
  lock.lock();
  all_gone_.wait_for(lock, kCancelGrace, [&] { return num_unfinished_ == 0; });
}

void StepLoop::Loop() {
  pthread_setname_np(pthread_self(), "engine-step");
  std::vector<Message> inbox;
  bool idle = false;
  while (TakeInbox(idle, inbox)) {
    for (Message& message : inbox) Handle(message);
    inbox.clear();
    idle = !Step();
  }
  for (Message& message : inbox) Handle(message);
  FinishAll(FinishReason::kCancelled, absl::OkStatus());
  PublishStats();
}

bool StepLoop::TakeInbox(bool idle, std::vector<Message>& inbox) {
  std::unique_lock lock(mutex_);
  if (idle) {
    // Without any sequence only a message can change something: nothing but the deadline wakes us.
    inbox_ready_.wait_for(lock, kIdleWait, [&] { return stopping_ || !inbox_.empty(); });
  }
  inbox.swap(inbox_);
  return !stopping_;
}

void StepLoop::Handle(Message& message) {
  for (std::unique_ptr<Sequence>& sequence : message.sequences) Add(std::move(sequence));
  for (Sequence* const sequence : scheduler_.Find(message.id)) {
    if (message.kind == Message::Kind::kCancel) {
      Finish(*sequence, FinishReason::kCancelled);
    } else {
      scheduler_.Resume(*sequence);
    }
  }
}

void StepLoop::Add(std::unique_ptr<Sequence> added) {
  Sequence& sequence = *scheduler_.Add(std::move(added));
  // A resumed request may have had all its output already.
  if (sequence.matcher != nullptr && sequence.matcher->must_end()) {
    Finish(sequence, FinishReason::kStop);
  } else if (sequence.num_output() >= sequence.stopping.max_output) {
    Finish(sequence, FinishReason::kLength);
  }
}

bool StepLoop::Step() {
  if (const absl::Status health = Health(); !health.ok()) FinishAll(FinishReason::kError, health);
  const base::SteadyTime start = clock_.Now();
  const Batch batch = scheduler_.Next();
  keeper_.totals.preempted_total += batch.num_preempted;
  if (batch.empty()) {
    PublishStats();
    return false;
  }
  StepRecord record;
  for (const BatchPart& part : batch.parts) {
    (part.sequence->is_decode() ? record.decode_rows : record.prefill_rows) += part.rows;
  }
  Announce(batch);
  const std::span<float> logits = executor_->Run(batch);
  scheduler_.Commit(batch);
  if (const absl::Status chosen = chooser_.Choose(batch, logits); !chosen.ok()) {
    Fail(chosen);
    return false;
  }
  // Counted before anybody hears of it: who is told of an end finds its step in the figures.
  record.ms = base::MillisBetween(start, clock_.Now());
  keeper_.AddStep(record);
  Emit(batch);
  if (const absl::Status status = balancer_.AfterStep(batch.num_rows); !status.ok()) {
    Fail(status);
    return false;
  }
  PublishStats();
  return true;
}

// What the device computed is lost and it will compute no more: everybody is told, and whoever
// comes later is refused.
void StepLoop::Fail(const absl::Status& status) {
  {
    const std::lock_guard lock(mutex_);
    failure_ = status;
  }
  FinishAll(FinishReason::kError, status);
  PublishStats();
}

// Slots are given before the step computes, so that a listener knows of them while a long prompt
// runs. What the sink asks for here takes effect after the step: its sequence is in the batch.
void StepLoop::Announce(const Batch& batch) {
  for (Sequence* const sequence : batch.admitted) {
    sequence->admitted_at = clock_.Now();
    if (sequence->index == 0) {
      keeper_.totals.prompt_tokens_total += static_cast<int64_t>(sequence->prompt_size());
      keeper_.totals.cached_tokens_total += sequence->cached_tokens;
    }
    {
      const std::lock_guard lock(mutex_);
      --num_queued_;
    }
    const SinkAction action =
        sequence->sink->OnEvent({.kind = Event::Kind::kAccepted, .index = sequence->index});
    if (action == SinkAction::kPause) Pause(*sequence);
    if (action == SinkAction::kStop) sequence->stop_asked = true;
  }
}

// Each sequence is in a batch once, so one that ends here is not met again.
void StepLoop::Emit(const Batch& batch) {
  size_t next_choice = 0;
  std::span<const ScoredToken> scores = chooser_.scores();
  for (const BatchPart& part : batch.parts) {
    Sequence& sequence = *part.sequence;
    const Choice* const choice = part.wants_logits ? &chooser_.choices()[next_choice++] : nullptr;
    const auto own_scores = scores.first(static_cast<size_t>(part.score_rows));
    scores = scores.subspan(own_scores.size());
    if (sequence.stop_asked) {
      Finish(sequence, FinishReason::kStop);
    } else if (!EmitScores(part, own_scores)) {
      continue;
    } else if (choice != nullptr) {
      EmitToken(sequence, *choice);
    } else if (!sequence.has_emitted) {
      Tell(sequence, {.kind = Event::Kind::kPrefill,
                      .prefill_done = sequence.num_computed,
                      .prefill_total = sequence.num_tokens()});
    }
  }
}

bool StepLoop::EmitScores(const BatchPart& part, std::span<const ScoredToken> scores) {
  if (scores.empty()) return true;
  return Tell(*part.sequence, {.kind = Event::Kind::kPromptLogprobs,
                               .position = part.position + part.score_begin + 1,
                               .scores = {scores.begin(), scores.end()}});
}

void StepLoop::EmitToken(Sequence& sequence, const Choice& choice) {
  if (sequence.request.prompt_only) return Finish(sequence, FinishReason::kLength);
  if (choice.token < 0) return EndWithoutToken(sequence);
  if (!std::exchange(sequence.has_emitted, true)) sequence.first_token_at = clock_.Now();
  const std::optional<FinishReason> over =
      sequence.stopping.Check(choice.token, sequence.num_output() + 1);
  if (over == FinishReason::kStop) {
    Finish(sequence, *over, absl::OkStatus(), &choice);
    return;
  }
  if (sequence.matcher != nullptr && !sequence.matcher->Accept(choice.token)) {
    return EndWithoutToken(sequence);
  }
  sequence.tokens.push_back(choice.token);
  ++keeper_.totals.output_tokens_total;
  const bool alive = Tell(sequence, {.kind = Event::Kind::kToken,
                                     .token = choice.token,
                                     .logprob = choice.logprob,
                                     .alternatives = choice.alternatives});
  if (!alive) return;
  // A whole text that nothing can follow is over, whether or not it was the last token allowed.
  if (sequence.matcher != nullptr && sequence.matcher->must_end()) {
    Finish(sequence, FinishReason::kStop);
  } else if (over.has_value()) {
    Finish(sequence, *over);
  }
}

// A grammar that allows nothing more is the end of a whole text, and never passes for one of
// another.
void StepLoop::EndWithoutToken(Sequence& sequence) {
  const grammar::Matcher* const matcher = sequence.matcher.get();
  if (matcher == nullptr) {
    return Finish(sequence, FinishReason::kError,
                  base::Internal("the model gave no finite logits; its weights may be damaged"));
  }
  if (!matcher->status().ok()) return Finish(sequence, FinishReason::kError, matcher->status());
  if (matcher->may_end()) return Finish(sequence, FinishReason::kStop);
  Finish(sequence, FinishReason::kError,
         base::Internal("no token of this model's vocabulary can continue the asked-for format"));
}

bool StepLoop::Tell(Sequence& sequence, Event event) {
  event.index = sequence.index;
  switch (sequence.sink->OnEvent(event)) {
    case SinkAction::kContinue:
      return true;
    case SinkAction::kPause:
      Pause(sequence);
      return true;
    case SinkAction::kStop:
      Finish(sequence, FinishReason::kStop);
      return false;
  }
  return true;
}

// The answers to a request have one reader.
void StepLoop::Pause(const Sequence& sequence) {
  for (Sequence* const one : scheduler_.Find(sequence.request.id)) scheduler_.Pause(*one);
}

void StepLoop::Finish(Sequence& sequence, FinishReason reason, absl::Status status,
                      const Choice* stop) {
  const std::unique_ptr<Sequence> ended = scheduler_.Remove(sequence);
  const base::SteadyTime now = clock_.Now();
  const base::SteadyTime admitted = ended->was_admitted ? ended->admitted_at : now;
  const base::SteadyTime first_token = ended->has_emitted ? ended->first_token_at : now;
  if (reason == FinishReason::kCancelled) ++keeper_.totals.cancelled_total;
  // Free first, told afterwards: who hears of the end finds the slot and the name free.
  PublishStats();
  {
    const std::lock_guard lock(mutex_);
    const auto live = live_.find(ended->request.id);
    if (--live->second == 0) live_.erase(live);
    if (!ended->was_admitted) --num_queued_;
  }
  ended->sink->OnEvent(
      {.kind = Event::Kind::kFinished,
       .index = ended->index,
       .token = stop != nullptr ? stop->token : -1,
       .logprob = stop != nullptr ? stop->logprob : TokenLogprob(),
       .alternatives = stop != nullptr ? stop->alternatives : std::vector<TokenLogprob>(),
       .reason = reason,
       .status = std::move(status),
       .usage = {.prompt_tokens = static_cast<int32_t>(ended->prompt_size()),
                 .cached_tokens = ended->cached_tokens,
                 .output_tokens = ended->num_output()},
       .timings = {.queue_ms = base::MillisBetween(ended->submitted_at, admitted),
                   .prefill_ms = base::MillisBetween(admitted, std::max(admitted, first_token)),
                   .decode_ms = base::MillisBetween(first_token, now)}});
  {
    const std::lock_guard lock(mutex_);
    --num_unfinished_;
  }
  all_gone_.notify_all();
}

void StepLoop::FinishAll(FinishReason reason, const absl::Status& status) {
  for (Sequence* const sequence : scheduler_.All()) Finish(*sequence, reason, status);
}

void StepLoop::PublishStats() {
  EngineStats& totals = keeper_.totals;
  totals.running = scheduler_.num_running();
  totals.waiting = scheduler_.num_waiting();
  totals.waiting_tokens = scheduler_.waiting_tokens();
  totals.slots = config_.options.max_sequences;
  totals.kv_blocks_used = pool_.num_used();
  totals.kv_blocks_total = pool_.num_blocks();
  totals.block_tokens = KvLayout::kBlockTokens;
  totals.experts = balancer_.stats();
  EngineStats snapshot = keeper_.Snapshot();
  const std::lock_guard lock(mutex_);
  if (std::exchange(published_version_, balancer_.version()) != balancer_.version()) {
    published_experts_ = balancer_.table();
  }
  // Requests that lie in the inbox wait too.
  for (const Message& message : inbox_) {
    for (const auto& sequence : message.sequences) {
      ++snapshot.waiting;
      snapshot.waiting_tokens += sequence->num_left();
    }
  }
  published_ = snapshot;
}

}  // namespace conclave::engine
