# Everything about the compiler that all targets share: launcher, linker, sanitizers, warnings.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  message(WARNING "g++ ${CMAKE_CXX_COMPILER_VERSION} miscompiles coroutines; use clang++-16 (docs/decisions/0001-toolchain.md)")
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()

include(CheckLinkerFlag)
check_linker_flag(CXX -fuse-ld=lld CONCLAVE_HAVE_LLD)
if(CONCLAVE_HAVE_LLD)
  add_link_options(-fuse-ld=lld)
endif()

if(CONCLAVE_SANITIZE)
  string(REPLACE ";" "," _sanitize "${CONCLAVE_SANITIZE}")
  add_compile_options(-fsanitize=${_sanitize} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${_sanitize})
  if(_sanitize MATCHES "undefined")
    # -fsanitize=function and coroutines give "cannot represent a difference across sections".
    # The definition makes ccache see a change of the list.
    file(SHA256 ${CMAKE_SOURCE_DIR}/common/cmake/sanitizer_ignorelist.txt _ignorelist)
    add_compile_definitions(CONCLAVE_SANITIZER_IGNORELIST="${_ignorelist}")
    add_compile_options(-fno-sanitize=function -fno-sanitize-recover=undefined
      -fsanitize-ignorelist=${CMAKE_SOURCE_DIR}/common/cmake/sanitizer_ignorelist.txt)
  endif()
  if(_sanitize MATCHES "thread")
    add_compile_definitions(BOOST_ASIO_DISABLE_FENCED_BLOCK)
    # What tests run with; the distribution's compiler looks for the symbolizer where there is none.
    set(CONCLAVE_TSAN_OPTIONS suppressions=${CMAKE_SOURCE_DIR}/common/cmake/tsan_suppressions.txt)
    find_program(CONCLAVE_SYMBOLIZER NAMES llvm-symbolizer-16 llvm-symbolizer)
    if(CONCLAVE_SYMBOLIZER)
      string(APPEND CONCLAVE_TSAN_OPTIONS :external_symbolizer_path=${CONCLAVE_SYMBOLIZER})
    endif()
  endif()
endif()

if(CONCLAVE_FUZZ)
  # Coverage for everything; only the fuzz targets link the fuzzer itself (tests/fuzz).
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

add_library(conclave_warnings INTERFACE)
target_compile_options(conclave_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wnon-virtual-dtor;-Woverloaded-virtual;-Werror>)
