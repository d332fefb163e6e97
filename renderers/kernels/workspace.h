// The buffers of a rendering: what is kept of each scene and image between the stages, and from forward to backward.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <new>

#include "simd.h"

namespace rl3d {
namespace RL3D_ISA {

template <class T>
RL3D_INLINE T smaller(T a, T b) {
  return b < a ? b : a;
}
template <class T>
RL3D_INLINE T larger(T a, T b) {
  return a < b ? b : a;
}

// A 64-byte aligned array that only grows and does not keep its contents when it does. The standard containers are avoided here:
// their functions carry no instruction set in their names, so the linker could put AVX-512 code into the baseline.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { free(data_); }

  T* reserve(size_t count) {
    if (count > capacity_) {
      free(data_);
      capacity_ = count + count / 4;
      const size_t bytes = (capacity_ * sizeof(T) + 63) / 64 * 64;
      data_ = static_cast<T*>(aligned_alloc(64, bytes));
      if (!data_) {
        capacity_ = 0;
        throw std::bad_alloc();
      }
    }
    return data_;
  }
  T* data() const { return data_; }
  T& operator[](size_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
  size_t capacity_ = 0;
};

// As many objects as were ever wanted at once, each with its own buffers.
template <class T>
class Pool {
 public:
  Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() { delete[] objects_; }

  T* reserve(int64_t count) {
    if (count > count_) {
      delete[] objects_;
      count_ = 0;
      objects_ = nullptr;
      objects_ = new T[(size_t)count];
      count_ = count;
    }
    return objects_;
  }
  T* data() const { return objects_; }
  T& operator[](int64_t i) const { return objects_[i]; }

 private:
  T* objects_ = nullptr;
  int64_t count_ = 0;
};

// As many Gaussians of a scene as a vector has lanes, lane by lane: what all its views share.
struct alignas(64) GaussianBlock {
  float RS[9][kLanes];  // rotation times scale, row-major: the covariance is RS RS^T
  float mean[3][kLanes];
  float log2_opacity[kLanes];
};

// A Gaussian on the image plane: one cache line. log2 alpha = log2_opacity - t_x^2 - t_y^2 at the offset (dx, dy) from the mean, with the
// whitened offset t = (xx dx + xy dy, yy dy). (Its squares add up. The conic's terms of a long thin Gaussian would cancel instead, which
// costs float32 all its digits.)
struct alignas(64) ProjectedGaussian {
  float mean_x, mean_y;
  float xx, xy, yy;
  float log2_opacity;
  float color[3];  // the first three channels
  float depth;
  float extent_x, extent_y;  // half size of the box where alpha can reach 1/255
  float inverse_xx, shear;   // of the ellipse's row spans, see tiles.h
};
static_assert(sizeof(ProjectedGaussian) == 64, "one cache line");

// One Gaussian in the list of one tile, with the blocks of the tile it touches.
struct TileEntry {
  uint64_t blocks;
  int gaussian;
  uint32_t slot;  // where backward leaves what the tile says of the Gaussian
};
struct PendingEntry {  // of a list not yet laid out
  uint64_t blocks;
  int gaussian;
  int tile;
};

// Each tile leaves what its pixels say of each of its entries, and a Gaussian's gradient is the sum over its entries in the order of
// the tiles: whichever thread draws which tile, the sum is the same. The slots of a Gaussian follow each other, and those of the
// Gaussians too, so that the sums are read from one end to the other. The rows of a slot:
enum EntryGradient {
  kDepth,
  // The sums over pixels of s, s t_x, s t_y, s t_x^2, s t_x t_y, s t_y^2, for s = alpha dL/dalpha and the whitened offset t.
  kS,
  kSX,
  kSY,
  kSXX,
  kSXY,
  kSYY,
  kAbsX,  // of |dL/d mean| along the image's axes, if they are wanted
  kAbsY,
  kColor,  // one a channel, then padding to a multiple of four
};
constexpr int entry_gradients(int channels) { return (kColor + channels + 3) / 4 * 4; }

// A stretch of an image's Gaussians in depth order, binned by one thread.
struct Segment {
  Buffer<PendingEntry> pending;  // its entries, Gaussian by Gaussian
  int64_t count = 0;
  Buffer<int64_t> place;  // by tile: how many of them, then where the next one goes
};

struct ImageWorkspace {
  Buffer<ProjectedGaussian> projected;  // by Gaussian; only the visible ones are written
  Buffer<uint64_t> keys, keys_swap;     // visible Gaussians: depth above, index below; sorted in `keys`
  // By chunk of Gaussians: how many are visible, and how many tiles their boxes cover.
  Buffer<int64_t> chunk_visible, chunk_reach;
  int64_t visible = 0, reach = 0;       // sums of those
  Pool<Segment> segments;
  Buffer<TileEntry> entries;   // tile t's, front to back: entries[tile_start[t]] .. [tile_start[t + 1])
  Buffer<int64_t> tile_start;
  // Gaussian n's slots are first_slot[n] .. first_slot[n + 1] - 1. (Until the lists are laid out, first_slot[n + 1] is their number.)
  Buffer<uint32_t> first_slot;
  Buffer<float> gradients;  // of backward: (slots, entry_gradients(channels))
};

}  // namespace RL3D_ISA
}  // namespace rl3d
