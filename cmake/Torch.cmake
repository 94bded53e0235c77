# LibTorch from the `torch` wheel, linked by path: the wheel's own CMake files demand a CUDA toolkit, these do not.
# RECITE_TORCH_DIR may name any other LibTorch of the same version (the folder that holds include/ and lib/).
set(RECITE_TORCH_DIR "" CACHE PATH "LibTorch to use; empty: the torch wheel of RECITE_VENV")
if(NOT RECITE_TORCH_DIR)
  file(GLOB torch_of_venv "${RECITE_VENV}/lib/python3*/site-packages/torch")
  set(torch_dir "${torch_of_venv}")
else()
  set(torch_dir "${RECITE_TORCH_DIR}")
endif()
if(NOT EXISTS "${torch_dir}/include/torch/csrc/api/include/torch/torch.h")
  message(FATAL_ERROR "No LibTorch in '${torch_dir}'. Run launch/setup.sh, or set RECITE_TORCH_DIR.")
endif()

get_filename_component(site_packages "${torch_dir}" DIRECTORY)
file(GLOB torch_dependency_dirs "${site_packages}/nvidia/*/lib")

add_library(recite_torch INTERFACE)
add_library(recite::torch ALIAS recite_torch)
# The wheel's include folder brings headers of another fmt, without its library: ours must be found first.
get_target_property(fmt_include fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
if(NOT fmt_include)
  find_path(fmt_include fmt/format.h REQUIRED)
endif()
file(MAKE_DIRECTORY "${CMAKE_BINARY_DIR}/include")
file(CREATE_LINK "${fmt_include}/fmt" "${CMAKE_BINARY_DIR}/include/fmt" SYMBOLIC)
target_include_directories(recite_torch SYSTEM INTERFACE "${CMAKE_BINARY_DIR}/include")
target_include_directories(recite_torch SYSTEM INTERFACE
  "${torch_dir}/include" "${torch_dir}/include/torch/csrc/api/include")
target_link_directories(recite_torch INTERFACE "${torch_dir}/lib")
target_link_libraries(recite_torch INTERFACE "${torch_dir}/lib/libtorch_cpu.so" "${torch_dir}/lib/libc10.so")
foreach(dir IN LISTS torch_dependency_dirs)
  target_link_options(recite_torch INTERFACE "-Wl,-rpath-link,${dir}")
endforeach()

if(RECITE_CUDA)
  # Nothing in our objects names a symbol of libtorch_cuda: without --no-as-needed the linker would drop the
  # backend, and the program would see no GPU.
  target_link_libraries(recite_torch INTERFACE
    "-Wl,--no-as-needed" "${torch_dir}/lib/libtorch_cuda.so" "-Wl,--as-needed"
    "${torch_dir}/lib/libc10_cuda.so" CUDA::cudart)
  target_compile_definitions(recite_torch INTERFACE RECITE_CUDA=1)

  set(RECITE_NCCL_DIR "" CACHE PATH "NCCL to use (include/, lib/); empty: the wheel that torch brings")
  set(nccl_dir "${RECITE_NCCL_DIR}")
  if(NOT nccl_dir)
    set(nccl_dir "${site_packages}/nvidia/nccl")
  endif()
  find_path(RECITE_NCCL_INCLUDE nccl.h PATHS "${nccl_dir}/include" NO_DEFAULT_PATH REQUIRED)
  find_library(RECITE_NCCL_LIBRARY NAMES nccl libnccl.so.2 PATHS "${nccl_dir}/lib" NO_DEFAULT_PATH REQUIRED)
  add_library(recite_nccl INTERFACE)
  add_library(recite::nccl ALIAS recite_nccl)
  target_include_directories(recite_nccl SYSTEM INTERFACE "${RECITE_NCCL_INCLUDE}")
  target_link_libraries(recite_nccl INTERFACE "${RECITE_NCCL_LIBRARY}" CUDA::cudart)
  target_compile_definitions(recite_nccl INTERFACE RECITE_CUDA=1)
endif()

# torch/torch.h takes most of a file's compile time: it is compiled once, and each room that uses torch takes it over.
file(WRITE "${CMAKE_BINARY_DIR}/torch_header.cpp" "")
add_library(recite_torch_header OBJECT "${CMAKE_BINARY_DIR}/torch_header.cpp")
target_link_libraries(recite_torch_header PUBLIC recite::torch)
target_precompile_headers(recite_torch_header PRIVATE <torch/torch.h>)
target_link_libraries(recite_torch_header PRIVATE recite_warnings)
