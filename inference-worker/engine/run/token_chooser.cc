#include "engine/run/token_chooser.h"

#include <algorithm>

#include "engine/kernels/cpu/thread_pool.h"
#include "engine/sample/logprobs.h"

namespace conclave::engine {

TokenChooser::TokenChooser(int32_t vocab_size, Kernels* kernels)
    : vocab_size_(vocab_size), kernels_(kernels) {
  for (int i = 0; i < std::max(1, kernels->num_threads()); ++i) workers_.emplace_back(vocab_size);
}

const std::vector<Choice>& TokenChooser::Choose(const Batch& batch, std::span<float> logits) {
  sequences_.clear();
  for (const BatchPart& part : batch.parts) {
    if (part.wants_logits) sequences_.push_back(part.sequence);
  }
  choices_.resize(sequences_.size());
  const auto width = static_cast<size_t>(vocab_size_);
  const auto choose = [&](int64_t i, int worker) {
    const auto index = static_cast<size_t>(i);
    ChooseOne(*sequences_[index], logits.subspan(index * width, width),
              workers_[static_cast<size_t>(worker)], choices_[index]);
  };
  if (sequences_.size() == 1) {
    choose(0, 0);  // not worth waking anybody
  } else {
    kernels_->pool().ParallelFor(static_cast<int64_t>(sequences_.size()), choose);
  }
  return choices_;
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
  choice.token =
      worker.sampler.Sample(logits, request.sampling, static_cast<uint64_t>(sequence.num_output()));
  choice.alternatives.clear();
  if (request.num_logprobs < 0 || choice.token < 0) return;
  const double log_sum_exp = LogSumExp(logits);
  choice.logprob = LogprobOf(logits, log_sum_exp, choice.token);
  choice.alternatives = TopLogprobs(logits, log_sum_exp, request.num_logprobs);
}

}  // namespace conclave::engine
