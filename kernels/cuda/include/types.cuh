// Fixed-width types, in place of <stdint.h> and <cuda_bf16.h>: NVRTC has the first not at all, and the second would be
// someone else's arithmetic.
#pragma once

using u8 = unsigned char;
using u16 = unsigned short;
using i16 = short;
using u32 = unsigned int;
using i32 = int;
using u64 = unsigned long long;
using i64 = long long;

// The upper half of an f32, as bits. It has no arithmetic: pack.cuh widens and rounds.
enum class bf16 : u16 {};

static_assert(sizeof(u8) == 1 && sizeof(u16) == 2 && sizeof(u32) == 4 && sizeof(u64) == 8 && sizeof(bf16) == 2, "widths");

constexpr u32 WARP = 32;
constexpr u32 FULL_WARP = 0xffffffffu;
