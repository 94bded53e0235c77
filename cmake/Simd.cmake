# Instruction sets of the CPU kernels: kernels/simd/isa.h.
set(RECITE_ISAS baseline)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  list(APPEND RECITE_ISAS avx2 avx512 avx512_bf16)
endif()
set(RECITE_FLAGS_baseline "")
set(RECITE_FLAGS_avx2 -mavx2 -mfma)
set(RECITE_FLAGS_avx512 -mavx2 -mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
set(RECITE_FLAGS_avx512_bf16 ${RECITE_FLAGS_avx512} -mavx512bf16)

# recite_simd_sources(recite_selective_scan scan_forward_simd.cpp ...): compiles each source once for every instruction
# set, with RECITE_ISA as the name of its namespace, and adds the objects to the target.
function(recite_simd_sources target)
  foreach(isa IN LISTS RECITE_ISAS)
    set(objects ${target}_${isa})
    add_library(${objects} OBJECT ${ARGN})
    target_include_directories(${objects} PRIVATE "${PROJECT_SOURCE_DIR}")
    target_compile_definitions(${objects} PRIVATE RECITE_ISA=${isa})
    # Vectors passed by value are inlined, so that no other file sees how (-Wpsabi).
    target_compile_options(${objects} PRIVATE ${RECITE_FLAGS_${isa}} -O3 -ffp-contract=fast -Wno-psabi)
    target_link_libraries(${objects} PRIVATE recite_warnings)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${objects}>)
    set_property(GLOBAL APPEND PROPERTY RECITE_SIMD_OBJECTS ${objects})
  endforeach()
endfunction()
