// The gradient of compositing, one tile, walked front to back like forward. With w_i the weights and q_i = v_rgb . c_i + v_depth z_i
//   dL/dalpha_i = T_i q_i - (sum over j > i of w_j q_j + what shows through) / (1 - alpha_i),
// and the sum over j > i is the total, known from forward's output, less the part already passed: no list of last Gaussians is
// kept, nothing is divided by a vanishing transmittance, and pixels end where they ended in forward.
#pragma once
#include "forward.h"

namespace rl3d {
namespace RL3D_ISA {

struct alignas(64) BackwardTile {
  float transmittance[kBlocks * kLanes];
  float behind[kBlocks * kLanes];  // the sum over the Gaussians not yet passed, and the background
  float v_r[kBlocks * kLanes], v_g[kBlocks * kLanes], v_b[kBlocks * kLanes], v_depth[kBlocks * kLanes];
};

// Adds to image.gradients. `out` is forward's output of this image and `v` the loss's gradient with respect to it.
__attribute__((noinline)) inline void backward_tile(const ImageWorkspace& image, const TileGrid& grid, int index, const Images& out,
                                                    const Images& v) {
  const Tile tile(grid, index);
  BackwardTile state;
  if (!tile.whole()) {
    memset(&state, 0, sizeof state);
    for (float& t : state.transmittance) t = -1.f;
  }
  for (int y = 0; y < tile.height; y++)
    for (int x = 0; x < tile.width; x++) {
      const int lane = lane_of_pixel(x, y);
      const int64_t pixel = (tile.y + y) * grid.width + tile.x + x;
      const float alpha = out.alpha[pixel], depth = out.depth[pixel];
      const float *rgb = out.rgb + 3 * pixel, *v_rgb = v.rgb + 3 * pixel;
      // depth = (sum of w z) / alpha
      const float v_depth = alpha > 0.f ? v.depth[pixel] / alpha : 0.f, v_alpha = v.alpha[pixel] - v_depth * depth;
      state.transmittance[lane] = 1.f;
      state.v_r[lane] = v_rgb[0], state.v_g[lane] = v_rgb[1], state.v_b[lane] = v_rgb[2], state.v_depth[lane] = v_depth;
      state.behind[lane] = v_rgb[0] * rgb[0] + v_rgb[1] * rgb[1] + v_rgb[2] * rgb[2] + v.depth[pixel] * depth - (1.f - alpha) * v_alpha;
    }
  uint64_t live = tile.blocks_inside();
  for (int64_t e = image.tile_start[index]; e < image.tile_end[index] && live; e++) {
    uint64_t blocks = image.entries[e].blocks & live;
    if (!blocks) continue;
    const int n = image.entries[e].gaussian;
    const BroadcastGaussian g(image.projected[n], tile);
    Floats g_r = zeros(), g_g = g_r, g_b = g_r, g_depth = g_r, sum = g_r, sum_x = g_r, sum_y = g_r, sum_xx = g_r, sum_xy = g_r,
           sum_yy = g_r;
    do {
      const int block = __builtin_ctzll(blocks), lane = block * kLanes;
      blocks &= blocks - 1;
      const Floats before = load(state.transmittance + lane);
      const Contribution c(g, block, before);
      store(state.transmittance + lane, c.transmittance);
      if (c.ended && !any(c.transmittance > zeros())) live &= ~(1ull << block);
      const Floats v_r = load(state.v_r + lane), v_g = load(state.v_g + lane), v_b = load(state.v_b + lane),
                   v_depth = load(state.v_depth + lane);
      const Floats q = v_r * g.r + v_g * g.g + v_b * g.b + v_depth * g.depth;
      const Floats behind = load(state.behind + lane) - c.weight * q;
      store(state.behind + lane, behind);
      const Mask moves = c.drawn & (c.unclamped_alpha <= splat(kMaxAlpha));
      const Floats s = keep(moves, c.alpha * (before * q - behind * reciprocal(1.f - c.alpha)));
      const Floats s_x = s * c.h_x, s_y = s * c.h_y;
      g_r += c.weight * v_r, g_g += c.weight * v_g, g_b += c.weight * v_b, g_depth += c.weight * v_depth;
      sum += s, sum_x += s_x, sum_y += s_y;
      sum_xx += s_x * c.h_x, sum_xy += s_x * c.h_y, sum_yy += s_y * c.h_y;
    } while (blocks);
    const Floats sums[kPixelGradients] = {g_r, g_g, g_b, g_depth, sum, sum_x, sum_y, sum_xx, sum_xy, sum_yy, zeros(), zeros()};
    alignas(64) float totals[kPixelGradients];
    sum_lanes_of_12(sums, totals);
    float* gradients = image.gradients.data() + kPixelGradients * (int64_t)n;
    for (int k = 0; k < kPixelGradients; k++) gradients[k] += totals[k];
  }
}

}  // namespace RL3D_ISA
}  // namespace rl3d
