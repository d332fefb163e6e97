// The stages in order, in parallel over images (and blocks of Gaussians). Compiled once per instruction set.
// Every image is drawn by one thread in a fixed order, so results do not depend on the number of threads or on the batch.
#include "pipeline.h"

#include "backward.h"
#include "forward.h"
#include "projection.h"
#include "thread_pool.h"
#include "tiles.h"

namespace rl3d {
namespace RL3D_ISA {
namespace {

constexpr int64_t kBlocksPerTask = 16;

class Context {
 public:
  Context() = default;
  Context(const Context&) = delete;
  ~Context() { delete[] images_; }

  ImageWorkspace* images(int64_t count) {
    if (count > image_count_) {
      delete[] images_;
      images_ = new ImageWorkspace[count];
      image_count_ = count;
    }
    return images_;
  }
  ImageWorkspace* images() { return images_; }
  Buffer<GaussianBlock> blocks;

 private:
  ImageWorkspace* images_ = nullptr;
  int64_t image_count_ = 0;
};

template <class Function>
void parallel_for(ThreadPool& pool, int threads, int64_t count, Function function) {
  pool.run(
      threads, count, [](void* f, int64_t index, int thread) { (*static_cast<Function*>(f))(index, thread); }, &function);
}

int64_t blocks_of(const Problem& problem) { return (problem.gaussians + kLanes - 1) / kLanes; }

// Calls function(scene, block in the scene) for every block of Gaussians.
template <class Function>
void for_each_block(const Problem& problem, ThreadPool& pool, int threads, Function function) {
  const int64_t per_scene = blocks_of(problem), total = per_scene * problem.scenes;
  parallel_for(pool, threads, (total + kBlocksPerTask - 1) / kBlocksPerTask, [&](int64_t task, int) {
    for (int64_t b = task * kBlocksPerTask; b < smaller(total, (task + 1) * kBlocksPerTask); b++) function(b / per_scene, b % per_scene);
  });
}

int count_in_block(const Problem& problem, int64_t block) { return (int)smaller<int64_t>(kLanes, problem.gaussians - block * kLanes); }

Images image_at(const Images& images, const Problem& problem, int64_t i) {
  const int64_t p = i * problem.pixels();
  return {images.rgb + 3 * p, images.alpha + p, images.depth + p};
}

void* new_context() { return new Context; }
void delete_context(void* context) { delete static_cast<Context*>(context); }

void forward(void* context_pointer, const Problem& problem, const Images& out, bool keep_for_backward, int threads, ThreadPool& pool) {
  Context& context = *static_cast<Context*>(context_pointer);
  const int64_t per_scene = blocks_of(problem);
  GaussianBlock* blocks = context.blocks.reserve(per_scene * problem.scenes);
  for_each_block(problem, pool, threads, [&](int64_t scene, int64_t block) {
    prepare_block(problem, scene * problem.gaussians + block * kLanes, count_in_block(problem, block), blocks[scene * per_scene + block]);
  });
  // Without a backward pass a thread's next image may overwrite its last one.
  ImageWorkspace* images = context.images(keep_for_backward ? problem.images() : threads);
  const TileGrid grid(problem);
  parallel_for(pool, threads, problem.images(), [&](int64_t i, int thread) {
    ImageWorkspace& image = images[keep_for_backward ? i : thread];
    project(problem, i, blocks + i / problem.cameras * per_scene, image);
    bin_into_tiles(grid, image);
    for (int t = 0; t < grid.count(); t++) forward_tile(image, grid, t, problem.backgrounds + 3 * i, image_at(out, problem, i));
  });
}

void backward(void* context_pointer, const Problem& problem, const Images& out, const Images& v, const Gradients& gradients, int threads,
              ThreadPool& pool) {
  Context& context = *static_cast<Context*>(context_pointer);
  const int64_t per_scene = blocks_of(problem);
  ImageWorkspace* images = context.images();
  const TileGrid grid(problem);
  parallel_for(pool, threads, problem.images(), [&](int64_t i, int) {
    ImageWorkspace& image = images[i];
    const size_t size = kPixelGradients * kLanes * per_scene;
    memset(image.gradients.reserve(size), 0, sizeof(float) * size);
    for (int t = 0; t < grid.count(); t++) backward_tile(image, grid, t, image_at(out, problem, i), image_at(v, problem, i));
  });
  for_each_block(problem, pool, threads, [&](int64_t scene, int64_t block) {
    backward_block(problem, scene, block * kLanes, count_in_block(problem, block), context.blocks[scene * per_scene + block], images,
                   gradients);
  });
}

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {RL3D_ISA_NAME, new_context, delete_context, forward, backward};

}  // namespace RL3D_ISA
}  // namespace rl3d
