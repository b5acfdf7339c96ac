#include "store/paging.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/strings.h"

namespace conclave::store {
namespace {

namespace pb = conclave::v1;

constexpr int kLimitDefault = 20;
constexpr int kLimitMax = 100;

// "(created_at, id) < (SELECT created_at, id FROM runs WHERE … AND id = $5)"
std::string Comparison(const ListSource& source, std::string_view sign, size_t parameter) {
  return absl::StrCat(" AND (", base::Abs(source.key), ") ", base::Abs(sign), " (SELECT ",
                      base::Abs(source.key), " FROM ", base::Abs(source.table), " WHERE ",
                      base::Abs(source.where), " AND id = $", parameter, ")");
}

absl::Status CheckCursor(Database& database, const ListSource& source, Params params,
                         std::string_view name, const std::string& id) {
  const std::string sql = absl::StrCat("SELECT 1 FROM ", base::Abs(source.table), " WHERE ",
                                       base::Abs(source.where), " AND id = $", params.size() + 1);
  params.push_back(id);
  ASSIGN_OR_RETURN(const Rows rows, database.Query(source.op, sql, params));
  if (!rows.empty()) return absl::OkStatus();
  return base::WithParam(
      base::InvalidArgument(absl::StrCat("Invalid '", base::Abs(name), "': no object with id '", id,
                                         "' in this list.")),
      name);
}

}  // namespace

std::string PageSql(const ListSource& source, size_t num_where_params, bool ascending, bool after,
                    bool before, bool backwards) {
  const bool sql_ascending = ascending != backwards;
  const size_t limit_param = num_where_params + 1;
  size_t next = limit_param + 1;
  std::string sql = absl::StrCat(base::Abs(source.select), " WHERE ", base::Abs(source.where));
  if (after) absl::StrAppend(&sql, Comparison(source, ascending ? ">" : "<", next++));
  if (before) absl::StrAppend(&sql, Comparison(source, ascending ? "<" : ">", next++));
  const std::string direction = sql_ascending ? " ASC" : " DESC";
  const std::string order =
      absl::StrReplaceAll(base::Abs(source.key), {{",", absl::StrCat(direction, ",")}});
  absl::StrAppend(&sql, " ORDER BY ", order, direction, " LIMIT $", limit_param, "::bigint");
  return sql;
}

absl::StatusOr<ListPage> FetchPage(Database& database, const ListSource& source,
                                   const Params& where_params, const pb::PageRequest& page) {
  if (page.limit() < 0 || page.limit() > kLimitMax) {
    return base::WithParam(
        base::InvalidArgument("Invalid 'limit': expected an integer between 1 and 100."), "limit");
  }
  const int limit = page.limit() == 0 ? kLimitDefault : page.limit();
  const bool ascending = page.order() == pb::PageRequest::ORDER_UNSPECIFIED
                             ? source.default_ascending
                             : page.order() == pb::PageRequest::ORDER_ASC;
  const bool after = !page.after().empty();
  const bool before = !page.before().empty();
  if (after) RETURN_IF_ERROR(CheckCursor(database, source, where_params, "after", page.after()));
  if (before) RETURN_IF_ERROR(CheckCursor(database, source, where_params, "before", page.before()));
  const bool backwards = before && !after;

  Params params = where_params;
  params.push_back(limit + 1);
  if (after) params.push_back(page.after());
  if (before) params.push_back(page.before());
  ListPage result;
  ASSIGN_OR_RETURN(result.rows, database.Query(source.op,
                                               PageSql(source, where_params.size(), ascending,
                                                       after, before, backwards),
                                               params));
  result.has_more = result.rows.size() > limit;
  result.order.resize(static_cast<size_t>(std::min(result.rows.size(), limit)));
  std::iota(result.order.begin(), result.order.end(), 0);
  if (backwards) std::reverse(result.order.begin(), result.order.end());
  return result;
}

}  // namespace conclave::store
