// What the C interface (splat.cpp) and the kernels (pipeline.cpp, compiled once per instruction set) share. Plain data only.
#pragma once
#include <cstdint>

namespace rl3d {

class ThreadPool;

// S scenes of N Gaussians, each seen by its own C cameras: S * C images. Arrays are dense, row-major float32.
// Python fills this structure by ctypes (splat_cpu.py): keep the two in step.
struct Problem {
  int64_t scenes, cameras, gaussians;
  int64_t width, height;
  int64_t colors_per_view;  // colours are (S, C, N, 3) if set, else (S, N, 3)
  const float* means;       // (S, N, 3)
  const float* quats;       // (S, N, 4), wxyz, any length
  const float* scales;      // (S, N, 3)
  const float* opacities;   // (S, N)
  const float* colors;
  const float* viewmats;     // (S, C, 4, 4)
  const float* Ks;           // (S, C, 3, 3)
  const float* backgrounds;  // (S, C, 3)

  int64_t images() const { return scenes * cameras; }
  int64_t pixels() const { return width * height; }
};

struct Images {
  float* rgb;    // (S, C, H, W, 3)
  float* alpha;  // (S, C, H, W)
  float* depth;  // (S, C, H, W)
};

struct Gradients {
  float *means, *quats, *scales, *opacities, *colors;
};

// The kernels of one instruction set. A context keeps what backward needs of a forward pass, and all buffers for reuse.
struct Kernels {
  const char* name;
  void* (*new_context)();
  void (*delete_context)(void* context);
  void (*forward)(void* context, const Problem&, const Images&, bool keep_for_backward, int threads, ThreadPool&);
  void (*backward)(void* context, const Problem&, const Images& images, const Images& image_gradients, const Gradients&, int threads,
                   ThreadPool&);
};

}  // namespace rl3d
