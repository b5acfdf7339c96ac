// Pages of lists: keyset on an order that never changes, so that a page neither repeats nor skips
// what other callers add meanwhile.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "conclave/v1/common.pb.h"
#include "store/db/transaction.h"

namespace conclave::store {

// A list that can be paged. The texts are constants of ours.
struct ListSource {
  std::string_view op;      // for metrics: "list_runs"
  std::string_view select;  // "SELECT id, … FROM runs"
  std::string_view table;   // "runs", where cursors are looked up
  std::string_view
      where;             // "tenant_id = $1 AND thread_id = $2"; cursors are looked up under it too
  std::string_view key;  // "created_at, id" or "seq"
  bool default_ascending = false;
};

struct ListPage {
  Rows rows;
  std::vector<int> order;  // row numbers in the order of the answer
  bool has_more = false;
};

// Fetches one page. The cursors are ids of objects of the same list; column 0 of `select` is the
// id. INVALID_ARGUMENT naming limit, after or before: out of range, or no such object in this list.
// Before without after gives the page that ends right before it.
absl::StatusOr<ListPage> FetchPage(Database& database, const ListSource& source,
                                   const Params& where_params,
                                   const conclave::v1::PageRequest& page);

// The same as the reply of a list call; from_row(rows, row) makes the object of one row.
template <typename Reply, typename FromRow>
absl::StatusOr<Reply> ListReply(Database& database, const ListSource& source,
                                const Params& where_params, const conclave::v1::PageRequest& page,
                                FromRow from_row) {
  ASSIGN_OR_RETURN(const ListPage fetched, FetchPage(database, source, where_params, page));
  Reply reply;
  for (const int row : fetched.order) {
    ASSIGN_OR_RETURN(*reply.add_data(), from_row(fetched.rows, row));
  }
  if (!reply.data().empty()) {
    reply.mutable_page()->set_first_id(reply.data(0).id());
    reply.mutable_page()->set_last_id(reply.data(reply.data_size() - 1).id());
  }
  reply.mutable_page()->set_has_more(fetched.has_more);
  return reply;
}

// The statement FetchPage runs; for tests. Parameters after those of `where`: limit + 1, then after
// and before, as far as they are given.
std::string PageSql(const ListSource& source, size_t num_where_params, bool ascending, bool after,
                    bool before, bool backwards);

}  // namespace conclave::store
