#include "embed/batcher.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <future>

#include "engine/tokenizer/load.h"

namespace conclave::embed {
namespace {

// Gives each sequence the vector (first id, number of ids) and waits at a gate before every batch.
class FakeEncoder final : public Encoder {
 public:
  FakeEncoder() {
    info_.dimensions = 2;
    info_.tokens_max = 100;
    tokenizer_ = *engine::LoadVocabTxt("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n", true);
  }
  const EncoderInfo& info() const override { return info_; }
  const engine::Tokenizer& tokenizer() const override { return *tokenizer_; }
  const TextFrame& frame() const override { return frame_; }
  void Encode(const EncoderBatch& batch, float* out) override {
    const auto& [ids, offsets, seconds] = batch;
    {
      std::unique_lock lock(mutex_);
      batches_.emplace_back();
      for (size_t i = 0; i + 1 < offsets.size(); ++i) {
        batches_.back().push_back(ids[static_cast<size_t>(offsets[i])]);
      }
      changed_.notify_all();
      changed_.wait(lock, [&] { return allowed_ > 0; });
      --allowed_;
    }
    for (size_t i = 0; i + 1 < offsets.size(); ++i) {
      out[2 * i] = static_cast<float>(ids[static_cast<size_t>(offsets[i])]);
      out[2 * i + 1] = static_cast<float>(offsets[i + 1] - offsets[i]);
    }
  }

  void Allow(int count) {
    const std::lock_guard lock(mutex_);
    allowed_ += count;
    changed_.notify_all();
  }
  void WaitForBatches(size_t count) {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(lock, std::chrono::seconds(20),
                              [&] { return batches_.size() >= count; }));
  }
  std::vector<std::vector<TokenId>> batches() {
    const std::lock_guard lock(mutex_);
    return batches_;
  }

 private:
  EncoderInfo info_;
  TextFrame frame_;
  std::unique_ptr<engine::Tokenizer> tokenizer_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int allowed_ = 0;
  std::vector<std::vector<TokenId>> batches_;
};

using Result = absl::StatusOr<BatchResult>;

struct Asked {
  std::future<Result> result;
  std::shared_ptr<std::atomic<bool>> gone = std::make_shared<std::atomic<bool>>(false);
};

Asked Ask(Batcher& batcher, const std::vector<std::vector<TokenId>>& inputs) {
  Asked asked;
  auto promise = std::make_shared<std::promise<Result>>();
  asked.result = promise->get_future();
  REQUIRE(batcher
              .Submit({.inputs = {inputs.begin(), inputs.end()},
                       .abandoned = [gone = asked.gone] { return gone->load(); },
                       .done = [promise](Result r) { promise->set_value(std::move(r)); }})
              .ok());
  return asked;
}

Result Take(Asked& asked) {
  REQUIRE(asked.result.wait_for(std::chrono::seconds(20)) == std::future_status::ready);
  return asked.result.get();
}

}  // namespace

TEST_CASE("inputs that wait share a batch up to its tokens, each request in its own order") {
  FakeEncoder encoder;
  Batcher batcher(&encoder, {.batch_tokens_max = 6});
  Asked first = Ask(batcher, {{1, 1}});
  encoder.WaitForBatches(1);
  Asked second = Ask(batcher, {{2, 2}, {3, 3}, {4, 4}});
  Asked third = Ask(batcher, {{5, 5, 5}});
  encoder.Allow(10);
  CHECK(Take(first)->vectors == std::vector<std::vector<float>>{{1, 2}});
  CHECK(Take(second)->vectors == std::vector<std::vector<float>>{{2, 2}, {3, 2}, {4, 2}});
  CHECK(Take(third)->vectors == std::vector<std::vector<float>>{{5, 3}});
  // They take turns: the single input does not wait for the whole list before it.
  CHECK(encoder.batches() == std::vector<std::vector<TokenId>>{{1}, {2, 5}, {3, 4}});
  CHECK(batcher.stats().waiting == 0);
  CHECK(batcher.stats().waiting_tokens == 0);
  CHECK(batcher.stats().tokens_total == 11);
}

TEST_CASE("an input larger than a batch runs alone") {
  FakeEncoder encoder;
  Batcher batcher(&encoder, {.batch_tokens_max = 2});
  encoder.Allow(10);
  Asked asked = Ask(batcher, {{1, 1, 1, 1}, {2}});
  CHECK(Take(asked)->vectors == std::vector<std::vector<float>>{{1, 4}, {2, 1}});
}

TEST_CASE("callers that have gone cost nothing") {
  FakeEncoder encoder;
  Batcher batcher(&encoder);
  Asked first = Ask(batcher, {{1}});
  encoder.WaitForBatches(1);
  Asked gone = Ask(batcher, {{2}, {3}});
  *gone.gone = true;
  Asked last = Ask(batcher, {{4}});
  encoder.Allow(10);
  CHECK(Take(first).ok());
  CHECK(Take(gone).status().code() == absl::StatusCode::kCancelled);
  CHECK(Take(last).ok());
  CHECK(encoder.batches() == std::vector<std::vector<TokenId>>{{1}, {4}});
  CHECK(batcher.stats().dropped_total == 2);
}

TEST_CASE("the queue refuses beyond its tokens and says when to come back") {
  FakeEncoder encoder;
  Batcher batcher(&encoder, {.queue_tokens_max = 3});
  Asked running = Ask(batcher, {{1}});
  encoder.WaitForBatches(1);
  Asked waiting = Ask(batcher, {{2, 2}});
  const absl::Status full =
      batcher.Submit({.inputs = {{{3, 3}}}, .abandoned = {}, .done = [](Result) {}});
  CHECK(full.code() == absl::StatusCode::kResourceExhausted);
  CHECK(base::RetryAfterOf(full) >= std::chrono::seconds(1));
  encoder.Allow(10);
  CHECK(Take(running).ok());
  CHECK(Take(waiting).ok());
}

TEST_CASE("stopping answers everyone") {
  FakeEncoder encoder;
  Batcher batcher(&encoder);
  Asked running = Ask(batcher, {{1}});
  encoder.WaitForBatches(1);
  Asked waiting = Ask(batcher, {{2}});
  std::thread stop([&] { batcher.Stop(); });
  while (batcher.Submit({.inputs = {{{3}}}, .abandoned = {}, .done = [](Result) {}}).ok()) {
  }
  encoder.Allow(1);
  stop.join();
  CHECK(Take(running).ok());
  CHECK(Take(waiting).status().code() == absl::StatusCode::kUnavailable);
  CHECK(batcher.Submit({.inputs = {{{3}}}, .abandoned = {}, .done = [](Result) {}}).code() ==
        absl::StatusCode::kUnavailable);
}

}  // namespace conclave::embed
