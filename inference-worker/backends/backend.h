// Where a model's answers come from. A backend serves one model: our own engine (native), a script
// (scripted), later another server or a child process. Plain structs go in, events come out; no
// transport, no protobuf.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, OpenBackend("native", spec));
//   ASSIGN_OR_RETURN(Accepted accepted, backend->Generate(std::move(request), sink));
//   backend->Cancel(id);      // the slot is free after the step that runs now
//
// Failures that a caller tells apart carry a base::ErrorInfo (reason, param, retry_after_ms).
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status.h"
#include "engine/chat/conversation.h"
#include "engine/options.h"
#include "engine/request.h"

namespace conclave::engine {
class ChatTemplate;
}  // namespace conclave::engine

namespace conclave::backends {

using engine::TokenId;

// ---- in
// ------------------------------------------------------------------------------------------

struct ToolChoice {
  enum class Mode { kAuto, kNone, kRequired, kNamed };
  Mode mode = Mode::kAuto;
  std::string name;  // of kNamed
};

struct ChatPrompt {
  engine::Conversation conversation;
  ToolChoice tool_choice;
  bool parallel_tool_calls = true;
  std::optional<int32_t> reasoning_budget;  // tokens; then the end of the reasoning is forced
  // Instead of the model's own, from its ParseTemplate; null = its own.
  std::shared_ptr<const engine::ChatTemplate> chat_template;
};

struct TextPrompt {
  std::string text;  // the whole prompt as the model reads it, special tokens by their names
};

struct TokenPrompt {
  std::vector<TokenId> ids;
};

// nullopt = the model's own default.
struct Sampling {
  std::optional<float> temperature;
  std::optional<int32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> typical_p;
  std::optional<float> repetition_penalty;
  std::optional<float> frequency_penalty;
  std::optional<float> presence_penalty;
  std::optional<int32_t> penalty_last_n;
  std::optional<uint64_t> seed;  // nullopt = drawn, and told in Accepted
  std::vector<std::pair<TokenId, float>> logit_bias;
};

struct StopConditions {
  std::optional<int32_t> max_tokens;  // of output, resumed ones included; 0 = nothing is generated
  std::vector<std::string> strings;   // never empty strings; not part of the output
  std::vector<TokenId> token_ids;
  int32_t min_tokens = 0;
  bool ignore_eos = false;
};

// The shape the answer must have. A backend that cannot promise it says UNIMPLEMENTED.
struct ResponseFormat {
  enum class Kind { kText, kJsonObject, kJsonSchema, kGbnf, kRegex };
  Kind kind = Kind::kText;
  std::string definition;                 // schema, grammar or expression
  std::string place = "response_format";  // what the caller calls the definition
};

// What the caller of an interrupted stream has seen of one answer.
struct SeenAnswer {
  std::vector<TokenId> emitted;
  int64_t num_deltas = 0;
  bool finished = false;  // nothing more is sent of it
};

// An interrupted stream taken up again: the output continues as if it had never stopped.
struct Resume {
  std::vector<SeenAnswer> answers;  // by index, as many as the request has; not all finished
  uint64_t seed = 0;                // what Accepted told
  int64_t next_seq = 0;             // the first Delta.seq to send

  bool begun() const {
    return next_seq > 0 || std::any_of(answers.begin(), answers.end(), [](const auto& answer) {
             return answer.finished || !answer.emitted.empty();
           });
  }
};

// What to tell of the prompt's own tokens (PromptTokens).
struct PromptReport {
  int32_t top_logprobs = -1;  // -1 = the tokens alone, n = with their logprobs and n alternatives
  // A stop token that ends an answer tells its logprobs in a last Delta without token ids.
  bool stop_token = false;
};

struct InfillFile {
  std::string name;
  std::string text;
};
struct Infill {
  std::string suffix;             // behind the gap
  std::vector<InfillFile> files;  // shown in front of everything, the nearest last
  // Writes the prompt instead of the model's own tokens; with files it is not asked. Null = none.
  std::shared_ptr<const engine::ChatTemplate> chat_template;
};

struct GenerateRequest {
  std::string id;  // unique among the live requests of the process
  std::variant<ChatPrompt, TextPrompt, TokenPrompt> prompt;
  // Of a text prompt: the output fills the gap behind it. A model that cannot do that says
  // UNIMPLEMENTED.
  std::optional<Infill> infill;
  int32_t n = 1;  // answers, at most engine::kAnswersMax; each has its own index
  Sampling sampling;
  StopConditions stop;
  std::optional<PromptReport> prompt_report;
  int32_t top_logprobs = -1;  // -1 = none, n = the chosen token and n alternatives
  ResponseFormat response_format;
  std::optional<Resume> resume;
  bool split_reasoning = true;  // <think> goes to Delta.reasoning; false leaves it in the text
  std::string cache_salt;

  // Answers that will end: all but those that an earlier attempt has finished.
  int32_t num_unfinished() const {
    int32_t count = n;
    if (!resume) return count;
    for (const SeenAnswer& answer : resume->answers) count -= answer.finished ? 1 : 0;
    return count;
  }
};

// ---- out
// -----------------------------------------------------------------------------------------

// The request is in the queue (or already running). What Generate returns; no event precedes it.
struct Accepted {
  int32_t prompt_tokens = 0;
  int32_t cached_tokens = 0;   // when known at once; Usage has the final count
  int32_t queue_position = 0;  // requests ahead in the queue, 0 = none
  uint64_t seed = 0;           // the one in force
  double tokenize_ms = 0;      // template and tokenizer
};

struct Progress {
  enum class Phase { kQueued, kPrefill, kDecode };
  Phase phase = Phase::kQueued;
  int32_t done = 0;  // tokens of total
  int32_t total = 0;
};

struct ToolCallDelta {
  enum class State { kStarted, kInProgress, kSucceeded, kFailed };
  int32_t index = 0;  // of the call within the message
  State state = State::kStarted;
  std::string id;         // with kStarted
  std::string name;       // with kStarted
  std::string arguments;  // a fragment; JSON text once all are joined
};

struct TokenLogprob {
  TokenId id = 0;
  float logprob = 0;
  std::string bytes;  // need not be UTF-8
  std::vector<TokenLogprob> top;
};

// Consecutive tokens of the prompt, kMax of them but in the last piece; all come before the first
// Delta. A function of the request alone, as deltas are.
struct PromptTokens {
  static constexpr size_t kMax = 128;
  int32_t position = 0;              // of the first of `tokens`
  std::vector<TokenLogprob> tokens;  // the prompt's first token has no logprob: 0
  std::string text;                  // what they read as, without control tokens
};

// Newly generated material of one answer. At most one of text, reasoning and tool_call is set; none
// while bytes are held back. A function of the emitted ids and the request alone: replaying the ids
// gives the same deltas under the same numbers, which is what makes resuming exact.
struct Delta {
  int32_t index = 0;  // of the answer
  int64_t seq = 0;    // counts the deltas of a request from 0 without gaps
  std::vector<TokenId> token_ids;
  std::string text;
  std::string reasoning;
  std::optional<ToolCallDelta> tool_call;
  std::vector<TokenLogprob>
      logprobs;  // one per token id, when asked for (PromptReport::stop_token)
};

struct Usage {
  int32_t prompt_tokens = 0;
  int32_t completion_tokens = 0;  // resumed ones included
  int32_t cached_tokens = 0;
  int32_t reasoning_tokens = 0;
};

struct Timings {
  double queue_ms = 0;
  double tokenize_ms = 0;
  double prefill_ms = 0;
  double decode_ms = 0;
};

struct Finished {
  enum class Reason { kStop, kLength, kToolCalls, kCancelled };
  int32_t index = 0;  // of the answer that ended
  Reason reason = Reason::kStop;
  std::string matched_stop;      // the stop string, when one ended it
  TokenId matched_stop_id = -1;  // the stop token, when one ended it
  Usage usage;
  Timings timings;
};

struct Failed {
  absl::Status status;
};

using Event = std::variant<Progress, PromptTokens, Delta, Finished, Failed>;

enum class Flow {
  kContinue,
  kPause,  // the reader is slow: nothing more for this request until Backend::Resume(id)
};

// Hears the events of one request in order; exactly one Finished for each answer, or one Failed,
// comes last. Called on a
// thread of the backend, perhaps before Generate has returned: it must not block.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual Flow OnEvent(Event event) = 0;
};

struct PredictRequest {
  std::string id;      // unique among the live requests of the process
  std::string body;    // one JSON value, well-formed
  std::string method;  // "GET", "POST": towards a model behind HTTP; empty = as it is registered
};
using PredictDone = std::function<void(absl::StatusOr<std::string>)>;

// ---- about the model
// -----------------------------------------------------------------------------

// The texts of the special tokens; empty = the vocabulary has none.
struct TokenizerInfo {
  std::string kind;  // "gpt2", "llama", "bert", "t5"
  std::string bos_token;
  std::string eos_token;
  std::string pad_token;
  std::string unk_token;
  bool adds_bos = false;
};

struct ModelDetails {
  std::string format;        // "gguf", "script"
  std::string family;        // architecture
  std::string quantization;  // "Q8_0"
  int64_t parameters = 0;
  int64_t size_bytes = 0;  // of the file
  int32_t context_length = 0;
  int32_t embedding_length = 0;
  int32_t vocab_size = 0;
  std::string chat_template;
  TokenizerInfo tokenizer;
  std::string license;
  std::vector<std::pair<std::string, std::string>> metadata;  // key → JSON text, scalars only
  int64_t memory_bytes = 0;               // weights, KV and scratch: as loaded, or as planned
  int64_t device_bytes = 0;               // of memory_bytes, on an accelerator
  int64_t kv_bytes_per_token = 0;         // of all layers
  std::vector<std::string> capabilities;  // "completion", "insert", "tools", "thinking"
  // Fingerprint of what decides the output: weights, tokenizer, template. Streams resume only on
  // equal revisions.
  std::string revision;
  std::vector<std::string> aliases;  // that the model file itself asks for
};

struct Load {
  int32_t running = 0;
  int32_t waiting = 0;
  int64_t waiting_tokens = 0;
  int32_t slots = 0;
  int64_t kv_blocks_used = 0;
  int64_t kv_blocks_total = 0;
  int32_t block_tokens = 0;
  int64_t prompt_tokens_total = 0;
  int64_t cached_tokens_total = 0;
  int64_t output_tokens_total = 0;
  int64_t steps_total = 0;
  int64_t cancelled_total = 0;
  int64_t preempted_total = 0;
  double step_ms_p50 = 0;
  double decode_tps = 0;
  double prefill_tps = 0;
};

// Of a model whose experts are shared between a device and the processors.
struct ExpertReport {
  std::string device;
  std::string plan;  // as loaded; empty: all on one device, and nothing of what follows
  bool moves = false;
  int64_t selections = 0;  // of experts by tokens
  int64_t device_selections = 0;
  double device_share = 0;  // of late
  int64_t exchanges = 0;
  int64_t moved_bytes = 0;
  int64_t refused = 0;
  struct Layer {
    int32_t layer = 0;
    std::vector<int32_t> device_experts;
    std::vector<double> hotness;  // by expert
  };
  std::vector<Layer> layers;
};

struct TokenizeOptions {
  bool add_special = false;
  bool parse_special = false;
};

struct Tokenized {
  std::vector<TokenId> ids;
  std::vector<std::string> pieces;  // the bytes of each id
  std::string prompt;               // the rendered template, for a conversation
};

// Thread-safe. Generate and Tokenize may take milliseconds on long prompts: not for a thread that
// must not block.
class Backend {
 public:
  virtual ~Backend() = default;

  // INVALID_ARGUMENT: a parameter out of range, an empty prompt. OUT_OF_RANGE with reason
  // context_length_exceeded and both numbers: the prompt does not fit. RESOURCE_EXHAUSTED: the
  // queue is full. UNIMPLEMENTED naming the field: a promise this backend cannot keep.
  // UNAVAILABLE: draining. On error the sink is never called.
  virtual absl::StatusOr<Accepted> Generate(GenerateRequest request,
                                            std::shared_ptr<EventSink> sink) = 0;
  // Ends a request wherever it is; its sink gets Finished(kCancelled) for each answer within one
  // step. Unknown ids are ignored: it may have ended just now.
  virtual void Cancel(std::string_view id) = 0;
  // Takes a request out of the pause its sink asked for.
  virtual void Resume(std::string_view id) = 0;

  // One JSON value in, one out, as the model itself defines them. `done` is called exactly once,
  // perhaps before Predict returns, else on a thread of the backend: it must not block. Cancel(id)
  // ends it with CANCELLED. UNIMPLEMENTED: the model speaks Generate instead.
  virtual void Predict(PredictRequest request, PredictDone done) {
    static_cast<void>(request);
    done(absl::UnimplementedError("this model does not answer predict"));
  }

  virtual absl::StatusOr<Tokenized> Tokenize(const std::variant<ChatPrompt, TextPrompt>& input,
                                             const TokenizeOptions& options) const = 0;
  // Invalid UTF-8 becomes U+FFFD. INVALID_ARGUMENT: an id outside the vocabulary.
  virtual absl::StatusOr<std::string> Detokenize(std::span<const TokenId> ids) const = 0;

  // Another chat template for this model's requests. INVALID_ARGUMENT with the line.
  virtual absl::StatusOr<std::shared_ptr<const engine::ChatTemplate>> ParseTemplate(
      std::string_view) const {
    return base::Unimplemented("template: the answers of this model are not made from a template");
  }

  virtual Load load() const = 0;
  virtual ExpertReport experts() const { return {}; }
  // Not OK once the model cannot be trusted any more: its file was cut short under us, a device
  // failed. Cheap; asked often.
  virtual absl::Status health() const { return absl::OkStatus(); }
  virtual const ModelDetails& details() const = 0;

  // Refuses new requests and waits for the running ones; what is left at the deadline is cancelled.
  virtual void Drain(std::chrono::milliseconds timeout) = 0;
};

// ---- the family
// ----------------------------------------------------------------------------------

// What a backend is opened from.
struct BackendSpec {
  std::string name;                                             // of the model; for log lines
  std::string path;                                             // a regular file, already checked
  engine::EngineOptions engine;                                 // for those that run our engine
  int64_t memory_budget = std::numeric_limits<int64_t>::max();  // to plan for
  std::function<void(double)> on_progress;                      // 0..1 while loading; may be empty
};

// What a model would be, from the header of its file: none of its weights is read.
struct Outline {
  ModelDetails details;          // memory_bytes as planned
  engine::EngineOptions engine;  // to open it with, so that it takes what was planned
};

struct BackendKind {
  std::string_view name;
  absl::StatusOr<std::unique_ptr<Backend>> (*open)(const BackendSpec& spec);
  absl::StatusOr<Outline> (*outline)(const BackendSpec& spec);
};

// All of them, in all.cc.
std::span<const BackendKind> AllBackends();
// The row of that name; NOT_FOUND listing the names otherwise.
absl::StatusOr<std::unique_ptr<Backend>> OpenBackend(std::string_view kind,
                                                     const BackendSpec& spec);
// Likewise.
absl::StatusOr<Outline> OutlineModel(std::string_view kind, const BackendSpec& spec);

// One pair per file.
absl::StatusOr<std::unique_ptr<Backend>> OpenScripted(const BackendSpec& spec);
absl::StatusOr<Outline> OutlineScripted(const BackendSpec& spec);
absl::StatusOr<std::unique_ptr<Backend>> OpenNative(const BackendSpec& spec);
absl::StatusOr<Outline> OutlineNative(const BackendSpec& spec);

}  // namespace conclave::backends
