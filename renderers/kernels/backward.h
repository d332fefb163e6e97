// The gradient of compositing, one tile, walked front to back like forward. With w_i the weights and q_i = v_color . c_i + v_depth z_i
//   dL/dalpha_i = T_i q_i - (sum over j > i of w_j q_j + what shows through) / (1 - alpha_i),
// and the sum over j > i is the total, known from forward's output, less the part already passed: no list of last Gaussians is
// kept, nothing is divided by a vanishing transmittance, and pixels end where they ended in forward.
#pragma once
#include "forward.h"

namespace rl3d {
namespace RL3D_ISA {

// A projected Gaussian with its values in all lanes, for a loop over the blocks it touches.
template <int kMaxK>
struct BroadcastGaussian {
  Floats mean_x, mean_y, xx, xy, yy, log2_opacity, depth, color[kMaxK];
  RL3D_INLINE BroadcastGaussian(const ProjectedGaussian& p, const float* p_color, int K)
      : mean_x(splat(p.mean_x)),
        mean_y(splat(p.mean_y)),
        xx(splat(p.xx)),
        xy(splat(p.xy)),
        yy(splat(p.yy)),
        log2_opacity(splat(p.log2_opacity)),
        depth(splat(p.depth)) {
    for (int k = 0; k < K; k++) color[k] = splat(p_color[k]);
  }
};

template <int kMaxK>
struct alignas(64) BackwardTile {
  float transmittance[kTilePixels];
  float behind[kTilePixels];  // the sum over the Gaussians not yet passed, and the background
  float v_depth[kTilePixels], v_color[kMaxK][kTilePixels];
};

constexpr int kAhead = 6;  // entries whose Gaussians are fetched before they are needed

// Writes the gradients of the tile's entries, with kAbsolute those of the means' absolute pulls too. `out` is forward's output of this
// image and `v` the loss's gradient with respect to it.
template <int kMaxK, bool kAbsolute>
__attribute__((noinline)) void backward_tile(const Problem& problem, const ImageWorkspace& image, const TileGrid& grid, int index,
                                             int64_t image_index, const Images& out, const Images& v) {
  constexpr bool kInline = kMaxK == 3;
  constexpr int kRows = entry_gradients(kMaxK);
  const int K = kInline ? 3 : (int)problem.channels, rows = entry_gradients(K);
  const float* colors = problem.colors + K * problem.gaussians * (problem.colors_per_view ? image_index : image_index / problem.cameras);
  const Tile tile(grid, index);
  const TilePixels pixels(tile);
  BackwardTile<kMaxK> state;
  uint64_t live = tile.blocks_inside();
  for (uint64_t blocks = live; blocks; blocks &= blocks - 1) {
    const int block = __builtin_ctzll(blocks), lane = block * kLanes;
    const BlockPlace place(grid, tile, block);
    BlockImages<kMaxK> drawn, pull;
    drawn.read(out, place, K), pull.read(v, place, K);
    const Floats alpha = load(drawn.alpha), depth = load(drawn.depth);
    // depth = (sum of w z) / alpha
    const Floats v_depth = keep(alpha > zeros(), load(pull.depth) / alpha), v_alpha = load(pull.alpha) - v_depth * depth;
    Floats behind = load(pull.depth) * depth - (1.f - alpha) * v_alpha;
    for (int k = 0; k < K; k++) {
      const Floats v_color = load(pull.color[k]);
      store(state.v_color[k] + lane, v_color);
      behind += v_color * load(drawn.color[k]);
    }
    store(state.transmittance + lane, place.inside());
    store(state.v_depth + lane, v_depth), store(state.behind + lane, behind);
  }
  for (int64_t e = image.tile_start[index]; e < image.tile_start[index + 1]; e++) {
    // Gaussians and slots lie in memory by index, and a list's are all over the place.
    if (e + kAhead < image.tile_start[index + 1]) {
      const TileEntry& ahead = image.entries[e + kAhead];
      __builtin_prefetch(&image.projected[ahead.gaussian]), __builtin_prefetch(image.gradients.data() + (int64_t)rows * ahead.slot, 1);
    }
    float* gradients = image.gradients.data() + (int64_t)rows * image.entries[e].slot;
    uint64_t blocks = image.entries[e].blocks & live;
    if (!blocks) {
      memset(gradients, 0, sizeof(float) * rows);
      continue;
    }
    const int n = image.entries[e].gaussian;
    const ProjectedGaussian& projected = image.projected[n];
    const BroadcastGaussian<kMaxK> g(projected, kInline ? projected.color : colors + (int64_t)K * n, K);
    Floats sums[kRows];
    for (int k = 0; k < rows; k++) sums[k] = zeros();
    do {
      const int block = __builtin_ctzll(blocks), lane = block * kLanes;
      blocks &= blocks - 1;
      const Floats before = load(state.transmittance + lane);
      const Contribution c(g, pixels, block, before);
      store(state.transmittance + lane, c.transmittance);
      if (!any(c.alive)) live &= ~(1ull << block);
      const Floats v_depth = load(state.v_depth + lane);
      Floats q = v_depth * g.depth;
      for (int k = 0; k < K; k++) {
        const Floats v_color = load(state.v_color[k] + lane);
        q += v_color * g.color[k];
        sums[kColor + k] += c.weight * v_color;
      }
      const Floats behind = load(state.behind + lane) - c.weight * q;
      store(state.behind + lane, behind);
      const Mask moves = c.alive & (c.unclamped_alpha <= splat(kMaxAlpha));
      const Floats s = keep(moves, c.alpha * (before * q - behind * reciprocal(1.f - c.alpha)));
      const Floats s_x = s * c.t_x, s_y = s * c.t_y;
      sums[kDepth] += c.weight * v_depth;
      sums[kS] += s, sums[kSX] += s_x, sums[kSY] += s_y;
      sums[kSXX] += s_x * c.t_x, sums[kSXY] += s_x * c.t_y, sums[kSYY] += s_y * c.t_y;
      if (kAbsolute) sums[kAbsX] += abs(g.xx * s_x), sums[kAbsY] += abs(g.xy * s_x + g.yy * s_y);
    } while (blocks);
    if (kInline) {
      sum_lanes<kRows>(sums, gradients);
    } else {
      for (int k = 0; k < rows; k += 4) sum_lanes<4>(sums + k, gradients + k);
    }
  }
}

}  // namespace RL3D_ISA
}  // namespace rl3d
