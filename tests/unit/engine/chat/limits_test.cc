// A template is a program from an untrusted file: what it may not do, and how soon it is stopped.
#include <catch2/catch.hpp>
#include <chrono>

#include "engine/chat/template.h"

namespace conclave::engine {
namespace {

// The complaint of parsing or rendering; "" when there is none.
std::string Complaint(const std::string& source) {
  const auto parsed = ChatTemplate::Parse(source, {});
  if (!parsed.ok()) return std::string(parsed.status().message());
  Conversation conversation;
  conversation.messages.push_back({.role = "user", .content = "hello"});
  const auto prompt = (*parsed)->Render(conversation);
  return prompt.ok() ? "" : std::string(prompt.status().message());
}

bool Contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::string Repeated(std::string_view unit, size_t times) {
  std::string text;
  for (size_t i = 0; i < times; ++i) text += unit;
  return text;
}

}  // namespace

TEST_CASE("a template that would not end is stopped") {
  const std::string source = GENERATE(
      as<std::string>(),
      "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
      "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "{{ range(1000000000) }}",
      "{{ 'x' * 1000000000 }}", "{{ [0] * 1000000000 }}", "{{ 10 ** 100000000 }}",
      "{% set ns = namespace(x='abcdefgh') %}{% for i in range(60) %}"
      "{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
      "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}"
      "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
      "{% set ns = namespace(x=[1]) %}{% for i in range(100000) %}"
      "{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
      "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}"
      "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x == ns.x }}",
      "{% set s = 'ab' * 1000000 %}{% for i in range(100000) %}{{ s[i] }}{% endfor %}",
      "{% set s = 'ab' * 1000000 %}{% for i in range(100000) %}{% set t = s|upper %}{% endfor %}",
      "{% set s = 'a' * 1000000 %}{{ s|replace('', s) }}",
      "{{ ('%s' * 100000)|format('a' * 1000) }}", "{{ 'x'|indent(100000000) }}",
      "{{ 'x'.center(10000000000) }}",
      "{% for x in range(100000)|list|sort(reverse=true) %}{% for y in range(100000)|list|sort %}"
      "{% endfor %}{% endfor %}");
  INFO(source);
  const auto begin = std::chrono::steady_clock::now();
  CHECK(Contains(Complaint(source), "chat template"));
  // Tens of milliseconds on an idle machine, for each of several tries.
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));
}

TEST_CASE("what is nested too deeply is refused by the parser") {
  CHECK(Contains(Complaint("{{ " + Repeated("(", 100000) + "1" + Repeated(")", 100000) + " }}"),
                 "nested too deeply"));
  CHECK(Contains(Complaint("{{ " + Repeated("[", 100000) + Repeated("]", 100000) + " }}"),
                 "nested too deeply"));
  CHECK(Contains(Complaint("{{ " + Repeated("not ", 100000) + "1 }}"), "nested too deeply"));
  CHECK(Contains(Complaint("{{ " + Repeated("-", 100000) + "1 }}"), "nested too deeply"));
  CHECK(Contains(Complaint("{{ 1" + Repeated("+1", 100000) + " }}"), "too deep"));
  CHECK(Contains(Complaint("{{ x" + Repeated(".a", 100000) + " }}"), "too deep"));
  CHECK(Contains(Complaint("{{ x" + Repeated("|e", 100000) + " }}"), "too deep"));
  CHECK(Contains(Complaint(Repeated("{% if 1 %}", 100000)), "nested too deeply"));
  CHECK(Contains(Complaint("{% for " + Repeated("(", 100000) + "x" + Repeated(")", 100000) +
                           " in y %}{% endfor %}"),
                 "nested too deeply"));
  CHECK(Contains(Complaint(std::string(2 << 20, 'x')), "longer than"));
}

TEST_CASE("nothing but known attributes, methods and names can be reached") {
  const auto complaint = [](const std::string& expression) {
    return Complaint("{{ " + expression + " }}");
  };
  CHECK(Contains(complaint("''.__class__"), "line 1: attribute '__class__' is not accessible"));
  CHECK(Contains(complaint("''['__class__']"), "not accessible"));
  CHECK(Contains(complaint("messages|attr('__class__')"), "not accessible"));
  CHECK(Contains(complaint("messages|map(attribute='__class__')|list"), "not accessible"));
  CHECK(Contains(complaint("range.__globals__"), "not accessible"));
  CHECK(Contains(complaint("messages.append(1)"), "cannot be changed"));
  CHECK(Contains(complaint("messages[0].update({})"), "cannot be changed"));
  CHECK(Contains(complaint("''.encode()"), "has no attribute 'encode'"));
  CHECK(Contains(complaint("open('/etc/passwd')"), "'open' is undefined"));
  CHECK(Contains(complaint("cycler.__init__"), "'cycler' is undefined"));
  CHECK(Contains(complaint("messages|nosuch"), "no filter named 'nosuch'"));
  CHECK(Contains(complaint("1 is nosuch"), "no test named 'nosuch'"));
  CHECK(Contains(complaint("namespace(_x=1)"), "not accessible"));
  CHECK(Contains(Complaint("{% set ns = namespace() %}{% set ns.a = ns %}"), "plain values"));
  CHECK(Contains(Complaint("{% set ns = namespace() %}{% set ns.a = [ns] %}"), "plain values"));
  CHECK(Contains(Complaint("{% include 'x' %}"), "line 1: expected a tag that is known here"));
}

TEST_CASE("complaints name the line") {
  CHECK(Complaint("a\nb\n{{ x.y.z }}") == "chat template: line 3: 'x' is undefined");
  CHECK(Complaint("a\n{{ raise_exception('odd') }}") ==
        "chat template: line 2: the template says: odd");
  CHECK(Complaint("\n\n{% if %}") ==
        "chat template: line 3: expected an expression, found the end of the tag");
  CHECK(Complaint("{% if 1 %}\n\n") ==
        "chat template: line 2: expected {% endif %}, found the end of the template");
  CHECK(Complaint("x {{ 'abc ") == "chat template: line 1: string is not closed");
  CHECK(Complaint("{# never") == "chat template: line 1: comment is not closed");
  CHECK(Complaint("{{ 1 / 0 }}") == "chat template: line 1: division by zero");
  CHECK(Complaint("{{ 'a' + 1 }}") == "chat template: line 1: cannot compute str + int");
  CHECK(Complaint("{{ 9223372036854775807 + 1 }}") ==
        "chat template: line 1: integer out of range");
  CHECK(Complaint("{% break %}") ==
        "chat template: line 1: expected a loop around it, found 'break'");
}

}  // namespace conclave::engine
