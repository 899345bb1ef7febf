# cmake -DSCRIPT=<check_layers.cmake> -DSCRATCH=<folder> -P check_layers_test.cmake
# Breaks each rule of the layer check in a small tree of its own and reads what the check says.
cmake_minimum_required(VERSION 3.25)
file(REMOVE_RECURSE "${SCRATCH}")
file(WRITE "${SCRATCH}/layers.cmake" "
set(DIFFLLAMA_MODULES low mid side)
set(DIFFLLAMA_LAYER_low 0)
set(DIFFLLAMA_LAYER_mid 1)
set(DIFFLLAMA_LAYER_side 1)
set(DIFFLLAMA_DEPS_low)
set(DIFFLLAMA_DEPS_mid low)
set(DIFFLLAMA_DEPS_side low)
")

# expect(NAME FILE TEXT MESSAGE): TEXT in FILE of an otherwise good tree gives MESSAGE; an empty MESSAGE means it passes.
function(expect name file text message)
  set(root "${SCRATCH}/${name}")
  file(WRITE "${root}/include/diffllama/low.h" "#pragma once\n#include <vector>\n")
  file(WRITE "${root}/include/diffllama/mid.h" "#pragma once\n\n#include \"diffllama/low.h\"\n")
  file(WRITE "${root}/src/low/low.h" "#pragma once\n#include \"diffllama/low.h\"\n")
  file(WRITE "${root}/src/mid/mid.h" "#include \"low/low.h\"\n#include \"diffllama/mid.h\"\n")
  file(WRITE "${root}/src/side/side.h" "#include \"side/side.h\"\n")
  file(APPEND "${root}/${file}" "${text}\n")
  execute_process(COMMAND ${CMAKE_COMMAND} -DROOT=${root} -DLAYERS=${SCRATCH}/layers.cmake -P ${SCRIPT}
    RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(message STREQUAL "")
    if(NOT status EQUAL 0)
      message(SEND_ERROR "${name}: expected to pass, got: ${output}")
    endif()
  else()
    string(FIND "${output}" "${message}" found)
    if(status EQUAL 0 OR found EQUAL -1)
      message(SEND_ERROR "${name}: expected '${message}', got status ${status}: ${output}")
    endif()
  endif()
endfunction()

expect(good "src/mid/mid.cpp" "#include \"mid/mid.h\"" "")
expect(upwards "src/low/low.cpp" "#include \"mid/mid.h\""
  "src/low/low.cpp: #include \"mid/mid.h\": low may use only itself and its DEPS ()")
expect(sideways "src/side/side_test.cpp" "  #  include \"mid/mid.h\" // why"
  "side may use only itself and its DEPS (low)")
expect(public_upwards "src/low/deeper/low.cpp" "#include \"diffllama/mid.h\"" "low is below mid")
expect(relative "src/mid/mid.cpp" "#include \"mid.h\"" "expected a path from src/ or include/ that exists")
expect(climbing "src/mid/mid.cpp" "#include \"../side/side.h\"" "expected a path from src/ or include/ that exists")
expect(third_party "include/diffllama/mid.h" "#include <nlohmann/json.hpp>" "a public header holds only")
expect(internal "include/diffllama/mid.h" "#include \"low/low.h\"" "a public header holds only")
expect(conditional "include/diffllama/mid.h" "#ifdef __AVX2__" "a public header holds only")
expect(stranger "src/other/other.cpp" "int other;" "src/other: not a module")
