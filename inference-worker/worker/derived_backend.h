// A model made from another one: the same weights, tokenizer and queue, with things said in
// advance.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/backend.h"

namespace conclave::worker {

// What a Go template says that its model can do, as Ollama tells it.
struct TemplateAbilities {
  bool tools = false;
  bool thinking = false;
  bool insert = false;
};

struct DerivedSpec {
  std::string base;  // name or alias; empty: of weights of its own, which nobody else names
  // In front of conversations that bring no system message.
  std::optional<std::string> system;
  std::optional<std::string> chat_template;    // Jinja or Go, instead of the base's
  std::optional<TemplateAbilities> abilities;  // of a Go template
  // Where a request says nothing.
  backends::Sampling sampling;
  backends::StopConditions stop;
  std::optional<int32_t> context_length;  // counts where it is below the base's
  // Behind the system message, in front of the conversation.
  std::vector<engine::Message> messages;
  std::string license;
  std::string parameters;  // JSON object as it was given; sampling and stop are made from it
};

// Thread-safe. Requests keep their ids: they are the base's requests.
class DerivedBackend final : public backends::Backend {
 public:
  // `hold` keeps `base` alive. The backend's revision is one of both together. INVALID_ARGUMENT:
  // the template does not parse. UNIMPLEMENTED: the base has no template to replace.
  static absl::StatusOr<std::unique_ptr<DerivedBackend>> Open(backends::Backend& base_backend,
                                                              const std::string& base_revision,
                                                              std::shared_ptr<void> hold,
                                                              DerivedSpec spec);
  // Over weights of its own.
  static absl::StatusOr<std::unique_ptr<DerivedBackend>> Over(
      std::unique_ptr<backends::Backend> base_backend, const std::string& base_revision,
      DerivedSpec spec);
  // What a model made from one of `details` is, as far as words alone say it.
  static void Describe(const DerivedSpec& spec, backends::ModelDetails* details);
  ~DerivedBackend() override;

  absl::StatusOr<backends::Accepted> Generate(backends::GenerateRequest request,
                                              std::shared_ptr<backends::EventSink> sink) override;
  void Cancel(std::string_view id) override { base_.Cancel(id); }
  void Resume(std::string_view id) override { base_.Resume(id); }
  void Predict(backends::PredictRequest request, backends::PredictDone done) override {
    base_.Predict(std::move(request), std::move(done));
  }
  absl::StatusOr<backends::Tokenized> Tokenize(
      const std::variant<backends::ChatPrompt, backends::TextPrompt>& input,
      const backends::TokenizeOptions& options) const override;
  absl::StatusOr<std::string> Detokenize(std::span<const backends::TokenId> ids) const override {
    return base_.Detokenize(ids);
  }
  // Of a shared base the work is counted there.
  backends::ExpertReport experts() const override { return base_.experts(); }
  backends::Load load() const override {
    return spec_.base.empty() ? base_.load() : backends::Load();
  }
  absl::Status health() const override { return base_.health(); }
  const backends::ModelDetails& details() const override { return details_; }
  void Drain(std::chrono::milliseconds timeout) override;

  // What it is made from.
  backends::Backend& under() const { return base_; }
  // "sha256:…" of what it is made from and says.
  const std::string& digest() const { return digest_; }

 private:
  struct Live;
  class Sink;

  DerivedBackend(backends::Backend& base_backend, std::shared_ptr<void> hold, DerivedSpec spec);
  void ApplyTo(backends::ChatPrompt* chat) const;
  absl::Status CheckLength(backends::GenerateRequest* request) const;

  backends::Backend& base_;
  const std::shared_ptr<void> hold_;
  const DerivedSpec spec_;
  std::shared_ptr<const engine::ChatTemplate> template_;
  backends::ModelDetails details_;
  std::string digest_;
  const std::shared_ptr<Live> live_;  // shared with the sinks of running requests
};

// What is absent in `to` becomes what `defaults` says.
void FillIn(const backends::Sampling& defaults, backends::Sampling* to);

}  // namespace conclave::worker
