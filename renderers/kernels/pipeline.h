// What the C interface (splat.cpp) and the kernels (pipeline.cpp, compiled once per instruction set) share. Plain data only.
#pragma once
#include <cstdint>

namespace rl3d {

class ThreadPool;

// S scenes of N Gaussians, each seen by its own C cameras: S * C images. Arrays are dense, row-major float32.
// Python fills these structures by ctypes (splat_cpu.py): keep the two in step.
struct Problem {
  int64_t scenes, cameras, gaussians;
  int64_t width, height;
  int64_t channels;         // of the colours, K <= kMaxChannels
  int64_t colors_per_view;  // colours are (S, C, N, K) if set, else (S, N, K)
  int64_t antialiased;      // opacities shrink as the blur widens their Gaussian (Mip-Splatting's 2D filter, as in gsplat)
  const float* means;       // (S, N, 3)
  const float* quats;       // (S, N, 4), wxyz, any length
  const float* scales;      // (S, N, 3)
  const float* opacities;   // (S, N)
  const float* colors;
  const float* viewmats;     // (S, C, 4, 4)
  const float* Ks;           // (S, C, 3, 3)
  const float* backgrounds;  // (S, C, K)

  int64_t images() const { return scenes * cameras; }
  int64_t pixels() const { return width * height; }
};

constexpr int kMaxChannels = 16;

struct Images {
  float* color;  // (S, C, H, W, K)
  float* alpha;  // (S, C, H, W)
  float* depth;  // (S, C, H, W)
};

// The last three may be null where they are not wanted.
struct Gradients {
  float *means, *quats, *scales, *opacities, *colors;
  float* viewmats;  // (S, C, 4, 4)
  float* Ks;        // (S, C, 3, 3)
  float* screen;    // (S, C, N, 4): of the projected means in pixels, x and y, then the sums of the pixels' absolute values
};

// The kernels of one instruction set. A context keeps what backward needs of a forward pass, and all buffers for reuse.
// Both throw std::bad_alloc where memory runs out.
struct Kernels {
  const char* name;
  void* (*new_context)();
  void (*delete_context)(void* context);
  void (*forward)(void* context, const Problem&, const Images&, bool keep_for_backward, int threads, ThreadPool&);
  void (*backward)(void* context, const Problem&, const Images& images, const Images& image_gradients, const Gradients&, int threads,
                   ThreadPool&);
};

}  // namespace rl3d
