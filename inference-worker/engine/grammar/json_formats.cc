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

#define CONCLAVE_UUID(version) \
  "^[0-9a-f]{8}-[0-9a-f]{4}-" version "[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
#define CONCLAVE_IPV4 CONCLAVE_BYTE "(\\." CONCLAVE_BYTE "){3}"
#define CONCLAVE_IPV6 "([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}"
#define CONCLAVE_URI                                  \
  "(https?|ftp)://" CONCLAVE_HOST                     \
  "(:[1-9][0-9]{1,3})?(/[A-Za-z0-9._~-]{0,64}){0,16}" \
  "(\\?[A-Za-z0-9._~=&-]{0,128})?(#[A-Za-z0-9._~-]{0,64})?"
#define CONCLAVE_EMAIL                                                                        \
  "^[A-Za-z0-9_+-]{1,32}(\\.[A-Za-z0-9_+-]{1,16}){0,2}@" CONCLAVE_LABEL "(\\." CONCLAVE_LABEL \
  "){1,3}$"
// No bits beside the last byte, which readers would miss: of two characters the second is one of 4,
// of three the third one of 16.
#define CONCLAVE_BASE64(c, third, second) "^(" c "{4})*(" c third "|" c "{2}" second ")?$"

// What texts of a format look like, so that two are told apart: 0 overlaps others.
enum Kind : int {
  kOverlaps,
  kDate,
  kTime,
  kDateTime,
  kDuration,
  kUuid,
  kEmail,
  kIpv4,
  kIpv6,
  kUri
};

struct Format {
  std::string_view name;
  std::string_view pattern;
  Kind kind = kOverlaps;
};

constexpr Format kFormats[] = {
    {"date", "^" CONCLAVE_DATE "$", kDate},
    {"time", "^" CONCLAVE_TIME "$", kTime},
    {"date-time", "^" CONCLAVE_DATE "T" CONCLAVE_TIME "$", kDateTime},
    {"duration", "^P([0-9]{1,4}W|[0-9]{1,4}D(T[0-9]{1,4}[HMS])?|T[0-9]{1,4}[HMS])$", kDuration},
    {"uuid", CONCLAVE_UUID("[1-5]"), kUuid},
    {"email", CONCLAVE_EMAIL, kEmail},
    {"hostname", "^" CONCLAVE_HOST "$"},
    {"ipv4", "^" CONCLAVE_IPV4 "$", kIpv4},
    {"ipv6", "^" CONCLAVE_IPV6 "$", kIpv6},
    {"uri", "^" CONCLAVE_URI "$", kUri},
    // Wider ones of the standard, of which the narrower are a part.
    {"idn-email", CONCLAVE_EMAIL},
    {"idn-hostname", "^" CONCLAVE_HOST "$"},
    {"iri", "^" CONCLAVE_URI "$"},
    {"uri-reference", "^" CONCLAVE_URI "$"},
    {"iri-reference", "^" CONCLAVE_URI "$"},
    {"json-pointer", "^(/[A-Za-z0-9_.-]{0,64}){0,16}$"},
    // Of pydantic, zod and OpenAPI.
    {"uuid1", CONCLAVE_UUID("1"), kUuid},
    {"uuid3", CONCLAVE_UUID("3"), kUuid},
    {"uuid4", CONCLAVE_UUID("4"), kUuid},
    {"uuid5", CONCLAVE_UUID("5"), kUuid},
    {"uuid6", CONCLAVE_UUID("6"), kUuid},
    {"uuid7", CONCLAVE_UUID("7"), kUuid},
    {"uuid8", CONCLAVE_UUID("8"), kUuid},
    {"guid", CONCLAVE_UUID("[1-5]"), kUuid},
    {"url", "^" CONCLAVE_URI "$"},
    {"ipvanyaddress", "^" CONCLAVE_IPV4 "$"},
    {"ipv4interface", "^" CONCLAVE_IPV4 "/(3[0-2]|[12]?[0-9])$"},
    {"ipv6interface", "^" CONCLAVE_IPV6 "/(12[0-8]|1[01][0-9]|[1-9]?[0-9])$"},
    {"ipvanyinterface", "^" CONCLAVE_IPV4 "/(3[0-2]|[12]?[0-9])$"},
    // No bits beside the prefix.
    {"ipv4network", "^" CONCLAVE_IPV4 "/32$|^" CONCLAVE_BYTE "(\\." CONCLAVE_BYTE
                    "){2}\\.0/24$|^" CONCLAVE_BYTE "\\." CONCLAVE_BYTE "\\.0\\.0/16$"},
    {"ipv6network", "^" CONCLAVE_IPV6 "/128$|^([0-9a-f]{1,4}:){4}(0:){3}0/64$"},
    {"ipvanynetwork", "^" CONCLAVE_IPV4 "/32$"},
    {"base64", CONCLAVE_BASE64("[A-Za-z0-9+/]", "[AQgw]==", "[AEIMQUYcgkosw048]=")},
    {"byte", CONCLAVE_BASE64("[A-Za-z0-9+/]", "[AQgw]==", "[AEIMQUYcgkosw048]=")},
    {"base64url", CONCLAVE_BASE64("[A-Za-z0-9_-]", "[AQgw]==", "[AEIMQUYcgkosw048]=")},
};

}  // namespace

std::string_view PatternOfFormat(std::string_view format) {
  for (const Format& known : kFormats) {
    if (known.name == format) return known.pattern;
  }
  return "";
}

bool FormatSaysNothing(std::string_view format) {
  return format == "password" || format == "binary" || format == "path";
}

bool FormatsApart(std::string_view a, std::string_view b) {
  const auto kind = [](std::string_view name) {
    for (const Format& known : kFormats) {
      if (known.name == name) return known.kind;
    }
    return kOverlaps;
  };
  const Kind of_a = kind(a), of_b = kind(b);
  // The first words of an IPv6 address could be a scheme.
  const bool address = (of_a == kIpv6 && of_b == kUri) || (of_a == kUri && of_b == kIpv6);
  return of_a != kOverlaps && of_b != kOverlaps && of_a != of_b && !address;
}

std::string_view KnownFormats() {
  return "date, time, date-time, duration, uuid, email, hostname, ipv4, ipv6, uri";
}

}  // namespace conclave::engine::grammar
