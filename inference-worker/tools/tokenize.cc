// conclave-tokenize MODEL [--specials] [--add-special] < TEXT   → ids on one line
// conclave-tokenize MODEL --decode [--specials] < IDS           → the text, byte for byte
//
// MODEL is a .gguf file, a tokenizer.json or the folder of a Hugging Face model. All of standard
// input is the text, a newline at its end included. With --json-lines there are many texts, each a
// JSON string on a line of its own, and as many lines of ids.
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/json.h"
#include "engine/tokenizer/load.h"
#include "engine/weights/model_file.h"
#include "tools/command_line.h"

namespace conclave::engine {
namespace {

struct Options {
  std::string model;
  bool decode = false;
  bool specials = false;
  bool add_special = false;
  bool json_lines = false;
};

absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& path) {
  if (path.ends_with(".json")) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return base::NotFound(path + ": cannot be read");
    auto tokenizer = LoadTokenizerJson(std::string(std::istreambuf_iterator<char>(file), {}));
    if (!tokenizer.ok()) return base::Annotate(tokenizer.status(), path);
    return tokenizer;
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSource> source, OpenModelFile(path));
  return LoadTokenizer(*source);
}

// INVALID_ARGUMENT names the place of a word that is no id of the vocabulary.
absl::StatusOr<std::vector<TokenId>> ReadIds(const std::string& text, int vocabulary) {
  std::vector<TokenId> ids;
  for (const auto word : absl::StrSplit(text, absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty())) {
    int32_t id = 0;
    if (!absl::SimpleAtoi(word, &id) || id < 0 || id >= vocabulary) {
      return base::InvalidArgument(absl::StrCat("ids[", ids.size(), "]: '", word.substr(0, 32),
                                                "' must be an integer from 0 to ", vocabulary - 1));
    }
    ids.push_back(id);
  }
  return ids;
}

std::string WriteIds(const std::vector<TokenId>& ids) {
  std::string line;
  for (const TokenId id : ids) absl::StrAppend(&line, line.empty() ? "" : " ", id);
  return line + "\n";
}

class Job final {
 public:
  Job(const Tokenizer& tokenizer, const Options& options)
      : tokenizer_(tokenizer), options_(options) {}

  absl::StatusOr<std::string> Whole(const std::string& input) const {
    return options_.decode ? Decode(input) : absl::StatusOr<std::string>(Encode(input));
  }
  absl::StatusOr<std::string> Line(const std::string& line) const {
    if (options_.decode) {
      ASSIGN_OR_RETURN(const std::string text, Decode(line));
      base::JsonWriter writer;
      writer.String(text);
      return writer.Take() + "\n";
    }
    ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(line));
    ASSIGN_OR_RETURN(const std::string text, document.root().AsString());
    return Encode(text);
  }

 private:
  std::string Encode(const std::string& text) const {
    return WriteIds(tokenizer_.Encode(
        text, {.parse_special = options_.specials, .add_special = options_.add_special}));
  }
  absl::StatusOr<std::string> Decode(const std::string& text) const {
    ASSIGN_OR_RETURN(const std::vector<TokenId> ids, ReadIds(text, tokenizer_.vocab_size()));
    return tokenizer_.Decode(ids, options_.specials);
  }

  const Tokenizer& tokenizer_;
  const Options& options_;
};

absl::Status Run(const Options& o) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, Open(o.model));
  const Job job(*tokenizer, o);
  if (!o.json_lines) {
    ASSIGN_OR_RETURN(const std::string output,
                     job.Whole(std::string(std::istreambuf_iterator<char>(std::cin), {})));
    std::cout << output;
    return absl::OkStatus();
  }
  int number = 0;
  for (std::string line; std::getline(std::cin, line);) {
    const absl::StatusOr<std::string> output = job.Line(line);
    ++number;
    if (!output.ok()) return base::Annotate(output.status(), absl::StrCat("line ", number));
    std::cout << *output;
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Options o;
  base::OptionSet options("conclave-tokenize",
                          "Text from standard input to the ids of a vocabulary (a .gguf file, a "
                          "tokenizer.json or a model's folder), and back.");
  options.Add("decode", &o.decode, "ids to text");
  options.Add("specials", &o.specials,
              "special tokens in the text are tokens; printed if decoding");
  options.Add("add-special", &o.add_special, "BOS and EOS as the model asks");
  options.Add("json-lines", &o.json_lines, "a text a line, as a JSON string; ids a line");
  std::vector<std::string> positional;
  if (const auto code = ParseCommandLine(options, argc, argv, &positional)) return *code;
  if (positional.size() != 1) {
    std::cerr << "usage: conclave-tokenize MODEL [--decode] [--specials] [--add-special]"
                 " [--json-lines] < TEXT\n";
    return 2;
  }
  o.model = positional.front();
  std::ios::sync_with_stdio(false);
  const absl::Status status = Run(o);
  std::cout.flush();
  if (!status.ok()) return Fail(status);
  return std::cout ? 0 : Fail(base::Unavailable("standard output: cannot be written"));
}

}  // namespace
}  // namespace conclave::engine

int main(int argc, char** argv) { return conclave::engine::Main(argc, argv); }
