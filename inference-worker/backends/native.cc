// Our engine with text around it: template and tokenizer before, decoder, parser and stop strings
// after, all on the step thread, token by token.
#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"
#include "backends/backend.h"
#include "backends/grammar_cache.h"
#include "backends/native_experts.h"
#include "backends/native_prompt.h"
#include "backends/native_sequence.h"
#include "backends/output_assembler.h"
#include "backends/script.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "engine/engine.h"
#include "engine/grammar/token_grammar.h"
#include "engine/placement/plan.h"
#include "engine/tokenizer/load.h"
#include "engine/weights/forwarding_source.h"
#include "engine/weights/model_file.h"
#include "engine/weights/source.h"

namespace conclave::backends {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMetadataTextMax = 4'096;
constexpr size_t kTokenizedMax = 1 << 20;  // ids of one text that is only tokenised
// The smallest top_p that still means something: 0 is asked for by callers that want the best
// token.
constexpr float kTopPMin = 1e-6f;

uint64_t DrawSeed() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return random();
}

bool AllEnded(const std::vector<engine::ResumedAnswer>& answers) {
  return std::all_of(answers.begin(), answers.end(),
                     [](const engine::ResumedAnswer& answer) { return answer.ended; });
}

// Engine refusals are "field: what"; callers want the field by itself.
absl::Status Explain(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kOutOfRange) {
    return base::WithReason(status, "context_length_exceeded");
  }
  if (status.code() != absl::StatusCode::kInvalidArgument) return status;
  const std::string message(status.message());
  const size_t end = message.find_first_of(":[ ");
  if (end == std::string::npos || end == 0) return status;
  return base::WithParam(status, message.substr(0, end));
}

std::string TokenText(const engine::Tokenizer& tokenizer, TokenId id) {
  return id < 0 ? std::string() : tokenizer.TokenBytes(id, true);
}

absl::StatusOr<std::shared_ptr<const engine::ChatTemplate>> ParseTemplateFor(
    const engine::Tokenizer& tokenizer, std::string_view source) {
  return engine::ChatTemplate::Parse(source, {.bos_token = TokenText(tokenizer, tokenizer.bos()),
                                              .eos_token = TokenText(tokenizer, tokenizer.eos()),
                                              .limits = {}});
}

class Native final : public Backend {
 public:
  Native(TextModel text, engine::SamplingParams defaults, ModelDetails details,
         std::shared_ptr<const engine::ModelSource> source, std::unique_ptr<engine::Engine> engine)
      : text_(std::move(text)),
        defaults_(std::move(defaults)),
        details_(std::move(details)),
        source_(std::move(source)),
        grammars_(text_.trie, [this](std::string_view token) { return IsControl(text_, token); }),
        engine_(std::move(engine)) {}

  absl::StatusOr<Accepted> Generate(GenerateRequest request,
                                    std::shared_ptr<EventSink> sink) override;
  void Cancel(std::string_view id) override { engine_->Cancel(id); }
  void Resume(std::string_view id) override { engine_->Resume(id); }
  absl::StatusOr<Tokenized> Tokenize(const std::variant<ChatPrompt, TextPrompt>& input,
                                     const TokenizeOptions& options) const override;
  absl::StatusOr<std::string> Detokenize(std::span<const TokenId> ids) const override;
  absl::StatusOr<std::shared_ptr<const engine::ChatTemplate>> ParseTemplate(
      std::string_view source) const override {
    return ParseTemplateFor(*text_.tokenizer, source);
  }
  Load load() const override;
  ExpertReport experts() const override { return ReportExperts(*engine_); }
  absl::Status health() const override { return engine_->Health(); }
  const ModelDetails& details() const override { return details_; }
  void Drain(milliseconds timeout) override { engine_->Drain(timeout); }

 private:
  engine::SamplingParams Sampling(const GenerateRequest& request) const;
  // Brings the sequence to where an earlier attempt was; what is left for the engine to do.
  absl::StatusOr<std::vector<engine::ResumedAnswer>> Replayed(std::vector<SeenAnswer> seen,
                                                              NativeSequence& sequence) const;
  absl::StatusOr<std::vector<AssemblerOptions>> Assemblers(const GenerateRequest& request,
                                                           const NativePrompt& prompt,
                                                           uint64_t seed) const;
  absl::StatusOr<AssemblerOptions> Assembler(const GenerateRequest& request,
                                             const NativePrompt& prompt, uint64_t seed) const;

  const TextModel text_;
  const engine::SamplingParams defaults_;
  const ModelDetails details_;
  const std::shared_ptr<const engine::ModelSource> source_;
  GrammarCache grammars_;
  const std::unique_ptr<engine::Engine> engine_;  // last: its thread uses all the above
};

absl::StatusOr<Accepted> Native::Generate(GenerateRequest request,
                                          std::shared_ptr<EventSink> sink) {
  const base::SteadyTime start = base::Clock::System().Now();
  ASSIGN_OR_RETURN(NativePrompt prompt, BuildPrompt(text_, request));
  if (request.infill && !request.stop.ignore_eos) {
    const std::vector<TokenId> ends = EndsOfGap(*text_.tokenizer, text_.fim);
    request.stop.token_ids.insert(request.stop.token_ids.end(), ends.begin(), ends.end());
  }
  engine::GenerateRequest to;
  if (const auto shape = ShapeOf(text_, request, prompt); shape.has_value()) {
    ASSIGN_OR_RETURN(to.grammar, grammars_.Get(*shape));
    if (auto limit = LimitOf(text_, request, prompt); limit.has_value()) {
      to.grammar = std::make_shared<engine::grammar::TokenGrammar>(*to.grammar, *std::move(limit));
    }
  }
  to.id = request.id;
  to.sampling = Sampling(request);
  ASSIGN_OR_RETURN(std::vector<AssemblerOptions> assemblers,
                   Assemblers(request, prompt, to.sampling.seed));
  Accepted accepted;
  accepted.prompt_tokens = static_cast<int32_t>(prompt.ids.size());
  accepted.seed = to.sampling.seed;
  accepted.tokenize_ms = base::MillisBetween(start, base::Clock::System().Now());

  const auto sequence = std::make_shared<NativeSequence>(
      NativeSequence::Setup{.sink = std::move(sink),
                            .tokenizer = text_.tokenizer.get(),
                            .assemblers = std::move(assemblers),
                            .stop_ids = request.stop.token_ids,
                            .logprobs = request.top_logprobs >= 0,
                            .prompt_report = request.prompt_report,
                            .prompt = request.prompt_report ? prompt.ids : std::vector<TokenId>(),
                            .next_seq = request.resume ? request.resume->next_seq : 0,
                            .prompt_tokens = accepted.prompt_tokens,
                            .tokenize_ms = accepted.tokenize_ms});
  if (request.resume) {
    ASSIGN_OR_RETURN(to.answers, Replayed(std::move(request.resume->answers), *sequence));
    if (AllEnded(to.answers)) {
      sequence->EndReplayed();
      return accepted;
    }
  }
  to.prompt = std::move(prompt.ids);
  to.n = request.n;
  to.max_tokens = request.stop.max_tokens.value_or(0);
  to.prompt_only = request.stop.max_tokens == 0;
  to.stop_ids = std::move(request.stop.token_ids);
  to.num_logprobs = request.top_logprobs;
  if (request.prompt_report) to.num_prompt_logprobs = request.prompt_report->top_logprobs;
  to.cache_salt = std::move(request.cache_salt);
  const engine::EngineStats stats = engine_->Stats();
  if (stats.running >= stats.slots) accepted.queue_position = stats.waiting + 1;
  RETURN_IF_ERROR(Explain(engine_->Submit(std::move(to), sequence)));
  return accepted;
}

absl::StatusOr<std::vector<engine::ResumedAnswer>> Native::Replayed(
    std::vector<SeenAnswer> seen, NativeSequence& sequence) const {
  std::vector<engine::ResumedAnswer> answers;
  for (SeenAnswer& before : seen) {
    for (const TokenId id : before.emitted) {
      if (id >= 0 && id < text_.tokenizer->vocab_size()) continue;
      return base::WithParam(base::InvalidArgument("resume: an id is outside the vocabulary"),
                             "resume");
    }
    const auto index = static_cast<int32_t>(answers.size());
    const bool goes_on = !before.finished && sequence.Replay(index, before);
    answers.push_back({.output = std::move(before.emitted), .ended = !goes_on});
  }
  return answers;
}

engine::SamplingParams Native::Sampling(const GenerateRequest& request) const {
  const struct Sampling& from = request.sampling;
  engine::SamplingParams to = defaults_;
  to.temperature = from.temperature.value_or(to.temperature);
  to.top_k = from.top_k.value_or(to.top_k);
  to.top_p = std::max(from.top_p.value_or(to.top_p), kTopPMin);
  to.min_p = from.min_p.value_or(to.min_p);
  to.typical_p = std::max(from.typical_p.value_or(to.typical_p), kTopPMin);
  to.repetition_penalty = from.repetition_penalty.value_or(to.repetition_penalty);
  to.frequency_penalty = from.frequency_penalty.value_or(to.frequency_penalty);
  to.presence_penalty = from.presence_penalty.value_or(to.presence_penalty);
  to.penalty_last_n = from.penalty_last_n.value_or(to.penalty_last_n);
  to.logit_bias = from.logit_bias;
  to.seed = request.resume ? request.resume->seed : from.seed ? *from.seed : DrawSeed();
  to.min_tokens = request.stop.min_tokens;
  to.ignore_eos = request.stop.ignore_eos;
  return to;
}

absl::StatusOr<std::vector<AssemblerOptions>> Native::Assemblers(const GenerateRequest& request,
                                                                 const NativePrompt& prompt,
                                                                 uint64_t seed) const {
  std::vector<AssemblerOptions> all;
  for (int32_t index = 0; index < request.n; ++index) {
    // The ids of tool calls come from it: no two answers have the same.
    const uint64_t own = index == 0 ? seed : Draw(seed, static_cast<uint64_t>(index));
    ASSIGN_OR_RETURN(AssemblerOptions one, Assembler(request, prompt, own));
    all.push_back(std::move(one));
  }
  return all;
}

absl::StatusOr<AssemblerOptions> Native::Assembler(const GenerateRequest& request,
                                                   const NativePrompt& prompt,
                                                   uint64_t seed) const {
  AssemblerOptions options;
  options.tokenizer = text_.tokenizer.get();
  auto stops = engine::StopMatcher::Make(request.stop.strings);
  if (!stops.ok()) return base::WithParam(stops.status(), "stop");
  options.stops = *std::move(stops);
  // Without reasoning or calls, what keeps to a format is the answer as it is, whatever tags its
  // strings may hold.
  const bool formatted = request.response_format.kind != ResponseFormat::Kind::kText;
  const bool reasons = request.split_reasoning && (prompt.thinks || prompt.reasoning_open);
  if (!prompt.is_chat || (formatted && !prompt.tools && !reasons && !HasChannels(*prompt.family))) {
    return options;
  }
  engine::ParserOptions parser;
  parser.tools = prompt.tools;
  if (const auto* chat = std::get_if<ChatPrompt>(&request.prompt);
      chat != nullptr && prompt.tools) {
    for (const engine::Tool& tool : chat->conversation.tools) {
      parser.schemas.emplace_back(tool.name, tool.parameters);
    }
  }
  parser.split_reasoning = request.split_reasoning;
  parser.reasoning_open = prompt.reasoning_open;
  parser.reasoning_tags = prompt.reasoning_tags;
  // A function of the prompt and the seed, so that a resumed stream repeats the ids it told.
  const uint64_t prompt_hash = HashBytes(prompt.text);
  parser.make_id = [seed, prompt_hash, index = 0](std::string_view) mutable {
    return ToolCallId(seed, prompt_hash, index++);
  };
  options.parser = prompt.family->make(parser);
  options.reasoning_open = prompt.reasoning_open && request.split_reasoning;
  options.stop_after_call = prompt.stop_after_call;
  return options;
}

absl::StatusOr<Tokenized> Native::Tokenize(const std::variant<ChatPrompt, TextPrompt>& input,
                                           const TokenizeOptions& options) const {
  Tokenized tokenized;
  if (const auto* chat = std::get_if<ChatPrompt>(&input)) {
    ASSIGN_OR_RETURN(NativePrompt prompt, BuildChatPrompt(text_, *chat));
    tokenized.ids = std::move(prompt.ids);
    tokenized.prompt = std::move(prompt.text);
  } else {
    const std::string_view text = std::get<TextPrompt>(input).text;
    if (text.size() > kTokenizedMax &&
        LeastIds(*text_.tokenizer, {&text, 1}, kTokenizedMax) > kTokenizedMax) {
      return base::WithParam(
          base::InvalidArgument(absl::StrCat("prompt: makes more than ", kTokenizedMax, " tokens")),
          "prompt");
    }
    tokenized.ids = text_.tokenizer->Encode(
        text, {.parse_special = options.parse_special, .add_special = options.add_special});
  }
  for (const TokenId id : tokenized.ids) {
    tokenized.pieces.push_back(text_.tokenizer->TokenBytes(id, true));
  }
  return tokenized;
}

absl::StatusOr<std::string> Native::Detokenize(std::span<const TokenId> ids) const {
  engine::IncrementalDecoder decoder(*text_.tokenizer, /*render_special=*/true);
  std::string text;
  for (const TokenId id : ids) {
    if (id < 0 || id >= text_.tokenizer->vocab_size()) {
      return base::WithParam(
          base::InvalidArgument(absl::StrCat("token_ids: ", id, " is outside the vocabulary")),
          "token_ids");
    }
    text += decoder.Append(id);
  }
  return text + decoder.Finish();
}

Load Native::load() const {
  const engine::EngineStats stats = engine_->Stats();
  return {.running = stats.running,
          .waiting = stats.waiting,
          .waiting_tokens = stats.waiting_tokens,
          .slots = stats.slots,
          .kv_blocks_used = stats.kv_blocks_used,
          .kv_blocks_total = stats.kv_blocks_total,
          .block_tokens = stats.block_tokens,
          .prompt_tokens_total = stats.prompt_tokens_total,
          .cached_tokens_total = stats.cached_tokens_total,
          .output_tokens_total = stats.output_tokens_total,
          .steps_total = stats.steps_total,
          .cancelled_total = stats.cancelled_total,
          .preempted_total = stats.preempted_total,
          .step_ms_p50 = stats.step_ms_p50,
          .decode_tps = stats.decode_tps,
          .prefill_tps = stats.prefill_tps};
}

// ---- opening
// -------------------------------------------------------------------------------------

// What the file's authors recommend, where it says so; values out of range are not used.
engine::SamplingParams DefaultSampling(const engine::ModelSource& source) {
  engine::SamplingParams params;
  const auto read = [&](const char* key, double min, double max, float* place) {
    if (const auto value = source.GetFloat(key, min, max, *place); value.ok()) {
      *place = static_cast<float>(*value);
    }
  };
  read("general.sampling.temp", 0, 2, &params.temperature);
  read("general.sampling.top_p", kTopPMin, 1, &params.top_p);
  read("general.sampling.min_p", 0, 1, &params.min_p);
  read("general.sampling.penalty_repeat", 0.01, 10, &params.repetition_penalty);
  if (const auto top_k = source.GetInt("general.sampling.top_k", 0, 1 << 30, params.top_k);
      top_k.ok()) {
    params.top_k = static_cast<int32_t>(*top_k);
  }
  return params;
}

absl::StatusOr<TextModel> OpenText(const engine::ModelSource& source) {
  TextModel text;
  ASSIGN_OR_RETURN(text.tokenizer, engine::LoadTokenizer(source));
  for (TokenId id = 0; id < text.tokenizer->vocab_size(); ++id) {
    text.token_bytes_max =
        std::max(text.token_bytes_max, text.tokenizer->TokenBytes(id, true).size());
  }
  text.fim = FindFimTokens(source, *text.tokenizer);
  text.trie =
      std::make_shared<engine::grammar::TokenTrie>(engine::grammar::TokenTrie::Of(*text.tokenizer));
  ASSIGN_OR_RETURN(const std::string_view written,
                   source.GetString("tokenizer.chat_template", std::string_view()));
  const std::string_view used = written.empty() ? engine::FallbackChatTemplate() : written;
  text.family = &engine::FamilyOf(used);
  auto parsed = ParseTemplateFor(*text.tokenizer, used);
  if (parsed.ok()) {
    text.chat_template = *std::move(parsed);
    text.family = &text.chat_template->family();
  } else {
    // Raw prompts still work; chats are told why not.
    text.template_error = absl::FailedPreconditionError(parsed.status().message());
  }
  return text;
}

std::vector<std::string> Capabilities(const TextModel& text) {
  std::vector<std::string> all = {"completion"};
  if (text.fim.complete()) all.push_back("insert");
  if (text.chat_template == nullptr) return all;
  all.push_back("tools");  // a template that knows none is told of them in words
  if (Thinks(*text.family, *text.chat_template)) all.push_back("thinking");
  return all;
}

// Scalars as JSON text. Arrays (vocabularies) and long texts have their own places.
std::vector<std::pair<std::string, std::string>> ScalarMetadata(const engine::ModelSource& source) {
  std::vector<std::pair<std::string, std::string>> all;
  for (const engine::MetadataEntry& entry : source.metadata()) {
    std::string json;
    if (const auto* text = std::get_if<std::string_view>(&entry.value)) {
      if (text->size() <= kMetadataTextMax) json = base::JsonQuote(*text);
    } else if (const auto* flag = std::get_if<bool>(&entry.value)) {
      json = *flag ? "true" : "false";
    } else if (const auto* number = std::get_if<int64_t>(&entry.value)) {
      json = absl::StrCat(*number);
    } else if (const auto* large = std::get_if<uint64_t>(&entry.value)) {
      json = absl::StrCat(*large);
    } else if (const auto* real = std::get_if<double>(&entry.value)) {
      json = absl::StrCat(*real);
    }
    if (!json.empty()) all.emplace_back(std::string(entry.key), std::move(json));
  }
  return all;
}

// Padding and unknown are no business of the tokenizer's: the file names them.
TokenizerInfo DescribeTokenizer(const engine::ModelSource& source, const engine::Tokenizer& of) {
  const auto named = [&](std::string_view key) {
    const absl::StatusOr<int64_t> id = source.GetInt(key, -1, of.vocab_size() - 1, -1);
    return TokenText(of, id.ok() ? static_cast<TokenId>(*id) : -1);
  };
  return {.kind = std::string(of.model_name()),
          .bos_token = TokenText(of, of.bos()),
          .eos_token = TokenText(of, of.eos()),
          .pad_token = named("tokenizer.ggml.padding_token_id"),
          .unk_token = named("tokenizer.ggml.unknown_token_id"),
          .adds_bos = of.adds_bos()};
}

// What the file alone says.
ModelDetails DescribeFile(const engine::ModelSource& source, const TextModel& text) {
  ModelDetails details;
  details.format = source.Has("tokenizer.huggingface.json") ? "safetensors" : "gguf";
  if (text.chat_template != nullptr) details.chat_template = text.chat_template->source();
  if (const auto license = source.GetString("general.license", std::string_view()); license.ok()) {
    details.license = std::string(*license);
  }
  details.tokenizer = DescribeTokenizer(source, *text.tokenizer);
  details.metadata = ScalarMetadata(source);
  details.capabilities = Capabilities(text);
  return details;
}

void DescribeModel(const engine::ModelInfo& info, ModelDetails* details) {
  details->family = info.architecture;
  details->quantization = info.quantization;
  details->parameters = info.parameters;
  details->size_bytes = info.weight_bytes;
  details->context_length = info.context_length;
  details->embedding_length = info.embedding_length;
  details->vocab_size = info.vocab_size;
  details->kv_bytes_per_token = info.kv_bytes_per_token;
  details->memory_bytes = info.memory_bytes;
  details->device_bytes = info.device_bytes;
}

// Tells how much of the weights has been taken in.
class WatchedSource final : public engine::ForwardingSource {
 public:
  WatchedSource(std::shared_ptr<const engine::ModelSource> source,
                std::function<void(double)> on_progress)
      : ForwardingSource(std::move(source)), on_progress_(std::move(on_progress)) {
    for (const engine::TensorEntry& tensor : tensors()) whole_ += tensor.view.bytes();
  }
  void DoneWith(const engine::TensorView& tensor) const override {
    ForwardingSource::DoneWith(tensor);
    done_ += tensor.bytes();
    if (done_ - told_ < whole_ / 100) return;
    told_ = done_;
    on_progress_(std::min(1.0, static_cast<double>(done_) / static_cast<double>(whole_)));
  }

 private:
  const std::function<void(double)> on_progress_;
  int64_t whole_ = 0;
  // By the thread that opens the model.
  mutable int64_t done_ = 0;
  mutable int64_t told_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> OpenNative(const BackendSpec& spec) {
  ASSIGN_OR_RETURN(std::shared_ptr<const engine::ModelSource> source,
                   engine::OpenModelFile(spec.path));
  if (spec.on_progress) {
    source = std::make_shared<WatchedSource>(std::move(source), spec.on_progress);
  }
  ASSIGN_OR_RETURN(TextModel text, OpenText(*source));
  if (!text.template_error.ok()) {
    base::LogWarning("chat template cannot be used",
                     {{"model", spec.name}, {"error", text.template_error.ToString()}});
  }
  ASSIGN_OR_RETURN(std::unique_ptr<engine::Engine> engine,
                   engine::Engine::Open(source, spec.engine));
  if (!engine->info().placement.empty()) {
    base::LogInfo("placed", {{"model", spec.name},
                             {"device", engine->info().device},
                             {"plan", engine->info().placement}});
  }
  text.context_length = engine->info().context_length;
  ModelDetails details = DescribeFile(*source, text);
  DescribeModel(engine->info(), &details);
  return std::make_unique<Native>(std::move(text), DefaultSampling(*source), std::move(details),
                                  source, std::move(engine));
}

absl::StatusOr<Outline> OutlineNative(const BackendSpec& spec) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const engine::ModelSource> source,
                   engine::OpenModelFile(spec.path));
  ASSIGN_OR_RETURN(const TextModel text, OpenText(*source));
  const bool bounded = spec.memory_budget < std::numeric_limits<int64_t>::max();
  const engine::MemoryRoom room{.budget =
                                    bounded ? spec.memory_budget : engine::AvailableMemoryBytes()};
  ASSIGN_OR_RETURN(const engine::PlannedModel planned,
                   engine::PlanModel(source, spec.engine, room));
  Outline outline{.details = DescribeFile(*source, text), .engine = spec.engine};
  DescribeModel(planned.info, &outline.details);
  // On a device the engine asks the device.
  if (planned.plan.fits && planned.plan.needs.device == "cpu") {
    outline.engine.kv_bytes = planned.plan.kv_bytes;
  }
  return outline;
}

}  // namespace conclave::backends
