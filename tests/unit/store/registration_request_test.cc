#include "store/registration_request.h"

#include <catch2/catch.hpp>

#include "base/status.h"

namespace pb = conclave::v1;
using conclave::base::ParamOf;
using conclave::store::CheckRegistration;
using conclave::store::DigestOf;
using conclave::store::Inherit;

namespace {

pb::ModelRegistration Named(const std::string& name) {
  pb::ModelRegistration registration;
  registration.set_name(name);
  registration.set_path("m.gguf");
  return registration;
}

}  // namespace

TEST_CASE("names of models are short, plain and lead nowhere") {
  for (const std::string& good : {std::string("a"), std::string("llama3:8b"),
                                  std::string("org/Model-1.5_b:latest"), std::string(200, 'x')}) {
    INFO(good);
    CHECK(CheckRegistration(Named(good)).ok());
  }
  for (const std::string& bad :
       {std::string(), std::string("../etc/passwd"), std::string("a/../b"), std::string("/abs"),
        std::string(".hidden"), std::string("a\nb"), std::string("a b"), std::string("a\0b", 3),
        std::string("caf\xc3\xa9"), std::string("a\\b"), std::string(201, 'x')}) {
    INFO(bad);
    CHECK(ParamOf(CheckRegistration(Named(bad))) == "name");
  }
  pb::ModelRegistration aliased = Named("a");
  aliased.add_aliases("fine");
  aliased.add_aliases("..");
  CHECK(ParamOf(CheckRegistration(aliased)) == "aliases[1]");
}

TEST_CASE("the parts of a registration keep their bounds") {
  pb::ModelRegistration r = Named("a");
  r.set_path("models/../../etc/shadow");
  CHECK(ParamOf(CheckRegistration(r)) == "path");
  r = Named("a");
  r.set_path("a..b/c.gguf");
  CHECK(CheckRegistration(r).ok());
  r = Named("a");
  r.set_config_json("[]");
  CHECK(ParamOf(CheckRegistration(r)) == "config");
  r = Named("a");
  r.set_model_type("image");
  CHECK(ParamOf(CheckRegistration(r)) == "model_type");
  r = Named("a");
  (*r.mutable_metadata())["k"] = std::string(513, 'x');
  CHECK(ParamOf(CheckRegistration(r)) == "metadata.k");
  r = Named("a");
  r.mutable_derived()->set_base("b");
  CHECK(ParamOf(CheckRegistration(r)) == "derived");  // and a path
  r.clear_path();
  CHECK(CheckRegistration(r).ok());
  r.mutable_derived()->add_messages()->set_role(pb::ROLE_TOOL);
  CHECK(ParamOf(CheckRegistration(r)) == "derived.messages[0]");
  r.mutable_derived()->clear_messages();
  r.mutable_derived()->set_parameters_json("{");
  CHECK(ParamOf(CheckRegistration(r)) == "derived.parameters");
}

TEST_CASE("a digest is of what was said, not of when") {
  pb::ModelRegistration a = Named("a");
  (*a.mutable_metadata())["x"] = "1";
  (*a.mutable_metadata())["y"] = "2";
  pb::ModelRegistration b = Named("a");
  (*b.mutable_metadata())["y"] = "2";
  (*b.mutable_metadata())["x"] = "1";
  b.set_created_at(7);
  b.set_digest("old");
  CHECK(DigestOf(a) == DigestOf(b));
  b.set_path("other.gguf");
  CHECK(DigestOf(a) != DigestOf(b));
}

TEST_CASE("what a derived model leaves open it takes from the one it is made from") {
  pb::DerivedModel from;
  from.set_base("root");
  from.set_system("Be kind.");
  from.set_parameters_json(R"({"top_k":1})");
  from.add_messages()->set_role(pb::ROLE_USER);
  pb::DerivedModel derived;
  derived.set_base("middle");
  derived.set_system("");  // said: no system message
  Inherit(from, &derived);
  CHECK(derived.base() == "root");
  CHECK(derived.has_system());
  CHECK(derived.system().empty());
  CHECK(derived.parameters_json() == R"({"top_k":1})");
  CHECK(derived.messages_size() == 1);
}
