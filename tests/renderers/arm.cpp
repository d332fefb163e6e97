// Draws one problem of the kernels' C interface, read from standard input, and writes the images, and with gradients of these the
// gradients of everything. arm.py compiles it for ARM and has an emulator run it.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../../renderers/kernels/pipeline.h"

extern "C" {
const char* rl3d_splat_kernels();
int rl3d_splat_forward(const rl3d::Problem*, const rl3d::Images*, int, int, void**);
int rl3d_splat_backward(void*, const rl3d::Problem*, const rl3d::Images*, const rl3d::Images*, const rl3d::Gradients*, int);
}

static std::vector<std::vector<float>> arrays;

static float* array(int64_t size) {
  arrays.emplace_back(size);
  return arrays.back().data();
}

static const float* read_array(int64_t size) {
  float* values = array(size);
  if (fread(values, sizeof(float), size, stdin) != (size_t)size) exit(3);
  return values;
}

int main(int argc, char** argv) {
  if (argc == 1) return puts(rl3d_splat_kernels()) < 0;
  const int threads = atoi(argv[1]);
  const bool backward = atoi(argv[2]);
  rl3d::Problem p{};
  if (fread(&p, sizeof(int64_t), 8, stdin) != 8) return 3;
  const int64_t n = p.scenes * p.gaussians, images = p.images(), pixels = images * p.pixels(), k = p.channels;
  const int64_t colors = k * n * (p.colors_per_view ? p.cameras : 1);
  p.means = read_array(3 * n), p.quats = read_array(4 * n), p.scales = read_array(3 * n), p.opacities = read_array(n);
  p.colors = read_array(colors), p.viewmats = read_array(16 * images), p.Ks = read_array(9 * images);
  p.backgrounds = read_array(images * k);
  rl3d::Images out{array(k * pixels), array(pixels), array(pixels)};
  const size_t first = arrays.size() - 3;
  void* handle = nullptr;
  if (!rl3d_splat_forward(&p, &out, backward, threads, &handle)) return 4;
  if (backward) {
    const rl3d::Images v{(float*)read_array(k * pixels), (float*)read_array(pixels), (float*)read_array(pixels)};
    rl3d::Gradients g{array(3 * n),  array(4 * n),       array(3 * n),      array(n),
                      array(colors), array(16 * images), array(9 * images), array(4 * images * p.gaussians)};
    if (!rl3d_splat_backward(handle, &p, &out, &v, &g, threads)) return 4;
  }
  for (size_t a = first; a < arrays.size(); a++)
    if (a < first + 3 || a >= first + 6) fwrite(arrays[a].data(), sizeof(float), arrays[a].size(), stdout);
  return 0;
}
