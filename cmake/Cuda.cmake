# CUDA kernels, when there is a CUDA toolkit. By default for what this machine's GPUs are; without one, for Ampere and
# Hopper, and as PTX for what comes later.
if(RECITE_CUDA)
  set(RECITE_CUDA_ARCHITECTURES "" CACHE STRING "compute capabilities by number, as 80-real;90; empty: see cmake/Cuda.cmake")
  set(CMAKE_CUDA_ARCHITECTURES "${RECITE_CUDA_ARCHITECTURES}")
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader OUTPUT_VARIABLE capabilities
                    ERROR_QUIET RESULT_VARIABLE failed)
    if(failed)
      set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
    else()
      string(REGEX MATCHALL "[0-9]+[.][0-9]+" CMAKE_CUDA_ARCHITECTURES "${capabilities}")
      list(TRANSFORM CMAKE_CUDA_ARCHITECTURES REPLACE "[.]" "")
      list(REMOVE_DUPLICATES CMAKE_CUDA_ARCHITECTURES)
    endif()
  endif()
  message(STATUS "GPU architectures: ${CMAKE_CUDA_ARCHITECTURES}")
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_COMPILER "${CUDAToolkit_NVCC_EXECUTABLE}")
  if(RECITE_CCACHE)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1
        ${RECITE_CCACHE})
  endif()
  enable_language(CUDA)
endif()

# recite_cuda_sources(recite_attention attention_forward.cu ...): compiles them into the target; nothing without CUDA.
function(recite_cuda_sources target)
  if(NOT RECITE_CUDA)
    return()
  endif()
  add_library(${target}_cuda OBJECT ${ARGN})
  target_include_directories(${target}_cuda PRIVATE "${PROJECT_SOURCE_DIR}/src" "${PROJECT_SOURCE_DIR}")
  target_compile_options(${target}_cuda PRIVATE -O3 --expt-relaxed-constexpr)
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_cuda>)
  target_link_libraries(${target} PUBLIC CUDA::cudart)
endfunction()

# recite_hopper_sources(recite_attention attention_forward_hopper.cu ...), after recite_cuda_sources: compiles what uses
# instructions of sm_90a alone, when 90 is among the architectures by number; RECITE_HOPPER then tells the target's other
# CUDA sources.
function(recite_hopper_sources target)
  if(NOT RECITE_CUDA OR NOT CMAKE_CUDA_ARCHITECTURES MATCHES "(^|;)90")
    return()
  endif()
  add_library(${target}_hopper OBJECT ${ARGN})
  target_include_directories(${target}_hopper PRIVATE "${PROJECT_SOURCE_DIR}/src" "${PROJECT_SOURCE_DIR}")
  target_compile_options(${target}_hopper PRIVATE -O3 --expt-relaxed-constexpr)
  set_target_properties(${target}_hopper PROPERTIES CUDA_ARCHITECTURES 90a-real)
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_hopper>)
  target_compile_definitions(${target}_cuda PRIVATE RECITE_HOPPER=1)
endfunction()
