# Everything we take rather than write. All of it is packaged by Debian 12 (see ./run).
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(Eigen3 REQUIRED)
find_package(CURL REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(HWY REQUIRED IMPORTED_TARGET libhwy)

find_library(XGBOOST_LIBRARY xgboost REQUIRED)
find_path(XGBOOST_INCLUDE xgboost/c_api.h REQUIRED)
add_library(incontext_xgboost INTERFACE)
target_link_libraries(incontext_xgboost INTERFACE ${XGBOOST_LIBRARY})
target_include_directories(incontext_xgboost SYSTEM INTERFACE ${XGBOOST_INCLUDE})

# libtorch: Debian's package, or any 2.x named by CMAKE_PREFIX_PATH. Its headers are SYSTEM, so that our warnings
# are about our code.
find_package(Torch REQUIRED)
message(STATUS "libtorch ${Torch_VERSION} at ${TORCH_INSTALL_PREFIX}")
add_library(incontext_torch INTERFACE)
target_include_directories(incontext_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
target_link_libraries(incontext_torch INTERFACE ${TORCH_LIBRARIES})
separate_arguments(torch_flags NATIVE_COMMAND "${TORCH_CXX_FLAGS}")
target_compile_options(incontext_torch INTERFACE ${torch_flags})

if(INCONTEXT_BUILD_TESTS)
  find_package(GTest REQUIRED)
  pkg_check_modules(HTTPLIB REQUIRED IMPORTED_TARGET cpp-httplib)
endif()
