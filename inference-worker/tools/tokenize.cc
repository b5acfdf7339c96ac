// conclave-tokenize MODEL [--specials] [--add-special] < TEXT   → ids on one line
// conclave-tokenize MODEL --decode [--specials] < IDS           → the text
// MODEL is a .gguf file, a tokenizer.json or the folder of a Hugging Face model. With --json-lines
// there are many texts, each a JSON string on a line of its own, and as many lines of ids.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/tokenizer/load.h"
#include "engine/weights/model_file.h"

namespace conclave::engine {
namespace {

struct Arguments {
  std::string model;
  bool decode = false;
  bool specials = false;     // "<|im_end|>" in the text is that token; or is printed
  bool add_special = false;  // BOS and EOS as the model asks
  bool json_lines = false;
};

bool ParseArguments(int count, char** values, Arguments* arguments) {
  for (int i = 1; i < count; ++i) {
    const std::string_view value = values[i];
    if (value == "--decode") {
      arguments->decode = true;
    } else if (value == "--specials") {
      arguments->specials = true;
    } else if (value == "--add-special") {
      arguments->add_special = true;
    } else if (value == "--json-lines") {
      arguments->json_lines = true;
    } else if (!value.starts_with("--") && arguments->model.empty()) {
      arguments->model = value;
    } else {
      return false;
    }
  }
  return !arguments->model.empty();
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& path) {
  if (path.ends_with(".json")) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return base::NotFound(path + ": cannot be read");
    return LoadTokenizerJson(std::string(std::istreambuf_iterator<char>(file), {}));
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSource> source, OpenModelFile(path));
  return LoadTokenizer(*source);
}

std::vector<TokenId> ReadIds(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<TokenId>(in), {}};
}

std::string WriteIds(const std::vector<TokenId>& ids) {
  std::string line;
  for (const TokenId id : ids) line += (line.empty() ? "" : " ") + std::to_string(id);
  return line + "\n";
}

class Job final {
 public:
  Job(const Tokenizer& tokenizer, const Arguments& arguments)
      : tokenizer_(tokenizer), arguments_(arguments) {}

  std::string Encode(const std::string& text) const {
    return WriteIds(tokenizer_.Encode(
        text, {.parse_special = arguments_.specials, .add_special = arguments_.add_special}));
  }
  std::string Decode(const std::string& ids) const {
    return tokenizer_.Decode(ReadIds(ids), arguments_.specials);
  }
  // False, and a message, where a line is no JSON string.
  bool Lines(std::istream& in, std::ostream& out) const {
    int number = 0;
    for (std::string line; std::getline(in, line);) {
      ++number;
      if (arguments_.decode) {
        base::JsonWriter writer;
        writer.String(Decode(line));
        out << writer.Take() << "\n";
        continue;
      }
      const auto document = base::JsonDocument::Parse(line);
      const auto text = document.ok() ? document->root().AsString() : document.status();
      if (!text.ok()) {
        std::cerr << "line " << number << ": " << text.status().message() << "\n";
        return false;
      }
      out << Encode(*text);
    }
    return true;
  }

 private:
  const Tokenizer& tokenizer_;
  const Arguments& arguments_;
};

int Run(const Arguments& arguments) {
  const auto tokenizer = Open(arguments.model);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status().message() << "\n";
    return 1;
  }
  const Job job(**tokenizer, arguments);
  if (arguments.json_lines) return job.Lines(std::cin, std::cout) ? 0 : 1;
  const std::string input(std::istreambuf_iterator<char>(std::cin), {});
  std::cout << (arguments.decode ? job.Decode(input) : job.Encode(input));
  return 0;
}

}  // namespace
}  // namespace conclave::engine

int main(int argc, char** argv) {
  conclave::engine::Arguments arguments;
  if (!conclave::engine::ParseArguments(argc, argv, &arguments)) {
    std::cerr << "usage: conclave-tokenize MODEL [--decode] [--specials] [--add-special]"
                 " [--json-lines]\n";
    return 2;
  }
  std::ios::sync_with_stdio(false);
  return conclave::engine::Run(arguments);
}
