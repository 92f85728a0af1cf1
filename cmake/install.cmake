# libanybpf: the layers up to embed/ in one archive, with their headers, a CMake package and pkg-config files, for applications that
# embed the machine; and libanybpf-object, which adds the loading of objects, for which it needs libbpf. The command, the agent and
# the programs install themselves from their own folders.
include(CMakePackageConfigHelpers)

set(embedded)
foreach(layer IN ITEMS base isa abi btf program verifier engine engine_code engine_jit maps helpers kernel embed)
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
target_link_libraries(anybpf INTERFACE -l:libasmjit.a ${CMAKE_DL_LIBS})

set(installed anybpf)
if(TARGET anybpf_embed_object)
    add_library(anybpf-object STATIC ${PROJECT_SOURCE_DIR}/cmake/empty.cpp)
    add_library(anybpf::object_archive ALIAS anybpf-object)
    set_target_properties(anybpf-object PROPERTIES EXPORT_NAME object)
    foreach(layer IN ITEMS anybpf_preload anybpf_object anybpf_embed_object)
        target_sources(anybpf-object PRIVATE $<TARGET_OBJECTS:${layer}>)
    endforeach()
    target_link_libraries(anybpf-object INTERFACE anybpf -l:libbpf.a elf z ${CMAKE_DL_LIBS})
    list(APPEND installed anybpf-object)
endif()

install(TARGETS ${installed} EXPORT anybpfTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT anybpfTargets NAMESPACE anybpf:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/anybpf)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/anybpfConfig.cmake CONTENT [[
# anybpf::anybpf: the BPF system as a library. It needs asmjit (Debian: libasmjit-dev), its C++ headers tl::expected
# (libexpected-dev).
include("${CMAKE_CURRENT_LIST_DIR}/anybpfTargets.cmake")
]] @ONLY)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/anybpfConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/anybpfConfig.cmake ${CMAKE_BINARY_DIR}/anybpfConfigVersion.cmake
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/anybpf)

file(RELATIVE_PATH from_pc_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
set(pc_head [[
prefix=${pcfiledir}/@from_pc_to_prefix@.
libdir=${prefix}/@CMAKE_INSTALL_LIBDIR@
includedir=${prefix}/@CMAKE_INSTALL_INCLUDEDIR@

Version: @PROJECT_VERSION@]])
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/anybpf.pc CONTENT "${pc_head}" @ONLY)
file(APPEND ${CMAKE_BINARY_DIR}/anybpf.pc [[

Name: anybpf
Description: BPF in an application
Libs: -L${libdir} -lanybpf -l:libasmjit.a
Cflags: -I${includedir} -std=c++20
]])
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/anybpf-object.pc CONTENT "${pc_head}" @ONLY)
file(APPEND ${CMAKE_BINARY_DIR}/anybpf-object.pc [[

Name: anybpf-object
Description: BPF in an application, and objects of clang's
Requires: anybpf
Libs: -L${libdir} -lanybpf-object -l:libbpf.a -lelf -lz
]])
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/anybpf-c.pc CONTENT "${pc_head}" @ONLY)
file(APPEND ${CMAKE_BINARY_DIR}/anybpf-c.pc [[

Name: anybpf-c
Description: BPF in an application in C, with objects of clang's
Libs: -L${libdir} -lanybpf-object -lanybpf -l:libasmjit.a -l:libbpf.a -lelf -lz -lstdc++ -lm
Cflags: -I${includedir}
]])
foreach(name IN ITEMS anybpf anybpf-object anybpf-c)
    install(FILES ${CMAKE_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE TYPE DOC)
