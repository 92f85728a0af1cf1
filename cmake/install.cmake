# libanybpf: the layers up to kernel/ in one archive, with their headers, a CMake package and a pkg-config file, for programs that
# embed the machine. The command, the agent and the programs install themselves from their own folders.
include(CMakePackageConfigHelpers)

set(embedded)
foreach(layer IN ITEMS base isa abi btf program verifier engine maps helpers kernel)
    if(TARGET anybpf_${layer})
        list(APPEND embedded anybpf_${layer})
    endif()
endforeach()

add_library(anybpf STATIC ${PROJECT_SOURCE_DIR}/cmake/empty.cpp)
add_library(anybpf::anybpf ALIAS anybpf)
target_compile_features(anybpf PUBLIC cxx_std_20)
foreach(layer IN LISTS embedded)
    target_sources(anybpf PRIVATE $<TARGET_OBJECTS:${layer}>)
    get_target_property(folder ${layer} SOURCE_DIR)
    install(DIRECTORY ${folder}/include/anybpf DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp" PATTERN "*.def" PATTERN "*.h")
endforeach()
target_include_directories(anybpf INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

install(TARGETS anybpf EXPORT anybpfTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT anybpfTargets NAMESPACE anybpf:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/anybpf)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/anybpfConfig.cmake CONTENT [[
# anybpf::anybpf: the BPF system as a library. Its headers need tl::expected (Debian: libexpected-dev).
include("${CMAKE_CURRENT_LIST_DIR}/anybpfTargets.cmake")
]] @ONLY)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/anybpfConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/anybpfConfig.cmake ${CMAKE_BINARY_DIR}/anybpfConfigVersion.cmake
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/anybpf)

file(RELATIVE_PATH from_pc_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/anybpf.pc CONTENT [[
prefix=${pcfiledir}/@from_pc_to_prefix@.
libdir=${prefix}/@CMAKE_INSTALL_LIBDIR@
includedir=${prefix}/@CMAKE_INSTALL_INCLUDEDIR@

Name: anybpf
Description: @PROJECT_DESCRIPTION@
Version: @PROJECT_VERSION@
Libs: -L${libdir} -lanybpf
Cflags: -I${includedir} -std=c++20
]] @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/anybpf.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE TYPE DOC)
