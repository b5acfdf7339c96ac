// Models that are programs: one JSON value per line on stdin and stdout. What is run stands in the
// configuration alone; a registration can name one of its entries and nothing else.
//
// Protocol "predict": the body of Predict in, one line of JSON out.
// Protocol "chat": Generate. In, one line per request:
//   {"id":"…","request":{"messages":[…],"tools":[…],"temperature":…,"max_tokens":…,…}}
// with the request as OpenAI's chat/completions (or completions: "prompt") has it; out, any number
// of lines with that id, the last with a finish_reason or an error:
//   {"id":"…","delta":{"content":"Hel"}}
//   {"id":"…","delta":{"reasoning_content":"…"}}
//   {"id":"…","delta":{"tool_calls":[{"index":0,"id":"…","function":{"name":"…","arguments":"…"}}]}}
//   {"id":"…","finish_reason":"stop","usage":{"prompt_tokens":5,"completion_tokens":2}}
//   {"id":"…","error":{"message":"…","code":"400","param":"…"}}
// A cancelled request is told as {"id":"…","cancel":true}; a program that has not ended it after
// cancel_grace is killed and started again. One request at a time; `processes` runs several.
#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/answer_fan.h"
#include "backends/child_runner.h"
#include "backends/provider.h"
#include "backends/remote_openai_request.h"
#include "backends/remote_openai_wire.h"
#include "backends/settings.h"
#include "backends/subprocess_jobs.h"
#include "base/check.h"
#include "base/ids.h"
#include "base/status.h"

namespace conclave::backends {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kHour{3'600'000};
constexpr milliseconds kStartMax{10'000};
constexpr milliseconds kCancelMax{60'000};

struct Program {
  RunnerOptions runner;
  bool chat = false;
  int32_t context_length = 0;
  std::vector<std::string> capabilities;
};

// NAME=value of what the child may see: a plain PATH, what is written down, what is let through.
absl::Status ReadEnvironment(Settings& settings, const base::JsonValue& from, ChildSpec* child) {
  std::map<std::string, std::string> environment = {{"PATH", "/usr/local/bin:/usr/bin:/bin"},
                                                    {"LANG", "C.UTF-8"}};
  std::vector<std::string> inherited;
  settings.Read("env", &environment);
  settings.Read("env_from", &inherited);
  for (const std::string& name : inherited) {
    if (const char* value = std::getenv(name.c_str())) environment[name] = value;
  }
  for (const auto& [name, value] : environment) {
    if (name.empty() || name.find('=') != std::string::npos) {
      return from.Get("env").Error("a name without an equals sign");
    }
    child->environment.push_back(name + "=" + value);
  }
  return absl::OkStatus();
}

absl::StatusOr<Program> ReadProgram(const base::JsonValue& from) {
  RETURN_IF_ERROR(from.ExpectObject());
  Program program;
  RunnerOptions& runner = program.runner;
  std::string protocol = "predict";
  std::string restart = "on-failure";
  Settings settings(from);
  settings.Read("argv", &runner.child.argv);
  settings.Read("cwd", &runner.child.directory);
  RETURN_IF_ERROR(ReadEnvironment(settings, from, &runner.child));
  settings.ReadBytes("memory_bytes", &runner.child.memory_bytes, 0, int64_t{1} << 50);
  settings.Read("cpu_seconds", &runner.child.cpu_seconds, 0, 1 << 30);
  settings.Read("open_files", &runner.child.open_files, 8, 65'536);
  settings.ReadBytes("file_bytes", &runner.child.file_bytes, 0, int64_t{1} << 50);
  settings.Read("protocol", &protocol);
  settings.Read("restart", &restart);
  settings.Read("processes", &runner.processes, 1, 64);
  settings.Read("max_queued", &runner.queued_max, 0, 65'536);
  settings.Read("request_timeout", &runner.request_timeout, milliseconds(10), 24 * kHour);
  settings.Read("cancel_grace", &runner.cancel_grace, milliseconds(0), kHour);
  settings.Read("stop_grace", &runner.stop_grace, milliseconds(0), milliseconds(60'000));
  settings.Read("restart_pause", &runner.restart_pause, milliseconds(1), milliseconds(30'000));
  settings.ReadBytes("line_bytes_max", &runner.line_bytes_max, 256, int64_t{1} << 28);
  settings.Read("context_length", &program.context_length, 1, 1 << 30);
  settings.Read("capabilities", &program.capabilities);
  program.chat = protocol == "chat";
  runner.restart = restart == "on-failure";
  if (!program.chat && protocol != "predict") {
    settings.Refuse("protocol", "must be predict or chat");
  }
  if (!runner.restart && restart != "never") {
    settings.Refuse("restart", "must be on-failure or never");
  }
  RETURN_IF_ERROR(settings.Finish());
  const std::vector<std::string>& argv = runner.child.argv;
  if (argv.empty()) return from.Get("argv").Error("required");
  const auto broken = [](const std::string& text) { return text.find('\0') != std::string::npos; };
  if (argv[0].empty() || argv[0][0] != '/' || std::any_of(argv.begin(), argv.end(), broken)) {
    return from.Get("argv").Error("must begin with the absolute path of a program");
  }
  if (runner.child.directory.empty() || runner.child.directory[0] != '/') {
    return from.Get("cwd").Error("must be an absolute path");
  }
  if (program.capabilities.empty())
    program.capabilities = {program.chat ? "completion" : "predict"};
  return program;
}

// ---- the backend
// ---------------------------------------------------------------------------------

class ProgramModel final : public Backend {
 public:
  ProgramModel(Program program, const ProviderModel& model)
      : program_(std::move(program)),
        model_(model.model_id),
        log_(model.log ? model.log : std::make_shared<ModelLog>()),
        pool_(std::make_unique<ChildPool>(program_.runner, log_)) {
    details_.format = "subprocess";
    details_.family = program_.chat ? "chat" : "predict";
    details_.capabilities = program_.capabilities;
    details_.context_length = program_.context_length;
    std::string argv;
    for (const std::string& word : program_.runner.child.argv) absl::StrAppend(&argv, word, "\n");
    details_.revision = absl::StrCat("process-", absl::Hex(std::hash<std::string>()(argv)));
  }
  ~ProgramModel() override {
    Drain(milliseconds(0));
    pool_ = nullptr;
  }

  absl::Status WaitUntilStarted() { return pool_->WaitUntilStarted(kStartMax); }

  absl::StatusOr<Accepted> Generate(GenerateRequest request,
                                    std::shared_ptr<EventSink> sink) override;
  void Predict(PredictRequest request, PredictDone done) override;
  void Cancel(std::string_view id) override;
  void Resume(std::string_view id) override;
  absl::StatusOr<Tokenized> Tokenize(const std::variant<ChatPrompt, TextPrompt>&,
                                     const TokenizeOptions&) const override {
    return base::Unimplemented("this model shows no tokenizer");
  }
  absl::StatusOr<std::string> Detokenize(std::span<const TokenId>) const override {
    return base::Unimplemented("this model shows no tokenizer");
  }
  Load load() const override;
  absl::Status health() const override { return pool_->health(); }
  const ModelDetails& details() const override { return details_; }
  void Drain(milliseconds timeout) override;

 private:
  struct Live {
    std::shared_ptr<ChildJob> job;
    std::shared_ptr<ChatJob> chat;  // the same, of a generation
  };
  absl::Status Submit(const std::string& id, Live live);
  void Ended(const std::string& id, const Usage& usage);

  const Program program_;
  const std::string model_;
  const std::shared_ptr<ModelLog> log_;
  ModelDetails details_;
  mutable std::mutex mutex_;
  std::condition_variable idle_;
  std::unordered_map<std::string, Live> live_;
  bool draining_ = false;
  Load totals_;
  std::unique_ptr<ChildPool> pool_;
};

absl::StatusOr<Accepted> ProgramModel::Generate(GenerateRequest request,
                                                std::shared_ptr<EventSink> sink) {
  if (!program_.chat) return base::Unimplemented("this model answers predict only");
  if (request.resume && request.resume->begun()) {
    return base::WithReason(
        base::Internal("the stream broke, and a process's cannot be taken up again"),
        "upstream_lost");
  }
  RETURN_IF_ERROR(health());
  ASSIGN_OR_RETURN(const OpenAiCall encoded,
                   EncodeOpenAiCall(request, model_, OpenAiDialect{.guided = true}));
  Accepted accepted;
  const uint64_t drawn = std::hash<std::string>()(base::NewId(""));
  accepted.seed = request.resume ? request.resume->seed : request.sampling.seed.value_or(drawn);
  const auto ended = [this, id = request.id](const Event& last) {
    const auto* finished = std::get_if<Finished>(&last);
    Ended(id, finished == nullptr ? Usage() : finished->usage);
  };
  Live live;
  live.chat = std::make_shared<ChatJob>(
      request.id, encoded.body, std::move(sink), ended,
      OpenAiStream::Options{.split_reasoning = request.split_reasoning,
                            .logprobs = request.top_logprobs >= 0,
                            .call_id_prefix = base::NewId("call_") + "_"});
  live.job = live.chat;
  RETURN_IF_ERROR(Submit(request.id, std::move(live)));
  return accepted;
}

void ProgramModel::Predict(PredictRequest request, PredictDone done) {
  if (program_.chat) return done(base::Unimplemented("this model does not answer predict"));
  if (const absl::Status status = health(); !status.ok()) return done(status);
  // One line, however the caller wrote it.
  const auto document = base::JsonDocument::Parse(request.body);
  if (!document.ok()) return done(document.status());
  Live live;
  live.job = std::make_shared<PredictJob>(
      document->root().ToJson(), [this, id = request.id, done](absl::StatusOr<std::string> reply) {
        Ended(id, {});
        done(std::move(reply));
      });
  const absl::Status status = Submit(request.id, std::move(live));
  if (!status.ok()) done(status);
}

absl::Status ProgramModel::Submit(const std::string& id, Live live) {
  const std::lock_guard lock(mutex_);
  if (draining_) return base::Unavailable("draining");
  if (live_.count(id) > 0) {
    return base::Internal(absl::StrCat("request id ", id, " is already live"));
  }
  RETURN_IF_ERROR(pool_->Submit(live.job));
  live_.emplace(id, std::move(live));  // before its end, which waits for the lock
  return absl::OkStatus();
}

void ProgramModel::Ended(const std::string& id, const Usage& usage) {
  const std::lock_guard lock(mutex_);
  totals_.prompt_tokens_total += usage.prompt_tokens;
  totals_.output_tokens_total += usage.completion_tokens;
  live_.erase(id);
  idle_.notify_all();
}

void ProgramModel::Cancel(std::string_view id) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = live_.find(std::string(id));
    if (found == live_.end()) return;
    found->second.job->cancelled = true;
  }
  pool_->Wake();
}

void ProgramModel::Resume(std::string_view id) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = live_.find(std::string(id));
    if (found == live_.end() || found->second.chat == nullptr) return;
    found->second.chat->sink().NoteResume();
    found->second.job->resumed = true;
  }
  pool_->Wake();
}

Load ProgramModel::load() const {
  const int32_t waiting = pool_->waiting();
  const std::lock_guard lock(mutex_);
  Load load = totals_;
  load.slots = program_.runner.processes;
  load.waiting = std::min(waiting, static_cast<int32_t>(live_.size()));
  load.running = static_cast<int32_t>(live_.size()) - load.waiting;
  return load;
}

void ProgramModel::Drain(milliseconds timeout) {
  std::vector<std::string> left;
  {
    std::unique_lock lock(mutex_);
    draining_ = true;
    idle_.wait_for(lock, timeout, [&] { return live_.empty(); });
    for (const auto& [id, live] : live_) left.push_back(id);
  }
  for (const std::string& id : left) Cancel(id);
  std::unique_lock lock(mutex_);
  CHECK(idle_.wait_for(lock, kCancelMax, [&] { return live_.empty(); }));
}

// ---- the provider
// --------------------------------------------------------------------------------

class Subprocess final : public Provider {
 public:
  Subprocess(std::string id, std::map<std::string, Program> programs)
      : id_(std::move(id)), programs_(std::move(programs)) {}

  const std::string& id() const override { return id_; }
  std::string_view type() const override { return "subprocess"; }
  ProviderStatus status() const override {
    ProviderStatus status;
    status.health = absl::OkStatus();  // each model has its own
    for (const auto& [name, program] : programs_) status.models.push_back(name);
    return status;
  }

  absl::StatusOr<std::unique_ptr<Backend>> Open(const ProviderModel& model) override {
    const auto found = programs_.find(model.model_id);
    if (found == programs_.end()) {
      return base::WithParam(
          base::NotFound(
              absl::StrCat("provider_model_id: ", id_, " has no program \"", model.model_id, "\"")),
          "provider_model_id");
    }
    // Nothing about a program comes from who registers it.
    if (!model.config_json.empty() && model.config_json != "{}") {
      return base::InvalidArgument("config_json: a program takes none");
    }
    auto backend = std::make_unique<ProgramModel>(found->second, model);
    RETURN_IF_ERROR(backend->WaitUntilStarted());
    return FanOutAnswers(std::move(backend));
  }

 private:
  const std::string id_;
  const std::map<std::string, Program> programs_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Provider>> OpenSubprocess(const ProviderConfig& config) {
  Settings settings(config.settings);
  const base::JsonValue models = settings.Take("models");
  RETURN_IF_ERROR(settings.Finish());
  RETURN_IF_ERROR(models.ExpectObject());
  std::map<std::string, Program> programs;
  absl::Status status;
  models.ForEachMember([&](std::string_view name, base::JsonValue value) {
    absl::StatusOr<Program> program = ReadProgram(value);
    if (program.ok()) {
      programs.emplace(name, *std::move(program));
    } else if (status.ok()) {
      status = program.status();
    }
  });
  RETURN_IF_ERROR(status);
  return std::make_unique<Subprocess>(config.id, std::move(programs));
}

}  // namespace conclave::backends
