// conclave-render TEMPLATE.jinja [--now SECONDS] < VARIABLES.json   → the rendered text
//
// VARIABLES.json is an object; each member is a variable of the template ("messages", "tools",
// "add_generation_prompt", "bos_token", …).
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "engine/chat/conversation_values.h"
#include "engine/chat/jinja_eval.h"
#include "engine/chat/jinja_parser.h"

namespace conclave::engine {
namespace {

absl::StatusOr<std::string> Render(const std::string& source, const std::string& json,
                                   std::chrono::system_clock::time_point now) {
  ASSIGN_OR_RETURN(const jinja::Block block, jinja::ParseTemplate(source));
  ASSIGN_OR_RETURN(const jinja::Value object, ValueOfJson(json));
  if (!object.is_dict()) return base::InvalidArgument("the variables must be a JSON object");
  jinja::Variables variables;
  for (const auto& [key, value] : object.as_dict().items) {
    variables.emplace_back(std::string(key.as_string()), value);
  }
  jinja::Interpreter interpreter(jinja::Limits{}, now);
  ASSIGN_OR_RETURN(jinja::Text text, interpreter.Render(block, variables));
  return std::move(text.bytes);
}

int Run(int argc, char** argv) {
  if (argc != 2 && !(argc == 4 && std::string_view(argv[2]) == "--now")) {
    std::cerr << "usage: conclave-render TEMPLATE.jinja [--now SECONDS] < VARIABLES.json\n";
    return 2;
  }
  std::ifstream file(argv[1], std::ios::binary);
  if (!file) {
    std::cerr << argv[1] << ": cannot be read\n";
    return 1;
  }
  const std::string source(std::istreambuf_iterator<char>(file), {});
  const std::string json(std::istreambuf_iterator<char>(std::cin), {});
  const auto now = argc == 4 ? std::chrono::system_clock::from_time_t(std::atoll(argv[3]))
                             : std::chrono::system_clock::now();
  const absl::StatusOr<std::string> text = Render(source, json, now);
  if (!text.ok()) {
    std::cerr << text.status().message() << "\n";
    return 1;
  }
  std::cout << *text;
  return 0;
}

}  // namespace
}  // namespace conclave::engine

int main(int argc, char** argv) { return conclave::engine::Run(argc, argv); }
