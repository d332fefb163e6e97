// Which triangle each pixel sees: a z-buffer over homogeneous edge functions (Olano and Greer, Triangle Scan Conversion using 2D
// Homogeneous Coordinates, 1997), so that triangles need no clipping at the near plane. Shading is Python's (renderers/mesh.py).
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <new>
#include <vector>

#include "runtime.h"

namespace rl3d {
namespace {

constexpr double kNearPlane = 0.01;
constexpr int64_t kBand = 32;  // rows of an image that one task draws

}  // namespace

// Filled by ctypes (renderers/mesh.py).
struct MeshProblem {
  int64_t images, vertices, faces;
  int64_t images_per_mesh;  // consecutive images that share their faces
  int64_t width, height;
  const float* points;        // (I, V, 3), in the camera
  const int32_t* triangles;   // (I / images_per_mesh, F, 3)
  const float* intrinsics;    // (I, 4): fx, fy, cx, cy
  int32_t* face;              // out, (I, H, W): index of the nearest triangle, -1 where there is none
};

namespace {

// What is linear over the image: n . ray, with n the cross product of two corners. The three of a triangle are the unnormalised
// barycentric coordinates, perspective and all; their sum over the determinant is 1 / z.
struct Edge {
  double x, y, one;
  Edge(const double* a, const double* b, const float* K) {
    const double nx = a[1] * b[2] - a[2] * b[1], ny = a[2] * b[0] - a[0] * b[2], nz = a[0] * b[1] - a[1] * b[0];
    x = nx / K[0], y = ny / K[1];
    one = nz - K[2] * x - K[3] * y;
  }
};

// First and last pixel along one axis that the triangle's box covers, within [0, size). All of them if a corner is not in front.
void span(const double (*corner)[3], int axis, const float* K, int64_t low, int64_t size, int64_t& first, int64_t& last) {
  first = low, last = size - 1;
  double least = INFINITY, most = -INFINITY;
  for (int k = 0; k < 3; k++) {
    if (!(corner[k][2] >= kNearPlane)) return;
    const double pixel = K[axis] * corner[k][axis] / corner[k][2] + K[2 + axis];
    least = std::min(least, pixel), most = std::max(most, pixel);
  }
  first = std::max<double>((double)low, std::min<double>(std::ceil(least - 0.5), (double)size));
  last = std::min<double>((double)size - 1, std::max<double>(std::floor(most - 0.5), (double)low - 1));
}

void draw_band(const MeshProblem& problem, int64_t image, int64_t y0, int64_t y1, std::vector<float>& inverse_depth) {
  const float* points = problem.points + 3 * problem.vertices * image;
  const float* K = problem.intrinsics + 4 * image;
  const int32_t* triangles = problem.triangles + 3 * problem.faces * (image / problem.images_per_mesh);
  int32_t* face = problem.face + problem.width * problem.height * image;
  std::fill(face + y0 * problem.width, face + y1 * problem.width, -1);
  inverse_depth.assign((size_t)((y1 - y0) * problem.width), 0.f);
  for (int64_t f = 0; f < problem.faces; f++) {
    double corner[3][3];
    for (int k = 0; k < 3; k++)
      for (int c = 0; c < 3; c++) corner[k][c] = points[3 * triangles[3 * f + k] + c];
    if (corner[0][2] < kNearPlane && corner[1][2] < kNearPlane && corner[2][2] < kNearPlane) continue;
    int64_t first_x, last_x, first_y, last_y;
    span(corner, 1, K, y0, y1, first_y, last_y);
    if (first_y > last_y) continue;
    span(corner, 0, K, 0, problem.width, first_x, last_x);
    if (first_x > last_x) continue;
    const Edge edges[3] = {{corner[1], corner[2], K}, {corner[2], corner[0], K}, {corner[0], corner[1], K}};
    const double* a = corner[0];
    const double determinant = a[0] * (corner[1][1] * corner[2][2] - corner[1][2] * corner[2][1]) +
                               a[1] * (corner[1][2] * corner[2][0] - corner[1][0] * corner[2][2]) +
                               a[2] * (corner[1][0] * corner[2][1] - corner[1][1] * corner[2][0]);
    if (!(determinant != 0.0) || !std::isfinite(determinant)) continue;  // seen edge-on, or degenerate
    const double sign = determinant > 0 ? 1.0 : -1.0, scale = 1.0 / determinant;
    for (int64_t y = first_y; y <= last_y; y++)
      for (int64_t x = first_x; x <= last_x; x++) {
        double e[3];
        for (int k = 0; k < 3; k++) e[k] = edges[k].x * ((double)x + 0.5) + (edges[k].y * ((double)y + 0.5) + edges[k].one);
        if (!(sign * e[0] >= 0 && sign * e[1] >= 0 && sign * e[2] >= 0)) continue;
        const float inverse = (float)((e[0] + e[1] + e[2]) * scale);
        float& nearest = inverse_depth[(size_t)((y - y0) * problem.width + x)];
        if (inverse > nearest && inverse <= 1.0 / kNearPlane) {
          nearest = inverse;
          face[y * problem.width + x] = (int32_t)f;
        }
      }
  }
}

}  // namespace
}  // namespace rl3d

// Returns 0 if memory ran out, else 1. Every pixel depends on its own band alone, so not on the number of threads.
RL3D_API int rl3d_mesh_rasterize(const rl3d::MeshProblem* problem, int threads) {
  const int64_t bands = (problem->height + rl3d::kBand - 1) / rl3d::kBand;
  try {
    rl3d::run_in_pool(threads, problem->images * bands, [&](int64_t task, int) {
      std::vector<float> inverse_depth;
      const int64_t image = task / bands, y0 = task % bands * rl3d::kBand;
      rl3d::draw_band(*problem, image, y0, std::min(problem->height, y0 + rl3d::kBand), inverse_depth);
    });
  } catch (const std::bad_alloc&) {
    return 0;
  }
  return 1;
}
