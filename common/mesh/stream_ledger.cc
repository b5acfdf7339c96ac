#include "mesh/stream_ledger.h"

#include <algorithm>

#include "mesh/grpc_status.h"

namespace conclave::mesh {

namespace pb = conclave::v1;

StreamLedger::StreamLedger(const pb::GenerateRequest& request)
    : n_(std::max(request.n(), 1)),
      seed_(request.resume().seed()),
      next_seq_(request.resume().next_seq()),
      answers_(static_cast<size_t>(n_)) {
  const pb::ResumeState& from = request.resume();
  if (n_ == 1) {
    answers_[0].emitted.assign(from.emitted_token_ids().begin(), from.emitted_token_ids().end());
    return;
  }
  for (int i = 0; i < std::min(n_, from.answers_size()); ++i) {
    const pb::ResumeState::Answer& one = from.answers(i);
    Answer& answer = answers_[static_cast<size_t>(i)];
    answer.emitted.assign(one.emitted_token_ids().begin(), one.emitted_token_ids().end());
    answer.num_deltas = one.num_deltas();
    if (one.finished()) finished_.insert(i);
  }
}

StreamLedger::Verdict StreamLedger::Broken(std::string what) {
  error_ = base::Internal("the worker broke the protocol: " + what);
  return Verdict::kBroken;
}

StreamLedger::Verdict StreamLedger::Enter(const pb::GenerateEvent& event) {
  switch (event.event_case()) {
    case pb::GenerateEvent::kAccepted:
      return EnterAccepted(event.accepted());
    case pb::GenerateEvent::kProgress:
      // While the model is loaded nothing has been said that another worker could contradict.
      begun_ |= event.progress().phase() != pb::Progress::PHASE_LOADING;
      return Verdict::kDeliver;
    case pb::GenerateEvent::kPromptLogprobs:
      return EnterPrompt(event.prompt_logprobs());
    case pb::GenerateEvent::kDelta:
      return EnterDelta(event.delta());
    case pb::GenerateEvent::kFinished: {
      const int index = event.finished().index();
      if (index < 0 || index >= n_) return Broken("finished an index that was not asked for");
      if (event.finished().reason() == pb::Finished::REASON_CANCELLED) {
        // Who cancels breaks the stream off and reads no further: this is a worker that is
        // stopping.
        error_ =
            base::WithReason(base::Unavailable("the worker gave the request up"), "worker_lost");
        return Verdict::kFailed;
      }
      begun_ = true;
      return finished_.insert(index).second ? Verdict::kDeliver : Verdict::kDrop;
    }
    case pb::GenerateEvent::kFailed:
      error_ = FromDetail(event.failed().error());
      return Verdict::kFailed;
    case pb::GenerateEvent::EVENT_NOT_SET:
      return Verdict::kDrop;  // of a newer version
  }
  return Verdict::kDrop;
}

StreamLedger::Verdict StreamLedger::EnterAccepted(const pb::Accepted& accepted) {
  epoch_ = accepted.epoch();
  if (accepted_) {
    if (accepted.model_revision() != revision_) return Broken("resumed with another revision");
    return Verdict::kDrop;
  }
  accepted_ = true;
  begun_ = true;
  revision_ = accepted.model_revision();
  seed_ = accepted.seed();
  return Verdict::kDeliver;
}

// Another worker tells them anew, in the same pieces.
StreamLedger::Verdict StreamLedger::EnterPrompt(const pb::PromptLogprobs& prompt) {
  if (!accepted_) return Broken("a prompt's tokens before accepted");
  const int32_t end = prompt.position() + prompt.tokens_size();
  if (end <= prompt_position_) return Verdict::kDrop;
  if (prompt.position() != prompt_position_) return Broken("a gap in the tokens of the prompt");
  prompt_position_ = end;
  return Verdict::kDeliver;
}

StreamLedger::Verdict StreamLedger::EnterDelta(const pb::Delta& delta) {
  if (!accepted_) return Broken("a delta before accepted");
  if (delta.seq() < next_seq_) return Verdict::kDrop;
  if (delta.seq() > next_seq_) return Broken("a gap in the deltas");
  if (delta.index() < 0 || delta.index() >= n_) return Broken("a delta of no index");
  ++next_seq_;
  Answer& answer = answers_[static_cast<size_t>(delta.index())];
  ++answer.num_deltas;
  answer.emitted.insert(answer.emitted.end(), delta.token_ids().begin(), delta.token_ids().end());
  return Verdict::kDeliver;
}

pb::ResumeState StreamLedger::Resume() const {
  pb::ResumeState state;
  state.set_seed(seed_);
  state.set_next_seq(next_seq_);
  if (n_ == 1) {
    const std::vector<int32_t>& emitted = answers_[0].emitted;
    state.mutable_emitted_token_ids()->Add(emitted.begin(), emitted.end());
    return state;
  }
  for (int i = 0; i < n_; ++i) {
    const Answer& from = answers_[static_cast<size_t>(i)];
    pb::ResumeState::Answer* to = state.add_answers();
    to->mutable_emitted_token_ids()->Add(from.emitted.begin(), from.emitted.end());
    to->set_num_deltas(from.num_deltas);
    to->set_finished(finished_.contains(i));
  }
  return state;
}

}  // namespace conclave::mesh
