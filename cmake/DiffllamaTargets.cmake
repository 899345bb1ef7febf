# How the parts of the project are built: diffllama_module (a folder of src/), diffllama_program, diffllama_test and, once
# all are named, diffllama_finish, which makes two libraries of the modules' objects: the shared `diffllama`, which shows
# what include/diffllama declares and nothing else, and the archive `diffllama_core`, of which tests and benchmarks may use
# everything.

# The layers, lowest first. A module may use only modules of lower layers (those it names as DEPS); the modules of one
# layer do not know each other. CONTRIBUTING.md says why; check_layers.cmake holds the sources to it in every build.
set(DIFFLLAMA_LAYERS
  "base"
  "tensor config tokenizer"
  "kernels checkpoint chat"
  "model"
  "generation training"
  "engine"
  "tasks microscope"
  "api"
  "cli")

add_library(diffllama_options INTERFACE)
target_compile_options(diffllama_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Werror
  -ffp-contract=off  # an fma is written where it is meant: bits are a promise
  -fno-math-errno)
if(DIFFLLAMA_SANITIZE)
  target_compile_options(diffllama_options INTERFACE
    -fsanitize=${DIFFLLAMA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(diffllama_options INTERFACE -fsanitize=${DIFFLLAMA_SANITIZE})
endif()
if(DIFFLLAMA_FUZZ)
  target_compile_options(diffllama_options INTERFACE -fsanitize=fuzzer-no-link -Wno-error)  # warnings are g++'s to give
endif()
target_compile_definitions(diffllama_options INTERFACE $<$<NOT:$<CONFIG:Release>>:_GLIBCXX_ASSERTIONS>)
target_include_directories(diffllama_options INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src> $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)

# The number of the layer that a module is in, 0 for the lowest.
function(diffllama_layer_of module out)
  set(number 0)
  foreach(layer IN LISTS DIFFLLAMA_LAYERS)
    separate_arguments(layer)
    if(module IN_LIST layer)
      set(${out} ${number} PARENT_SCOPE)
      return()
    endif()
    math(EXPR number "${number} + 1")
  endforeach()
  message(FATAL_ERROR "${module} is in no layer of DIFFLLAMA_LAYERS (cmake/DiffllamaTargets.cmake)")
endfunction()

# diffllama_declare_module(NAME HEADERS name... DEPS module... SOURCES file...): refuses DEPS that do not point down, and
# notes all for the check of the sources.
function(diffllama_declare_module name)
  cmake_parse_arguments(ARG "" "" "HEADERS;DEPS;SOURCES" ${ARGN})
  diffllama_layer_of(${name} layer)
  foreach(dep IN LISTS ARG_DEPS)
    diffllama_layer_of(${dep} dep_layer)
    if(NOT dep_layer LESS layer)
      message(FATAL_ERROR "src/CMakeLists.txt: ${name} names ${dep} in DEPS, which is not in a lower layer")
    endif()
  endforeach()
  string(CONCAT lines
    "list(APPEND DIFFLLAMA_MODULES ${name})\n"
    "set(DIFFLLAMA_LAYER_${name} ${layer})\n"
    "set(DIFFLLAMA_DEPS_${name} \"${ARG_DEPS}\")\n"
    "set(DIFFLLAMA_SOURCES_${name} \"${ARG_SOURCES}\")\n")
  foreach(header IN LISTS ARG_HEADERS)
    string(APPEND lines "list(APPEND DIFFLLAMA_HEADERS ${header})\nset(DIFFLLAMA_OWNER_${header} ${name})\n")
  endforeach()
  set_property(GLOBAL APPEND_STRING PROPERTY DIFFLLAMA_LAYERS_FILE "${lines}")
endfunction()

# diffllama_module(NAME HEADERS name... DEPS module... LIBS target... TEST_LIBS target...): src/NAME/**.cpp becomes an object
# library, src/NAME/**_test.cpp the binary NAME_test. HEADERS: those of include/diffllama that it fills.
function(diffllama_module name)
  cmake_parse_arguments(ARG "" "" "HEADERS;DEPS;LIBS;TEST_LIBS" ${ARGN})
  diffllama_declare_module(${name} HEADERS ${ARG_HEADERS} DEPS ${ARG_DEPS})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  if(sources)
    add_library(diffllama_${name} OBJECT ${sources})
    target_link_libraries(diffllama_${name} PRIVATE diffllama_options ${ARG_LIBS})
    set_property(GLOBAL APPEND PROPERTY DIFFLLAMA_OBJECTS diffllama_${name})
    set_property(GLOBAL APPEND PROPERTY DIFFLLAMA_LIBS ${ARG_LIBS})
  endif()
  if(tests)
    diffllama_test(${name} SOURCES ${tests} LIBS ${ARG_LIBS} ${ARG_TEST_LIBS})
  endif()
endfunction()

# diffllama_test(NAME SOURCES file... LIBS target... LIBRARY target): the GoogleTest binary NAME_test, each of its cases a
# test `NAME.Suite.Case` of ctest. Sources may include any header of src/ and find files under DIFFLLAMA_SOURCE_DIR.
# LIBRARY: diffllama for a test of what users link.
function(diffllama_test name)
  if(NOT DIFFLLAMA_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "LIBRARY" "SOURCES;LIBS" ${ARGN})
  if(NOT ARG_LIBRARY)
    set(ARG_LIBRARY diffllama_core)
  endif()
  add_executable(${name}_test ${ARG_SOURCES})
  target_link_libraries(${name}_test PRIVATE ${ARG_LIBRARY} diffllama_options ${ARG_LIBS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name}_test PRIVATE DIFFLLAMA_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  # Optimising what the macros of GoogleTest expand to takes a third of the compiler's time, and gains nothing.
  # Under sanitizers it takes half: there a test's own code is checked for its memory alone.
  target_compile_options(${name}_test PRIVATE $<$<CONFIG:Release>:-O1>)
  if(DIFFLLAMA_SANITIZE)
    target_compile_options(${name}_test PRIVATE -O0 -fno-sanitize=undefined)
  endif()
  gtest_discover_tests(${name}_test TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300)
endfunction()

# diffllama_program(NAME SOURCES file... LIBS target...): the program `diffllama` from src/NAME, in bin/ of the build tree.
# It uses include/diffllama like anyone; SOURCES are plain functions of lower modules, "base/text", which the library hides
# and which it compiles for itself. It is told its version and where models/ lies: in the source tree, and from its own
# folder once installed.
function(diffllama_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  diffllama_declare_module(${name} SOURCES ${ARG_SOURCES})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp)
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  set(main ${CMAKE_CURRENT_SOURCE_DIR}/${name}/main.cpp)
  list(REMOVE_ITEM sources ${main})
  file(RELATIVE_PATH models ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_DATADIR}/diffllama/models)
  file(RELATIVE_PATH libraries ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})

  list(TRANSFORM ARG_SOURCES REPLACE "(.+)" "${CMAKE_CURRENT_SOURCE_DIR}/\\1.cpp")
  add_library(diffllama_${name}_objects OBJECT ${sources} ${ARG_SOURCES})
  target_link_libraries(diffllama_${name}_objects PUBLIC diffllama diffllama_options ${ARG_LIBS})
  target_compile_definitions(diffllama_${name}_objects PUBLIC
    DIFFLLAMA_VERSION="${PROJECT_VERSION}"
    DIFFLLAMA_MODELS_IN_SOURCE="${PROJECT_SOURCE_DIR}/models"
    DIFFLLAMA_MODELS_FROM_PROGRAM="${models}")
  if(DIFFLLAMA_SANITIZE)  # the option parser's templates take g++ a minute a file to optimise under sanitizers
    target_compile_options(diffllama_${name}_objects PRIVATE -O0)
  endif()
  add_executable(diffllama_${name} ${main})
  target_link_libraries(diffllama_${name} PRIVATE diffllama_${name}_objects)
  set_target_properties(diffllama_${name} PROPERTIES
    OUTPUT_NAME diffllama
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin
    INSTALL_RPATH "$ORIGIN/${libraries}")
  if(tests)
    diffllama_test(${name} SOURCES ${tests} LIBS diffllama_${name}_objects LIBRARY diffllama)
  endif()
endfunction()

# Links the libraries, once every module is known.
function(diffllama_finish)
  get_property(objects GLOBAL PROPERTY DIFFLLAMA_OBJECTS)
  get_property(libs GLOBAL PROPERTY DIFFLLAMA_LIBS)
  list(REMOVE_DUPLICATES libs)
  list(TRANSFORM objects REPLACE "(.+)" "$<TARGET_OBJECTS:\\1>")
  add_library(diffllama_core STATIC ${objects})
  target_link_libraries(diffllama_core PUBLIC ${libs} diffllama_options)
  add_library(diffllama SHARED ${objects})
  add_library(diffllama::diffllama ALIAS diffllama)
  target_link_libraries(diffllama PRIVATE ${libs} $<BUILD_INTERFACE:diffllama_options>)
  target_include_directories(diffllama PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)
  target_compile_features(diffllama PUBLIC cxx_std_20)
  set(exported ${PROJECT_SOURCE_DIR}/cmake/exported_symbols.map)
  target_link_options(diffllama PRIVATE LINKER:--version-script=${exported})
  set_property(TARGET diffllama APPEND PROPERTY LINK_DEPENDS ${exported})
  set_target_properties(diffllama PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})

  # Every build checks the layers first: the library waits for it, and so all that links it.
  get_property(layers GLOBAL PROPERTY DIFFLLAMA_LAYERS_FILE)
  file(WRITE ${PROJECT_BINARY_DIR}/layers.cmake "${layers}")
  add_custom_target(check_layers ALL
    COMMAND ${CMAKE_COMMAND} -DROOT=${PROJECT_SOURCE_DIR} -DLAYERS=${PROJECT_BINARY_DIR}/layers.cmake
            -P ${PROJECT_SOURCE_DIR}/cmake/check_layers.cmake
    COMMENT "Checking the layers")
  add_dependencies(diffllama check_layers)
  add_dependencies(diffllama_core check_layers)
endfunction()
