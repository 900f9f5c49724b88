#pragma once

/// Marks a function that uses AVX-512 BF16: it alone is compiled for it, so that no inline function that others share
/// is, and it runs only where has_avx512_bf16().
#define INCONTEXT_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

// GCC 12 takes the undefined vectors in its own headers for mistakes of ours (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace incontext::kernels {

/// True when the processor has AVX-512 BF16 and the operating system keeps the registers.
bool has_avx512_bf16();

}  // namespace incontext::kernels
