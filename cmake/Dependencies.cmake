# Everything we take rather than write. All of it is packaged by Debian 12 (see ./run).
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(Eigen3 REQUIRED)
find_package(CURL REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(ZLIB REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(HWY REQUIRED IMPORTED_TARGET libhwy)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(HTTPLIB REQUIRED IMPORTED_TARGET cpp-httplib)
pkg_check_modules(SENTENCEPIECE REQUIRED IMPORTED_TARGET sentencepiece)

find_library(XGBOOST_LIBRARY xgboost REQUIRED)
find_path(XGBOOST_INCLUDE xgboost/c_api.h REQUIRED)
add_library(incontext_xgboost INTERFACE)
target_link_libraries(incontext_xgboost INTERFACE ${XGBOOST_LIBRARY})
target_include_directories(incontext_xgboost SYSTEM INTERFACE ${XGBOOST_INCLUDE})

# libtorch: Debian's package, or any 2.x named by CMAKE_PREFIX_PATH. Its headers are SYSTEM, so that our warnings
# are about our code. We compile no CUDA code: naming an architecture keeps a libtorch with CUDA from compiling and
# running a program that asks for the GPU's, for which CMake 3.25 lacks the flags.
if(NOT DEFINED TORCH_CUDA_ARCH_LIST AND NOT DEFINED ENV{TORCH_CUDA_ARCH_LIST})
  set(TORCH_CUDA_ARCH_LIST 8.0)
endif()
# A PyTorch wheel names its share/cmake as the prefix, from where Torch's own search for its library would end at
# Debian's: its root must be among the prefixes too.
foreach(prefix IN LISTS CMAKE_PREFIX_PATH)
  if(prefix MATCHES "^(.+)/share/cmake/?$")
    list(APPEND CMAKE_PREFIX_PATH ${CMAKE_MATCH_1})
  endif()
endforeach()
find_package(Torch REQUIRED)
# PyTorch's wheels export pieces of the C++ library they were built with, whose std::filesystem::remove_all crashes
# when called from outside. A program looks names up in the order of its libraries, so the real one goes first.
if(Torch_VERSION VERSION_GREATER_EQUAL 2)
  add_link_options(LINKER:--push-state,--no-as-needed -lstdc++ LINKER:--pop-state)
endif()
set(INCONTEXT_CUDA OFF)  # graphs of GPU work need more than Debian's libtorch has
if(TARGET torch_cuda AND Torch_VERSION VERSION_GREATER_EQUAL 2)
  set(INCONTEXT_CUDA ON)
endif()
message(STATUS "libtorch ${Torch_VERSION} at ${TORCH_INSTALL_PREFIX}, CUDA: ${INCONTEXT_CUDA}")
add_library(incontext_torch INTERFACE)
# Among libtorch 2's headers are those of a later fmt than the library we link, so that ours must come first.
get_target_property(fmt_folder fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
if(EXISTS ${TORCH_INSTALL_PREFIX}/include/fmt AND NOT fmt_folder STREQUAL "${TORCH_INSTALL_PREFIX}/include")
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/fmt_first)
  file(CREATE_LINK ${fmt_folder}/fmt ${CMAKE_BINARY_DIR}/fmt_first/fmt SYMBOLIC)
  target_include_directories(incontext_torch SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/fmt_first)
endif()
target_include_directories(incontext_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
target_link_libraries(incontext_torch INTERFACE ${TORCH_LIBRARIES})
separate_arguments(torch_flags NATIVE_COMMAND "${TORCH_CXX_FLAGS}")
target_compile_options(incontext_torch INTERFACE ${torch_flags})

if(INCONTEXT_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()
