// Which Gaussians each tile has to draw, and which of its 64 blocks of pixels each touches.
#pragma once
#include "pipeline.h"
#include "sorting.h"
#include "workspace.h"

namespace rl3d {
namespace RL3D_ISA {

// A block is one vector of pixels, 4x4 or 4x2, and a tile eight rows of eight blocks.
constexpr int kBlockWidth = 4, kBlockHeight = kLanes / kBlockWidth;
constexpr int kBlocks = 64, kTileWidth = 8 * kBlockWidth, kTileHeight = 8 * kBlockHeight;
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
        columns((int)((width + kTileWidth - 1) / kTileWidth)),
        rows((int)((height + kTileHeight - 1) / kTileHeight)) {}
  int count() const { return columns * rows; }
};

// A tile's place in the image. Blocks are numbered row by row, eight a row; lanes likewise within a block.
struct Tile {
  int x, y;           // its first pixel
  int width, height;  // less than a whole tile's at the image's edges
  Tile(const TileGrid& grid, int index) {
    x = index % grid.columns * kTileWidth, y = index / grid.columns * kTileHeight;
    width = (int)smaller<int64_t>(kTileWidth, grid.width - x), height = (int)smaller<int64_t>(kTileHeight, grid.height - y);
  }
  uint64_t blocks_inside() const {
    uint64_t blocks = 0;
    for (int b = 0; b < kBlocks; b++)
      if (b % 8 * kBlockWidth < width && b / 8 * kBlockHeight < height) blocks |= 1ull << b;
    return blocks;
  }
};

struct alignas(64) PixelOffsets {
  float x[kLanes], y[kLanes];  // of a block's lanes
};
constexpr PixelOffsets pixel_offsets() {
  PixelOffsets r{};
  for (int i = 0; i < kLanes; i++)
    r.x[i] = (float)(i % kBlockWidth), r.y[i] = (float)(i / kBlockWidth);
  return r;
}
constexpr PixelOffsets kPixel = pixel_offsets();

// The pixels of one block of a tile in the image.
struct BlockPlace {
  int64_t first, row;  // its first pixel, and pixels from one row to the next
  int width, height;   // less than a whole block's at the image's edges
  BlockPlace(const TileGrid& grid, const Tile& tile, int block) {
    const int x = block % 8 * kBlockWidth, y = block / 8 * kBlockHeight;
    row = grid.width, first = (tile.y + y) * row + tile.x + x;
    width = smaller(kBlockWidth, tile.width - x), height = smaller(kBlockHeight, tile.height - y);
  }
  RL3D_INLINE bool whole() const { return width == kBlockWidth && height == kBlockHeight; }
  // Calls function(lane, pixel). (The sizes of whole blocks are written out for the compiler to unroll.)
  template <class Function>
  RL3D_INLINE void for_each_pixel(Function function) const {
    if (whole()) {
      for (int y = 0; y < kBlockHeight; y++)
        for (int x = 0; x < kBlockWidth; x++) function(y * kBlockWidth + x, first + y * row + x);
    } else {
      for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) function(y * kBlockWidth + x, first + y * row + x);
    }
  }
  // 1 where a pixel is in the image, else 0.
  RL3D_INLINE Floats inside() const {
    return keep((load(kPixel.x) < splat((float)width)) & (load(kPixel.y) < splat((float)height)), splat(1.f));
  }
};

// A block's pixels of the images, lane by lane.
template <int kMaxK>
struct alignas(64) BlockImages {
  float color[kMaxK][kLanes], alpha[kLanes], depth[kLanes];

  RL3D_INLINE void read(const Images& images, const BlockPlace& place, int K) {
    if (!place.whole()) memset(this, 0, sizeof *this);
    // The block below is read a row of blocks later; an image's rows are too far apart for the hardware to foresee it.
    for (int y = 0; y < kBlockHeight; y++) {
      const int64_t below = place.first + (kBlockHeight + y) * place.row;
      __builtin_prefetch(images.alpha + below), __builtin_prefetch(images.depth + below), __builtin_prefetch(images.color + K * below);
    }
    place.for_each_pixel([&](int lane, int64_t pixel) {
      alpha[lane] = images.alpha[pixel], depth[lane] = images.depth[pixel];
      for (int k = 0; k < K; k++) color[k][lane] = images.color[K * pixel + k];
    });
  }
  RL3D_INLINE void write(const Images& images, const BlockPlace& place, int K) const {
    place.for_each_pixel([&](int lane, int64_t pixel) {
      images.alpha[pixel] = alpha[lane], images.depth[pixel] = depth[lane];
      for (int k = 0; k < K; k++) images.color[K * pixel + k] = color[k][lane];
    });
  }
};

// For `blocks_touched`, of whose sixteen row ends 0-7 are the tile's rows of blocks seen to the right, and 8-15 the same rows seen to the
// left.
struct alignas(64) BlockRows {
  float top[16];    // the row's first pixel
  float side[16];   // 1 to the right, -1 to the left
  float after[16];  // the first pixel to draw is the one after the left end
  float least[16];  // of side * pixel, so that the row reaches into the tile
};
constexpr BlockRows block_rows() {
  BlockRows r{};
  for (int i = 0; i < 16; i++) {
    r.top[i] = (float)(i % 8 * kBlockHeight), r.side[i] = i < 8 ? 1.f : -1.f;
    r.after[i] = i < 8 ? 0.f : 1.f, r.least[i] = i < 8 ? 0.f : 1e-5f - kTileWidth;
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
  Mask hit[kRowEnds];
  Ints end[kRowEnds];
  for (int i = 0; i < kRowEnds; i++) {
    const Floats side = load(kRows.side + i * kLanes);
    const Floats top = load(kRows.top + i * kLanes) + ((float)y + 0.5f - g.mean_y);
    const Floats dy = min(max(side * bulge, top), top + (float)(kBlockHeight - 1));
    const Floats t_y = g.yy * dy;
    const Floats rest = (g.log2_opacity - kLog2MinAlpha) - t_y * t_y;
    const Floats half_width = sqrt(max(rest, zeros())) * g.inverse_xx + 0.001f;
    const Floats pixel = g.shear * dy + (g.mean_x - 0.5f - (float)x) + (side * half_width + load(kRows.after + i * kLanes));
    hit[i] = (rest >= splat(-0.001f)) & (side * pixel >= load(kRows.least + i * kLanes));
    end[i] = truncate(min(max(pixel, zeros()), splat((float)(kTileWidth - 1))));
  }
  return block_bits(hit, end);
}

struct TileRange {
  int x0, x1, y0, y1;
  TileRange(const ProjectedGaussian& g, const TileGrid& grid) {
    constexpr float kPerX = 1.f / kTileWidth, kPerY = 1.f / kTileHeight;
    x0 = clamp((g.mean_x - g.extent_x) * kPerX, grid.columns), x1 = clamp((g.mean_x + g.extent_x) * kPerX, grid.columns);
    y0 = clamp((g.mean_y - g.extent_y) * kPerY, grid.rows), y1 = clamp((g.mean_y + g.extent_y) * kPerY, grid.rows);
  }
  int64_t count() const { return (int64_t)(x1 - x0 + 1) * (y1 - y0 + 1); }

 private:
  static RL3D_INLINE int clamp(float tile, int tiles) { return (int)smaller(larger(tile, 0.f), (float)(tiles - 1)); }
};

// The tiles' lists are filled from the Gaussians in depth order, so that every list is in depth order too: no sort over (tile, depth)
// pairs. In three steps, of which the first and the last may run in parallel over segments.

inline int64_t segments_of(const ImageWorkspace& image) { return (image.visible + kSegment - 1) / kSegment; }

// 1. Which tiles and blocks the Gaussians of a segment touch.
inline void bin_segment(const TileGrid& grid, ImageWorkspace& image, int64_t index) {
  Segment& segment = image.segments[index];
  const int64_t first = index * kSegment, last = smaller(image.visible, first + kSegment);
  int64_t reach = image.reach;
  if (segments_of(image) > 1) {
    reach = 0;
    for (int64_t i = first; i < last; i++) reach += TileRange(image.projected[gaussian_of(image.keys[i])], grid).count();
  }
  PendingEntry* pending = segment.pending.reserve(reach);
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
        if (const uint64_t blocks = blocks_touched(g, widest, x * kTileWidth, y * kTileHeight)) {
          const int tile = y * grid.columns + x;
          pending[count++] = {blocks, n, tile};
          place[tile]++;
        }
    image.first_slot[n + 1] = (uint32_t)(count - before);
  }
  segment.count = count;
}

// 2. Where each tile's list starts, each segment's part of it, and each Gaussian's slots.
inline void lay_out_tiles(const Problem& problem, const TileGrid& grid, ImageWorkspace& image) {
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
  for (int64_t n = 0; n < problem.gaussians; n++) image.first_slot[n + 1] += image.first_slot[n];
  image.entries.reserve(total);
}

// 3. The entries, into the lists.
inline void fill_tiles(ImageWorkspace& image, int64_t index) {
  const Segment& segment = image.segments[index];
  int gaussian = -1;
  uint32_t slot = 0;
  for (int64_t i = 0; i < segment.count; i++) {
    const PendingEntry& entry = segment.pending[i];
    slot = entry.gaussian == gaussian ? slot + 1 : image.first_slot[entry.gaussian];
    gaussian = entry.gaussian;
    image.entries[segment.place[entry.tile]++] = {entry.blocks, gaussian, slot};
  }
}

}  // namespace RL3D_ISA
}  // namespace rl3d
