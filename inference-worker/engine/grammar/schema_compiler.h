// The compiler behind json_schema.h: which schemas hold together, and what they say of each type.
// Its methods are in json_schema.cc (what holds), schema_scalars.cc, schema_arrays.cc,
// schema_objects.cc and tagged_arguments.cc.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "engine/chat/parsers/call_syntax.h"
#include "engine/grammar/json_schema.h"
#include "engine/grammar/json_text.h"
#include "engine/grammar/rules.h"

namespace conclave::engine::grammar {

// A schema and where it stands. `chosen`: its anyOf or oneOf has been decided already.
struct SchemaPart {
  base::JsonValue schema;
  std::string pointer;
  bool chosen_any = false;
  bool chosen_one = false;
};
// Schemas that must all hold.
using SchemaParts = std::vector<SchemaPart>;

class SchemaCompiler final {
 public:
  SchemaCompiler(base::JsonValue root, const SchemaOptions& options, JsonText* json)
      : root_(root), options_(options), json_(*json), rules_(json->rules()) {}

  absl::StatusOr<ExprId> Root();
  // Arguments one by one, each in its own tags, from the properties of the root. The values of
  // strings are written without quotes.
  absl::StatusOr<ExprId> TaggedArguments(const CallSyntax& syntax);
  absl::Status Wrong(std::string_view pointer, std::string_view what) const;
  // A keyword that cannot be promised; OK where it is to be left out.
  absl::Status Refuse(std::string_view pointer, std::string_view what) const;
  absl::Status RefuseAs(std::string_view place, const absl::Status& status) const;

 private:
  using Part = SchemaPart;
  using Parts = SchemaParts;

  // What is known of the members of an object.
  struct Members {
    std::vector<std::string> names;  // in order
    std::set<std::string> named, required;
    bool has_properties = false;
    bool closed = false;      // no others
    bool says_extra = false;  // of the others
    Parts extra;
  };

  absl::Status SpendWork(std::string_view pointer, size_t schemas);
  absl::Status SpendCompilation(std::string_view pointer);
  absl::StatusOr<ExprId> Schema(const Parts& parts, int depth);
  absl::Status Gather(const Part& part, std::set<std::string> path, Parts* all, bool* impossible);
  absl::StatusOr<std::optional<Part>> Resolve(const std::string& pointer, base::JsonValue ref);
  absl::StatusOr<ExprId> Body(const Parts& parts, int depth);
  absl::StatusOr<ExprId> Branches(const Parts& parts, const Part& with, bool any, int depth);
  absl::StatusOr<unsigned> BitsOf(const Part& part, base::JsonValue name) const;
  absl::StatusOr<unsigned> TypesOf(const Parts& parts) const;
  absl::StatusOr<ExprId> Types(const Parts& parts, unsigned types, int depth);
  absl::StatusOr<std::vector<std::string>> Values(const Parts& parts, unsigned types);
  absl::StatusOr<std::vector<std::string>> Admitted(const Parts& parts,
                                                    std::vector<std::string> texts, int depth);

  absl::StatusOr<std::optional<int32_t>> Count(const Part& part, const char* keyword) const;
  absl::Status Counts(const Parts& parts, const char* min_keyword, const char* max_keyword,
                      int32_t* min, int32_t* max) const;

  absl::StatusOr<ExprId> Number(const Parts& parts, bool integer);
  absl::StatusOr<ExprId> String(const Parts& parts);
  absl::StatusOr<std::optional<std::string>> PatternOf(const Part& part, const char* keyword);

  absl::StatusOr<ExprId> Array(const Parts& parts, int depth);
  absl::StatusOr<bool> IsUnique(const Parts& parts) const;
  absl::StatusOr<std::optional<std::vector<std::string>>> FiniteValues(const Parts& parts);
  ExprId Distinct(const std::vector<std::string>& values, int32_t min, int32_t max);
  ExprId Items(const std::vector<ExprId>& heads, std::optional<ExprId> more, int32_t min,
               int32_t max);
  absl::StatusOr<std::optional<ExprId>> Containing(const Parts& parts, const Parts& items,
                                                   int depth);

  absl::StatusOr<ExprId> Object(const Parts& parts, int depth);
  absl::StatusOr<Members> ReadMembers(const Parts& parts);
  absl::Status ReadNames(const Part& part, Members* members) const;
  absl::Status ReadDependents(const Part& part, const Members& members,
                              std::map<std::string, std::set<std::string>>* dependents) const;
  absl::StatusOr<std::optional<ExprId>> Others(const Parts& parts, const Members& members,
                                               int depth);
  absl::StatusOr<ExprId> KeyOfOthers(const Parts& parts, const Members& members);
  absl::StatusOr<ExprId> Property(const Parts& parts, const std::string& name, int depth);
  absl::StatusOr<ExprId> TaggedValue(base::JsonValue schema, const std::string& pointer,
                                     const CallSyntax& syntax);
  absl::StatusOr<std::optional<ExprId>> BareString(base::JsonValue schema,
                                                   const std::string& pointer);
  ExprId Counted(const std::vector<Rules::ListItem>& members, std::optional<ExprId> other,
                 int32_t min, int32_t max);

  const base::JsonValue root_;
  const SchemaOptions options_;
  JsonText& json_;
  Rules& rules_;
  std::map<std::string, ExprId> known_;
  size_t work_ = 0;
  int compilations_ = 0;
};

// The pointer one step further.
std::string Below(std::string_view pointer, std::string_view key);

// Bits for the types of JSON Schema; an integer is a number, too.
enum SchemaType : unsigned {
  kNull = 1,
  kBoolean = 2,
  kInteger = 4,
  kNumber = 8,
  kString = 16,
  kArray = 32,
  kObject = 64,
  kAllTypes = 127,
};

}  // namespace conclave::engine::grammar
