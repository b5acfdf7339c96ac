#include "backends/output_assembler.h"

#include <catch2/catch.hpp>

#include "engine/tokenizer/load.h"
#include "unit/backends/native_fixture.h"

namespace conclave::backends {
namespace {

constexpr char kHermesTemplate[] = "{{ '<tool_call>' }}";

std::unique_ptr<engine::Tokenizer> Tokenizer() {
  engine::TokenizerSpec spec;
  spec.model = "gpt2";
  spec.pre = "qwen2";
  spec.tokens = ByteTokens();
  spec.types.assign(256, 1);
  spec.tokens.push_back("<|im_end|>");
  spec.types.push_back(3);
  spec.eos = 256;
  return *engine::MakeTokenizer(std::move(spec));
}

// Feeds text byte by byte, as the worst of vocabularies would.
class Rig final {
 public:
  struct Options {
    std::vector<std::string> stops;
    bool tools = false;
    bool parse = true;
    bool reasoning_open = false;
    bool stop_after_call = false;
  };
  explicit Rig(const Options& options) : tokenizer_(Tokenizer()) {
    AssemblerOptions to;
    to.tokenizer = tokenizer_.get();
    to.stops = *engine::StopMatcher::Make(options.stops);
    if (options.parse) {
      engine::ParserOptions parser;
      parser.tools = options.tools;
      parser.reasoning_open = options.reasoning_open;
      parser.make_id = [](std::string_view) { return std::string("call_1"); };
      to.parser = engine::FamilyOf(kHermesTemplate).make(parser);
    }
    to.reasoning_open = options.reasoning_open;
    to.stop_after_call = options.stop_after_call;
    assembler_.emplace(std::move(to));
  }

  Rig& Say(std::string_view text) {
    for (const char c : text) {
      if (assembler_->stopped()) break;
      assembler_->Append(static_cast<unsigned char>(c), {}, &deltas_);
    }
    return *this;
  }
  Rig& SayId(TokenId id) {
    assembler_->Append(id, {}, &deltas_);
    return *this;
  }
  Rig& End() {
    assembler_->Finish(&deltas_);
    return *this;
  }

  std::string text() const {
    std::string all;
    for (const Delta& delta : deltas_) all += delta.text;
    return all;
  }
  std::string reasoning() const {
    std::string all;
    for (const Delta& delta : deltas_) all += delta.reasoning;
    return all;
  }
  std::string arguments() const {
    std::string all;
    for (const Delta& delta : deltas_) {
      if (delta.tool_call) all += delta.tool_call->arguments;
    }
    return all;
  }
  std::vector<ToolCallDelta::State> states() const {
    std::vector<ToolCallDelta::State> all;
    for (const Delta& delta : deltas_) {
      if (!delta.tool_call) continue;
      if (all.empty() || all.back() != delta.tool_call->state)
        all.push_back(delta.tool_call->state);
    }
    return all;
  }
  const std::vector<Delta>& deltas() const { return deltas_; }
  const OutputAssembler& assembler() const { return *assembler_; }

 private:
  std::unique_ptr<engine::Tokenizer> tokenizer_;
  std::optional<OutputAssembler> assembler_;
  std::vector<Delta> deltas_;
};

using State = ToolCallDelta::State;

}  // namespace

TEST_CASE("each id has a delta of its own, empty while a character is not whole") {
  Rig rig({});
  rig.Say("\xE2\x82\xAC").End();
  REQUIRE(rig.deltas().size() == 3);
  CHECK(rig.deltas()[0].text.empty());
  CHECK(rig.deltas()[1].text.empty());
  CHECK(rig.deltas()[2].text == "€");
  for (size_t i = 0; i < 3; ++i) {
    CHECK(rig.deltas()[i].seq == static_cast<int64_t>(i));
    CHECK(rig.deltas()[i].token_ids.size() == 1);
  }
}

TEST_CASE("half a character at the end becomes U+FFFD") {
  Rig rig({});
  rig.Say("a\xE2\x82").End();
  CHECK(rig.text() == "a\uFFFD");
}

TEST_CASE("a stop string is held back and never shown") {
  Rig rig({.stops = {"END"}});
  rig.Say("one EN two END three");
  CHECK(rig.text() == "one EN two ");
  CHECK(rig.assembler().stopped());
  CHECK(rig.assembler().matched_stop() == "END");
  const size_t told = rig.deltas().size();
  rig.End();
  CHECK(rig.deltas().size() == told);
}

TEST_CASE("what was held back for a stop string comes out at the end") {
  Rig rig({.stops = {"END"}});
  rig.Say("the EN").End();
  CHECK(rig.text() == "the EN");
  CHECK_FALSE(rig.assembler().stopped());
}

TEST_CASE("reasoning is apart, counted, and no place for stop strings") {
  Rig rig({.stops = {"7"}});
  rig.Say("<think>\n3 + 4 = 7</think>\n\nIt is seven, 7.").End();
  CHECK(rig.reasoning().find("3 + 4 = 7") != std::string::npos);
  CHECK(rig.text() == "It is seven, ");
  CHECK(rig.assembler().matched_stop() == "7");
  CHECK(rig.assembler().reasoning_tokens() > 5);
  CHECK(rig.assembler().reasoning_tokens() < rig.assembler().num_tokens());
}

TEST_CASE("a prompt that opened the reasoning is continued in it") {
  Rig rig({.reasoning_open = true});
  rig.Say("hm</think>\n\nyes").End();
  CHECK(rig.reasoning() == "hm");
  CHECK(rig.text() == "yes");
}

TEST_CASE("a tool call is told in order and ends the output when one is wanted") {
  Rig rig({.tools = true, .stop_after_call = true});
  rig.Say("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>\nmore text");
  CHECK(rig.states() == std::vector<State>{State::kStarted, State::kInProgress, State::kSucceeded});
  CHECK(rig.arguments() == "{\"a\": 1}");
  CHECK(rig.assembler().stopped());
  CHECK(rig.assembler().has_called());
  CHECK(rig.text().empty());
}

TEST_CASE("tokens of a call's head are no reasoning") {
  Rig rig({.tools = true, .reasoning_open = true});
  rig.Say("hm</think>\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>").End();
  CHECK(rig.assembler().has_called());
  // The tag is over with its last byte.
  CHECK(rig.assembler().reasoning_tokens() == 2 + 7);
}

TEST_CASE("an unfinished call fails") {
  Rig rig({.tools = true});
  rig.Say("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\"").End();
  CHECK(rig.states().back() == State::kFailed);
  CHECK_FALSE(rig.assembler().has_called());
}

TEST_CASE("without tools the markup is text") {
  Rig rig({.tools = false});
  rig.Say("<tool_call>{}</tool_call>").End();
  CHECK(rig.text() == "<tool_call>{}</tool_call>");
}

TEST_CASE("control tokens are no text, with a parser or without") {
  for (const bool parse : {true, false}) {
    Rig rig({.parse = parse});
    rig.Say("a").SayId(256).Say("b").End();
    CHECK(rig.text() == "ab");
    CHECK(rig.assembler().num_tokens() == 3);
  }
}

}  // namespace conclave::backends
