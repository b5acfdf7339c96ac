// conclave-mask-bench: what a grammar costs at each step of an output, on the vocabulary of a model
// file (weights are not read).
//
//   conclave-mask-bench --model m.gguf --step-us 1900
//
// For each of a few shapes random texts are followed token by token: what compiling took, then of
// every step the mask, its application to a row of logits, and the step to the next state. The
// first texts find out what later ones of the same shape only look up, so both are told; "state" is
// the dearest state to find out about, of all that the grammar has, whether a text met it or not.
// With --step-us, the time of a decoding step of that model, the later mean is told as its share,
// too. --schema, --grammar and --regex measure a shape of one's own instead.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/options.h"
#include "engine/chat/parsers/parser.h"
#include "engine/grammar/answer.h"
#include "engine/grammar/matcher.h"
#include "engine/sample/logits.h"
#include "engine/tokenizer/load.h"
#include "engine/weights/model_file.h"
#include "tools/command_line.h"

namespace conclave::engine {
namespace {

using grammar::AnswerShape;
using grammar::Language;

constexpr int kTexts = 24;
constexpr size_t kTokensMax = 400;
constexpr int32_t kStatesMax = 2'000;  // of one grammar, looked at for the dearest
constexpr char kTicket[] =
    R"({"type":"object","properties":{"name":{"type":"string","maxLength":40},)"
    R"("seat":{"enum":["aisle","window"]},"bags":{"type":"integer","minimum":0,"maximum":9},)"
    R"("at":{"type":"string","format":"date-time"},"notes":{"type":"array","items":)"
    R"({"type":"string"},"maxItems":4}},"required":["name","seat","bags","at","notes"],)"
    R"("additionalProperties":false})";
// What is dear: long bounded strings, patterns, free names, many nested things.
constexpr char kReport[] =
    R"({"type":"object","properties":{"title":{"type":"string","minLength":8,"maxLength":120},)"
    R"("slug":{"type":"string","pattern":"^[a-z0-9]+(-[a-z0-9]+)*$","maxLength":60},)"
    R"("mail":{"type":"string","format":"email"},"owner":{"type":"string","pattern":"^\\w{2,40}$"},)"
    R"("body":{"type":"string","maxLength":4000},"labels":{"type":"object",)"
    R"("additionalProperties":{"type":"string","maxLength":63}},"parts":{"type":"array",)"
    R"("items":{"anyOf":[{"$ref":"#/$defs/text"},{"$ref":"#/$defs/image"}]},"maxItems":20}},)"
    R"("required":["title","slug","mail","owner","body","labels","parts"],)"
    R"("additionalProperties":false,"$defs":{"text":{"type":"object","properties":{"kind":)"
    R"({"const":"text"},"text":{"type":"string","maxLength":500}},"required":["kind","text"]},)"
    R"("image":{"type":"object","properties":{"kind":{"const":"image"},"url":{"type":"string",)"
    R"("format":"uri"},"alt":{"type":["string","null"],"maxLength":80}},)"
    R"("required":["kind","url","alt"]}}})";
constexpr char kProse[] = R"g(root ::= sentence (" " sentence)* "\n"
sentence ::= word ("," | ";")? (" " word)* [.!?]
word ::= [A-Za-z]+ ("-" [A-Za-z]+)* | "\"" word "\"" | "(" sentence ")"
)g";
constexpr char kLines[] = R"((- [^\n]{1,80}\n){1,40})";

// Of this thread's own work: what others do on the machine does not count.
double CpuMillis() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

struct Costs {
  std::vector<double> steps_ms;
  double mean() const {
    double sum = 0;
    for (const double ms : steps_ms) sum += ms;
    return steps_ms.empty() ? 0 : sum / static_cast<double>(steps_ms.size());
  }
  double worst() const {
    return steps_ms.empty() ? 0 : *std::max_element(steps_ms.begin(), steps_ms.end());
  }
};

// A text of the grammar, its tokens drawn evenly from what is allowed.
void Follow(const std::shared_ptr<const grammar::TokenGrammar>& grammar, uint64_t seed,
            Costs* costs) {
  std::mt19937_64 random(seed);
  const int32_t vocab_size = grammar->trie().vocab_size();
  std::vector<float> logits(static_cast<size_t>(vocab_size));
  grammar::Matcher matcher(grammar);
  for (size_t i = 0; i < kTokensMax && !matcher.must_end(); ++i) {
    std::fill(logits.begin(), logits.end(), 0.0f);
    const double start = CpuMillis();
    MaskLogits({.words = matcher.Mask().words(), .may_end = matcher.may_end()}, logits);
    const double mask_ms = CpuMillis() - start;
    std::vector<TokenId> allowed;
    for (TokenId id = 0; id < vocab_size; ++id) {
      if (logits[static_cast<size_t>(id)] == 0.0f) allowed.push_back(id);
    }
    if (allowed.empty()) return;
    const TokenId chosen = allowed[random() % allowed.size()];
    const double step = CpuMillis();
    matcher.Accept(chosen);
    costs->steps_ms.push_back(mask_ms + CpuMillis() - step);
  }
}

struct Shape {
  const char* name;
  AnswerShape shape;
};

std::vector<Shape> Shapes() {
  std::vector<Shape> shapes(7);
  shapes[0].name = "json_object";
  shapes[0].shape.format = {.definition = "", .place = "format"};
  shapes[1].name = "json_schema";
  shapes[1].shape.format = {
      .language = grammar::Language::kJsonSchema, .definition = kTicket, .place = "format"};
  AnswerShape& called = shapes[2].shape;
  shapes[2].name = "required call";
  called.calls = AnswerShape::Calls::kRequired;
  called.parallel = false;
  called.syntax = GenericToolFamily().calls;
  called.functions = {{.name = "book", .schema = kTicket, .place = "tools", .held = true}};
  shapes[3].name = "free text, call allowed";
  shapes[3].shape = called;
  shapes[3].shape.calls = AnswerShape::Calls::kAllowed;
  const auto format = [](Language language, const char* definition) {
    return AnswerShape::Format{.language = language, .definition = definition, .place = "format"};
  };
  shapes[4].name = "long schema";
  shapes[4].shape.format = format(Language::kJsonSchema, kReport);
  shapes[5].name = "gbnf, words";
  shapes[5].shape.format = format(Language::kGbnf, kProse);
  shapes[6].name = "regex, lines";
  shapes[6].shape.format = format(Language::kRegex, kLines);
  return shapes;
}

struct Options {
  std::string model;
  int vocabulary = 0;
  int step_us = 0;
  std::string schema, gbnf, regex;  // files and a text
};

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return base::NotFound("cannot read " + path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::StatusOr<std::vector<Shape>> ShapesOf(const Options& options) {
  std::vector<Shape> own;
  const auto add = [&](const char* name, Language language, std::string definition) {
    own.push_back({.name = name});
    own.back().shape.format = {
        .language = language, .definition = std::move(definition), .place = name};
  };
  if (!options.schema.empty()) {
    ASSIGN_OR_RETURN(std::string text, ReadFile(options.schema));
    add("schema", Language::kJsonSchema, std::move(text));
  }
  if (!options.gbnf.empty()) {
    ASSIGN_OR_RETURN(std::string text, ReadFile(options.gbnf));
    add("grammar", Language::kGbnf, std::move(text));
  }
  if (!options.regex.empty()) add("regex", Language::kRegex, options.regex);
  return own.empty() ? Shapes() : own;
}

// Of the states of a grammar that nothing is known of yet; evenly chosen where they are many.
double DearestState(const grammar::Automaton& automaton,
                    const std::shared_ptr<const grammar::TokenTrie>& trie) {
  const grammar::TokenGrammar grammar(automaton, trie, /*prepare=*/false);
  const auto count = static_cast<int32_t>(automaton.states.size());
  const int32_t stride = std::max(1, count / kStatesMax);
  double worst = 0;
  for (int32_t state = grammar::Automaton::kFirstState; state < count; state += stride) {
    const double start = CpuMillis();
    grammar.MaskOf(state);
    worst = std::max(worst, CpuMillis() - start);
  }
  return worst;
}

// The model's own tokens; up to the asked-for size, joined pairs of them as well.
std::shared_ptr<const grammar::TokenTrie> MakeTrie(const Tokenizer& tokenizer, int size) {
  const grammar::TokenTrie own = grammar::TokenTrie::Of(tokenizer);
  std::vector<std::string> tokens;
  for (TokenId id = 0; id < own.vocab_size(); ++id) tokens.emplace_back(own.bytes(id));
  std::mt19937_64 random(1);
  const size_t own_size = tokens.size();
  while (tokens.size() < static_cast<size_t>(size)) {
    tokens.push_back(tokens[random() % own_size] + tokens[random() % own_size]);
  }
  return std::make_shared<const grammar::TokenTrie>(std::move(tokens));
}

absl::Status Run(const Options& options) {
  if (options.model.empty()) return base::InvalidArgument("--model is missing");
  const double step_ms = options.step_us / 1000.0;
  ASSIGN_OR_RETURN(const auto source, OpenModelFile(options.model));
  ASSIGN_OR_RETURN(const auto tokenizer, LoadTokenizer(*source));
  const auto trie = MakeTrie(*tokenizer, options.vocabulary);
  ASSIGN_OR_RETURN(const std::vector<Shape> shapes, ShapesOf(options));
  std::printf("vocabulary of %d tokens\n", trie->vocab_size());
  std::printf("%-24s %9s %9s %9s %9s %9s %9s%s\n", "shape", "compile", "state", "first", "worst",
              "later", "worst", step_ms > 0 ? "     share" : "");
  for (const Shape& shape : shapes) {
    const double start = CpuMillis();
    ASSIGN_OR_RETURN(auto automaton, CompileAnswer(shape.shape, [&](std::string_view text) {
                       const TokenId id = tokenizer->Find(text);
                       return id >= 0 && tokenizer->IsControl(id);
                     }));
    const double automaton_ms = CpuMillis() - start;
    const double state_ms = DearestState(automaton, trie);
    const double prepare = CpuMillis();
    const auto grammar = std::make_shared<const grammar::TokenGrammar>(std::move(automaton), trie);
    const double compile_ms = automaton_ms + CpuMillis() - prepare;
    Costs first, later;
    for (uint64_t seed = 0; seed < kTexts; ++seed) Follow(grammar, seed, &first);
    for (uint64_t seed = 0; seed < kTexts; ++seed) Follow(grammar, seed, &later);
    std::printf("%-24s %6.2f ms %6.3f ms %6.3f ms %6.3f ms %6.3f ms %6.3f ms", shape.name,
                compile_ms, state_ms, first.mean(), first.worst(), later.mean(), later.worst());
    if (step_ms > 0) std::printf("   %5.2f %%", later.mean() / step_ms * 100);
    std::printf("\n");
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Options o;
  base::OptionSet options("conclave-mask-bench", "Measures what grammars cost at each step.");
  options.Add("model", &o.model, "the GGUF file or Hugging Face folder");
  options.Add("vocabulary", &o.vocabulary, "tokens at least; joined pairs are added", 0, 1 << 20);
  options.Add("schema", &o.schema, "a file with a JSON schema, instead of the shapes built in");
  options.Add("grammar", &o.gbnf, "a file with a GBNF grammar");
  options.Add("regex", &o.regex, "a regular expression");
  options.Add("step-us", &o.step_us, "what a decoding step takes, for the share", 0, 1 << 30);
  if (const auto code = ParseCommandLine(options, argc, argv)) return *code;
  const absl::Status status = Run(o);
  return status.ok() ? 0 : Fail(status);
}

}  // namespace
}  // namespace conclave::engine

int main(int argc, char** argv) { return conclave::engine::Main(argc, argv); }
