// The compiler behind json_schema.h: which schemas hold together, and what they say of each type.
// Its methods are in json_schema.cc (what holds), schema_exclusions.cc (what must not),
// schema_values.cc, schema_scalars.cc, schema_arrays.cc, schema_objects.cc and tagged_arguments.cc.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "engine/chat/parsers/call_syntax.h"
#include "engine/grammar/automaton.h"
#include "engine/grammar/json_numbers.h"
#include "engine/grammar/json_schema.h"
#include "engine/grammar/json_text.h"
#include "engine/grammar/rules.h"

namespace conclave::engine::grammar {

// A schema and where it stands. `chosen`: its anyOf or oneOf has been decided already. `gathered`:
// what it takes in stands beside it.
struct SchemaPart {
  base::JsonValue schema;
  std::string pointer;    // in the caller's schema
  std::string made = {};  // what the schema is, where it does not stand there itself
  bool chosen_any = false;
  bool chosen_one = false;
  bool gathered = false;
  std::set<std::string> through = {};  // schemas whose alternative it belongs to
  // Instead: what must not hold, in exclusions_; of strings only, if that was `settled`.
  int32_t besides = -1;
  bool settled = false;

  // Which schema it is, whatever has been chosen of it.
  std::string Id() const { return made.empty() ? pointer : pointer + " " + made; }
  bool Is(const SchemaPart& other) const { return pointer == other.pointer && made == other.made; }
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
  static Part BranchOf(const Part& with, const std::string& keyword, size_t index);
  absl::StatusOr<ExprId> Branches(const Parts& parts, const Part& with, bool any, int depth);
  absl::StatusOr<unsigned> BitsOf(const Part& part, base::JsonValue name) const;
  // What other keywords imply counts where no type is said, as such schemas are meant; without
  // `implied` what they say.
  absl::StatusOr<unsigned> TypesOf(const Parts& parts, bool implied = true) const;
  absl::StatusOr<ExprId> Types(const Parts& parts, unsigned types, int depth);
  absl::StatusOr<std::vector<std::string>> Values(const Parts& parts, unsigned types);
  absl::StatusOr<std::vector<std::string>> Admitted(const Parts& parts,
                                                    std::vector<std::string> texts, int depth);

  // Schemas that must not all hold, and what is said where they cannot be kept off.
  struct Exclusion {
    Parts parts;
    std::string place, what;
  };
  struct OneOfMember {
    std::vector<Parts> conjunctions;
    std::map<std::string, std::string> constants;  // of properties by name, its own by ""
    std::set<std::string> required;
  };
  absl::Status ReadTags(OneOfMember* member) const;
  static bool TagsApart(const OneOfMember& chosen, const OneOfMember& other);
  // Ways to keep off an exclusion, each with parts to be added; none: nothing is left; nullopt: it
  // cannot be told.
  using Ways = std::optional<std::vector<Parts>>;
  absl::Status Conjunctions(const Parts& parts, int depth, std::vector<Parts>* sets);
  absl::Status Exclude(const Part& part, const std::string& place, const std::string& what,
                       Parts* all, bool* impossible);
  absl::Status ExcludeSet(Parts set, const std::string& place, const std::string& what, Parts* all,
                          bool* impossible);
  absl::Status ExcludeOthers(const Part& with, size_t chosen, Parts* parts);
  absl::StatusOr<ExprId> Without(const Parts& parts, const Part& excluded, int depth);
  absl::StatusOr<Ways> KeepOff(const Parts& parts, const Parts& off, int depth);
  absl::StatusOr<Ways> KeepOffType(const Parts& parts, const Parts& off, unsigned type, int depth);
  absl::StatusOr<Ways> KeepOffNumbers(const Parts& parts, const Parts& off);
  absl::StatusOr<Ways> KeepOffStrings(const Parts& parts, const Parts& off);
  absl::StatusOr<Ways> KeepOffArrays(const Parts& parts, const Parts& off, int depth);
  absl::StatusOr<Ways> KeepOffObjects(const Parts& parts, const Parts& off, int depth);
  absl::StatusOr<Ways> KeepOffValues(const Parts& parts, const Parts& off,
                                     const std::vector<std::string>& values);
  absl::StatusOr<bool> Apart(const Parts& a, const Parts& b, int depth);
  absl::StatusOr<bool> Violates(base::JsonValue value, const Parts& parts, int depth);
  absl::StatusOr<bool> ViolatesAll(base::JsonValue value, const Parts& parts, int depth);
  absl::StatusOr<bool> ViolatesMembers(base::JsonValue value, const Parts& parts, int depth);
  Part Made(std::string json, std::string_view pointer);

  absl::StatusOr<std::optional<int32_t>> Count(const Part& part, const char* keyword) const;
  absl::Status Counts(const Parts& parts, const char* min_keyword, const char* max_keyword,
                      int32_t* min, int32_t* max) const;

  absl::StatusOr<NumberBounds> BoundsOf(const Parts& parts) const;
  absl::StatusOr<ExprId> Number(const Parts& parts, bool integer);
  absl::StatusOr<ExprId> String(const Parts& parts);
  absl::StatusOr<std::optional<Rules>> StringBesides(const Parts& parts);
  absl::StatusOr<std::optional<Rules>> PlainStrings(const Parts& parts, bool away);
  struct PatternAt {
    std::string place, pattern;
  };
  absl::StatusOr<std::vector<PatternAt>> PatternsOf(const Parts& parts);
  absl::StatusOr<std::optional<std::string>> PatternOf(const Part& part, const char* keyword);

  absl::StatusOr<ExprId> Array(const Parts& parts, int depth);
  static Parts AboutItem(const Parts& parts, int32_t index);
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
  static Parts About(const Parts& parts, const std::string& name);
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
  std::vector<Exclusion> exclusions_;
  std::map<std::string, std::vector<OneOfMember>> one_ofs_;          // by place
  std::map<std::string, int32_t> exclusion_ids_;                     // by its parts
  std::map<std::string, std::unique_ptr<base::JsonDocument>> made_;  // schemas of our own
  size_t work_ = 0;
  int compilations_ = 0;
};

// Whether the text is one of the automaton's.
bool Reads(const Automaton& automaton, std::string_view text);
// Whether they say anything of these types but that they are meant.
bool SaysOf(const SchemaParts& parts, unsigned types);

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
