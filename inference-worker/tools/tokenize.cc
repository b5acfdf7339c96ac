// conclave-tokenize MODEL.gguf [--specials] [--add-special] < TEXT   → ids on one line
// conclave-tokenize MODEL.gguf --decode [--specials] < IDS           → the text
#include <cstdio>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "engine/tokenizer/load.h"
#include "engine/weights/gguf.h"

namespace conclave::engine {
namespace {

struct Arguments {
  std::string model;
  bool decode = false;
  bool specials = false;     // "<|im_end|>" in the text is that token; or is printed
  bool add_special = false;  // BOS and EOS as the model asks
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
    } else if (!value.starts_with("--") && arguments->model.empty()) {
      arguments->model = value;
    } else {
      return false;
    }
  }
  return !arguments->model.empty();
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& path) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSource> source, OpenGguf(path));
  return LoadTokenizer(*source);
}

int Run(const Arguments& arguments) {
  const auto tokenizer = Open(arguments.model);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status().message() << "\n";
    return 1;
  }
  if (arguments.decode) {
    const std::vector<TokenId> ids(std::istream_iterator<TokenId>(std::cin), {});
    std::cout << (*tokenizer)->Decode(ids, arguments.specials);
    return 0;
  }
  const std::string text(std::istreambuf_iterator<char>(std::cin), {});
  const EncodeOptions options{.parse_special = arguments.specials,
                              .add_special = arguments.add_special};
  const char* separator = "";
  for (const TokenId id : (*tokenizer)->Encode(text, options)) {
    std::cout << separator << id;
    separator = " ";
  }
  std::cout << "\n";
  return 0;
}

}  // namespace
}  // namespace conclave::engine

int main(int argc, char** argv) {
  conclave::engine::Arguments arguments;
  if (!conclave::engine::ParseArguments(argc, argv, &arguments)) {
    std::cerr << "usage: conclave-tokenize MODEL.gguf [--decode] [--specials] [--add-special]\n";
    return 2;
  }
  return conclave::engine::Run(arguments);
}
