# Every library the project links; packages.txt names the Debian packages and CONTRIBUTING.md the reasons.
find_package(Threads REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(CLI11 REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(ONIGURUMA REQUIRED IMPORTED_TARGET oniguruma)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(LIBEDIT REQUIRED IMPORTED_TARGET libedit)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
find_package(PNG REQUIRED)
find_library(SENTENCEPIECE_LIBRARY sentencepiece REQUIRED)  # its .pc asks for the trainer too
find_package(dnnl REQUIRED)
if(DIFFLLAMA_FUZZ)
  add_library(OpenMP::OpenMP_CXX INTERFACE IMPORTED)  # clang's is another package, and the fuzzers use no kernels
else()
  find_package(OpenMP REQUIRED COMPONENTS CXX)  # oneDNN's threads, to set their number
endif()
if(DIFFLLAMA_TESTS)
  find_package(GTest REQUIRED)
endif()
if(DIFFLLAMA_BENCHMARKS)
  find_package(benchmark REQUIRED)
endif()
