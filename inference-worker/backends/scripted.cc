// Deterministic answers under the same contract as the engine: slots, a queue with a limit, one
// token per turn, back-pressure, cancellation within a step. One thread walks the due sequences.
#include "backends/scripted.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "backends/context_length.h"
#include "backends/script.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/status.h"

namespace conclave::backends {
namespace {

using base::SteadyTime;
using std::chrono::milliseconds;

constexpr int32_t kBlockTokens = 16;
constexpr int64_t kScriptBytesMax = 16 << 20;

// What the answers to one request share.
struct Family {
  int64_t next_seq = 0;  // of their deltas
  bool failed = false;   // the sink has heard the last of it
};

struct Sequence {
  std::string id;
  int32_t index = 0;  // of the answer
  std::shared_ptr<Family> family = std::make_shared<Family>();
  std::shared_ptr<EventSink> sink;
  std::vector<TokenId> prompt;  // while there is something to tell of it
  std::optional<PromptReport> prompt_report;
  ScriptAnswer answer;
  Usage usage;
  int32_t top_logprobs = -1;
  uint64_t seed = 0;
  uint64_t prompt_hash = 0;
  milliseconds token_delay{0};
  milliseconds prefill_delay{0};

  size_t next_action = 0;
  bool running = false;
  bool cancelled = false;
  bool paused = false;
  uint64_t resumes = 0;  // counts Resume calls, so that one during OnEvent is not lost
  SteadyTime submitted;
  SteadyTime admitted;
  SteadyTime first_token;
};
using SequencePtr = std::shared_ptr<Sequence>;

int32_t Blocks(const Sequence& s) {
  return (s.usage.prompt_tokens + s.usage.completion_tokens + kBlockTokens - 1) / kBlockTokens;
}

TokenLogprob MakeLogprob(TokenId id, int32_t top) {
  const auto make = [](TokenId token, int rank) {
    TokenLogprob entry;
    entry.id = token;
    entry.logprob = -0.125f * static_cast<float>(rank + 1);
    entry.bytes = CodePointText(token);
    return entry;
  };
  TokenLogprob chosen = make(id, 0);
  for (int32_t i = 0; i < top; ++i) chosen.top.push_back(make((id + i) % kScriptVocabSize, i));
  return chosen;
}

// The next piece of the prompt; takes its tokens away.
PromptTokens NextPromptTokens(Sequence& s, int32_t position) {
  const size_t count = std::min(s.prompt.size(), PromptTokens::kMax);
  PromptTokens piece;
  piece.position = position;
  for (size_t i = 0; i < count; ++i) {
    const TokenId id = s.prompt[i];
    TokenLogprob token = MakeLogprob(id, s.prompt_report->top_logprobs);
    const bool has_logprob = s.prompt_report->top_logprobs >= 0 && (position > 0 || i > 0);
    if (!has_logprob) {
      token.logprob = 0;
      token.top.clear();
    }
    piece.text += token.bytes;
    piece.tokens.push_back(std::move(token));
  }
  s.prompt.erase(s.prompt.begin(), s.prompt.begin() + static_cast<ptrdiff_t>(count));
  return piece;
}

Delta MakeDelta(const Sequence& s, const ScriptAction& action) {
  Delta delta;
  delta.index = s.index;
  delta.seq = s.family->next_seq++;
  delta.token_ids = {action.id};
  if (s.top_logprobs >= 0) delta.logprobs.push_back(MakeLogprob(action.id, s.top_logprobs));
  switch (action.kind) {
    case ScriptAction::Kind::kText:
      delta.text = action.text;
      return delta;
    case ScriptAction::Kind::kReasoning:
      delta.reasoning = action.text;
      return delta;
    default:
      break;
  }
  ToolCallDelta call;
  call.index = action.call_index;
  if (action.kind == ScriptAction::Kind::kCallBegin) {
    call.id = ToolCallId(s.seed, s.prompt_hash, action.call_index);
    call.name = action.text;
  } else if (action.kind == ScriptAction::Kind::kCallArguments) {
    call.state = ToolCallDelta::State::kInProgress;
    call.arguments = action.text;
  } else {
    std::string arguments;
    for (const ScriptAction& other : s.answer.actions) {
      const bool part = other.kind == ScriptAction::Kind::kCallArguments;
      if (part && other.call_index == action.call_index) arguments += other.text;
    }
    const auto parsed = base::JsonDocument::Parse(arguments);
    const bool good = parsed.ok() && parsed->root().is_object();
    call.state = good ? ToolCallDelta::State::kSucceeded : ToolCallDelta::State::kFailed;
  }
  delta.tool_call = std::move(call);
  return delta;
}

// Every emitting action has one id and one delta, so the ids already seen are the position. An
// action without an id before that position is past, too.
void Skip(const SeenAnswer& before, Sequence& s) {
  const auto emitted = static_cast<int32_t>(before.emitted.size());
  while (s.next_action < s.answer.actions.size() && s.usage.completion_tokens < emitted) {
    const ScriptAction& action = s.answer.actions[s.next_action++];
    if (!action.emits()) continue;
    ++s.usage.completion_tokens;
    if (action.kind == ScriptAction::Kind::kReasoning) ++s.usage.reasoning_tokens;
  }
}

class Scripted final : public Backend {
 public:
  explicit Scripted(Script script, int64_t size_bytes);
  ~Scripted() override;

  absl::StatusOr<Accepted> Generate(GenerateRequest request,
                                    std::shared_ptr<EventSink> sink) override;
  void Cancel(std::string_view id) override;
  void Resume(std::string_view id) override;
  absl::StatusOr<Tokenized> Tokenize(const std::variant<ChatPrompt, TextPrompt>& input,
                                     const TokenizeOptions& options) const override;
  absl::StatusOr<std::string> Detokenize(std::span<const TokenId> ids) const override;
  Load load() const override;
  const ModelDetails& details() const override { return details_; }
  void Drain(milliseconds timeout) override;

 private:
  using Key = std::pair<SteadyTime, uint64_t>;  // due, then first come first served

  absl::StatusOr<const ScriptRule*> FindRule(const ScriptPrompt& prompt);
  // Of one request, by index; at least one. The seed is the request's.
  absl::StatusOr<Accepted> Enqueue(std::vector<SequencePtr> answers, uint64_t seed);
  void Run();
  void AdmitLocked();
  void MakeReadyLocked(const SequencePtr& s, SteadyTime due);
  void WakeLocked(const SequencePtr& s);
  // One turn of `s`: its next action, or its end. Gives the lock up while the sink is called.
  void Step(const SequencePtr& s, std::unique_lock<std::mutex>& lock);
  void TellPrompt(const SequencePtr& s, std::unique_lock<std::mutex>& lock);
  void End(const SequencePtr& s, Event last, std::unique_lock<std::mutex>& lock);
  Finished MakeFinished(const Sequence& s) const;

  const Script script_;
  ModelDetails details_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  std::vector<int64_t> rule_uses_;                          // how often each rule has answered
  std::unordered_multimap<std::string, SequencePtr> live_;  // by request id
  std::deque<SequencePtr> waiting_;
  std::map<Key, SequencePtr> ready_;
  uint64_t tickets_ = 0;
  int32_t running_ = 0;
  bool draining_ = false;
  bool stopping_ = false;
  Load totals_;
  std::thread thread_;
};

Scripted::Scripted(Script script, int64_t size_bytes)
    : script_(std::move(script)), rule_uses_(script_.rules.size(), 0) {
  details_.format = "script";
  details_.family = "scripted";
  details_.size_bytes = size_bytes;
  details_.memory_bytes = size_bytes;
  details_.context_length = script_.context_length;
  details_.vocab_size = kScriptVocabSize;
  details_.capabilities = script_.capabilities;
  details_.aliases = script_.aliases;
  details_.revision = absl::StrCat(absl::Hex(script_.fingerprint, absl::kZeroPad16));
  thread_ = std::thread([this] { Run(); });
}

Scripted::~Scripted() {
  Drain(milliseconds(0));
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

absl::StatusOr<const ScriptRule*> Scripted::FindRule(const ScriptPrompt& prompt) {
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < script_.rules.size(); ++i) {
    const ScriptRule& rule = script_.rules[i];
    if (!Matches(rule, prompt)) continue;
    if (rule.times >= 0 && rule_uses_[i] >= rule.times) continue;
    ++rule_uses_[i];
    if (!rule.refuse.ok()) return rule.refuse;
    return &rule;
  }
  return nullptr;
}

absl::StatusOr<Accepted> Scripted::Generate(GenerateRequest request,
                                            std::shared_ptr<EventSink> sink) {
  if (request.response_format.kind != ResponseFormat::Kind::kText) {
    return base::WithParam(
        base::Unimplemented("response_format: only text is supported by the scripted backend"),
        "response_format");
  }
  const auto& can = details_.capabilities;
  if (request.infill && std::find(can.begin(), can.end(), "insert") == can.end()) {
    return base::WithParam(
        base::Unimplemented("suffix: this model has no tokens for filling in the middle"),
        "suffix");
  }
  ASSIGN_OR_RETURN(const ScriptPrompt prompt, ReadScriptPrompt(request));
  const int32_t room = script_.context_length - prompt.num_tokens;
  if (room <= 0) {
    return ContextLengthExceeded(script_.context_length, absl::StrCat(prompt.num_tokens));
  }
  ASSIGN_OR_RETURN(const ScriptRule* rule, FindRule(prompt));

  auto s = std::make_shared<Sequence>();
  s->id = request.id;
  s->sink = std::move(sink);
  s->top_logprobs = request.top_logprobs;
  s->prompt_hash = HashBytes(prompt.text);
  const uint64_t seed = request.resume ? request.resume->seed
                                       : request.sampling.seed.value_or(HashBytes(base::NewId("")));
  s->seed = seed;
  s->usage.prompt_tokens = prompt.num_tokens;
  s->token_delay =
      milliseconds(rule ? rule->token_ms.value_or(script_.token_ms) : script_.token_ms);
  s->prefill_delay =
      milliseconds(rule ? rule->prefill_ms.value_or(script_.prefill_ms) : script_.prefill_ms);
  s->answer = MakeAnswer(rule, prompt, request.stop, s->seed, room);
  s->prompt_report = request.prompt_report;
  if (request.prompt_report) s->prompt = CodePoints(prompt.text);
  if (request.resume) s->family->next_seq = request.resume->next_seq;
  std::vector<SequencePtr> answers;
  for (int32_t index = 0; index < request.n; ++index) {
    const SeenAnswer* const before =
        request.resume ? &request.resume->answers[static_cast<size_t>(index)] : nullptr;
    if (before != nullptr && before->finished) continue;
    const SequencePtr one = index == 0 ? s : std::make_shared<Sequence>(*s);
    if (index > 0) {
      one->index = index;
      one->seed = Draw(seed, static_cast<uint64_t>(index));
      one->prompt.clear();
      one->answer = MakeAnswer(rule, prompt, request.stop, one->seed, room);
    }
    answers.push_back(one);
  }
  // Only now: the answers are copies of the first as it was.
  for (const SequencePtr& one : answers) {
    if (request.resume) Skip(request.resume->answers[static_cast<size_t>(one->index)], *one);
  }
  return Enqueue(std::move(answers), seed);
}

absl::StatusOr<Accepted> Scripted::Enqueue(std::vector<SequencePtr> answers, uint64_t seed) {
  const std::lock_guard lock(mutex_);
  if (draining_) return base::Unavailable("draining");
  // Counted together: a newcomer waits for the thread even where a slot is free.
  const auto live = static_cast<int64_t>(waiting_.size()) + running_;
  if (live >= int64_t{script_.slots} + script_.max_queued) {
    return base::ResourceExhausted(
        absl::StrCat("the queue of this model is full (", script_.max_queued, " waiting)"));
  }
  const Sequence& first = *answers.front();
  if (live_.contains(first.id)) {
    return base::Internal(absl::StrCat("request id ", first.id, " is already live"));
  }
  Accepted accepted;
  accepted.prompt_tokens = first.usage.prompt_tokens;
  accepted.seed = seed;
  accepted.queue_position =
      running_ < script_.slots ? 0 : static_cast<int32_t>(waiting_.size()) + 1;
  for (SequencePtr& s : answers) {
    s->submitted = base::Clock::System().Now();
    live_.emplace(s->id, s);
    waiting_.push_back(std::move(s));
  }
  wake_.notify_all();
  return accepted;
}

void Scripted::MakeReadyLocked(const SequencePtr& s, SteadyTime due) {
  ready_.emplace(Key(due, ++tickets_), s);
}

// Makes it due now, wherever it is.
void Scripted::WakeLocked(const SequencePtr& s) {
  std::erase_if(ready_, [&](const auto& entry) { return entry.second == s; });
  MakeReadyLocked(s, base::Clock::System().Now());
  wake_.notify_all();
}

void Scripted::AdmitLocked() {
  while (running_ < script_.slots && !waiting_.empty()) {
    SequencePtr s = std::move(waiting_.front());
    waiting_.pop_front();
    s->running = true;
    ++running_;
    s->admitted = base::Clock::System().Now();
    if (s->index == 0) totals_.prompt_tokens_total += s->usage.prompt_tokens;
    MakeReadyLocked(s, s->admitted + s->prefill_delay);
  }
}

void Scripted::Run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    AdmitLocked();
    if (ready_.empty()) {
      wake_.wait(lock);
      continue;
    }
    const auto first = ready_.begin();
    if (first->first.first > base::Clock::System().Now()) {
      wake_.wait_until(lock, first->first.first);
      continue;
    }
    const SequencePtr s = first->second;
    ready_.erase(first);
    ++totals_.steps_total;
    Step(s, lock);
  }
}

void Scripted::Step(const SequencePtr& s, std::unique_lock<std::mutex>& lock) {
  if (s->family->failed) return End(s, MakeFinished(*s), lock);
  if (s->cancelled) {
    ++totals_.cancelled_total;
    s->answer.reason = Finished::Reason::kCancelled;
    End(s, MakeFinished(*s), lock);
    return;
  }
  if (!s->prompt.empty()) TellPrompt(s, lock);
  if (s->cancelled) return;  // Cancel has made it due while the lock was free
  if (s->next_action >= s->answer.actions.size()) {
    End(s, MakeFinished(*s), lock);
    return;
  }
  const ScriptAction& action = s->answer.actions[s->next_action++];
  const SteadyTime now = base::Clock::System().Now();
  if (action.kind == ScriptAction::Kind::kDelay) {
    MakeReadyLocked(s, now + milliseconds(action.delay_ms));
    return;
  }
  if (action.kind == ScriptAction::Kind::kHang) return;  // until Cancel wakes it
  if (action.kind == ScriptAction::Kind::kFail) {
    End(s, Failed{action.status}, lock);
    return;
  }
  if (s->first_token == SteadyTime()) s->first_token = now;
  Delta delta = MakeDelta(*s, action);
  ++s->usage.completion_tokens;
  ++totals_.output_tokens_total;
  if (action.kind == ScriptAction::Kind::kReasoning) ++s->usage.reasoning_tokens;
  const uint64_t resumes = s->resumes;
  lock.unlock();
  const Flow flow = s->sink->OnEvent(std::move(delta));
  lock.lock();
  if (s->cancelled) return;  // Cancel has made it due while the lock was free
  s->paused = flow == Flow::kPause && s->resumes == resumes;
  if (s->paused) return;
  MakeReadyLocked(s, SteadyTime(script_.StepAfter((now + s->token_delay).time_since_epoch())));
}

// Gives the lock up while the sink is called, which may pause later: a prompt is told in one go.
void Scripted::TellPrompt(const SequencePtr& s, std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  int32_t position = 0;
  while (!s->prompt.empty()) {
    PromptTokens piece = NextPromptTokens(*s, position);
    position += static_cast<int32_t>(piece.tokens.size());
    s->sink->OnEvent(std::move(piece));
  }
  lock.lock();
}

void Scripted::End(const SequencePtr& s, Event last, std::unique_lock<std::mutex>& lock) {
  const auto [begin, end] = live_.equal_range(s->id);
  live_.erase(std::find_if(begin, end, [&](const auto& entry) { return entry.second == s; }));
  const bool is_told = s->family->failed;
  s->family->failed = s->family->failed || std::holds_alternative<Failed>(last);
  if (s->running) --running_;
  s->running = false;
  lock.unlock();
  if (!is_told) s->sink->OnEvent(std::move(last));
  lock.lock();
  if (live_.empty()) idle_.notify_all();
}

Finished Scripted::MakeFinished(const Sequence& s) const {
  const SteadyTime now = base::Clock::System().Now();
  Finished finished;
  finished.index = s.index;
  finished.reason = s.answer.reason;
  if (finished.reason != Finished::Reason::kCancelled) {
    finished.matched_stop = s.answer.matched_stop;
    finished.matched_stop_id = s.answer.matched_stop_id;
  }
  finished.usage = s.usage;
  const SteadyTime admitted = s.admitted == SteadyTime() ? now : s.admitted;
  const SteadyTime first = s.first_token == SteadyTime() ? now : s.first_token;
  finished.timings.queue_ms = base::MillisBetween(s.submitted, admitted);
  finished.timings.prefill_ms = base::MillisBetween(admitted, first);
  finished.timings.decode_ms = base::MillisBetween(first, now);
  return finished;
}

void Scripted::Cancel(std::string_view id) {
  const std::lock_guard lock(mutex_);
  const auto [begin, end] = live_.equal_range(std::string(id));
  for (auto it = begin; it != end; ++it) {
    const SequencePtr& s = it->second;
    if (s->cancelled) continue;
    s->cancelled = true;
    std::erase(waiting_, s);
    WakeLocked(s);
  }
}

void Scripted::Resume(std::string_view id) {
  const std::lock_guard lock(mutex_);
  const auto [begin, end] = live_.equal_range(std::string(id));
  for (auto it = begin; it != end; ++it) {
    Sequence& s = *it->second;
    ++s.resumes;
    if (!s.paused) continue;
    s.paused = false;
    WakeLocked(it->second);
  }
}

absl::StatusOr<Tokenized> Scripted::Tokenize(const std::variant<ChatPrompt, TextPrompt>& input,
                                             const TokenizeOptions&) const {
  GenerateRequest request;
  std::visit([&](const auto& prompt) { request.prompt = prompt; }, input);
  Tokenized tokenized;
  std::string text;
  if (const auto* raw = std::get_if<TextPrompt>(&input)) {
    text = raw->text;
  } else {
    ASSIGN_OR_RETURN(ScriptPrompt prompt, ReadScriptPrompt(request));
    text = std::move(prompt.text);
    tokenized.prompt = text;
  }
  tokenized.ids = CodePoints(text);
  for (const TokenId id : tokenized.ids) tokenized.pieces.push_back(CodePointText(id));
  return tokenized;
}

absl::StatusOr<std::string> Scripted::Detokenize(std::span<const TokenId> ids) const {
  std::string text;
  for (const TokenId id : ids) {
    if (id < 0 || id >= kScriptVocabSize) {
      return base::WithParam(
          base::InvalidArgument(absl::StrCat("token_ids: ", id, " is not in the vocabulary")),
          "token_ids");
    }
    text += CodePointText(id);
  }
  return text;
}

Load Scripted::load() const {
  const std::lock_guard lock(mutex_);
  Load load = totals_;
  load.running = running_;
  load.waiting = static_cast<int32_t>(waiting_.size());
  load.slots = script_.slots;
  load.block_tokens = kBlockTokens;
  load.kv_blocks_total =
      int64_t{script_.slots} * ((script_.context_length + kBlockTokens - 1) / kBlockTokens);
  for (const auto& [id, s] : live_) {
    if (s->running) load.kv_blocks_used += Blocks(*s);
  }
  for (const SequencePtr& s : waiting_) load.waiting_tokens += s->usage.prompt_tokens;
  return load;
}

void Scripted::Drain(milliseconds timeout) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  if (idle_.wait_for(lock, timeout, [&] { return live_.empty(); })) return;
  for (const auto& [id, s] : live_) {
    if (s->cancelled) continue;
    s->cancelled = true;
    std::erase(waiting_, s);
    WakeLocked(s);
  }
  idle_.wait_for(lock, std::chrono::seconds(5), [&] { return live_.empty(); });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeScripted(std::string_view json) {
  ASSIGN_OR_RETURN(Script script, ParseScript(json));
  return std::make_unique<Scripted>(std::move(script), static_cast<int64_t>(json.size()));
}

absl::StatusOr<std::unique_ptr<Backend>> OpenScripted(const BackendSpec& spec) {
  std::ifstream file(spec.path, std::ios::binary);
  if (!file) return base::NotFound(absl::StrCat(spec.path, ": cannot be read"));
  std::string json;
  json.resize(static_cast<size_t>(kScriptBytesMax) + 1);
  file.read(json.data(), static_cast<std::streamsize>(json.size()));
  json.resize(static_cast<size_t>(file.gcount()));
  if (json.size() > kScriptBytesMax) {
    return base::InvalidArgument(absl::StrCat(spec.path, ": larger than 16 MiB"));
  }
  auto backend = MakeScripted(json);
  if (!backend.ok()) return base::Annotate(backend.status(), spec.path);
  return backend;
}

// A script is its own header.
absl::StatusOr<Outline> OutlineScripted(const BackendSpec& spec) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, OpenScripted(spec));
  return Outline{.details = backend->details(), .engine = spec.engine};
}

}  // namespace conclave::backends
