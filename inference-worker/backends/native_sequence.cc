#include "backends/native_sequence.h"

#include <algorithm>
#include <string>
#include <utility>

namespace conclave::backends {

NativeSequence::NativeSequence(Setup setup)
    : setup_(std::move(setup)),
      prompt_(setup_.tokenizer, setup_.prompt.size()),
      next_seq_(setup_.next_seq),
      seen_(setup_.assemblers.size()) {
  for (AssemblerOptions& options : setup_.assemblers) answers_.emplace_back(std::move(options));
}

bool NativeSequence::Replay(int32_t index, const SeenAnswer& before) {
  OutputAssembler& answer = answers_[static_cast<size_t>(index)];
  seen_[static_cast<size_t>(index)] = before.num_deltas;
  for (const TokenId id : before.emitted) {
    if (answer.stopped()) break;
    answer.Append(id, {}, &deltas_);
  }
  Stamp(index);
  if (answer.stopped()) complete_.push_back(index);
  return !answer.stopped();
}

void NativeSequence::EndReplayed() {
  for (const int32_t index : std::exchange(complete_, {})) {
    Flush();
    engine::Event last;
    last.kind = engine::Event::Kind::kFinished;
    last.index = index;
    last.token = -1;
    last.usage.prompt_tokens = setup_.prompt_tokens;
    TellEnd(last);
  }
}

engine::SinkAction NativeSequence::OnEvent(const engine::Event& event) {
  if (failed_) return engine::SinkAction::kStop;
  if (!complete_.empty()) EndReplayed();
  const bool is_first = event.index == 0;
  switch (event.kind) {
    case engine::Event::Kind::kAccepted:
      if (!is_first) return engine::SinkAction::kContinue;
      TellPromptStart();
      return Tell(Progress{.phase = Progress::Phase::kPrefill, .total = setup_.prompt_tokens});
    case engine::Event::Kind::kPrefill:
      if (!is_first) return engine::SinkAction::kContinue;
      return Tell(Progress{.phase = Progress::Phase::kPrefill,
                           .done = event.prefill_done,
                           .total = event.prefill_total});
    case engine::Event::Kind::kPromptLogprobs: {
      engine::SinkAction action = engine::SinkAction::kContinue;
      for (const engine::ScoredToken& score : event.scores) {
        const auto one = TellPrompt(MakeLogprob(score.logprob, score.alternatives));
        if (one == engine::SinkAction::kPause) action = one;
      }
      return action;
    }
    case engine::Event::Kind::kToken: {
      std::vector<TokenLogprob> logprobs;
      if (setup_.logprobs) logprobs.push_back(MakeLogprob(event.logprob, event.alternatives));
      OutputAssembler& answer = AnswerOf(event);
      answer.Append(event.token, std::move(logprobs), &deltas_);
      Stamp(event.index);
      const engine::SinkAction action = Flush();
      return answer.stopped() ? engine::SinkAction::kStop : action;
    }
    case engine::Event::Kind::kFinished:
      TellEnd(event);
      return engine::SinkAction::kContinue;
  }
  return engine::SinkAction::kContinue;
}

engine::SinkAction NativeSequence::Tell(backends::Event event) {
  return setup_.sink->OnEvent(std::move(event)) == Flow::kPause ? engine::SinkAction::kPause
                                                                : engine::SinkAction::kContinue;
}

OutputAssembler& NativeSequence::AnswerOf(const engine::Event& event) {
  return answers_[static_cast<size_t>(event.index)];
}

void NativeSequence::Stamp(int32_t index) {
  const auto fresh = deltas_.begin() + static_cast<ptrdiff_t>(num_stamped_);
  const int64_t seen = seen_[static_cast<size_t>(index)];
  deltas_.erase(
      std::remove_if(fresh, deltas_.end(), [seen](const Delta& delta) { return delta.seq < seen; }),
      deltas_.end());
  for (; num_stamped_ < deltas_.size(); ++num_stamped_) {
    deltas_[num_stamped_].index = index;
    deltas_[num_stamped_].seq = next_seq_++;
  }
}

void NativeSequence::TellPromptStart() {
  if (!setup_.prompt_report) return;
  const bool tokens_only = setup_.prompt_report->top_logprobs < 0;
  const size_t known = tokens_only ? setup_.prompt.size() : 1;
  for (size_t i = 0; i < known; ++i) TellPrompt(Named({.id = setup_.prompt[i]}));
}

engine::SinkAction NativeSequence::TellPrompt(TokenLogprob token) {
  std::optional<PromptTokens> piece = prompt_.Add(std::move(token));
  return piece ? Tell(*std::move(piece)) : engine::SinkAction::kContinue;
}

engine::SinkAction NativeSequence::Flush() {
  engine::SinkAction action = engine::SinkAction::kContinue;
  for (Delta& delta : deltas_) {
    if (Tell(std::move(delta)) == engine::SinkAction::kPause) action = engine::SinkAction::kPause;
  }
  deltas_.clear();
  num_stamped_ = 0;
  return action;
}

TokenLogprob NativeSequence::Named(const engine::TokenLogprob& from) const {
  return {.id = from.id,
          .logprob = from.logprob,
          .bytes = setup_.tokenizer->TokenBytes(from.id, true),
          .top = {}};
}

TokenLogprob NativeSequence::MakeLogprob(
    const engine::TokenLogprob& from, const std::vector<engine::TokenLogprob>& alternatives) const {
  TokenLogprob chosen = Named(from);
  for (const engine::TokenLogprob& other : alternatives) chosen.top.push_back(Named(other));
  return chosen;
}

void NativeSequence::TellEnd(const engine::Event& event) {
  if (event.reason == engine::FinishReason::kError) {
    failed_ = true;  // the other answers end at their next token, and are not told of
    setup_.sink->OnEvent(Failed{event.status});
    return;
  }
  if (event.reason != engine::FinishReason::kCancelled) {
    AnswerOf(event).Finish(&deltas_);
    AddStopToken(event);
    Stamp(event.index);
    Flush();
  }
  setup_.sink->OnEvent(MakeFinished(event));
}

void NativeSequence::AddStopToken(const engine::Event& event) {
  const bool wanted = setup_.logprobs && setup_.prompt_report && setup_.prompt_report->stop_token;
  if (event.token < 0 || !wanted) return;
  Delta last;
  last.seq = AnswerOf(event).next_seq();
  last.logprobs.push_back(MakeLogprob(event.logprob, event.alternatives));
  deltas_.push_back(std::move(last));
}

Finished NativeSequence::MakeFinished(const engine::Event& event) {
  const OutputAssembler& answer = AnswerOf(event);
  Finished finished;
  finished.index = event.index;
  switch (event.reason) {
    case engine::FinishReason::kLength:
      finished.reason = Finished::Reason::kLength;
      break;
    case engine::FinishReason::kCancelled:
      finished.reason = Finished::Reason::kCancelled;
      break;
    default:
      finished.reason =
          answer.has_called() ? Finished::Reason::kToolCalls : Finished::Reason::kStop;
      break;
  }
  finished.matched_stop = std::string(answer.matched_stop());
  const auto& stop_ids = setup_.stop_ids;
  // The model's own end is no news; a stop the caller named is.
  if (std::find(stop_ids.begin(), stop_ids.end(), event.token) != stop_ids.end()) {
    finished.matched_stop_id = event.token;
  }
  finished.usage = {.prompt_tokens = event.usage.prompt_tokens,
                    .completion_tokens = answer.num_tokens(),
                    .cached_tokens = event.usage.cached_tokens,
                    .reasoning_tokens = answer.reasoning_tokens()};
  finished.timings = {.queue_ms = event.timings.queue_ms,
                      .tokenize_ms = setup_.tokenize_ms,
                      .prefill_ms = event.timings.prefill_ms,
                      .decode_ms = event.timings.decode_ms};
  return finished;
}

}  // namespace conclave::backends
