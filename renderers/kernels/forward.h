// Front-to-back alpha compositing of one tile (equation 3 of the 3DGS paper).
#pragma once
#include "projection.h"
#include "tiles.h"

namespace rl3d {
namespace RL3D_ISA {

constexpr float kMaxAlpha = 0.999f;
constexpr float kMinTransmittance = 1e-4f;  // a Gaussian that would take a pixel below this ends it, and is not drawn

// Centres of a tile's pixels, by column and by row of its blocks.
struct alignas(64) TilePixels {
  float x[8][kLanes], y[8][kLanes];
  explicit TilePixels(const Tile& tile) {
    for (int b = 0; b < 8; b++) {
      store(x[b], load(kPixel.x) + ((float)(tile.x + b * kBlockWidth) + 0.5f));
      store(y[b], load(kPixel.y) + ((float)(tile.y + b * kBlockHeight) + 0.5f));
    }
  }
};

// A Gaussian on the pixels of one block. Forward and backward call the same code, so they skip and stop at the same pixels.
// `G` is a ProjectedGaussian, or one with its values in all lanes. A pixel ends by being taken below the least transmittance, from where
// nothing brings it back; so from one Gaussian of a block to the next only a multiplication has to wait, and nothing branches.
struct Contribution {
  Floats t_x, t_y;  // whitened offset from the mean
  Floats alpha, unclamped_alpha;
  Floats weight;         // alpha times transmittance; 0 where nothing is drawn
  Floats transmittance;  // after the Gaussian
  Mask alive;            // pixels that have not ended, nor here

  template <class G>
  RL3D_INLINE Contribution(const G& g, const TilePixels& pixels, int block, Floats before) {
    const Floats dx = load(pixels.x[block & 7]) - g.mean_x, dy = load(pixels.y[block >> 3]) - g.mean_y;
    t_x = fma(splat(g.xx), dx, g.xy * dy), t_y = g.yy * dy;
    const Floats log2_alpha = subtract_product(subtract_product(splat(g.log2_opacity), t_y, t_y), t_x, t_x);
    const Mask candidate = log2_alpha >= splat(kLog2MinAlpha);
    unclamped_alpha = exp2(log2_alpha);
    alpha = keep(candidate, min(unclamped_alpha, splat(kMaxAlpha)));
    transmittance = subtract_product(before, alpha, before);
    alive = transmittance > splat(kMinTransmittance);
    weight = keep(alive, alpha * before);
  }
};

// Turns 64 rows of 64 bits into columns: bit j of row i becomes bit i of row j (Warren, Hacker's Delight, section 7-3).
inline void transpose_bits(uint64_t rows[64]) {
  uint64_t low = 0x00000000ffffffffull;
  for (int width = 32; width; width >>= 1, low ^= low << width)
    for (int i = 0; i < 64; i = ((i | width) + 1) & ~width) {
      const uint64_t swapped = (rows[i] >> width ^ rows[i | width]) & low;
      rows[i] ^= swapped << width;
      rows[i | width] ^= swapped;
    }
}

constexpr int kTilePixels = kBlocks * kLanes;

// Channels are kMaxK at most; K of them are used.
template <int kMaxK>
struct alignas(64) ForwardTile {
  float transmittance[kTilePixels];  // 0 outside the image; blocks wholly outside have none
  float alpha[kTilePixels], depth[kTilePixels];
  float color[kMaxK][kTilePixels];
};

// Sixty-four Gaussians at a time, and of these, block by block, all that touch the block: its pixels stay in registers.
template <int kMaxK>
__attribute__((noinline)) void forward_tile(const Problem& problem, const ImageWorkspace& image, const TileGrid& grid, int index,
                                            int64_t image_index, const Images& out) {
  constexpr bool kInline = kMaxK == 3;  // the colours are in the projected Gaussian
  const int K = kInline ? 3 : (int)problem.channels;
  const float* colors = problem.colors + K * problem.gaussians * (problem.colors_per_view ? image_index : image_index / problem.cameras);
  const Tile tile(grid, index);
  const TilePixels pixels(tile);
  ForwardTile<kMaxK> state;
  memset(state.alpha, 0, sizeof(float) * kTilePixels * (2 + K));
  const uint64_t inside = tile.blocks_inside();
  for (uint64_t blocks = inside; blocks; blocks &= blocks - 1) {
    const int block = __builtin_ctzll(blocks);
    store(state.transmittance + block * kLanes, BlockPlace(grid, tile, block).inside());
  }
  uint64_t live = inside;
  for (int64_t first = image.tile_start[index]; first < image.tile_start[index + 1] && live; first += 64) {
    const int count = (int)smaller<int64_t>(64, image.tile_start[index + 1] - first);
    ProjectedGaussian chunk[64];
    uint64_t members[64];  // by Gaussian the blocks, then by block the Gaussians
    const float* chunk_colors[kInline ? 1 : 64];
    for (int i = 0; i < count; i++) {
      const TileEntry& entry = image.entries[first + i];
      chunk[i] = image.projected[entry.gaussian];
      members[i] = entry.blocks;
      if (!kInline) chunk_colors[i] = colors + (int64_t)K * entry.gaussian;
    }
    for (int i = count; i < 64; i++) members[i] = 0;
    transpose_bits(members);
    for (uint64_t blocks = live; blocks; blocks &= blocks - 1) {
      const int block = __builtin_ctzll(blocks), lane = block * kLanes;
      if (!members[block]) continue;
      Floats transmittance = load(state.transmittance + lane), alpha = load(state.alpha + lane), depth = load(state.depth + lane);
      Floats color[kMaxK];
      for (int k = 0; k < K; k++) color[k] = load(state.color[k] + lane);
      for (uint64_t rest = members[block]; rest; rest &= rest - 1) {
        const int i = __builtin_ctzll(rest);
        const ProjectedGaussian& g = chunk[i];
        const Contribution c(g, pixels, block, transmittance);
        transmittance = c.transmittance;
        const float* g_color = kInline ? g.color : chunk_colors[i];
        for (int k = 0; k < K; k++) color[k] += c.weight * g_color[k];
        depth += c.weight * g.depth;
        alpha += c.weight;  // summed, not taken as 1 - transmittance, which has no digits left where little was drawn
        if (!any(c.alive)) {
          live &= ~(1ull << block);
          break;
        }
      }
      store(state.transmittance + lane, transmittance), store(state.alpha + lane, alpha), store(state.depth + lane, depth);
      for (int k = 0; k < K; k++) store(state.color[k] + lane, color[k]);
    }
  }
  const float* background = problem.backgrounds + K * image_index;
  for (uint64_t blocks = inside; blocks; blocks &= blocks - 1) {
    const int block = __builtin_ctzll(blocks), lane = block * kLanes;
    BlockImages<kMaxK> images;
    const Floats alpha = load(state.alpha + lane), shows_through = 1.f - alpha;
    for (int k = 0; k < K; k++) store(images.color[k], load(state.color[k] + lane) + shows_through * background[k]);
    store(images.alpha, alpha);
    store(images.depth, keep(alpha > zeros(), load(state.depth + lane) / alpha));
    images.write(out, BlockPlace(grid, tile, block), K);
  }
}

}  // namespace RL3D_ISA
}  // namespace rl3d
