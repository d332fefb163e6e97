// The buffers of a rendering: what is kept of each scene and image between the stages, and from forward to backward.
#pragma once
#include <cstdlib>

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
      if (!data_) abort();
    }
    return data_;
  }
  T* data() const { return data_; }
  T& operator[](size_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
  size_t capacity_ = 0;
};

// Sixteen Gaussians of a scene, lane by lane: what all its views share.
struct alignas(64) GaussianBlock {
  float RS[9][kLanes];  // rotation times scale, row-major: the covariance is RS RS^T
  float mean[3][kLanes];
  float log2_opacity[kLanes];
};

// A Gaussian on the image plane: one cache line. log2 alpha = log2_opacity + xx dx^2 + 2 xy dx dy + yy dy^2 at the offset (dx, dy).
struct alignas(64) ProjectedGaussian {
  float mean_x, mean_y;
  float xx, xy, yy;  // the conic (inverse 2D covariance), times -1/2 log2 e
  float log2_opacity;
  float r, g, b;
  float depth;
  float extent_x, extent_y;                // half size of the box where alpha can reach 1/255
  float radius2;                           // squared Mahalanobis radius of that ellipse
  float inverse_a, shear, inverse_cov_yy;  // the ellipse's row spans, see tiles.h
};
static_assert(sizeof(ProjectedGaussian) == 64, "one cache line");

// One Gaussian in the list of one tile, with the 4x4-pixel blocks of the tile it touches.
struct TileEntry {
  uint64_t blocks;
  int gaussian;
};

// The gradient of the loss with respect to a projected Gaussian, as the pixels see it.
// r, g, b and depth; then the sums of s, s h_x, s h_y, s h_x^2, s h_x h_y, s h_y^2 for s = alpha dL/dalpha and the half gradient
// h = (xx dx + xy dy, xy dx + yy dy) of log2 alpha. (Moments of h and not of d: those of a long Gaussian would drown its width.)
constexpr int kPixelGradients = 12;  // the last two are padding

struct ImageWorkspace {
  Buffer<ProjectedGaussian> projected;  // by Gaussian; only the visible ones are written
  Buffer<uint64_t> keys, keys_swap;     // visible Gaussians: depth above, index below; sorted in `keys`
  int visible = 0;
  Buffer<TileEntry> entries;  // tile t's entries, front to back: [tile_start[t], tile_end[t])
  Buffer<int64_t> tile_start, tile_end;
  Buffer<float> gradients;  // (N rounded up to blocks, kPixelGradients)
};

}  // namespace RL3D_ISA
}  // namespace rl3d
