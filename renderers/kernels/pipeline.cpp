// The stages in order, in parallel over images or over their tiles, and over blocks of Gaussians. Compiled once per instruction set.
// Every tile is drawn by one thread, and sums are taken in a fixed order, so results do not depend on the number of threads or on
// the batch.
#include "pipeline.h"

#include "backward.h"
#include "forward.h"
#include "projection.h"
#include "projection_backward.h"
#include "thread_pool.h"
#include "tiles.h"

namespace rl3d {
namespace RL3D_ISA {
namespace {

constexpr int64_t kBlocksPerTask = 256 / kLanes;

struct Context {
  Pool<ImageWorkspace> images;
  Buffer<GaussianBlock> blocks;
  Buffer<float> cameras;  // kCameraGradients of every image and block
};

template <class Function>
void parallel_for(ThreadPool& pool, int threads, int64_t count, Function function) {
  pool.run(
      threads, count, [](void* f, int64_t index, int thread) { (*static_cast<Function*>(f))(index, thread); }, &function);
}

int64_t blocks_of(const Problem& problem) { return (problem.gaussians + kLanes - 1) / kLanes; }

// Calls function(scene, block in the scene) for every block of Gaussians; from `worth_a_thread` Gaussians on by several threads.
template <class Function>
void for_each_block(const Problem& problem, ThreadPool& pool, int threads, int64_t worth_a_thread, Function function) {
  const int64_t per_scene = blocks_of(problem), total = per_scene * problem.scenes;
  if (total * kLanes < worth_a_thread) threads = 1;
  parallel_for(pool, threads, (total + kBlocksPerTask - 1) / kBlocksPerTask, [&](int64_t task, int) {
    for (int64_t b = task * kBlocksPerTask; b < smaller(total, (task + 1) * kBlocksPerTask); b++) function(b / per_scene, b % per_scene);
  });
}

int count_in_block(const Problem& problem, int64_t block) { return (int)smaller<int64_t>(kLanes, problem.gaussians - block * kLanes); }

Images image_at(const Images& images, const Problem& problem, int64_t i) {
  const int64_t p = i * problem.pixels();
  return {images.color + problem.channels * p, images.alpha + p, images.depth + p};
}

void* new_context() { return new Context; }
void delete_context(void* context) { delete static_cast<Context*>(context); }

// Whole images go to the threads where there are enough of them. Where there are fewer, their lists may still be made image by image, but
// their tiles are drawn one by one; else all stages are parallel over chunks, segments and tiles.
bool by_image(const Problem& problem, int threads) { return threads <= 1 || problem.images() >= 4 * threads; }
bool lists_by_image(const Problem& problem, int threads) { return threads <= 1 || problem.images() >= 2 * threads; }

void forward(void* context_pointer, const Problem& problem, const Images& out, bool keep_for_backward, int threads, ThreadPool& pool) {
  Context& context = *static_cast<Context*>(context_pointer);
  const int64_t per_scene = blocks_of(problem), chunks = chunks_of(problem);
  GaussianBlock* blocks = context.blocks.reserve(per_scene * problem.scenes);
  for_each_block(problem, pool, threads, 16384, [&](int64_t scene, int64_t block) {
    prepare_block(problem, scene * problem.gaussians + block * kLanes, count_in_block(problem, block), blocks[scene * per_scene + block]);
  });
  const TileGrid grid(problem);
  const bool whole_images = by_image(problem, threads);
  // Without a backward pass a thread's next image may overwrite its last one.
  const bool own_workspace = keep_for_backward || !whole_images;
  ImageWorkspace* images = context.images.reserve(own_workspace ? problem.images() : threads);
  const auto start = [&](ImageWorkspace& image) {
    image.projected.reserve(problem.gaussians);
    image.keys.reserve(problem.gaussians), image.keys_swap.reserve(problem.gaussians);
    image.chunk_visible.reserve(chunks), image.chunk_reach.reserve(chunks);
  };
  const auto project = [&](int64_t i, int64_t chunk, ImageWorkspace& image) {
    project_chunk(problem, grid, i, chunk, blocks + i / problem.cameras * per_scene, image);
  };
  const auto draw = [&](int64_t i, int tile, const ImageWorkspace& image) {
    const auto forward_tile_of = problem.channels == 3 ? forward_tile<3> : forward_tile<kMaxChannels>;
    forward_tile_of(problem, image, grid, tile, i, image_at(out, problem, i));
  };
  const int64_t count = problem.images(), tiles = grid.count();
  const auto draw_all = [&] {
    parallel_for(pool, threads, count * tiles, [&](int64_t task, int) { draw(task / tiles, (int)(task % tiles), images[task / tiles]); });
  };
  if (lists_by_image(problem, threads)) {
    parallel_for(pool, threads, count, [&](int64_t i, int thread) {
      ImageWorkspace& image = images[own_workspace ? i : thread];
      start(image);
      for (int64_t chunk = 0; chunk < chunks; chunk++) project(i, chunk, image);
      order_by_depth(problem, image);
      for (int64_t s = 0; s < segments_of(image); s++) bin_segment(grid, image, s);
      lay_out_tiles(problem, grid, image);
      for (int64_t s = 0; s < segments_of(image); s++) fill_tiles(image, s);
      for (int t = 0; whole_images && t < tiles; t++) draw(i, t, image);
    });
    if (!whole_images) draw_all();
    return;
  }
  for (int64_t i = 0; i < count; i++) start(images[i]);
  parallel_for(pool, threads, count * chunks, [&](int64_t task, int) { project(task / chunks, task % chunks, images[task / chunks]); });
  parallel_for(pool, threads, count, [&](int64_t i, int) { order_by_depth(problem, images[i]); });
  int64_t segments = 0;  // of the image with the most
  for (int64_t i = 0; i < count; i++) segments = larger(segments, segments_of(images[i]));
  parallel_for(pool, threads, count * segments, [&](int64_t task, int) {
    ImageWorkspace& image = images[task / segments];
    if (task % segments < segments_of(image)) bin_segment(grid, image, task % segments);
  });
  for (int64_t i = 0; i < count; i++) lay_out_tiles(problem, grid, images[i]);
  parallel_for(pool, threads, count * segments, [&](int64_t task, int) {
    ImageWorkspace& image = images[task / segments];
    if (task % segments < segments_of(image)) fill_tiles(image, task % segments);
  });
  draw_all();
}

void backward(void* context_pointer, const Problem& problem, const Images& out, const Images& v, const Gradients& gradients, int threads,
              ThreadPool& pool) {
  Context& context = *static_cast<Context*>(context_pointer);
  const int64_t per_scene = blocks_of(problem), C = problem.cameras;
  ImageWorkspace* images = context.images.data();
  const TileGrid grid(problem);
  const int64_t tiles = grid.count();
  const auto start = [&](ImageWorkspace& image) {
    image.gradients.reserve(entry_gradients((int)problem.channels) * image.tile_start[tiles]);
  };
  const auto draw = [&](int64_t i, int tile) {
    const auto backward_tile_of = problem.channels == 3 ? gradients.screen ? backward_tile<3, true> : backward_tile<3, false>
                                  : gradients.screen    ? backward_tile<kMaxChannels, true>
                                                        : backward_tile<kMaxChannels, false>;
    backward_tile_of(problem, images[i], grid, tile, i, image_at(out, problem, i), image_at(v, problem, i));
  };
  if (by_image(problem, threads)) {
    parallel_for(pool, threads, problem.images(), [&](int64_t i, int) {
      start(images[i]);
      for (int t = 0; t < tiles; t++) draw(i, t);
    });
  } else {
    for (int64_t i = 0; i < problem.images(); i++) start(images[i]);
    parallel_for(pool, threads, problem.images() * tiles, [&](int64_t task, int) { draw(task / tiles, (int)(task % tiles)); });
  }
  // What the blocks of a scene say of each camera, summed afterwards in the order of the blocks.
  float* of_cameras = gradients.viewmats ? context.cameras.reserve(kCameraGradients * problem.images() * per_scene) : nullptr;
  for_each_block(problem, pool, threads, 1024, [&](int64_t scene, int64_t block) {
    const auto backward_block_of = problem.channels == 3 ? backward_block<3> : backward_block<kMaxChannels>;
    backward_block_of(problem, scene, block * kLanes, count_in_block(problem, block), context.blocks[scene * per_scene + block], images,
                   gradients, of_cameras ? of_cameras + kCameraGradients * (scene * C * per_scene + block) : nullptr,
                   kCameraGradients * per_scene);
  });
  if (of_cameras)
    parallel_for(pool, threads, problem.images(), [&](int64_t i, int) {
      sum_camera_gradients(of_cameras + kCameraGradients * i * per_scene, per_scene, gradients.viewmats + 16 * i, gradients.Ks + 9 * i);
    });
}

}  // namespace

#if defined(__aarch64__)
constexpr const char* kName = "neon";  // of which a register has the baseline's four lanes
#else
constexpr const char* kName = RL3D_ISA_NAME;
#endif

extern const Kernels kernels;
const Kernels kernels = {kName, new_context, delete_context, forward, backward};

}  // namespace RL3D_ISA
}  // namespace rl3d
