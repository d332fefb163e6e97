// Gaussians to the image plane (EWA splatting, section 4 of the 3DGS paper), a block at a time.
// Clipping, blur and thresholds are gsplat's, so that both backends draw the same image.
#pragma once
#include "pipeline.h"
#include "sorting.h"
#include "tiles.h"
#include "workspace.h"

namespace rl3d {
namespace RL3D_ISA {

constexpr float kNearPlane = 0.01f;
constexpr float kBlur = 0.3f;                         // added to the 2D covariance's diagonal, in pixels^2 (gsplat's eps2d)
constexpr float kLn2 = 0.6931471805599453f;
constexpr float kRootHalfLog2E = 0.8493218002880191f;  // sqrt(log2(e) / 2)
constexpr float kHuge = 1e30f;  // beyond this a projection would overflow; such a Gaussian is not drawn

struct Rotation {
  Floats w, x, y, z;  // unit quaternion
  Floats inverse_norm;
  Floats R[9];
};

RL3D_INLINE Rotation rotation_of(const float quat[4][kLanes]) {
  Rotation r;
  r.w = load(quat[0]), r.x = load(quat[1]), r.y = load(quat[2]), r.z = load(quat[3]);
  // A zero quaternion becomes the identity, as with torch.nn.functional.normalize.
  r.inverse_norm = 1.f / max(sqrt(r.w * r.w + r.x * r.x + r.y * r.y + r.z * r.z), splat(1e-12f));
  const Floats w = r.w *= r.inverse_norm, x = r.x *= r.inverse_norm, y = r.y *= r.inverse_norm, z = r.z *= r.inverse_norm;
  r.R[0] = 1.f - 2.f * (y * y + z * z), r.R[1] = 2.f * (x * y - w * z), r.R[2] = 2.f * (x * z + w * y);
  r.R[3] = 2.f * (x * y + w * z), r.R[4] = 1.f - 2.f * (x * x + z * z), r.R[5] = 2.f * (y * z - w * x);
  r.R[6] = 2.f * (x * z - w * y), r.R[7] = 2.f * (y * z + w * x), r.R[8] = 1.f - 2.f * (x * x + y * y);
  return r;
}

// Transposes `count` <= kLanes rows of `width` floats into lanes; the lanes past the end repeat the first row.
template <int width>
RL3D_INLINE void gather(const float* rows, int count, float out[width][kLanes]) {
  for (int j = 0; j < kLanes; j++)
    for (int c = 0; c < width; c++) out[c][j] = rows[width * (j < count ? j : 0) + c];
}
RL3D_INLINE void scatter_rows(const float lanes[][kLanes], int count, int width, float* rows) {
  for (int j = 0; j < count; j++)
    for (int c = 0; c < width; c++) rows[width * j + c] = lanes[c][j];
}
template <int width>
RL3D_INLINE void scatter(const Floats* values, int count, float* rows) {
  alignas(64) float lanes[width][kLanes];
  for (int c = 0; c < width; c++) store(lanes[c], values[c]);
  scatter_rows(lanes, count, width, rows);
}

// Fills the block of the Gaussians first .. first + count - 1 (an index over all scenes).
inline void prepare_block(const Problem& problem, int64_t first, int count, GaussianBlock& block) {
  alignas(64) float quat[4][kLanes], scale[3][kLanes];
  gather<4>(problem.quats + 4 * first, count, quat);
  gather<3>(problem.scales + 3 * first, count, scale);
  gather<3>(problem.means + 3 * first, count, block.mean);
  const Rotation rotation = rotation_of(quat);
  for (int k = 0; k < 9; k++) store(block.RS[k], rotation.R[k] * load(scale[k % 3]));
  for (int j = 0; j < kLanes; j++) {
    const float opacity = j < count ? problem.opacities[first + j] : 0.f;
    block.log2_opacity[j] = opacity > 0.f ? __builtin_log2f(opacity) : -kHuge;
  }
}

struct Camera {
  float V[12];  // the upper rows of the view matrix
  float fx, fy, cx, cy;
  float x_min, x_max, y_min, y_max;  // limits of x/z and y/z in the Jacobian, 15 % of the image beyond its edge

  Camera(const Problem& problem, int64_t image) {
    const float* K = problem.Ks + 9 * image;
    const float W = (float)problem.width, H = (float)problem.height;
    memcpy(V, problem.viewmats + 16 * image, sizeof V);
    fx = K[0], fy = K[4], cx = K[2], cy = K[5];
    x_min = -(cx + 0.15f * W) / fx, x_max = (W - cx + 0.15f * W) / fx;
    y_min = -(cy + 0.15f * H) / fy, y_max = (H - cy + 0.15f * H) / fy;
  }
};

// A block of Gaussians in the camera, with the intermediate values that backward needs again.
struct Projection {
  Floats x, y, z, inverse_z;    // camera space
  Floats u, v;                  // x / z, y / z
  Floats u_clamped, v_clamped;  // as the Jacobian takes them
  Floats fx_z, fy_z;            // focal length over z
  Floats JV[2][3];              // rows of the Jacobian times the view rotation
  Floats P[2][3];               // JV RS: the 2D covariance without blur is P P^T
  Floats normal[3];             // the cross product of P's rows; its square is the determinant without blur
  Floats cov_xx, cov_xy, cov_yy, sharp_det, det;

  RL3D_INLINE Projection(const Camera& camera, const GaussianBlock& block) {
    const float* V = camera.V;
    const Floats m0 = load(block.mean[0]), m1 = load(block.mean[1]), m2 = load(block.mean[2]);
    x = V[0] * m0 + V[1] * m1 + V[2] * m2 + V[3];
    y = V[4] * m0 + V[5] * m1 + V[6] * m2 + V[7];
    z = V[8] * m0 + V[9] * m1 + V[10] * m2 + V[11];
    inverse_z = 1.f / z;
    u = x * inverse_z, v = y * inverse_z;
    u_clamped = min(max(u, splat(camera.x_min)), splat(camera.x_max));
    v_clamped = min(max(v, splat(camera.y_min)), splat(camera.y_max));
    fx_z = camera.fx * inverse_z, fy_z = camera.fy * inverse_z;
    for (int i = 0; i < 3; i++) {
      JV[0][i] = fx_z * (V[i] - u_clamped * V[8 + i]);
      JV[1][i] = fy_z * (V[4 + i] - v_clamped * V[8 + i]);
    }
    for (int row = 0; row < 2; row++)
      for (int i = 0; i < 3; i++)
        P[row][i] = JV[row][0] * load(block.RS[i]) + JV[row][1] * load(block.RS[3 + i]) + JV[row][2] * load(block.RS[6 + i]);
    const Floats xx = P[0][0] * P[0][0] + P[0][1] * P[0][1] + P[0][2] * P[0][2];
    const Floats yy = P[1][0] * P[1][0] + P[1][1] * P[1][1] + P[1][2] * P[1][2];
    cov_xx = xx + kBlur, cov_yy = yy + kBlur;
    cov_xy = P[0][0] * P[1][0] + P[0][1] * P[1][1] + P[0][2] * P[1][2];
    // det(P P^T) = |p x q|^2 (Lagrange): cov_xx cov_yy - cov_xy^2 would cancel for long thin Gaussians.
    for (int i = 0; i < 3; i++) normal[i] = P[0][(i + 1) % 3] * P[1][(i + 2) % 3] - P[0][(i + 2) % 3] * P[1][(i + 1) % 3];
    sharp_det = normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2];
    det = sharp_det + kBlur * (xx + yy) + kBlur * kBlur;
  }
};

// log2 of the opacity as this view sees it. Antialiased, it shrinks by sqrt(det / blurred det), so that a Gaussian much smaller than a
// pixel covers no more of the image than it would without blur.
inline Floats log2_opacity_in_view(const Problem& problem, const GaussianBlock& block, const Projection& p) {
  const Floats log2_opacity = load(block.log2_opacity);
  if (!problem.antialiased) return log2_opacity;
  alignas(64) float shrinking[kLanes];
  store(shrinking, p.sharp_det / p.det);
  for (float& x : shrinking) x = x > 0.f ? 0.5f * __builtin_log2f(x) : -kHuge;
  return log2_opacity + load(shrinking);
}

// The inverse covariance is W^T W with W = ((sigma_y, -cov_xy / sigma_y) / sqrt(det), (0, 1 / sigma_y)); here times sqrt(log2(e) / 2).
struct Whitening {
  Floats xx, xy, yy;
  Floats shear;

  RL3D_INLINE explicit Whitening(const Projection& p) {
    const Floats sigma_y = sqrt(p.cov_yy), inverse_sigma_y = 1.f / sigma_y;
    shear = p.cov_xy * inverse_sigma_y * inverse_sigma_y;
    xx = kRootHalfLog2E * sigma_y / sqrt(p.det);
    xy = -(shear * xx), yy = kRootHalfLog2E * inverse_sigma_y;
  }
};

// Writes the visible Gaussians of one chunk of an image, and their keys at the chunk's place in image.keys.
inline void project_chunk(const Problem& problem, const TileGrid& grid, int64_t image_index, int64_t chunk, const GaussianBlock* blocks,
                          ImageWorkspace& image) {
  const Camera camera(problem, image_index);
  const int64_t N = problem.gaussians, K = problem.channels, scene = image_index / problem.cameras;
  const float* colors = problem.colors + K * N * (problem.colors_per_view ? image_index : scene);
  const Floats width = splat((float)problem.width), height = splat((float)problem.height);
  const int inline_channels = (int)smaller<int64_t>(K, 3);
  ProjectedGaussian* projected = image.projected.data();
  uint64_t* keys = image.keys.data() + chunk * kChunk;
  int64_t visible_count = 0, reach = 0;
  for (int64_t first = chunk * kChunk; first < smaller(N, (chunk + 1) * kChunk); first += kLanes) {
    const GaussianBlock& block = blocks[first / kLanes];
    const Projection p(camera, block);
    const Floats log2_opacity = log2_opacity_in_view(problem, block, p);
    const Floats radius = sqrt(max(2.f * kLn2 * (log2_opacity - kLog2MinAlpha), zeros()));
    const Floats extent_x = radius * sqrt(p.cov_xx), extent_y = radius * sqrt(p.cov_yy);
    const Floats mean_x = camera.fx * p.u + camera.cx, mean_y = camera.fy * p.v + camera.cy;
    const Mask visible = (p.z >= splat(kNearPlane)) & (p.det < splat(kHuge)) & (log2_opacity >= splat(kLog2MinAlpha)) &
                         (mean_x + extent_x > zeros()) & (mean_x - extent_x < width) & (mean_y + extent_y > zeros()) &
                         (mean_y - extent_y < height);
    uint32_t lanes = to_bits(visible);
    if (!lanes) continue;
    const Whitening w(p);
    alignas(64) float out[11][kLanes];
    store(out[0], mean_x), store(out[1], mean_y), store(out[2], w.xx), store(out[3], w.xy), store(out[4], w.yy);
    store(out[5], log2_opacity), store(out[6], p.z);
    store(out[7], extent_x), store(out[8], extent_y), store(out[9], 1.f / w.xx), store(out[10], w.shear);
    for (; lanes; lanes &= lanes - 1) {
      const int j = __builtin_ctz(lanes);
      const int64_t n = first + j;
      ProjectedGaussian& g = projected[n];
      g = {out[0][j], out[1][j], out[2][j], out[3][j], out[4][j], out[5][j], {}, out[6][j], out[7][j], out[8][j], out[9][j], out[10][j]};
      for (int k = 0; k < inline_channels; k++) g.color[k] = colors[K * n + k];
      keys[visible_count++] = depth_key(out[6][j], n);
      reach += TileRange(g, grid).count();
    }
  }
  image.chunk_visible[chunk] = visible_count;
  image.chunk_reach[chunk] = reach;
}

// The chunks' keys, moved together and sorted by depth.
inline void order_by_depth(const Problem& problem, ImageWorkspace& image) {
  image.visible = 0, image.reach = 0;
  for (int64_t chunk = 0; chunk < chunks_of(problem); chunk++) {
    const int64_t count = image.chunk_visible[chunk];
    if (count) memmove(image.keys.data() + image.visible, image.keys.data() + chunk * kChunk, sizeof(uint64_t) * count);  // else maybe null
    image.visible += count;
    image.reach += image.chunk_reach[chunk];
  }
  if (image.reach > kMaxEntries) throw std::bad_alloc();
  sort_by_depth(image);
  image.segments.reserve(segments_of(image));
  memset(image.first_slot.reserve(problem.gaussians + 1), 0, sizeof(uint32_t) * (problem.gaussians + 1));
}

}  // namespace RL3D_ISA
}  // namespace rl3d
