#pragma once
#if defined(__x86_64__)

#include <signal.h>
#include <sys/ucontext.h>

#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "kernels/cpu/bf16_tiles.h"

namespace incontext::kernels {

/// While one lives, AMX's tile instructions work on processors without them: they end in SIGILL there, and its handler
/// reads the instruction, does what the Intel 64 and IA-32 Architectures Software Developer's Manual (volume 2) says of
/// it, and goes on behind it. So the compiled code of a kernel runs, registers, strides and shapes of tiles included;
/// how fast it would be remains unknown. Whatever else raises SIGILL ends the program as before.
class EmulatedAmx {
 public:
  EmulatedAmx() {
    struct sigaction action = {};
    action.sa_sigaction = &handle;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGILL, &action, &previous_);
  }
  ~EmulatedAmx() { ::sigaction(SIGILL, &previous_, nullptr); }
  EmulatedAmx(const EmulatedAmx&) = delete;
  EmulatedAmx& operator=(const EmulatedAmx&) = delete;

  /// Instructions that were carried out, of all threads.
  static int64_t instructions() { return count_.load(); }

 private:
  struct Tile {
    int64_t rows = 0, row_bytes = 0;  // 0: not configured
    std::array<std::array<uint8_t, 64>, 16> data = {};
  };

  struct Instruction {
    unsigned prefix = 0, opcode = 0;  // prefix: 0 none, 1 66, 2 F3, 3 F2
    bool memory = false;
    std::size_t reg = 0, rm = 0, third = 0;  // tiles: of modrm.reg, of modrm.rm, of vex.vvvv
    uint8_t* address = nullptr;              // without the index, which for tiles is the distance of rows
    int64_t row_stride = 0;
    int64_t length = 0;
  };

  static int64_t general(const ucontext_t& context, unsigned number) {
    constexpr std::array<int, 16> kOrder{REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                         REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return context.uc_mcontext.gregs[kOrder.at(number)];
  }

  /// A VEX instruction with three bytes of prefix, map 0F38, whose memory operand, if any, has a SIB byte or is
  /// relative to the instruction pointer: all that tile instructions can be.
  static bool decode(const ucontext_t& context, Instruction& out) {
    const auto* code = std::bit_cast<const uint8_t*>(context.uc_mcontext.gregs[REG_RIP]);
    if (code[0] != 0xC4 || (code[1] & 0x1FU) != 2) return false;
    const unsigned high_index = (code[1] & 0x40U) != 0 ? 0 : 8, high_base = (code[1] & 0x20U) != 0 ? 0 : 8;
    const unsigned modrm = code[4];
    out.prefix = code[2] & 3U;
    out.third = 7U - (code[2] >> 3U & 7U);  // stored inverted
    out.opcode = code[3];
    out.reg = modrm >> 3U & 7U;
    out.rm = modrm & 7U;
    out.length = 5;
    const unsigned mode = modrm >> 6U;
    out.memory = mode != 3;
    if (!out.memory) return true;
    const auto displacement = [&](int64_t size) {
      int32_t value = 0;
      if (size == 1) value = static_cast<int8_t>(code[out.length]);
      if (size == 4) std::memcpy(&value, code + out.length, sizeof value);
      out.length += size;
      return static_cast<int64_t>(value);
    };
    int64_t address = 0;
    if (out.rm == 4) {
      const unsigned sib = code[out.length++];
      const unsigned index = (sib >> 3U & 7U) | high_index, base = (sib & 7U) | high_base;
      out.row_stride = index == 4 ? 0 : general(context, index) << (sib >> 6U);
      const bool without_base = mode == 0 && (sib & 7U) == 5;
      address = without_base ? 0 : general(context, base);
      address += displacement(without_base || mode == 2 ? 4 : mode);
    } else if (out.rm == 5 && mode == 0) {
      const int64_t distance = displacement(4);
      address = context.uc_mcontext.gregs[REG_RIP] + out.length + distance;
    } else {
      address = general(context, static_cast<unsigned>(out.rm) | high_base) + displacement(mode == 2 ? 4 : mode);
    }
    out.address = std::bit_cast<uint8_t*>(address);
    return true;
  }

  static bool execute(const Instruction& i) {
    thread_local std::array<Tile, 8> tiles;
    const auto usable = [&](std::size_t tile) { return tiles.at(tile).rows > 0; };
    if (i.opcode == 0x49 && i.prefix == 0 && i.memory) return configure(i.address, tiles);
    if (i.opcode == 0x49 && i.prefix == 0) {  // TILERELEASE
      tiles = {};
      return true;
    }
    if (!usable(i.reg)) return false;
    Tile& tile = tiles.at(i.reg);
    if (i.opcode == 0x49 && i.prefix == 3) {  // TILEZERO
      tile.data = {};
      return true;
    }
    if (i.opcode == 0x4B && i.memory && (i.prefix == 3 || i.prefix == 2)) {  // TILELOADD, TILESTORED
      if (i.prefix == 3) tile.data = {};
      for (int64_t row = 0; row < tile.rows; ++row) {
        uint8_t* memory = i.address + row * i.row_stride;
        uint8_t* data = tile.data.at(static_cast<std::size_t>(row)).data();
        const auto size = static_cast<std::size_t>(tile.row_bytes);
        i.prefix == 3 ? std::memcpy(data, memory, size) : std::memcpy(memory, data, size);
      }
      return true;
    }
    if (i.opcode == 0x5C && i.prefix == 2 && !i.memory && usable(i.rm) && usable(i.third)) {
      return multiply(tile, tiles.at(i.rm), tiles.at(i.third));
    }
    return false;
  }

  /// LDTILECFG: palette, first row, 14 bytes reserved, bytes of a row of each of 16 tiles, rows of each.
  static bool configure(const uint8_t* from, std::array<Tile, 8>& tiles) {
    if (from[0] != 1 || from[1] != 0) return false;
    tiles = {};
    for (std::size_t t = 0; t < tiles.size(); ++t) {
      uint16_t row_bytes = 0;
      std::memcpy(&row_bytes, from + 16 + 2 * t, sizeof row_bytes);
      tiles.at(t).row_bytes = row_bytes;
      tiles.at(t).rows = from[48 + t];
      if (row_bytes > 64 || from[48 + t] > 16) return false;
    }
    return true;
  }

  static float flushed(float value) { return std::fabs(value) < 0x1.0p-126F ? std::copysign(0.0F, value) : value; }

  static float bf16(const uint8_t* at) {
    uint16_t bits = 0;
    std::memcpy(&bits, at, sizeof bits);
    return flushed(std::bit_cast<float>(static_cast<uint32_t>(bits) << 16U));
  }

  /// TDPBF16PS: sum[m][n] += left[m][2k] right[k][2n] and, apart from these, left[m][2k + 1] right[k][2n + 1].
  static bool multiply(Tile& sum, const Tile& left, const Tile& right) {
    const int64_t pairs = left.row_bytes / 4, columns = sum.row_bytes / 4;
    if (left.rows != sum.rows || right.rows != pairs || right.row_bytes != sum.row_bytes) return false;
    for (int64_t m = 0; m < sum.rows; ++m) {
      uint8_t* row = sum.data.at(static_cast<std::size_t>(m)).data();
      const uint8_t* a = left.data.at(static_cast<std::size_t>(m)).data();
      for (int64_t n = 0; n < columns; ++n) {
        float even = 0;
        float odd = 0;
        for (int64_t k = 0; k < pairs; ++k) {
          const uint8_t* b = right.data.at(static_cast<std::size_t>(k)).data();
          even = flushed(std::fmaf(bf16(a + 4 * k), bf16(b + 4 * n), even));
          odd = flushed(std::fmaf(bf16(a + 4 * k + 2), bf16(b + 4 * n + 2), odd));
        }
        float total = 0;
        std::memcpy(&total, row + 4 * n, sizeof total);
        total = flushed(flushed(total) + flushed(even + odd));
        std::memcpy(row + 4 * n, &total, sizeof total);
      }
    }
    return true;
  }

  static void handle(int, siginfo_t*, void* context) {
    auto& state = *static_cast<ucontext_t*>(context);
    Instruction instruction;
    if (!decode(state, instruction) || !execute(instruction)) {
      ::signal(SIGILL, SIG_DFL);  // and the instruction again
      return;
    }
    state.uc_mcontext.gregs[REG_RIP] += instruction.length;
    ++count_;
  }

  static inline std::atomic<int64_t> count_ = 0;
  struct sigaction previous_ = {};
};

/// The tiles of AMX where there are any, and else its instructions emulated.
class AmxUnit {
 public:
  AmxUnit() {
    if (amx_tile_strip() == nullptr) emulated_.emplace();
  }
  TileStrip strip() const { return amx_instructions(); }
  /// This one, that in plain code, and that of AVX-512 BF16 where there is any.
  std::vector<TileStrip> every_strip() const {
    std::vector<TileStrip> strips{&multiply_tile_strip<PlainTiles>, strip()};
    if (avx512_bf16_strip() != nullptr) strips.push_back(avx512_bf16_strip());
    return strips;
  }

 private:
  std::optional<EmulatedAmx> emulated_;
};

}  // namespace incontext::kernels

#endif
