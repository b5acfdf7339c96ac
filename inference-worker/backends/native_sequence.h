// The text side of one request to our engine.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "backends/backend.h"
#include "backends/output_assembler.h"
#include "backends/prompt_teller.h"
#include "engine/request.h"
#include "engine/tokenizer/tokenizer.h"

namespace conclave::backends {

// The tail of one request: hears the engine, tells the sink. Before Submit it belongs to the thread
// that builds it, afterwards to the step thread.
class NativeSequence final : public engine::EventSink {
 public:
  struct Setup {
    std::shared_ptr<backends::EventSink> sink;
    const engine::Tokenizer* tokenizer = nullptr;
    std::vector<AssemblerOptions> assemblers;  // one for each answer
    std::vector<TokenId> stop_ids;             // the request's own
    bool logprobs = false;
    std::optional<PromptReport> prompt_report;
    std::vector<TokenId> prompt;  // when there is something to tell of it
    int64_t next_seq = 0;         // of the first delta to send
    int32_t prompt_tokens = 0;
    double tokenize_ms = 0;
  };
  explicit NativeSequence(Setup setup);

  // Rebuilds the state of an answer. False: its output was complete, and its end is to be told.
  bool Replay(int32_t index, const SeenAnswer& before);
  // Of the outputs that were complete before they were taken up again.
  void EndReplayed();

  engine::SinkAction OnEvent(const engine::Event& event) override;

 private:
  engine::SinkAction Tell(backends::Event event);
  OutputAssembler& AnswerOf(const engine::Event& event);
  // What an answer's assembler has made since, without what the caller has seen: the deltas of all
  // answers share one count.
  void Stamp(int32_t index);
  engine::SinkAction Flush();
  // What is known of the prompt before anything is computed.
  void TellPromptStart();
  engine::SinkAction TellPrompt(TokenLogprob token);
  TokenLogprob Named(const engine::TokenLogprob& from) const;
  TokenLogprob MakeLogprob(const engine::TokenLogprob& from,
                           const std::vector<engine::TokenLogprob>& alternatives) const;

  void TellEnd(const engine::Event& event);
  void AddStopToken(const engine::Event& event);
  Finished MakeFinished(const engine::Event& event);

  Setup setup_;
  PromptTeller prompt_;
  std::deque<OutputAssembler> answers_;  // by index
  std::vector<Delta> deltas_;            // not told yet
  size_t num_stamped_ = 0;               // of deltas_
  int64_t next_seq_;
  std::vector<int64_t> seen_;      // deltas of each answer that an earlier attempt has sent
  std::vector<int32_t> complete_;  // answers whose end is told with the first event
  bool failed_ = false;
};

}  // namespace conclave::backends
