#include "engine/grammar/json_formats.h"

namespace conclave::engine::grammar {
namespace {

#define CONCLAVE_DATE                                                                           \
  "[1-9][0-9]{3}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|" \
  "02-(0[1-9]|1[0-9]|2[0-8]))"
#define CONCLAVE_TIME                                               \
  "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]" \
  "([01][0-9]|2[0-3]):[0-5][0-9])"
#define CONCLAVE_BYTE "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define CONCLAVE_LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?"
#define CONCLAVE_HOST CONCLAVE_LABEL "(\\." CONCLAVE_LABEL "){0,4}"

struct Format {
  std::string_view name;
  std::string_view pattern;
};

constexpr Format kFormats[] = {
    {"date", "^" CONCLAVE_DATE "$"},
    {"time", "^" CONCLAVE_TIME "$"},
    {"date-time", "^" CONCLAVE_DATE "T" CONCLAVE_TIME "$"},
    {"duration", "^P([0-9]{1,4}W|[0-9]{1,4}D(T[0-9]{1,4}[HMS])?|T[0-9]{1,4}[HMS])$"},
    {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"},
    {"email", "^[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,16}){0,2}@" CONCLAVE_LABEL
              "(\\." CONCLAVE_LABEL "){1,3}$"},
    {"hostname", "^" CONCLAVE_HOST "$"},
    {"ipv4", "^" CONCLAVE_BYTE "(\\." CONCLAVE_BYTE "){3}$"},
    {"ipv6", "^([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}$"},
    {"uri", "^(https?|ftp)://" CONCLAVE_HOST
            "(:[1-9][0-9]{1,3})?(/[A-Za-z0-9._~-]{0,64}){0,16}(\\?[A-Za-z0-9._~=&-]{0,128})?"
            "(#[A-Za-z0-9._~-]{0,64})?$"},
};

}  // namespace

std::string_view PatternOfFormat(std::string_view format) {
  for (const Format& known : kFormats) {
    if (known.name == format) return known.pattern;
  }
  return "";
}

std::string_view KnownFormats() {
  return "date, time, date-time, duration, uuid, email, hostname, ipv4, ipv6, uri";
}

}  // namespace conclave::engine::grammar
