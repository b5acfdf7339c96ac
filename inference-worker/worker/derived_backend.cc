#include "worker/derived_backend.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <set>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status.h"
#include "base/strings.h"

namespace conclave::worker {
namespace {

using backends::ChatPrompt;
using engine::Message;

// Everything that a derived model adds to what decides an output. Lengths in front, so that no two
// models read the same.
std::string DigestOf(const std::string& base_revision, const DerivedSpec& spec) {
  std::string text;
  const auto add = [&text](std::string_view part) {
    absl::StrAppend(&text, part.size(), ":", base::Abs(part));
  };
  add(base_revision);
  add(spec.system ? "1" + *spec.system : "0");
  add(spec.chat_template ? "1" + *spec.chat_template : "0");
  add(spec.parameters);
  for (const Message& message : spec.messages) {
    add(message.role);
    add(message.content);
    add(message.reasoning);
  }
  base::Sha256 hash;
  hash.Add(text.data(), text.size());
  return hash.Hex();
}

template <typename T>
void Default(const std::optional<T>& value, std::optional<T>* to) {
  if (!to->has_value()) *to = value;
}

void SetCapability(const std::string& word, bool can, std::vector<std::string>* words) {
  const auto found = std::find(words->begin(), words->end(), word);
  if (can && found == words->end()) words->push_back(word);
  if (!can && found != words->end()) words->erase(found);
}

absl::Status TooLong(int32_t context_length, size_t tokens) {
  return base::WithReason(
      absl::OutOfRangeError(absl::StrCat("the context of this model is ", context_length,
                                         " tokens, the prompt has ", tokens)),
      "context_length_exceeded");
}

}  // namespace

// The requests that run.
struct DerivedBackend::Live {
  std::mutex mutex;
  std::condition_variable changed;
  std::set<std::string> ids;
  bool draining = false;

  void Forget(const std::string& id) {
    {
      const std::lock_guard lock(mutex);
      ids.erase(id);
    }
    changed.notify_all();
  }
};

// Passes events on and notices the last one: the end of the last answer, or a failure.
class DerivedBackend::Sink final : public backends::EventSink {
 public:
  Sink(std::string id, int32_t num_answers, std::shared_ptr<backends::EventSink> to,
       std::shared_ptr<Live> live)
      : id_(std::move(id)), to_(std::move(to)), live_(std::move(live)), num_left_(num_answers) {}

  backends::Flow OnEvent(backends::Event event) override {
    if (std::holds_alternative<backends::Finished>(event)) --num_left_;
    const bool last = num_left_ == 0 || std::holds_alternative<backends::Failed>(event);
    const backends::Flow flow = to_->OnEvent(std::move(event));
    if (last) live_->Forget(id_);
    return flow;
  }

 private:
  const std::string id_;
  const std::shared_ptr<backends::EventSink> to_;
  const std::shared_ptr<Live> live_;
  int32_t num_left_;  // answers that have not ended
};

void FillIn(const backends::Sampling& defaults, backends::Sampling* to) {
  Default(defaults.temperature, &to->temperature);
  Default(defaults.top_k, &to->top_k);
  Default(defaults.top_p, &to->top_p);
  Default(defaults.min_p, &to->min_p);
  Default(defaults.typical_p, &to->typical_p);
  Default(defaults.repetition_penalty, &to->repetition_penalty);
  Default(defaults.frequency_penalty, &to->frequency_penalty);
  Default(defaults.presence_penalty, &to->presence_penalty);
  Default(defaults.penalty_last_n, &to->penalty_last_n);
  Default(defaults.seed, &to->seed);
}

DerivedBackend::DerivedBackend(backends::Backend& base_backend, std::shared_ptr<void> hold,
                               DerivedSpec spec)
    : base_(base_backend),
      hold_(std::move(hold)),
      spec_(std::move(spec)),
      details_(base_backend.details()),
      live_(std::make_shared<Live>()) {}

DerivedBackend::~DerivedBackend() = default;

absl::StatusOr<std::unique_ptr<DerivedBackend>> DerivedBackend::Open(
    backends::Backend& base_backend, const std::string& base_revision, std::shared_ptr<void> hold,
    DerivedSpec spec) {
  auto derived = std::unique_ptr<DerivedBackend>(
      new DerivedBackend(base_backend, std::move(hold), std::move(spec)));
  const DerivedSpec& said = derived->spec_;
  backends::ModelDetails& details = derived->details_;
  const std::string hex = DigestOf(base_revision, said);
  derived->digest_ = "sha256:" + hex;
  details.revision = hex.substr(0, 16);
  if (said.chat_template) {
    ASSIGN_OR_RETURN(derived->template_, base_backend.ParseTemplate(*said.chat_template));
  }
  Describe(said, &details);
  return derived;
}

void DerivedBackend::Describe(const DerivedSpec& spec, backends::ModelDetails* details) {
  details->aliases.clear();
  if (spec.chat_template) details->chat_template = *spec.chat_template;
  if (spec.abilities) {
    // A gap is filled by the model's own tokens where the template has no place for it.
    if (spec.abilities->insert) SetCapability("insert", true, &details->capabilities);
    SetCapability("tools", spec.abilities->tools, &details->capabilities);
    SetCapability("thinking", spec.abilities->thinking, &details->capabilities);
  }
  if (!spec.license.empty()) details->license = spec.license;
  if (spec.context_length) {
    details->context_length = std::min(details->context_length, *spec.context_length);
  }
}

absl::StatusOr<std::unique_ptr<DerivedBackend>> DerivedBackend::Over(
    std::unique_ptr<backends::Backend> base_backend, const std::string& base_revision,
    DerivedSpec spec) {
  const std::shared_ptr<backends::Backend> own = std::move(base_backend);
  return Open(*own, base_revision, own, std::move(spec));
}

void DerivedBackend::ApplyTo(ChatPrompt* chat) const {
  std::vector<Message>& messages = chat->conversation.messages;
  const bool has_system = !messages.empty() && messages.front().role == "system";
  if (!has_system && spec_.system && !spec_.system->empty()) {
    Message system;
    system.role = "system";
    system.content = *spec_.system;
    messages.insert(messages.begin(), std::move(system));
  }
  const bool leads = !messages.empty() && messages.front().role == "system";
  messages.insert(messages.begin() + (leads ? 1 : 0), spec_.messages.begin(), spec_.messages.end());
  if (template_ != nullptr) chat->chat_template = template_;
}

// Only a context that is shorter than the base's asks for counting.
absl::Status DerivedBackend::CheckLength(backends::GenerateRequest* request) const {
  if (details_.context_length >= base_.details().context_length) return absl::OkStatus();
  size_t tokens = 0;
  if (const auto* ids = std::get_if<backends::TokenPrompt>(&request->prompt)) {
    tokens = ids->ids.size();
  } else {
    std::variant<ChatPrompt, backends::TextPrompt> input;
    if (const auto* chat = std::get_if<ChatPrompt>(&request->prompt)) {
      input = *chat;
    } else {
      input = std::get<backends::TextPrompt>(request->prompt);
    }
    ASSIGN_OR_RETURN(const backends::Tokenized tokenized,
                     base_.Tokenize(input, {.add_special = true, .parse_special = true}));
    tokens = tokenized.ids.size();
  }
  const auto context = static_cast<size_t>(details_.context_length);
  if (tokens >= context) return TooLong(details_.context_length, tokens);
  const auto room = static_cast<int32_t>(context - tokens);
  request->stop.max_tokens = std::min(request->stop.max_tokens.value_or(room), room);
  return absl::OkStatus();
}

absl::StatusOr<backends::Accepted> DerivedBackend::Generate(
    backends::GenerateRequest request, std::shared_ptr<backends::EventSink> sink) {
  if (auto* chat = std::get_if<ChatPrompt>(&request.prompt)) ApplyTo(chat);
  if (request.infill && spec_.abilities && spec_.abilities->insert) {
    request.infill->chat_template = template_;
  }
  FillIn(spec_.sampling, &request.sampling);
  Default(spec_.stop.max_tokens, &request.stop.max_tokens);
  if (request.stop.strings.empty()) request.stop.strings = spec_.stop.strings;
  RETURN_IF_ERROR(CheckLength(&request));
  const std::string id = request.id;
  {
    const std::lock_guard lock(live_->mutex);
    if (live_->draining) return base::Unavailable("draining");
    live_->ids.insert(id);
  }
  auto ours = std::make_shared<Sink>(id, request.num_unfinished(), std::move(sink), live_);
  absl::StatusOr<backends::Accepted> accepted = base_.Generate(std::move(request), std::move(ours));
  if (!accepted.ok()) live_->Forget(id);
  return accepted;
}

absl::StatusOr<backends::Tokenized> DerivedBackend::Tokenize(
    const std::variant<ChatPrompt, backends::TextPrompt>& input,
    const backends::TokenizeOptions& options) const {
  const auto* chat = std::get_if<ChatPrompt>(&input);
  if (chat == nullptr) return base_.Tokenize(input, options);
  ChatPrompt ours = *chat;
  ApplyTo(&ours);
  return base_.Tokenize(ours, options);
}

void DerivedBackend::Drain(std::chrono::milliseconds timeout) {
  std::set<std::string> left;
  {
    std::unique_lock lock(live_->mutex);
    live_->draining = true;
    live_->changed.wait_for(lock, timeout, [this] { return live_->ids.empty(); });
    left = live_->ids;
  }
  for (const std::string& id : left) base_.Cancel(id);
}

}  // namespace conclave::worker
