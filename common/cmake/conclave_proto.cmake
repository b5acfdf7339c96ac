# conclave_proto_library(NAME <target> ROOT <dir> MESSAGES <protos> SERVICES <protos>)
#   One protoc run per file; stubs only for files with services (a stub file costs seconds to compile).
function(conclave_proto_library)
  cmake_parse_arguments(P "" "NAME;ROOT" "MESSAGES;SERVICES" ${ARGN})
  set(out ${CMAKE_BINARY_DIR}/gen)
  file(MAKE_DIRECTORY ${out})
  set(sources)
  foreach(proto IN LISTS P_MESSAGES P_SERVICES)
    string(REGEX REPLACE "\\.proto$" "" stem ${proto})
    set(outputs ${out}/${stem}.pb.cc ${out}/${stem}.pb.h)
    set(grpc_flags)
    if(proto IN_LIST P_SERVICES)
      list(APPEND outputs ${out}/${stem}.grpc.pb.cc ${out}/${stem}.grpc.pb.h)
      set(grpc_flags --grpc_out=${out} --plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin>)
    endif()
    list(TRANSFORM P_MESSAGES PREPEND ${P_ROOT}/ OUTPUT_VARIABLE shared)
    add_custom_command(
      OUTPUT ${outputs}
      COMMAND protobuf::protoc --proto_path=${P_ROOT} --cpp_out=${out} ${grpc_flags} ${P_ROOT}/${proto}
      DEPENDS ${P_ROOT}/${proto} ${shared} protobuf::protoc gRPC::grpc_cpp_plugin
      COMMENT "protoc ${proto}" VERBATIM)
    list(APPEND sources ${outputs})
  endforeach()
  add_library(${P_NAME} STATIC ${sources})
  target_include_directories(${P_NAME} SYSTEM PUBLIC ${out})
  target_link_libraries(${P_NAME} PUBLIC gRPC::grpc++ protobuf::libprotobuf)
  # Generated code is not ours to warn about.
  target_compile_options(${P_NAME} PRIVATE -w)
  string(REPLACE "conclave_" "conclave::" alias ${P_NAME})
  add_library(${alias} ALIAS ${P_NAME})
endfunction()
