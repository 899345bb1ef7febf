# The instruction sets that files of src/kernels/cpu/ are compiled for; run-time dispatch keeps them from machines that
# lack them. Included by src/CMakeLists.txt, since source properties belong to the directory that compiles.
set(kernels_x86 "${CMAKE_CURRENT_SOURCE_DIR}/kernels/cpu/x86")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set(avx2_flags -mavx2 -mfma -mf16c)
  set(avx512_vnni_flags ${avx2_flags} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni
    -Wno-uninitialized -Wno-maybe-uninitialized)  # g++ 12 warns of its own _mm512_undefined_ps (GCC bug 105593)
  set(avx512_flags ${avx512_vnni_flags} -mavx512bf16)
  set_source_files_properties(
    "${kernels_x86}/panel_product_avx2.cpp" "${kernels_x86}/row_kernels_avx2.cpp"
    "${kernels_x86}/gradient_kernels_avx2.cpp"
    PROPERTIES COMPILE_OPTIONS "${avx2_flags}")
  set_source_files_properties("${kernels_x86}/panel_product_avx_vnni.cpp"
    PROPERTIES COMPILE_OPTIONS "${avx2_flags};-mavxvnni")
  set_source_files_properties(
    "${kernels_x86}/panel_product_avx512_vnni.cpp" "${kernels_x86}/row_kernels_avx512_vnni.cpp"
    "${kernels_x86}/gradient_kernels_avx512.cpp"
    PROPERTIES COMPILE_OPTIONS "${avx512_vnni_flags}")
  set_source_files_properties(
    "${kernels_x86}/panel_product_avx512.cpp" "${kernels_x86}/row_kernels_avx512.cpp"
    PROPERTIES COMPILE_OPTIONS "${avx512_flags}")
  set_source_files_properties("${kernels_x86}/panel_product_amx.cpp"
    PROPERTIES COMPILE_OPTIONS "${avx512_flags};-mamx-tile;-mamx-bf16;-mamx-int8")
  set_source_files_properties("${CMAKE_CURRENT_SOURCE_DIR}/kernels/cpu/generic/no_x86.cpp"
    PROPERTIES HEADER_FILE_ONLY TRUE)
else()
  file(GLOB kernels_other CONFIGURE_DEPENDS "${kernels_x86}/*.cpp")
  set_source_files_properties(${kernels_other} PROPERTIES HEADER_FILE_ONLY TRUE)
endif()
