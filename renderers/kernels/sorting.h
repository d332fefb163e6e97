// Depth order of the visible Gaussians of an image.
#pragma once
#include "workspace.h"

namespace rl3d {
namespace RL3D_ISA {

// A positive float's bits sort like the float. The index below breaks no ties: the sort is stable and keys come in index order.
RL3D_INLINE uint64_t depth_key(float depth, int64_t gaussian) {
  uint32_t depth_bits;
  memcpy(&depth_bits, &depth, sizeof depth_bits);
  return (uint64_t)depth_bits << 32 | (uint32_t)gaussian;
}
RL3D_INLINE int gaussian_of(uint64_t key) { return (int)(uint32_t)key; }

// Least-significant-digit radix sort on the upper 32 bits, in three passes of 11 bits.
inline void sort_by_depth(ImageWorkspace& image) {
  constexpr int kPasses = 3, kDigits = 1 << 11;
  constexpr int kShift[kPasses] = {32, 43, 54};
  const int64_t count = image.visible;
  uint32_t start[kPasses][kDigits + 1] = {};
  for (int64_t i = 0; i < count; i++)
    for (int pass = 0; pass < kPasses; pass++) start[pass][((image.keys[i] >> kShift[pass]) & (kDigits - 1)) + 1]++;
  uint64_t *from = image.keys.data(), *to = image.keys_swap.data();
  for (int pass = 0; pass < kPasses; pass++) {
    bool one_digit = false;
    for (int d = 1; d <= kDigits; d++) one_digit |= start[pass][d] == (uint32_t)count;
    if (one_digit) continue;  // nothing to reorder: usual for the exponent bits
    for (int d = 0; d < kDigits; d++) start[pass][d + 1] += start[pass][d];
    for (int64_t i = 0; i < count; i++) to[start[pass][(from[i] >> kShift[pass]) & (kDigits - 1)]++] = from[i];
    uint64_t* swap = from;
    from = to;
    to = swap;
  }
  if (from != image.keys.data()) memcpy(image.keys.data(), from, sizeof(uint64_t) * count);
}

}  // namespace RL3D_ISA
}  // namespace rl3d
