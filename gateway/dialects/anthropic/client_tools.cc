#include "gateway/dialects/anthropic/client_tools.h"

#include <algorithm>
#include <array>
#include <string>

namespace conclave::gateway::anthropic {
namespace {

constexpr std::string_view kBash =
    "Run commands in a shell that stays open from one call to the next.";
constexpr std::string_view kBashSchema =
    R"({"type":"object","properties":{)"
    R"("command":{"type":"string","description":"The command; left out with restart"},)"
    R"("restart":{"type":"boolean","description":"true: begin with a new shell"}}})";

constexpr std::string_view kEditor =
    "View, create and change text files. view shows a file with its line numbers, or lists a "
    "directory; create writes a file; str_replace puts new_str where old_str stands, which must "
    "match the file exactly and once; insert puts a text behind a line.";
constexpr std::string_view kMemory =
    "Keep notes in files below /memories, which are there in later conversations, too. Look there "
    "with view before anything else. view shows a file or lists a directory; create writes a file; "
    "str_replace and insert change one; delete removes a file or directory; rename moves it.";

constexpr std::string_view kFileFields =
    R"("path":{"type":"string","description":"The file or directory"},)"
    R"("file_text":{"type":"string","description":"Of create: the content"},)"
    R"("view_range":{"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":2,)"
    R"("description":"Of view: first and last line, counted from 1; -1 is the end of the file"},)"
    R"("old_str":{"type":"string","description":"Of str_replace: what is replaced"},)"
    R"("insert_line":{"type":"integer","minimum":0,)"
    R"("description":"Of insert: the line behind which the text goes; 0 is the beginning"},)";
// The text of insert got a name of its own in 2025-07.
constexpr std::string_view kSharedText =
    R"("new_str":{"type":"string","description":"Of str_replace and insert: the new text"})";
constexpr std::string_view kOwnTexts =
    R"("insert_text":{"type":"string","description":"Of insert: the text"},)"
    R"("new_str":{"type":"string","description":"Of str_replace: the new text"})";
constexpr std::string_view kRenamed =
    R"(,"old_path":{"type":"string","description":"Of rename: what is moved"},)"
    R"("new_path":{"type":"string","description":"Of rename: where to"})";

// One object for all commands, not one for each: there are templates that show properties only.
//   more_commands: behind those that all have, `"undo_edit"`
//   required: likewise, `,"path"`
std::string FileSchema(const std::string& more_commands, std::string_view texts,
                       const std::string& required) {
  return R"({"type":"object","properties":{"command":{"type":"string",)"
         R"("enum":["view","create","str_replace","insert")" +
         more_commands + "]}," + std::string(kFileFields) + std::string(texts) +
         R"(},"required":["command")" + required + "]}";
}

std::array<ClientTool, 7> MakeAll() {
  const std::string bash(kBashSchema);
  const std::string undoing = FileSchema(R"(,"undo_edit")", kSharedText, R"(,"path")");
  const std::string editor = FileSchema("", kSharedText, R"(,"path")");
  const std::string later_editor = FileSchema("", kOwnTexts, R"(,"path")");
  const std::string memory =
      FileSchema(R"(,"delete","rename")", std::string(kOwnTexts) + std::string(kRenamed), "");
  const std::string undo =
      std::string(kEditor) + " undo_edit takes the last change of a file back.";
  return {{
      {"bash_20241022", "bash", std::string(kBash), bash},
      {"bash_20250124", "bash", std::string(kBash), bash},
      {"text_editor_20241022", "str_replace_editor", undo, undoing},
      {"text_editor_20250124", "str_replace_editor", undo, undoing},
      {"text_editor_20250429", "str_replace_based_edit_tool", std::string(kEditor), editor},
      {"text_editor_20250728", "str_replace_based_edit_tool", std::string(kEditor), later_editor},
      {"memory_20250818", "memory", std::string(kMemory), memory},
  }};
}

}  // namespace

const ClientTool* FindClientTool(std::string_view type) {
  static const std::array<ClientTool, 7> all = MakeAll();
  const auto* const found = std::find_if(
      all.begin(), all.end(), [type](const ClientTool& tool) { return tool.type == type; });
  return found == all.end() ? nullptr : found;
}

}  // namespace conclave::gateway::anthropic
