#include "worker/derived_backend.h"

#include <catch2/catch.hpp>

#include "backends/scripted.h"
#include "base/status.h"
#include "unit/backends/recording_sink.h"
#include "worker/derived_convert.h"
#include "worker/model_host.h"

namespace conclave::worker {
namespace {

namespace pb = conclave::v1;
using std::chrono::milliseconds;

// Keeps what it was asked, and answers with a script.
class Spy final : public backends::Backend {
 public:
  explicit Spy(const char* script = "{}") : inner_(*backends::MakeScripted(script)) {}

  absl::StatusOr<backends::Accepted> Generate(backends::GenerateRequest request,
                                              std::shared_ptr<backends::EventSink> sink) override {
    last = request;
    return inner_->Generate(std::move(request), std::move(sink));
  }
  void Cancel(std::string_view id) override { inner_->Cancel(id); }
  void Resume(std::string_view id) override { inner_->Resume(id); }
  absl::StatusOr<backends::Tokenized> Tokenize(
      const std::variant<backends::ChatPrompt, backends::TextPrompt>& input,
      const backends::TokenizeOptions& options) const override {
    return inner_->Tokenize(input, options);
  }
  absl::StatusOr<std::string> Detokenize(std::span<const backends::TokenId> ids) const override {
    return inner_->Detokenize(ids);
  }
  backends::Load load() const override { return inner_->load(); }
  const backends::ModelDetails& details() const override { return inner_->details(); }
  void Drain(milliseconds timeout) override { inner_->Drain(timeout); }

  backends::GenerateRequest last;

 private:
  const std::unique_ptr<backends::Backend> inner_;
};

backends::GenerateRequest Ask(std::vector<engine::Message> messages) {
  backends::GenerateRequest request;
  request.id = "r";
  backends::ChatPrompt chat;
  chat.conversation.messages = std::move(messages);
  request.prompt = std::move(chat);
  return request;
}

engine::Message Say(const std::string& role, const std::string& text) {
  engine::Message message;
  message.role = role;
  message.content = text;
  return message;
}

std::string Conversation(const backends::GenerateRequest& request) {
  std::string text;
  for (const auto& message : std::get<backends::ChatPrompt>(request.prompt).conversation.messages) {
    text += message.role.substr(0, 1) + ":" + message.content + " ";
  }
  return text;
}

DerivedSpec Pirate() {
  DerivedSpec spec;
  spec.base = "teacher";
  spec.system = "Arr.";
  spec.messages = {Say("user", "one"), Say("assistant", "two")};
  spec.sampling.temperature = 0.1f;
  spec.sampling.top_k = 7;
  spec.stop.strings = {"END"};
  spec.stop.max_tokens = 9;
  return spec;
}

std::unique_ptr<DerivedBackend> Derive(backends::Backend& base, const DerivedSpec& spec) {
  auto derived = DerivedBackend::Open(base, "rev", nullptr, spec);
  REQUIRE(derived.ok());
  return *std::move(derived);
}

}  // namespace

TEST_CASE("what a derived model says in advance comes before the conversation") {
  Spy base;
  const auto derived = Derive(base, Pirate());
  const auto ask = [&](std::vector<engine::Message> messages) {
    auto sink = std::make_shared<backends::RecordingSink>();
    REQUIRE(derived->Generate(Ask(std::move(messages)), sink).ok());
    REQUIRE(sink->WaitForEnd());
    return Conversation(base.last);
  };
  CHECK(ask({Say("user", "hi")}) == "s:Arr. u:one a:two u:hi ");
  // A system message of the request's own takes the place of the model's.
  CHECK(ask({Say("system", "Be brief."), Say("user", "hi")}) == "s:Be brief. u:one a:two u:hi ");
}

TEST_CASE("a request's own words win over the derived model's, one by one") {
  Spy base;
  const auto derived = Derive(base, Pirate());
  backends::GenerateRequest request = Ask({Say("user", "hi")});
  request.sampling.top_k = 3;
  auto sink = std::make_shared<backends::RecordingSink>();
  REQUIRE(derived->Generate(request, sink).ok());
  CHECK(base.last.sampling.temperature == 0.1f);
  CHECK(base.last.sampling.top_k == 3);
  CHECK_FALSE(base.last.sampling.top_p.has_value());
  CHECK(base.last.stop.max_tokens == 9);
  CHECK(base.last.stop.strings == std::vector<std::string>{"END"});
  REQUIRE(sink->WaitForEnd());
}

TEST_CASE("a shorter context is kept: prompts are refused and answers clipped") {
  Spy base;
  DerivedSpec spec;
  spec.context_length = 20;
  const auto derived = Derive(base, spec);
  CHECK(derived->details().context_length == 20);
  auto sink = std::make_shared<backends::RecordingSink>();
  const auto refused = derived->Generate(Ask({Say("user", std::string(30, 'x'))}), sink).status();
  CHECK(refused.code() == absl::StatusCode::kOutOfRange);
  CHECK(base::ReasonOf(refused) == "context_length_exceeded");
  CHECK(sink->ends() == 0);
  REQUIRE(derived->Generate(Ask({Say("user", "xxxx")}), sink).ok());
  CHECK(base.last.stop.max_tokens.value_or(99) < 20);
  REQUIRE(sink->WaitForEnd());
}

TEST_CASE("equal models have equal revisions, and any difference shows") {
  Spy base;
  const std::string revision = Derive(base, Pirate())->details().revision;
  CHECK(Derive(base, Pirate())->details().revision == revision);
  DerivedSpec other = Pirate();
  other.system = "Ahoy.";
  CHECK(Derive(base, other)->details().revision != revision);
  other = Pirate();
  other.parameters = "{}";
  CHECK(Derive(base, other)->details().revision != revision);
  CHECK((*DerivedBackend::Open(base, "other", nullptr, Pirate()))->details().revision != revision);
}

TEST_CASE("draining a derived model ends its requests and leaves the base's alone") {
  Spy base(R"({"token_ms": 20, "rules": [{"mode": "counts", "count": 100000}]})");
  const auto derived = Derive(base, Pirate());
  auto own = std::make_shared<backends::RecordingSink>();
  auto other = std::make_shared<backends::RecordingSink>();
  DerivedSpec endless = Pirate();
  endless.stop.max_tokens.reset();
  const auto unbounded = Derive(base, endless);
  REQUIRE(unbounded->Generate(Ask({Say("user", "hi")}), own).ok());
  backends::GenerateRequest direct = Ask({Say("user", "hi")});
  direct.id = "direct";
  REQUIRE(base.Generate(direct, other).ok());
  REQUIRE(own->WaitForDeltas(1));
  unbounded->Drain(milliseconds(0));
  REQUIRE(own->WaitForEnd());
  CHECK(own->finished()->reason == backends::Finished::Reason::kCancelled);
  CHECK(other->ends() == 0);
  CHECK(unbounded->Generate(Ask({Say("user", "hi")}), own).status().code() ==
        absl::StatusCode::kUnavailable);
  base.Cancel("direct");
  REQUIRE(other->WaitForEnd());
}

TEST_CASE("a request for several answers runs until the last one has ended") {
  // Answers when it is told to.
  class Slow final : public backends::Backend {
   public:
    absl::StatusOr<backends::Accepted> Generate(backends::GenerateRequest,
                                                std::shared_ptr<backends::EventSink> to) override {
      sink = std::move(to);
      return backends::Accepted();
    }
    void Cancel(std::string_view) override { cancelled = true; }
    void Resume(std::string_view) override {}
    absl::StatusOr<backends::Tokenized> Tokenize(
        const std::variant<backends::ChatPrompt, backends::TextPrompt>&,
        const backends::TokenizeOptions&) const override {
      return backends::Tokenized();
    }
    absl::StatusOr<std::string> Detokenize(std::span<const backends::TokenId>) const override {
      return std::string();
    }
    backends::Load load() const override { return {}; }
    const backends::ModelDetails& details() const override { return details_; }
    void Drain(milliseconds) override {}
    std::shared_ptr<backends::EventSink> sink;
    bool cancelled = false;

   private:
    const backends::ModelDetails details_;
  };
  for (const int ended : {1, 2}) {
    Slow base;
    const auto derived = Derive(base, Pirate());
    backends::GenerateRequest request = Ask({Say("user", "hi")});
    request.n = 2;
    REQUIRE(derived->Generate(request, std::make_shared<backends::RecordingSink>()).ok());
    for (int i = 0; i < ended; ++i) base.sink->OnEvent(backends::Finished{.index = i});
    derived->Drain(milliseconds(0));
    CHECK(base.cancelled == (ended < 2));
  }
}

TEST_CASE("a derived model keeps its base, and an idle base may go after it") {
  ModelHost host({.folders = {}, .engine = {}, .digests = false});
  REQUIRE(host.Add("teacher", *backends::MakeScripted("{}")).ok());
  REQUIRE(host.Load({.name = "pirate", .derived = Pirate(), .registration = "d1"}).ok());
  CHECK(host.Acquire("pirate").ok());
  const absl::Status kept = host.Unload("teacher");
  CHECK(kept.code() == absl::StatusCode::kFailedPrecondition);
  CHECK(base::ReasonOf(kept) == "model_in_use");
  // The same registration again is the same model; a derived one is nobody's base.
  CHECK(host.StartLoading({.name = "pirate", .derived = Pirate(), .registration = "d1"}).ok());
  CHECK(host.StartLoading({.name = "pirate", .derived = Pirate(), .registration = "d2"})
            .status()
            .code() == absl::StatusCode::kAlreadyExists);
  DerivedSpec second = Pirate();
  second.base = "pirate";
  CHECK(host.StartLoading({.name = "captain", .derived = second}).status().code() ==
        absl::StatusCode::kInvalidArgument);
  CHECK(host.Unload("teacher", /*registered_only=*/true).code() ==
        absl::StatusCode::kFailedPrecondition);
  REQUIRE(host.Unload("pirate", /*registered_only=*/true).ok());
  CHECK(host.Unload("teacher").ok());
}

TEST_CASE("a derived model comes over the wire within its bounds") {
  pb::DerivedModel from;
  from.set_base("teacher");
  from.set_system("Arr.");
  from.set_parameters_json(
      R"({"temperature":0.5,"top_k":3,"stop":["a","b"],"num_predict":5,"num_ctx":100,"num_gpu":9,
          "typical_p":0.25})");
  from.add_messages()->set_role(pb::ROLE_USER);
  from.mutable_messages(0)->add_content()->set_text("hi");
  const auto spec = FromProto(from);
  REQUIRE(spec.ok());
  CHECK(spec->sampling.temperature == 0.5f);
  CHECK(spec->sampling.top_k == 3);
  CHECK(spec->sampling.typical_p == 0.25f);
  CHECK(spec->stop.max_tokens == 5);
  CHECK(spec->stop.strings == std::vector<std::string>{"a", "b"});
  CHECK(spec->context_length == 100);
  CHECK(spec->messages[0].content == "hi");
  pb::DerivedModel back;
  ToProto(*spec, true, &back);
  CHECK(back.SerializeAsString() == from.SerializeAsString());
  pb::DerivedModel brief;
  ToProto(*spec, false, &brief);
  CHECK(brief.messages().empty());

  for (const char* bad : {R"({"temperature":"hot"})", R"({"temperature":99})", R"({"top_k":1.5})",
                          R"({"stop":[1]})", R"({"num_ctx":0})", "[]", "{"}) {
    INFO(bad);
    from.set_parameters_json(bad);
    CHECK(FromProto(from).status().code() == absl::StatusCode::kInvalidArgument);
  }
  from.clear_parameters_json();
  for (const char* bad : {"{{ if .System }}\n{{ .System }}", "{% for m in messages %}\nx"}) {
    from.set_template_(bad);
    const auto refused = FromProto(from);
    CHECK(base::ParamOf(refused.status()) == "derived.template");
    CHECK(refused.status().message().find("line 2: ") != absl::string_view::npos);
  }
  from.set_template_("{% for m in messages %}{{ m.content }}{% endfor %}");
  CHECK_FALSE(FromProto(from).value().abilities);
}

TEST_CASE("what a Go template names is what its model can do") {
  backends::ModelDetails details;
  const auto abilities = [&](std::string_view source, std::vector<std::string> base) {
    pb::DerivedModel from;
    from.set_base("teacher");
    from.set_template_(std::string(source));
    const auto spec = FromProto(from);
    REQUIRE(spec.ok());
    details.capabilities = std::move(base);
    DerivedBackend::Describe(*spec, &details);
    return details.capabilities;
  };
  using Words = std::vector<std::string>;
  CHECK(abilities("{{ .Prompt }}", {"completion", "insert", "tools", "thinking"}) ==
        Words{"completion", "insert"});
  CHECK(abilities("{{ range .Tools }}{{ . }}{{ end }}{{ .Suffix }}", {"completion"}) ==
        Words{"completion", "insert", "tools"});
  CHECK(abilities("{{ range .Messages }}{{ .Thinking }}{{ end }}", {"completion", "tools"}) ==
        Words{"completion", "thinking"});
  CHECK(abilities("{% for m in messages %}{% endfor %}", {"completion", "tools"}) ==
        Words{"completion", "tools"});
}

}  // namespace conclave::worker
