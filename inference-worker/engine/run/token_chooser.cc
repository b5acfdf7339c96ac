#include "engine/run/token_chooser.h"

#include <algorithm>

#include "engine/kernels/cpu/thread_pool.h"
#include "engine/sample/logprobs.h"

namespace conclave::engine {

TokenChooser::TokenChooser(int32_t vocab_size, Kernels* kernels)
    : vocab_size_(vocab_size), kernels_(kernels) {
  for (int i = 0; i < std::max(1, kernels->num_threads()); ++i) workers_.emplace_back(vocab_size);
}

void TokenChooser::Choose(const Batch& batch, std::span<float> logits) {
  ListRows(batch);
  const auto width = static_cast<size_t>(vocab_size_);
  const auto handle = [&](int64_t i, int worker) {
    const auto index = static_cast<size_t>(i);
    const Row& row = rows_[index];
    const std::span<float> own = logits.subspan(index * width, width);
    Worker& its = workers_[static_cast<size_t>(worker)];
    if (row.score != nullptr) return Score(row, own, its.scan);
    ChooseOne(*row.sequence, own, its, *row.choice);
  };
  if (rows_.size() == 1) {
    handle(0, 0);  // not worth waking anybody
  } else {
    kernels_->pool().ParallelFor(static_cast<int64_t>(rows_.size()), handle);
  }
}

// In the order of BatchInputs::output_rows.
void TokenChooser::ListRows(const Batch& batch) {
  size_t num_choices = 0;
  for (const BatchPart& part : batch.parts) num_choices += part.wants_logits ? 1 : 0;
  choices_.resize(num_choices);
  scores_.resize(static_cast<size_t>(batch.num_score_rows));
  rows_.clear();
  Choice* choice = choices_.data();
  ScoredToken* score = scores_.data();
  for (const BatchPart& part : batch.parts) {
    const int32_t first_token = part.position + part.score_begin + 1;
    for (int32_t i = 0; i < part.score_rows; ++i) {
      rows_.push_back({.sequence = part.sequence, .position = first_token + i, .score = score++});
    }
    if (part.wants_logits) rows_.push_back({.sequence = part.sequence, .choice = choice++});
  }
}

void TokenChooser::Score(const Row& row, std::span<const float> logits, RowScan& scan) {
  scan.Read(logits);
  const double log_sum_exp = LogSumExp(scan);
  const TokenId token = row.sequence->tokens[static_cast<size_t>(row.position)];
  row.score->logprob = LogprobOf(logits, log_sum_exp, token);
  row.score->alternatives =
      TopLogprobs(scan, log_sum_exp, row.sequence->request.num_prompt_logprobs);
}

void TokenChooser::ChooseOne(const Sequence& sequence, std::span<float> logits, Worker& worker,
                             Choice& choice) {
  const GenerateRequest& request = sequence.request;
  if (grammar::Matcher* const matcher = sequence.matcher.get(); matcher != nullptr) {
    MaskLogits({.words = matcher->Mask().words(),
                .may_end = matcher->may_end(),
                .stop_ids = sequence.stopping.stop_ids},
               logits);
  }
  worker.processor.Apply(request.sampling,
                         {.prompt = sequence.prompt(),
                          .output = sequence.output(),
                          .stop_ids = sequence.stopping.stop_ids},
                         logits);
  worker.scan.Read(logits);
  choice.token = worker.sampler.Sample(worker.scan, request.sampling,
                                       static_cast<uint64_t>(sequence.num_output()));
  choice.alternatives.clear();
  if (request.num_logprobs < 0 || choice.token < 0) return;
  const double log_sum_exp = LogSumExp(worker.scan);
  choice.logprob = LogprobOf(logits, log_sum_exp, choice.token);
  choice.alternatives = TopLogprobs(worker.scan, log_sum_exp, request.num_logprobs);
}

}  // namespace conclave::engine
