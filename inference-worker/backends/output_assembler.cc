#include "backends/output_assembler.h"

#include <utility>

namespace conclave::backends {

using engine::OutputEvent;

OutputAssembler::OutputAssembler(AssemblerOptions options)
    : options_(std::move(options)),
      fresh_stops_(options_.stops),
      decoder_(*options_.tokenizer),
      in_reasoning_(options_.reasoning_open) {}

void OutputAssembler::Append(TokenId id, std::vector<TokenLogprob> logprobs,
                             std::vector<Delta>* deltas) {
  ++num_tokens_;
  const engine::Tokenizer& tokenizer = *options_.tokenizer;
  if (tokenizer.IsControl(id)) {
    FeedText(decoder_.Finish());  // a character it interrupts will never be whole
    if (options_.parser != nullptr && !stopped_) {
      options_.parser->FeedControl(tokenizer.TokenBytes(id, true), &events_);
      Take(events_);
    }
  } else {
    FeedText(decoder_.Append(id));
  }
  if (in_reasoning_) ++reasoning_tokens_;
  if (pieces_.empty()) NewPiece();
  pieces_.front().token_ids = {id};
  pieces_.front().logprobs = std::move(logprobs);
  Emit(deltas);
}

void OutputAssembler::Finish(std::vector<Delta>* deltas) {
  if (stopped_) return;
  FeedText(decoder_.Finish());
  if (options_.parser != nullptr && !stopped_) {
    options_.parser->Finish(&events_);
    Take(events_);
  }
  FlushContent();
  Emit(deltas);
}

void OutputAssembler::FeedText(std::string_view text) {
  if (text.empty() || stopped_) return;
  if (options_.parser == nullptr) return TakeContent(text);
  options_.parser->Feed(text, &events_);
  Take(events_);
}

void OutputAssembler::Take(std::vector<OutputEvent>& events) {
  for (OutputEvent& event : events) {
    if (stopped_) break;
    switch (event.kind) {
      case OutputEvent::Kind::kContent:
        TakeContent(event.text);
        break;
      case OutputEvent::Kind::kReasoning:
        FlushContent();
        AddReasoning(event.text);
        break;
      case OutputEvent::Kind::kReasoningEnded:
        in_reasoning_ = false;
        break;
      default:
        TakeToolCall(event);
        break;
    }
  }
  events.clear();
}

void OutputAssembler::TakeContent(std::string_view text) {
  in_reasoning_ = false;
  AddText(options_.stops.Feed(text));
  if (!options_.stops.matched()) return;
  stopped_ = true;
  matched_stop_ = std::string(options_.stops.matched_stop());
}

// What could have become a stop string cannot any more: something else follows.
void OutputAssembler::FlushContent() {
  AddText(options_.stops.Finish());
  options_.stops = fresh_stops_;
}

void OutputAssembler::TakeToolCall(OutputEvent& event) {
  in_reasoning_ = false;
  ToolCallDelta call;
  call.index = event.index;
  switch (event.kind) {
    case OutputEvent::Kind::kToolCallStarted:
      FlushContent();
      call.id = std::move(event.id);
      call.name = std::move(event.name);
      break;
    case OutputEvent::Kind::kToolCallArguments:
      call.state = ToolCallDelta::State::kInProgress;
      call.arguments = std::move(event.text);
      break;
    case OutputEvent::Kind::kToolCallFinished:
      call.state = ToolCallDelta::State::kSucceeded;  // the fragments have said all
      has_called_ = true;
      stopped_ = options_.stop_after_call;
      break;
    default:
      // A call without even a name never began for the caller: it stays what the model wrote.
      if (event.index < 0) return TakeContent(event.text);
      call.state = ToolCallDelta::State::kFailed;  // the fragments have said what there is
      break;
  }
  AddCall(std::move(call));
}

Delta& OutputAssembler::NewPiece() { return pieces_.emplace_back(); }

void OutputAssembler::AddText(std::string_view text) {
  if (text.empty()) return;
  const bool extend = !pieces_.empty() && !pieces_.back().text.empty();
  (extend ? pieces_.back() : NewPiece()).text += text;
}

void OutputAssembler::AddReasoning(std::string_view text) {
  in_reasoning_ = true;
  if (text.empty()) return;
  const bool extend = !pieces_.empty() && !pieces_.back().reasoning.empty();
  (extend ? pieces_.back() : NewPiece()).reasoning += text;
}

void OutputAssembler::AddCall(ToolCallDelta call) {
  const bool fragment = call.state == ToolCallDelta::State::kInProgress;
  if (fragment && call.arguments.empty()) return;
  if (fragment && !pieces_.empty() && pieces_.back().tool_call.has_value()) {
    ToolCallDelta& last = *pieces_.back().tool_call;
    if (last.state == ToolCallDelta::State::kInProgress && last.index == call.index) {
      last.arguments += call.arguments;
      return;
    }
  }
  NewPiece().tool_call = std::move(call);
}

void OutputAssembler::Emit(std::vector<Delta>* deltas) {
  for (Delta& piece : pieces_) {
    piece.seq = next_seq_++;
    deltas->push_back(std::move(piece));
  }
  pieces_.clear();
}

}  // namespace conclave::backends
