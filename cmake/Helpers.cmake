# Flags, and the two helpers every folder uses: one library per folder, one binary with the tests of a folder.

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Precompiled headers and ccache agree only when time stamps inside the header are ignored.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${CCACHE_PROGRAM})
  add_compile_options($<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
endif()

add_library(incontext_flags INTERFACE)
target_include_directories(incontext_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_options(incontext_flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Woverloaded-virtual)
# GCC 12 sees overlapping copies in std::string that are not there (its bug 105651).
target_compile_options(incontext_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict -Wno-psabi>)
if(INCONTEXT_WERROR)
  target_compile_options(incontext_flags INTERFACE -Werror)
endif()

if(INCONTEXT_SANITIZE)
  list(JOIN INCONTEXT_SANITIZE "," sanitizers)
  add_compile_options(-fsanitize=${sanitizers} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  # The code that sanitizers put in makes GCC see unset values in std::regex and in libtorch's optional arguments.
  add_compile_options($<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  add_link_options(-fsanitize=${sanitizers})
  add_compile_definitions(INCONTEXT_SANITIZED=1)
endif()

if(INCONTEXT_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL Clang)
    message(FATAL_ERROR "INCONTEXT_FUZZ: libFuzzer comes with clang, and the compiler is ${CMAKE_CXX_COMPILER_ID}")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=address,undefined)
  add_compile_definitions(INCONTEXT_SANITIZED=1)
endif()

# Most of what a file costs to compile are the headers, so that several files of a target are compiled as one. Off in
# the preset dev, for the shortest way from an edit of one file to a run, and for clang-tidy, which looks at each file.
option(INCONTEXT_UNITY "Compile several source files of a folder at once" ON)
set(INCONTEXT_UNITY_FILES 8)

function(incontext_unite target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${INCONTEXT_UNITY} UNITY_BUILD_BATCH_SIZE ${INCONTEXT_UNITY_FILES})
endfunction()

# incontext_library(<folder> SOURCES … [LINKS …] [PCH_TORCH])
# makes the target incontext_<folder> from the sources beside the calling CMakeLists.txt.
function(incontext_library name)
  cmake_parse_arguments(ARG "PCH_TORCH" "" "SOURCES;LINKS;PRIVATE_LINKS" ${ARGN})
  add_library(incontext_${name} STATIC ${ARG_SOURCES})
  incontext_unite(incontext_${name})
  target_link_libraries(incontext_${name} PUBLIC ${ARG_LINKS} PRIVATE incontext_flags ${ARG_PRIVATE_LINKS})
  target_include_directories(incontext_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  if(ARG_PCH_TORCH)
    target_link_libraries(incontext_${name} PUBLIC incontext_torch)
    target_precompile_headers(incontext_${name} REUSE_FROM incontext_torch_pch)
  endif()
endfunction()

set(INCONTEXT_TEST_SECONDS 600)
if(INCONTEXT_SANITIZE MATCHES thread)
  set(INCONTEXT_TEST_SECONDS 3000)  # up to a hundred times slower
endif()

# incontext_tests(<folder> [PCH_TORCH] LINKS … SOURCES a_test.cpp …)
# makes one binary of the files, and for each of them the ctest entry <folder>.<file without _test> and the target and
# program test_<folder>_<file without _test>. That program is a link to the binary, which runs the tests of the file
# it is called by (tests/support/main.cpp). What a single test needs built is a dependency of its target.
function(incontext_tests folder)
  cmake_parse_arguments(ARG "PCH_TORCH" "" "SOURCES;LINKS;HELPERS" ${ARGN})
  set(binary tests_${folder})
  set(number 1)
  while(TARGET ${binary})  # a folder may call more than once
    math(EXPR number "${number} + 1")
    set(binary tests_${folder}_${number})
  endwhile()
  set(directory ${CMAKE_BINARY_DIR}/tests)
  add_executable(${binary} ${ARG_SOURCES} ${ARG_HELPERS})  # helpers hold no tests
  incontext_unite(${binary})
  set_target_properties(${binary} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${directory})
  target_link_libraries(${binary} PRIVATE ${ARG_LINKS} incontext_flags incontext_test_support incontext_test_main GTest::gtest)
  target_include_directories(${binary} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  # Tests spend their time in the libraries: to optimize their own code takes longer than it saves.
  target_compile_options(${binary} PRIVATE $<$<CONFIG:Release>:-O1>)
  target_compile_definitions(${binary} PRIVATE
    INCONTEXT_SOURCE_DIR="${CMAKE_SOURCE_DIR}" INCONTEXT_BINARY_DIR="${CMAKE_BINARY_DIR}")
  if(ARG_PCH_TORCH)
    target_link_libraries(${binary} PRIVATE incontext_torch)
    target_precompile_headers(${binary} REUSE_FROM incontext_torch_pch)
  endif()
  file(MAKE_DIRECTORY ${directory})
  foreach(source ${ARG_SOURCES})
    string(REGEX REPLACE "_test\\.cpp$" "" stem ${source})
    set(target test_${folder}_${stem})
    add_custom_target(${target} ALL DEPENDS ${binary})
    file(CREATE_LINK ${binary} ${directory}/${target} SYMBOLIC)
    add_test(NAME ${folder}.${stem} COMMAND ${directory}/${target})
    set_tests_properties(${folder}.${stem} PROPERTIES TIMEOUT ${INCONTEXT_TEST_SECONDS})
  endforeach()
endfunction()
