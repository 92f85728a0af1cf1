# What a build with a sanitizer or a profiler (presets asan, tsan, fuzz, coverage) does otherwise than the rest.

# A library that is preloaded cannot bring a sanitizer's runtime into programs that were built without it. So the agent, the programs
# that it is preloaded into, and a second build of the layers in it (anybpf::plain_<name>, cmake/layer.cmake) do without.
#
#   anybpf_plain(anybpf_guest)
set(ANYBPF_PLAIN_FLAGS)
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize|--coverage")
    set(ANYBPF_PLAIN_FLAGS -fno-sanitize=all -fno-profile-arcs -fno-test-coverage)
endif()

function(anybpf_plain target)
    target_compile_options(${target} PRIVATE ${ANYBPF_PLAIN_FLAGS})
    target_link_options(${target} PRIVATE ${ANYBPF_PLAIN_FLAGS})
endfunction()

# intercept_tls_get_addr: LeakSanitizer guesses how long a loaded module's thread-local storage is from what lies in front of it, and
# with glibc 2.36 it may guess wrong and crash (the LLVM module has such storage).
# ctest reads this file before it runs anything; what the user's own variable says goes first.
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize=[a-z,-]*address")
    file(WRITE ${CMAKE_BINARY_DIR}/sanitizer_options.cmake "set(ENV{ASAN_OPTIONS} \"intercept_tls_get_addr=0:\$ENV{ASAN_OPTIONS}\")\n")
    set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY TEST_INCLUDE_FILES ${CMAKE_BINARY_DIR}/sanitizer_options.cmake)
endif()

# How long tests may take: anybpf_time_limit(300 e2e.exact e2e.faults). Sanitized processes start, and end, several times slower.
function(anybpf_time_limit seconds)
    if(CMAKE_CXX_FLAGS MATCHES "-fsanitize")
        math(EXPR seconds "6 * ${seconds}")
    endif()
    set_tests_properties(${ARGN} PROPERTIES TIMEOUT ${seconds})
endfunction()
