// Which Gaussians each tile of 32x32 pixels has to draw, and which of the tile's 64 blocks of 4x4 pixels each touches.
#pragma once
#include "pipeline.h"
#include "sorting.h"
#include "workspace.h"

namespace rl3d {
namespace RL3D_ISA {

constexpr int kTile = 32, kBlock = 4, kBlocks = 64;
constexpr float kLog2MinAlpha = -7.994353436858858f;  // log2(1/255): smaller alphas are skipped

// Gaussians are projected in chunks, several of which may be one image's: fixed, so that results do not depend on threads.
constexpr int64_t kChunk = 8192;
inline int64_t chunks_of(const Problem& problem) { return larger<int64_t>(1, (problem.gaussians + kChunk - 1) / kChunk); }

constexpr int64_t kSegment = 4096;  // likewise the visible ones that are binned together

// More entries than this in one image (some 20 GiB with their gradients) are refused before the machine is brought to its knees.
constexpr int64_t kMaxEntries = 1ll << 28;

struct TileGrid {
  int64_t width, height;  // of the image, in pixels
  int columns, rows;      // of tiles
  explicit TileGrid(const Problem& problem)
      : width(problem.width),
        height(problem.height),
        columns((int)((width + kTile - 1) / kTile)),
        rows((int)((height + kTile - 1) / kTile)) {}
  int count() const { return columns * rows; }
};

// A tile's place in the image. Blocks are numbered row by row, eight a row; lanes likewise within a block.
struct Tile {
  int x, y;           // its first pixel
  int width, height;  // less than kTile at the image's edges
  Tile(const TileGrid& grid, int index) {
    x = index % grid.columns * kTile, y = index / grid.columns * kTile;
    width = (int)smaller<int64_t>(kTile, grid.width - x), height = (int)smaller<int64_t>(kTile, grid.height - y);
  }
  bool whole() const { return width == kTile && height == kTile; }
  uint64_t blocks_inside() const {
    uint64_t blocks = 0;
    for (int b = 0; b < kBlocks; b++)
      if (b % 8 * kBlock < width && b / 8 * kBlock < height) blocks |= 1ull << b;
    return blocks;
  }
};

// Where pixel (x, y) of a tile lies in an array [block][lane].
RL3D_INLINE int lane_of_pixel(int x, int y) { return (y / kBlock * 8 + x / kBlock) * kLanes + y % kBlock * kBlock + x % kBlock; }

struct alignas(64) PixelOffsets {
  float x[kLanes], y[kLanes];  // of a block's lanes
};
constexpr PixelOffsets pixel_offsets() {
  PixelOffsets r{};
  for (int i = 0; i < kLanes; i++)
    r.x[i] = (float)(i % kBlock), r.y[i] = (float)(i / kBlock);
  return r;
}
constexpr PixelOffsets kPixel = pixel_offsets();

// For `blocks_touched`, whose lanes 0-7 are the tile's rows of blocks seen to the right, and 8-15 the same rows seen to the left.
struct alignas(64) BlockRows {
  float top[kLanes];    // the row's first pixel
  float side[kLanes];   // 1 to the right, -1 to the left
  float after[kLanes];  // the first pixel to draw is the one after the left end
  float least[kLanes];  // of side * pixel, so that the row reaches into the tile
};
constexpr BlockRows block_rows() {
  BlockRows r{};
  for (int i = 0; i < kLanes; i++) {
    r.top[i] = (float)(i % 8 * kBlock), r.side[i] = i < 8 ? 1.f : -1.f;
    r.after[i] = i < 8 ? 0.f : 1.f, r.least[i] = i < 8 ? 0.f : -31.99999f;
  }
  return r;
}
constexpr BlockRows kRows = block_rows();

// How far below its mean the ellipse of a Gaussian reaches furthest to the right; above, furthest to the left.
RL3D_INLINE float bulge(const ProjectedGaussian& g) { return g.shear * g.extent_y * g.extent_y / g.extent_x; }

// The blocks of the tile at (x, y) that the ellipse alpha >= 1/255 reaches into, row by row of blocks. At the offset dy from the mean t_x^2
// may reach the rest of log2(255 opacity) - t_y^2, and dx = (t_x - xy dy) / xx; among the dy of a row the ends are widest at the one nearest
// to the bulge. (Between the centres of pixels too: they are tested again one by one, so a block too many does no harm.)
inline uint64_t blocks_touched(const ProjectedGaussian& g, float bulge, int x, int y) {
  const Floats side = load(kRows.side);
  const Floats top = load(kRows.top) + ((float)y + 0.5f - g.mean_y);
  const Floats dy = min(max(side * bulge, top), top + (float)(kBlock - 1));
  const Floats t_y = g.yy * dy;
  const Floats rest = (g.log2_opacity - kLog2MinAlpha) - t_y * t_y;
  const Floats half_width = sqrt(max(rest, zeros())) * g.inverse_xx + 0.001f;
  const Floats pixel = g.shear * dy + (g.mean_x - 0.5f - (float)x) + (side * half_width + load(kRows.after));
  const Mask hit = (rest >= splat(-0.001f)) & (side * pixel >= load(kRows.least));
  return block_bits(hit, truncate(min(max(pixel, zeros()), splat(31.f))));
}

struct TileRange {
  int x0, x1, y0, y1;
  TileRange(const ProjectedGaussian& g, const TileGrid& grid) {
    x0 = clamp(g.mean_x - g.extent_x, grid.columns), x1 = clamp(g.mean_x + g.extent_x, grid.columns);
    y0 = clamp(g.mean_y - g.extent_y, grid.rows), y1 = clamp(g.mean_y + g.extent_y, grid.rows);
  }
  int64_t count() const { return (int64_t)(x1 - x0 + 1) * (y1 - y0 + 1); }

 private:
  static RL3D_INLINE int clamp(float pixel, int tiles) { return (int)smaller(larger(pixel * (1.f / kTile), 0.f), (float)(tiles - 1)); }
};

// The tiles' lists are filled from the Gaussians in depth order, so that every list is in depth order too: no sort over (tile, depth)
// pairs. In three steps, of which the first and the last may run in parallel over segments.

inline int64_t segments_of(const ImageWorkspace& image) { return (image.visible + kSegment - 1) / kSegment; }

// 1. Which tiles and blocks the Gaussians of a segment touch.
inline void bin_segment(const TileGrid& grid, bool keep_for_backward, ImageWorkspace& image, int64_t index) {
  Segment& segment = image.segments[index];
  const int64_t first = index * kSegment, last = smaller(image.visible, first + kSegment);
  int64_t reach = image.reach;
  if (segments_of(image) > 1) {
    reach = 0;
    for (int64_t i = first; i < last; i++) reach += TileRange(image.projected[gaussian_of(image.keys[i])], grid).count();
  }
  TileEntry* pending = segment.pending.reserve(reach);
  int64_t* place = segment.place.reserve(grid.count());
  memset(place, 0, sizeof(int64_t) * grid.count());
  int64_t count = 0;
  for (int64_t i = first; i < last; i++) {
    if (i + 8 < last) __builtin_prefetch(&image.projected[gaussian_of(image.keys[i + 8])]);
    const int n = gaussian_of(image.keys[i]);
    const ProjectedGaussian& g = image.projected[n];
    const TileRange range(g, grid);
    const float widest = bulge(g);
    const int64_t before = count;
    for (int y = range.y0; y <= range.y1; y++)
      for (int x = range.x0; x <= range.x1; x++)
        if (const uint64_t blocks = blocks_touched(g, widest, x * kTile, y * kTile)) {
          const int tile = y * grid.columns + x;
          pending[count++] = {blocks, n, tile};
          place[tile]++;
        }
    if (keep_for_backward) image.slots_of[n] = {(uint32_t)before, (uint32_t)(count - before)};
  }
  segment.count = count;
}

// 2. Where each tile's list starts, and each segment's part of it.
inline void lay_out_tiles(const TileGrid& grid, bool keep_for_backward, ImageWorkspace& image) {
  const int64_t segments = segments_of(image);
  int64_t* start = image.tile_start.reserve(grid.count() + 1);
  int64_t total = 0;
  for (int t = 0; t < grid.count(); t++) {
    start[t] = total;
    for (int64_t s = 0; s < segments; s++) {
      int64_t& place = image.segments[s].place[t];
      const int64_t count = place;
      place = total;
      total += count;
    }
  }
  start[grid.count()] = total;
  int64_t slot = 0;
  for (int64_t s = 0; s < segments; s++) image.segments[s].first_slot = slot, slot += image.segments[s].count;
  image.entries.reserve(total);
  if (keep_for_backward) image.slots.reserve(total);
}

// 3. The entries, into the lists.
inline void fill_tiles(bool keep_for_backward, ImageWorkspace& image, int64_t index) {
  const Segment& segment = image.segments[index];
  for (int64_t i = 0; i < segment.count; i++) {
    const TileEntry entry = segment.pending[i];
    const int64_t slot = segment.place[entry.tile]++;
    image.entries[slot] = entry;
    if (keep_for_backward) image.slots[segment.first_slot + i] = (uint32_t)slot;
  }
  if (!keep_for_backward || !segment.first_slot) return;
  for (int64_t i = index * kSegment; i < smaller(image.visible, (index + 1) * kSegment); i++)
    image.slots_of[gaussian_of(image.keys[i])].first += (uint32_t)segment.first_slot;
}

}  // namespace RL3D_ISA
}  // namespace rl3d
