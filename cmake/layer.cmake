# A layer is one folder, one static library and one place in the order of DESIGN's table.
#
#   anybpf_layer(verifier HEADERS verifier.hpp report.hpp SOURCES src/transfer.cpp USES program [LIBRARIES Zydis] [PART_OF engine])
#
# Headers live in include/anybpf/<name>/, or that of the layer which this is a part of, and travel as a file set, so that `all_verify_interface_header_sets` proves that each
# compiles alone. USES names the layers below; their include folders are the only ones on the path, so including a layer that
# is not named does not compile. LIBRARIES are third-party code, never visible to the layers above.
#
#   anybpf_test(verifier SOURCES src/transfer_test.cpp [USES maps] [LABEL process])
#
# makes the executable <name>_test (or <name>_<label>_test) and gives every case in it to ctest under the label (default unit).

function(anybpf_layer name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "PART_OF" "HEADERS;SOURCES;USES;LIBRARIES")
    if(NOT arg_SOURCES)
        set(arg_SOURCES ${PROJECT_SOURCE_DIR}/cmake/empty.cpp)
    endif()
    if(NOT arg_PART_OF)
        set(arg_PART_OF ${name})
    endif()
    add_library(anybpf_${name} STATIC ${arg_SOURCES})
    add_library(anybpf::${name} ALIAS anybpf_${name})
    list(TRANSFORM arg_HEADERS PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/include/anybpf/${arg_PART_OF}/)
    # A table (.def) is a header that means nothing alone.
    set(tables ${arg_HEADERS})
    list(FILTER tables INCLUDE REGEX "\\.def$")
    list(FILTER arg_HEADERS EXCLUDE REGEX "\\.def$")
    target_sources(anybpf_${name} PUBLIC
        FILE_SET HEADERS BASE_DIRS ${CMAKE_CURRENT_SOURCE_DIR}/include FILES ${arg_HEADERS}
        FILE_SET tables TYPE HEADERS BASE_DIRS ${CMAKE_CURRENT_SOURCE_DIR}/include FILES ${tables})
    target_link_libraries(anybpf_${name} PRIVATE anybpf_warnings)
    foreach(used IN LISTS arg_USES)
        target_link_libraries(anybpf_${name} PUBLIC anybpf::${used})
    endforeach()
    target_link_libraries(anybpf_${name} PRIVATE ${arg_LIBRARIES})
    set_target_properties(anybpf_${name} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON INTERFACE_HEADER_SETS_TO_VERIFY HEADERS)

    if(NOT ANYBPF_PLAIN_FLAGS)
        add_library(anybpf::plain_${name} ALIAS anybpf_${name})
        return()
    endif()
    # What the agent is linked with, without a sanitizer (cmake/sanitizers.cmake). The file's name is the same, in a folder of its own,
    # for the agent's order.ld knows archives by their names.
    add_library(anybpf_plain_${name} STATIC EXCLUDE_FROM_ALL ${arg_SOURCES})
    add_library(anybpf::plain_${name} ALIAS anybpf_plain_${name})
    anybpf_plain(anybpf_plain_${name})
    set_target_properties(anybpf_plain_${name} PROPERTIES OUTPUT_NAME anybpf_${name} ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/plain)
    target_include_directories(anybpf_plain_${name} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/include)
    list(TRANSFORM arg_USES PREPEND anybpf::plain_)
    target_link_libraries(anybpf_plain_${name} PUBLIC ${arg_USES} PRIVATE anybpf_warnings ${arg_LIBRARIES})
endfunction()

function(anybpf_test layer)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "LABEL" "SOURCES;USES;LIBRARIES")
    if(NOT ANYBPF_TESTS)
        return()
    endif()
    set(target ${layer}_test)
    if(arg_LABEL)
        set(target ${layer}_${arg_LABEL}_test)
    else()
        set(arg_LABEL unit)
    endif()
    add_executable(${target} ${arg_SOURCES})
    target_link_libraries(${target} PRIVATE anybpf::${layer} anybpf_warnings GTest::gtest_main GTest::gmock ${arg_LIBRARIES})
    foreach(used IN LISTS arg_USES)
        target_link_libraries(${target} PRIVATE anybpf::${used})
    endforeach()
    gtest_discover_tests(${target} TEST_PREFIX "${layer}." PROPERTIES LABELS ${arg_LABEL} DISCOVERY_TIMEOUT 60)
endfunction()

# A fuzz target is one file with LLVMFuzzerTestOneInput. The fuzz preset links it with libFuzzer; every other preset links it
# with a driver that replays a corpus, so the same file is a regression test.
#   anybpf_fuzz(fuzz_btf SOURCES fuzz_btf.cpp USES btf CORPUS ${PROJECT_SOURCE_DIR}/fuzz/corpus/btf)
function(anybpf_fuzz name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "CORPUS" "SOURCES;USES")
    add_executable(${name} ${arg_SOURCES})
    foreach(used IN LISTS arg_USES)
        target_link_libraries(${name} PRIVATE anybpf::${used})
    endforeach()
    target_link_libraries(${name} PRIVATE anybpf_warnings)
    if(ANYBPF_FUZZ)
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    else()
        target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/fuzz/replay.cpp)
        add_test(NAME fuzz.${name} COMMAND ${name} ${arg_CORPUS})
        set_tests_properties(fuzz.${name} PROPERTIES LABELS corpus)
    endif()
endfunction()
