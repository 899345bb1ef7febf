# What `cmake --install` lays down: the library, its headers, the program, the models, and what find_package(diffllama)
# reads. The library's own dependencies are private to it, so its users need none of them.
include(CMakePackageConfigHelpers)
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/diffllama)

install(TARGETS diffllama EXPORT diffllamaTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/diffllama DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(DIRECTORY models DESTINATION ${CMAKE_INSTALL_DATADIR}/diffllama)
install(TARGETS diffllama_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

install(EXPORT diffllamaTargets NAMESPACE diffllama:: DESTINATION ${config_dir})
configure_package_config_file(cmake/diffllamaConfig.cmake.in ${PROJECT_BINARY_DIR}/diffllamaConfig.cmake
  INSTALL_DESTINATION ${config_dir} PATH_VARS CMAKE_INSTALL_DATADIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/diffllamaConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/diffllamaConfig.cmake ${PROJECT_BINARY_DIR}/diffllamaConfigVersion.cmake
  DESTINATION ${config_dir})
