// Front-to-back alpha compositing of one tile (equation 3 of the 3DGS paper).
#pragma once
#include "projection.h"
#include "tiles.h"

namespace rl3d {
namespace RL3D_ISA {

constexpr float kMaxAlpha = 0.999f;
constexpr float kMinTransmittance = 1e-4f;  // a Gaussian that would take a pixel below this ends it, and is not drawn

// A projected Gaussian with its values in all lanes, as a tile's inner loop wants it.
struct BroadcastGaussian {
  Floats dx, dy;  // offset from the mean of the lanes of the tile's first block
  Floats xx, xy, yy, log2_opacity, r, g, b, depth;
  RL3D_INLINE BroadcastGaussian(const ProjectedGaussian& p, const Tile& tile)
      : dx(load(kPixel.x) + ((float)tile.x + 0.5f - p.mean_x)),
        dy(load(kPixel.y) + ((float)tile.y + 0.5f - p.mean_y)),
        xx(splat(p.xx)),
        xy(splat(p.xy)),
        yy(splat(p.yy)),
        log2_opacity(splat(p.log2_opacity)),
        r(splat(p.r)),
        g(splat(p.g)),
        b(splat(p.b)),
        depth(splat(p.depth)) {}
};

// A Gaussian on the pixels of one block. Forward and backward call the same code, so they skip and stop at the same pixels.
struct Contribution {
  Floats h_x, h_y;  // half the gradient of log2 alpha
  Floats alpha, unclamped_alpha;
  Floats weight;  // alpha times transmittance; 0 where nothing is drawn
  Mask drawn;
  Floats transmittance;  // after the Gaussian; negative once the pixel has ended
  bool ended;            // some pixel ended here

  RL3D_INLINE Contribution(const BroadcastGaussian& g, int block, Floats before) {
    const Floats dx = g.dx + (float)(block % 8 * kBlock), dy = g.dy + (float)(block / 8 * kBlock);
    h_x = fma(g.xx, dx, g.xy * dy), h_y = fma(g.yy, dy, g.xy * dx);
    const Floats log2_alpha = fma(dx, h_x, fma(dy, h_y, g.log2_opacity));
    const Mask candidate = (log2_alpha >= splat(kLog2MinAlpha)) & (before > zeros());
    unclamped_alpha = exp2(log2_alpha);
    alpha = min(unclamped_alpha, splat(kMaxAlpha));
    weight = alpha * before;
    const Floats after = before - weight;
    drawn = candidate & (after > splat(kMinTransmittance));
    weight = keep(drawn, weight);
    transmittance = select(drawn, after, before);
    const Mask ends = and_not(candidate, drawn);
    ended = __builtin_expect(any(ends), 0);
    if (ended) transmittance = select(ends, -transmittance, transmittance);
  }
};

struct alignas(64) ForwardTile {
  float transmittance[kBlocks * kLanes];
  float r[kBlocks * kLanes], g[kBlocks * kLanes], b[kBlocks * kLanes], depth[kBlocks * kLanes], alpha[kBlocks * kLanes];
};

__attribute__((noinline)) inline void forward_tile(const ImageWorkspace& image, const TileGrid& grid, int index, const float* background,
                                                   const Images& out) {
  const Tile tile(grid, index);
  ForwardTile state;
  memset(&state, 0, sizeof state);
  for (int i = 0; i < kBlocks * kLanes; i++) state.transmittance[i] = tile.whole() ? 1.f : -1.f;
  if (!tile.whole())  // lanes outside the image count as ended
    for (int y = 0; y < tile.height; y++)
      for (int x = 0; x < tile.width; x++) state.transmittance[lane_of_pixel(x, y)] = 1.f;
  uint64_t live = tile.blocks_inside();
  for (int64_t e = image.tile_start[index]; e < image.tile_end[index] && live; e++) {
    uint64_t blocks = image.entries[e].blocks & live;
    if (!blocks) continue;
    const BroadcastGaussian g(image.projected[image.entries[e].gaussian], tile);
    do {
      const int block = __builtin_ctzll(blocks), lane = block * kLanes;
      blocks &= blocks - 1;
      const Contribution c(g, block, load(state.transmittance + lane));
      store(state.transmittance + lane, c.transmittance);
      if (c.ended && !any(c.transmittance > zeros())) live &= ~(1ull << block);
      store(state.r + lane, load(state.r + lane) + c.weight * g.r);
      store(state.g + lane, load(state.g + lane) + c.weight * g.g);
      store(state.b + lane, load(state.b + lane) + c.weight * g.b);
      store(state.depth + lane, load(state.depth + lane) + c.weight * g.depth);
      // Summed, not taken as 1 - transmittance, which has no digits left where little was drawn.
      store(state.alpha + lane, load(state.alpha + lane) + c.weight);
    } while (blocks);
  }
  for (int y = 0; y < tile.height; y++)
    for (int x = 0; x < tile.width; x++) {
      const int lane = lane_of_pixel(x, y);
      const int64_t pixel = (tile.y + y) * grid.width + tile.x + x;
      const float rest = __builtin_fabsf(state.transmittance[lane]), alpha = state.alpha[lane];
      out.rgb[3 * pixel] = state.r[lane] + rest * background[0];
      out.rgb[3 * pixel + 1] = state.g[lane] + rest * background[1];
      out.rgb[3 * pixel + 2] = state.b[lane] + rest * background[2];
      out.alpha[pixel] = alpha;
      out.depth[pixel] = alpha > 0.f ? state.depth[lane] / alpha : 0.f;
    }
}

}  // namespace RL3D_ISA
}  // namespace rl3d
