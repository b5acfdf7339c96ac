// How a family of models writes its tool calls, as data: what the grammar of a call is built from
// (grammar/answer.h). The parsers read the same forms, and more generously.
#pragma once

#include <array>
#include <string_view>

namespace conclave::engine {

struct CallSyntax {
  enum class Form {
    kJson,      // section_begin call (separator call)* section_end, where call is
                // call_begin name name_end arguments call_end, and arguments a JSON object
    kTags,      // the same, but each argument is
                // key_begin key key_end value value_end after_value
    kChannels,  // gpt-oss: a message in the commentary channel, ended by the end of the output
  };
  Form form = Form::kJson;
  std::string_view section_begin = "";
  std::string_view section_end = "";
  std::string_view separator = "";
  std::string_view call_begin = "";
  std::string_view name_end = "";
  std::string_view call_end = "";
  // The first tag of a call: text up to it is free. "" = section_begin.
  std::string_view trigger = "";
  bool list = false;               // '[' follows section_begin
  bool bare = false;               // section_begin may be left out at the beginning of an answer
  bool spaced = false;             // a space may follow section_begin
  bool numbered = false;           // ":0" follows the name
  bool with_id = false;            // , "id": "…" may follow the arguments
  std::string_view id_begin = "";  // an id may follow the name, behind this tag
  // Of kTags.
  std::string_view key_begin = "";
  std::string_view key_end = "";    // up to the value
  std::string_view value_end = "";  // a tag: no value holds it
  std::string_view after_value = "";
  bool value_on_lines = false;  // a line break stands in front of value_end
  // What may be control tokens of the vocabulary, within all of the above.
  std::array<std::string_view, 8> tags = {};
};

}  // namespace conclave::engine
