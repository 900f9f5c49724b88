// AMX tiles (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18). This file alone is
// compiled for AMX, and nothing in it but amx_tile_strip() runs where the processor lacks it (tests emulate it).

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include "kernels/cpu/bf16_tiles.h"

namespace incontext::kernels {
namespace {

/// The operand of LDTILECFG: all eight tiles have 16 rows of 64 bytes.
struct alignas(64) TileConfiguration {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfiguration) == 64);

/// Tiles 0 to 3 hold the sums, 4 and 5 the halves of the left block, 6 and 7 those of the right one.
class AmxTiles {
 public:
  AmxTiles() {
    const TileConfiguration configuration;
    _tile_loadconfig(&configuration);
  }
  ~AmxTiles() { _tile_release(); }  // else every switch of threads would save the tiles
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;

  void clear() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }

  void step(const uint16_t* left, int64_t left_row, const uint16_t* right) {
    const int64_t bytes = left_row * static_cast<int64_t>(sizeof(uint16_t));
    _tile_loadd(4, left, bytes);
    _tile_loadd(6, right, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, right + kTileBlockSize / 2, 64);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, left + 16 * left_row, bytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }

  void store(float* out, int64_t stride) {
    const int64_t bytes = stride * static_cast<int64_t>(sizeof(float));
    _tile_stored(0, out, bytes);
    _tile_stored(1, out + 16, bytes);
    _tile_stored(2, out + 16 * stride, bytes);
    _tile_stored(3, out + 16 * stride + 16, bytes);
  }
};

/// True when the processor has AMX with bf16, the operating system saves its state (bits 17 and 18 of XCR0), and
/// grants this process the use of it.
bool machine_has_amx() {
  constexpr unsigned kBf16 = 1U << 22U;
  constexpr unsigned kTiles = 1U << 24U;
  constexpr unsigned kOsSaves = 1U << 27U;
  constexpr unsigned kTileState = 3U << 17U;
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM of arch_prctl(2)
  constexpr long kTileData = 18;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kBf16) == 0 || (d & kTiles) == 0) return false;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kOsSaves) == 0) return false;
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & kTileState) != kTileState) return false;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

TileStrip amx_instructions() { return &multiply_tile_strip<AmxTiles>; }

TileStrip amx_tile_strip() {
  static const bool present = machine_has_amx();
  return present ? amx_instructions() : nullptr;
}

}  // namespace incontext::kernels
