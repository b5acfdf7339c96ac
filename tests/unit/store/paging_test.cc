#include "store/paging.h"

#include <catch2/catch.hpp>

#include "store/rows.h"

using conclave::store::ListSource;
using conclave::store::PageSql;

TEST_CASE("a page's statement compares with the cursor in the list's direction") {
  const ListSource source{.op = "x",
                          .select = "SELECT id FROM t",
                          .table = "t",
                          .where = "tenant_id = $1",
                          .key = "created_at, id"};
  CHECK(PageSql(source, 1, true, false, false, false) ==
        "SELECT id FROM t WHERE tenant_id = $1 ORDER BY created_at ASC, id ASC LIMIT $2::bigint");
  CHECK(PageSql(source, 1, false, true, true, false) ==
        "SELECT id FROM t WHERE tenant_id = $1 AND (created_at, id) < (SELECT created_at, id FROM "
        "t WHERE tenant_id = $1 AND id = $3) AND (created_at, id) > (SELECT created_at, id FROM t "
        "WHERE tenant_id = $1 AND id = $4) ORDER BY created_at DESC, id DESC LIMIT $2::bigint");
  CHECK(PageSql(source, 1, false, false, true, true) ==
        "SELECT id FROM t WHERE tenant_id = $1 AND (created_at, id) > (SELECT created_at, id FROM "
        "t WHERE tenant_id = $1 AND id = $3) ORDER BY created_at ASC, id ASC LIMIT $2::bigint");
}

TEST_CASE("maps of strings survive their row") {
  conclave::store::StringMap map;
  map["b"] = "x\"y\n";
  map["a"] = "\xF0\x9F\xA6\x89";
  const std::string json = conclave::store::MapToJson(map);
  CHECK(json.find("\"a\"") < json.find("\"b\""));
  conclave::store::StringMap back;
  REQUIRE(conclave::store::MapFromJson(json, &back).ok());
  CHECK(back.at("b") == "x\"y\n");
  CHECK(back.at("a") == "\xF0\x9F\xA6\x89");
  CHECK_FALSE(conclave::store::MapFromJson("{\"a\": 1}", &back).ok());
}
