#include "engine/run/token_chooser.h"

#include <algorithm>
#include <optional>

#include "base/check.h"
#include "engine/kernels/cpu/thread_pool.h"
#include "engine/sample/logprobs.h"

namespace conclave::engine {
namespace {

AllowedTokens AllowedTo(const Sequence& sequence) {
  return {.words = sequence.matcher->Mask().words(),
          .may_end = sequence.matcher->may_end(),
          .stop_ids = sequence.stopping.stop_ids};
}

LogitsContext ContextOf(const Sequence& sequence) {
  return {.prompt = sequence.prompt(),
          .output = sequence.output(),
          .stop_ids = sequence.stopping.stop_ids};
}

}  // namespace

TokenChooser::TokenChooser(int32_t vocab_size, Kernels* kernels)
    : vocab_size_(vocab_size), kernels_(kernels) {
  for (int i = 0; i < std::max(1, kernels->num_threads()); ++i) workers_.emplace_back(vocab_size);
}

absl::Status TokenChooser::Choose(const Batch& batch, std::span<float> logits) {
  ListRows(batch);
  RowReader* const reader = kernels_->row_reader();
  return reader == nullptr ? ChooseHere(logits) : ChooseOnDevice(*reader, logits);
}

template <typename Handle>
void TokenChooser::ForEachRow(const Handle& handle) {
  if (rows_.size() == 1) {
    handle(size_t{0}, workers_[0]);  // not worth waking anybody
    return;
  }
  kernels_->pool().ParallelFor(static_cast<int64_t>(rows_.size()), [&](int64_t i, int worker) {
    handle(static_cast<size_t>(i), workers_[static_cast<size_t>(worker)]);
  });
}

absl::Status TokenChooser::ChooseHere(std::span<float> logits) {
  ASSIGN_OR_RETURN(float* const view,
                   kernels_->HostView(logits.data(), static_cast<int64_t>(logits.size())));
  const auto width = static_cast<size_t>(vocab_size_);
  ForEachRow([&](size_t i, Worker& its) {
    const std::span<float> own(view + i * width, width);
    if (rows_[i].choice != nullptr) Process(*rows_[i].sequence, own, its);
    its.scan.Read(own);
    CHECK(Finish(rows_[i], its));
  });
  return absl::OkStatus();
}

absl::Status TokenChooser::ChooseOnDevice(RowReader& reader, std::span<float> logits) {
  reader.Start();
  const auto width = static_cast<size_t>(vocab_size_);
  const bool small = static_cast<int64_t>(logits.size()) <= reader.whole_floats();
  device_rows_.Begin(rows_.size(), width);
  ForEachRow([&](size_t i, Worker& its) { Prepare(rows_[i], its, small, device_rows_[i]); });
  if (device_rows_.all_here()) return ChooseHere(logits);
  RETURN_IF_ERROR(device_rows_.Read(reader, logits.data()));
  while (true) {
    ForEachRow([&](size_t i, Worker& its) {
      DeviceRows::Row& there = device_rows_[i];
      if (there.done) return;
      if (there.here) {
        const std::span<float> own(there.whole, width);
        if (rows_[i].choice != nullptr) Process(*rows_[i].sequence, own, its);
        its.scan.Read(own);
      } else {
        its.scan.Read(there.digest, width, there.blocks);
      }
      there.done = Finish(rows_[i], its);
      there.wanted.assign(its.scan.wanted().begin(), its.scan.wanted().end());
    });
    if (device_rows_.all_done()) return absl::OkStatus();
    RETURN_IF_ERROR(device_rows_.Fetch(reader));
  }
}

void TokenChooser::Prepare(const Row& row, Worker& worker, bool small, DeviceRows::Row& there) {
  const GenerateRequest& request = row.sequence->request;
  RowRequest& asked = there.request;
  if (row.score != nullptr) {
    there.here = small;
    asked.largest = request.num_prompt_logprobs > 0;
    asked.factors[0] = 1;
    return;
  }
  const Sampler::Needs needs = Sampler::NeedsOf(request.sampling);
  const bool wants_logprobs = request.num_logprobs >= 0;
  there.here = needs.blocks || (small && (needs.largest || needs.factor > 0 || wants_logprobs));
  if (there.here) return;
  asked.largest = needs.largest || request.num_logprobs > 0;
  asked.factors[0] = RowScan::FactorOf(needs.factor);
  if (wants_logprobs && asked.factors[0] != 1) asked.factors[1] = 1;
  if (row.sequence->matcher != nullptr) {
    ListAllowed(AllowedTo(*row.sequence), worker.processor.vocab_size(), there.allowed);
    asked.allowed = there.allowed;
  }
  worker.processor.List(request.sampling, ContextOf(*row.sequence), there.changes);
  asked.changes = &there.changes;
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

void TokenChooser::Process(const Sequence& sequence, std::span<float> logits, Worker& worker) {
  if (sequence.matcher != nullptr) MaskLogits(AllowedTo(sequence), logits);
  worker.processor.Apply(sequence.request.sampling, ContextOf(sequence), logits);
}

bool TokenChooser::Finish(const Row& row, Worker& worker) {
  return row.score != nullptr ? Score(row, worker.scan) : ChooseOne(row, worker);
}

bool TokenChooser::Score(const Row& row, RowScan& scan) {
  const int32_t count = row.sequence->request.num_prompt_logprobs;
  const TokenId token = row.sequence->tokens[static_cast<size_t>(row.position)];
  const bool has_top = HasTop(scan, count);
  const std::optional<float> logit = scan.LogitOf(token);
  if (!has_top || !logit.has_value()) return false;
  const double log_sum_exp = LogSumExp(scan);
  row.score->logprob = LogprobOf(token, *logit, log_sum_exp);
  row.score->alternatives = TopLogprobs(scan, log_sum_exp, count);
  return true;
}

bool TokenChooser::ChooseOne(const Row& row, Worker& worker) {
  const GenerateRequest& request = row.sequence->request;
  Choice& choice = *row.choice;
  RowScan& scan = worker.scan;
  // Both ask for what they want, so that it comes at once.
  const bool has_top = HasTop(scan, request.num_logprobs);
  const std::optional<TokenId> token = worker.sampler.Sample(
      scan, request.sampling, static_cast<uint64_t>(row.sequence->num_output()));
  if (!token.has_value() || !has_top) return false;
  choice.token = *token;
  choice.alternatives.clear();
  if (request.num_logprobs < 0 || choice.token < 0) return true;
  const std::optional<float> logit = scan.LogitOf(choice.token);
  if (!logit.has_value()) return false;
  const double log_sum_exp = LogSumExp(scan);
  choice.logprob = LogprobOf(choice.token, *logit, log_sum_exp);
  choice.alternatives = TopLogprobs(scan, log_sum_exp, request.num_logprobs);
  return true;
}

}  // namespace conclave::engine
