#include "mesh/stream_ledger.h"

#include <algorithm>

#include "mesh/grpc_status.h"

namespace conclave::mesh {

namespace pb = conclave::v1;

StreamLedger::StreamLedger(const pb::GenerateRequest& request)
    : n_(std::max(request.n(), 1)),
      seed_(request.resume().seed()),
      next_seq_(request.resume().next_seq()),
      emitted_(request.resume().emitted_token_ids().begin(),
               request.resume().emitted_token_ids().end()) {}

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
  ++next_seq_;
  if (resumable()) {
    emitted_.insert(emitted_.end(), delta.token_ids().begin(), delta.token_ids().end());
  }
  return Verdict::kDeliver;
}

pb::ResumeState StreamLedger::Resume() const {
  pb::ResumeState state;
  state.mutable_emitted_token_ids()->Add(emitted_.begin(), emitted_.end());
  state.set_seed(seed_);
  state.set_next_seq(next_seq_);
  return state;
}

}  // namespace conclave::mesh
