// Several answers, the prompt's own tokens and filling in, with our engine behind the interface.
#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "backends/fim.h"
#include "base/status.h"
#include "engine/tokenizer/load.h"
#include "engine/weights/model_file.h"
#include "unit/backends/native_fixture.h"
#include "unit/backends/recording_sink.h"

namespace conclave::backends {
namespace {

const TinyModelFile& File() {
  static const TinyModelFile file;
  return file;
}

GenerateRequest Continue(std::string text, int32_t max_tokens, int32_t n = 1) {
  static int counter = 0;
  GenerateRequest request;
  request.id = "a" + std::to_string(++counter);
  request.prompt = TextPrompt{std::move(text)};
  request.n = n;
  request.stop.max_tokens = max_tokens;
  request.stop.ignore_eos = true;
  request.sampling.temperature = 1.0f;
  request.sampling.seed = 7;
  return request;
}

std::shared_ptr<RecordingSink> Run(Backend& backend, const GenerateRequest& request) {
  auto sink = std::make_shared<RecordingSink>(0, request.n);
  const auto accepted = backend.Generate(request, sink);
  INFO(accepted.status().ToString());
  REQUIRE(accepted.ok());
  REQUIRE(sink->WaitForEnd());
  INFO(sink->failure().ToString());
  REQUIRE(sink->all_finished().size() == static_cast<size_t>(request.n));
  return sink;
}

}  // namespace

TEST_CASE("answers have their own texts under one count, the same whatever n is") {
  const auto backend = File().Open();
  const auto eight = Run(*backend, Continue("once upon", 30, 8));
  const auto deltas = eight->deltas();
  std::set<std::string> texts;
  for (size_t i = 0; i < deltas.size(); ++i) CHECK(deltas[i].seq == static_cast<int64_t>(i));
  for (int32_t i = 0; i < 8; ++i) texts.insert(eight->text(i));
  CHECK(texts.size() == 8);
  for (const Finished& finished : eight->all_finished()) {
    CHECK(finished.reason == Finished::Reason::kLength);
    CHECK(finished.usage.completion_tokens == 30);
    CHECK(finished.usage.prompt_tokens == 9);
  }
  CHECK(Run(*backend, Continue("once upon", 30))->text() == eight->text(0));
  const auto three = Run(*backend, Continue("once upon", 30, 3));
  for (int32_t i = 0; i < 3; ++i) CHECK(three->text(i) == eight->text(i));
}

TEST_CASE("a stop string ends the answer that has it and no other") {
  const auto backend = File().Open();
  const auto free_run = Run(*backend, Continue("abc", 40, 4));
  // Four bytes of one answer that are in none of the others.
  const std::string text = free_run->text(2);
  REQUIRE(text.size() > 12);
  const std::string stop = text.substr(6, 6);
  GenerateRequest request = Continue("abc", 40, 4);
  request.stop.strings = {stop};
  const auto stopped = Run(*backend, request);
  for (const Finished& finished : stopped->all_finished()) {
    const bool has_it = free_run->text(finished.index).find(stop) != std::string::npos;
    CHECK(has_it == (finished.index == 2));
    CHECK(finished.matched_stop == (has_it ? stop : ""));
    CHECK(finished.reason == (has_it ? Finished::Reason::kStop : Finished::Reason::kLength));
    const std::string whole = free_run->text(finished.index);
    CHECK(stopped->text(finished.index) == whole.substr(0, whole.find(stop)));
  }
}

TEST_CASE("cancelling ends all answers, and a second sink may have the name") {
  const auto backend = File().Open(2);
  GenerateRequest request = Continue("abc", 400, 5);
  // Paused, or it might be through with all of them before it hears of the cancellation.
  const auto sink = std::make_shared<RecordingSink>(3, 5);
  REQUIRE(backend->Generate(request, sink).ok());
  REQUIRE(sink->WaitForDeltas(3));
  backend->Cancel(request.id);
  REQUIRE(sink->WaitForEnd());
  for (const Finished& finished : sink->all_finished()) {
    CHECK(finished.reason == Finished::Reason::kCancelled);
  }
  CHECK(backend->load().running + backend->load().waiting == 0);
  CHECK(backend->load().kv_blocks_used == 0);
}

namespace {

// What is said of an answer, however it interleaves with the others.
std::string SaidOf(int32_t index, std::span<const Delta> deltas) {
  std::string all;
  for (const Delta& delta : deltas) {
    if (delta.index != index) continue;
    for (const TokenId id : delta.token_ids) all += std::to_string(id) + ",";
    all += "t=" + delta.text;
    for (const TokenLogprob& token : delta.logprobs) all += std::to_string(token.logprob);
    all += "\n";
  }
  return all;
}

// What an attempt saw that heard the first `cut` deltas. An answer of which it had heard all may
// have been finished for it, or not.
Resume SeenBefore(size_t cut, const std::vector<Delta>& all, int32_t n, uint64_t seed) {
  Resume resume{.answers = std::vector<SeenAnswer>(static_cast<size_t>(n)),
                .seed = seed,
                .next_seq = static_cast<int64_t>(cut)};
  for (size_t i = 0; i < cut; ++i) {
    SeenAnswer& answer = resume.answers[static_cast<size_t>(all[i].index)];
    ++answer.num_deltas;
    answer.emitted.insert(answer.emitted.end(), all[i].token_ids.begin(), all[i].token_ids.end());
  }
  for (int32_t index = 0; index < n; ++index) {
    const bool whole = std::none_of(all.begin() + static_cast<ptrdiff_t>(cut), all.end(),
                                    [index](const Delta& delta) { return delta.index == index; });
    const bool others = cut < all.size();
    resume.answers[static_cast<size_t>(index)].finished =
        whole && others && (cut + static_cast<size_t>(index)) % 2 == 0;
  }
  return resume;
}

void CheckEveryCut(Backend& backend, const GenerateRequest& request) {
  const auto whole = Run(backend, request);
  const auto all = whole->deltas();
  for (size_t cut = 0; cut <= all.size(); cut += std::max<size_t>(1, all.size() / 20)) {
    INFO("cut at " << cut << " of " << all.size());
    GenerateRequest again = request;
    again.id += "r" + std::to_string(cut);
    again.resume = SeenBefore(cut, all, request.n, *request.sampling.seed);
    const auto sink = std::make_shared<RecordingSink>(0, again.num_unfinished());
    const auto accepted = backend.Generate(again, sink);
    REQUIRE(accepted.ok());
    CHECK(accepted->seed == *request.sampling.seed);
    REQUIRE(sink->WaitForEnd());
    REQUIRE(sink->failure().ok());
    REQUIRE(sink->ends() == again.num_unfinished());
    const auto rest = sink->deltas();
    for (size_t i = 0; i < rest.size(); ++i) CHECK(rest[i].seq == static_cast<int64_t>(cut + i));
    for (int32_t index = 0; index < request.n; ++index) {
      CHECK(SaidOf(index, std::span(all).first(cut)) + SaidOf(index, rest) == SaidOf(index, all));
    }
    for (const Finished& finished : sink->all_finished()) {
      CHECK_FALSE(again.resume->answers[static_cast<size_t>(finished.index)].finished);
      for (const Finished& before : whole->all_finished()) {
        if (before.index != finished.index) continue;
        CHECK(finished.reason == before.reason);
        CHECK(finished.matched_stop == before.matched_stop);
        CHECK(finished.usage.completion_tokens == before.usage.completion_tokens);
        CHECK(finished.usage.prompt_tokens == before.usage.prompt_tokens);
      }
    }
  }
}

}  // namespace

TEST_CASE("several interrupted answers each continue exactly, whatever had been heard of them") {
  const auto backend = File().Open();
  CheckEveryCut(*backend, Continue("once upon", 24, 3));
  GenerateRequest request = Continue("abc", 40, 4);
  const std::string text = Run(*backend, request)->text(2);
  REQUIRE(text.size() > 12);
  request.id += "s";
  request.stop.strings = {text.substr(6, 6)};  // ends one of them early
  request.top_logprobs = 1;
  CheckEveryCut(*backend, request);
}

TEST_CASE("a prompt tells its tokens before the answer, with logprobs or without") {
  const auto backend = File().Open();
  const std::string text = "the owl \xF0\x9F\xA6\x89 " + std::string(150, 'u');
  GenerateRequest request = Continue(text, 3, 2);
  request.prompt_report = PromptReport{};
  const auto plain = Run(*backend, request);
  request.id += "l";
  request.prompt_report->top_logprobs = 2;
  request.top_logprobs = 2;
  const auto scored = Run(*backend, request);
  for (const auto& sink : {plain, scored}) {
    std::string told;
    std::string bytes;
    int32_t position = 0;
    for (const PromptTokens& piece : sink->prompt()) {
      CHECK(piece.position == position);
      position += static_cast<int32_t>(piece.tokens.size());
      told += piece.text;
      for (const TokenLogprob& token : piece.tokens) bytes += token.bytes;
    }
    CHECK(told == text);
    CHECK(bytes == text);
    CHECK(position == sink->finished()->usage.prompt_tokens);
  }
  const std::vector<PromptTokens> scores = scored->prompt();
  CHECK(scores[0].tokens[0].top.empty());
  const TokenLogprob& second = scores[0].tokens[1];
  CHECK(second.logprob < 0);
  REQUIRE(second.top.size() == 2);
  CHECK(second.top[0].logprob >= second.top[1].logprob);
  CHECK(plain->prompt()[0].tokens[1].logprob == 0);
  CHECK(plain->text(1) == scored->text(1));
}

TEST_CASE("a stop token has its logprob where one asks for it") {
  const auto backend = File().Open();
  GenerateRequest request = Continue("xyz", 1);
  const TokenId first = Run(*backend, request)->ids()[0];
  request.id += "s";
  request.stop.token_ids = {first};
  request.top_logprobs = 1;
  request.prompt_report = PromptReport{.top_logprobs = 1, .stop_token = true};
  const auto stopped = Run(*backend, request);
  CHECK(stopped->finished()->matched_stop_id == first);
  CHECK(stopped->finished()->usage.completion_tokens == 0);
  REQUIRE(stopped->deltas().size() == 1);
  const Delta last = stopped->deltas()[0];
  CHECK(last.token_ids.empty());
  REQUIRE(last.logprobs.size() == 1);
  CHECK(last.logprobs[0].id == first);
  CHECK(last.logprobs[0].logprob < 0);
}

TEST_CASE("a prompt can be told without an answer") {
  const auto backend = File().Open();
  GenerateRequest request = Continue("hello", 0);
  request.prompt_report = PromptReport{.top_logprobs = 0};
  const auto sink = Run(*backend, request);
  CHECK(sink->deltas().empty());
  CHECK(sink->finished()->reason == Finished::Reason::kLength);
  CHECK(sink->finished()->usage.completion_tokens == 0);
  REQUIRE(sink->prompt().size() == 1);
  CHECK(sink->prompt()[0].tokens.size() == 5);
}

TEST_CASE("what stands before and after a gap is marked as the vocabulary says") {
  const auto source = engine::OpenModelFile(File().path());
  REQUIRE(source.ok());
  const auto tokenizer = engine::LoadTokenizer(**source);
  REQUIRE(tokenizer.ok());
  const FimTokens marks = FindFimTokens(**source, **tokenizer);
  REQUIRE(marks.complete());
  CHECK(EncodeFim(**tokenizer, marks, "a", {.suffix = "<|fim_middle|>"}).size() == 3 + 1 + 14);
  const std::vector<TokenId> ids = EncodeFim(**tokenizer, marks, "a", {.suffix = "b"});
  const std::vector<TokenId> expected = {marks.prefix, (*tokenizer)->Find("a"), marks.suffix,
                                         (*tokenizer)->Find("b"), marks.middle};
  CHECK(ids == expected);

  const auto backend = File().Open();
  GenerateRequest request = Continue("a", 10);
  request.infill = Infill{.suffix = "b"};
  const auto filled = Run(*backend, request);
  GenerateRequest same = Continue("a", 10);
  same.prompt = TokenPrompt{expected};
  CHECK(filled->text() == Run(*backend, same)->text());
  // Files without a mark of their own are snippets in front.
  const Infill shown{.suffix = "b", .files = {{.name = "n", .text = "t"}}};
  const std::string snippet = "\n\n--- snippet ---\n\nt";
  std::vector<TokenId> with_file =
      (*tokenizer)->Encode(snippet, {.parse_special = false, .add_special = false});
  with_file.insert(with_file.end(), expected.begin(), expected.end());
  CHECK(EncodeFim(**tokenizer, marks, "a", shown) == with_file);
  // With marks they are the files of a repository, the last one is that of the gap.
  FimTokens whole = marks;
  whole.repository = 7;
  whole.file = 8;
  const auto plain = [&](std::string_view text, std::vector<TokenId>* ids) {
    const auto more = (*tokenizer)->Encode(text, {.parse_special = false, .add_special = false});
    ids->insert(ids->end(), more.begin(), more.end());
  };
  std::vector<TokenId> repository = {7};
  plain("myproject\n", &repository);
  repository.push_back(8);
  plain("n\nt", &repository);
  repository.push_back(8);
  plain("filename\n", &repository);
  repository.insert(repository.end(), expected.begin(), expected.end());
  CHECK(EncodeFim(**tokenizer, whole, "a", shown) == repository);
  CHECK(EncodeFim(**tokenizer, whole, "a", {.suffix = "b"}) == expected);
  CHECK(EndsOfGap(**tokenizer, marks).empty());
  CHECK(EndsOfGap(**tokenizer, whole) == std::vector<TokenId>{7, 8});

  // Editors have a prompt read in advance.
  GenerateRequest warm = Continue("a", 0);
  warm.infill = Infill{.suffix = "b"};
  const auto warmed = Run(*backend, warm);
  CHECK(warmed->deltas().empty());
  CHECK(warmed->finished()->reason == Finished::Reason::kLength);
  CHECK(warmed->finished()->usage.prompt_tokens == 5);

  request.infill->suffix = std::string(100'000, 'x');
  CHECK(absl::IsOutOfRange(backend->Generate(request, std::make_shared<RecordingSink>()).status()));
  request.infill->suffix = "b";
  request.prompt = TokenPrompt{{1}};
  CHECK(base::ParamOf(backend->Generate(request, std::make_shared<RecordingSink>()).status()) ==
        "suffix");
}

}  // namespace conclave::backends
