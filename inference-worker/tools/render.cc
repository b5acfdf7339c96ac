// conclave-render TEMPLATE.jinja < VARIABLES.json   → the rendered text, byte for byte
//
// VARIABLES.json is an object; each member is a variable of the template ("messages", "tools",
// "add_generation_prompt", "bos_token", …). With --json-lines there is one such object a line, and
// each answer is a line too: {"text":…} or {"error":…}; with "-" for TEMPLATE the template of a
// line is its member "template".
//
// With --go the template is Go's and VARIABLES.json what render_go.h says.
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "base/json.h"
#include "engine/chat/conversation_values.h"
#include "engine/chat/jinja_eval.h"
#include "engine/chat/jinja_parser.h"
#include "tools/command_line.h"
#include "tools/render_go.h"

namespace conclave::engine {
namespace {

using Clock = std::chrono::system_clock;

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  // A folder opens; only reading it fails.
  if (!file || file.peek() == std::ifstream::traits_type::eof()) {
    if (!file.eof()) return base::NotFound(path + ": cannot be read");
  }
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::StatusOr<jinja::Variables> ReadVariables(const std::string& json) {
  auto object = ValueOfJson(json);
  if (!object.ok()) return base::Annotate(object.status(), "variables");
  if (!object->is_dict()) {
    return base::InvalidArgument("variables: must be a JSON object such as {\"messages\": [...]}");
  }
  jinja::Variables variables;
  for (const auto& [key, value] : object->as_dict().items) {
    variables.emplace_back(std::string(key.as_string()), value);
  }
  return variables;
}

absl::StatusOr<std::string> Render(const jinja::Block& block, const jinja::Variables& variables,
                                   Clock::time_point now) {
  jinja::Interpreter interpreter(jinja::Limits{}, now);
  auto text = interpreter.Render(block, variables);
  if (!text.ok()) return base::Annotate(text.status(), "template");
  return std::move(text->bytes);
}

absl::StatusOr<jinja::Block> Parse(std::string_view source) {
  auto block = jinja::ParseTemplate(source);
  return block.ok() ? std::move(block) : base::Annotate(block.status(), "template");
}

// `shared` is the template of all lines; nullptr = each brings its own.
absl::StatusOr<std::string> RenderLine(const jinja::Block* shared, const std::string& line,
                                       Clock::time_point now) {
  ASSIGN_OR_RETURN(const jinja::Variables variables, ReadVariables(line));
  if (shared != nullptr) return Render(*shared, variables, now);
  for (const auto& [name, value] : variables) {
    if (name != "template" || !value.is_string()) continue;
    ASSIGN_OR_RETURN(const jinja::Block block, Parse(value.as_string()));
    return Render(block, variables, now);
  }
  return base::InvalidArgument("template: must be a string on each line");
}

// `shared` as above.
absl::StatusOr<std::string> RenderGoLine(const std::string* shared, const std::string& line,
                                         Clock::time_point now) {
  if (shared != nullptr) return RenderGo(*shared, line, now);
  const absl::StatusOr<base::JsonDocument> document = base::JsonDocument::Parse(line);
  if (!document.ok()) return base::Annotate(document.status(), "variables");
  const absl::StatusOr<std::string> source = document->root().Get("template").AsString();
  if (!source.ok()) return base::InvalidArgument("template: must be a string on each line");
  return RenderGo(*source, line, now);
}

template <typename Render>
void RenderLines(Render render) {
  for (std::string line; std::getline(std::cin, line);) {
    const absl::StatusOr<std::string> text = render(line);
    base::JsonWriter writer;
    writer.BeginObject();
    if (text.ok()) {
      writer.Field("text", *text);
    } else {
      writer.Field("error", std::string(text.status().message()));
    }
    writer.EndObject();
    std::cout << writer.Take() << "\n";
  }
}

struct Options {
  std::string path;
  int64_t now = -1;
  bool json_lines = false;
  bool go = false;
};

std::string ReadStdin() { return {std::istreambuf_iterator<char>(std::cin), {}}; }

absl::Status RunGo(const Options& o, Clock::time_point now) {
  const bool shares = o.path != "-";
  if (!shares && !o.json_lines) return base::InvalidArgument("TEMPLATE: '-' needs --json-lines");
  std::string source;
  if (shares) {
    ASSIGN_OR_RETURN(source, ReadFile(o.path));
  }
  if (o.json_lines) {
    RenderLines([&](const std::string& line) {
      return RenderGoLine(shares ? &source : nullptr, line, now);
    });
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string text, RenderGo(source, ReadStdin(), now));
  std::cout << text;
  return absl::OkStatus();
}

absl::Status Run(const Options& o) {
  const Clock::time_point now =
      o.now < 0 ? Clock::now() : Clock::from_time_t(static_cast<std::time_t>(o.now));
  if (o.go) return RunGo(o, now);
  if (o.path == "-") {
    if (!o.json_lines) return base::InvalidArgument("TEMPLATE: '-' needs --json-lines");
    RenderLines([&](const std::string& line) { return RenderLine(nullptr, line, now); });
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string source, ReadFile(o.path));
  ASSIGN_OR_RETURN(const jinja::Block block, Parse(source));
  if (o.json_lines) {
    RenderLines([&](const std::string& line) { return RenderLine(&block, line, now); });
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const jinja::Variables variables, ReadVariables(ReadStdin()));
  ASSIGN_OR_RETURN(const std::string text, Render(block, variables, now));
  std::cout << text;
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Options o;
  base::OptionSet options("conclave-render",
                          "Renders a chat template (TEMPLATE.jinja) with the variables of a JSON "
                          "object from standard input.");
  options.Add("now", &o.now, "what strftime_now tells, in seconds since 1970; -1 = the clock", -1);
  options.Add("json-lines", &o.json_lines, "an object of variables a line, an answer a line");
  options.Add("go", &o.go, "the template is Go's text/template");
  std::vector<std::string> positional;
  if (const auto code = ParseCommandLine(options, argc, argv, &positional)) return *code;
  if (positional.size() != 1) {
    std::cerr << "usage: conclave-render TEMPLATE.jinja [--go] [--now SECONDS] [--json-lines] "
                 "< VARIABLES.json\n";
    return 2;
  }
  o.path = positional.front();
  std::ios::sync_with_stdio(false);
  const absl::Status status = Run(o);
  if (!status.ok()) return Fail(status);
  std::cout.flush();
  return std::cout ? 0 : Fail(base::Unavailable("standard output: cannot be written"));
}

}  // namespace
}  // namespace conclave::engine

int main(int argc, char** argv) { return conclave::engine::Main(argc, argv); }
