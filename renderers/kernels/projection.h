// Gaussians to the image plane (EWA splatting, section 4 of the 3DGS paper), forward and backward, sixteen at a time.
// Clipping, blur and thresholds are gsplat's, so that both backends draw the same image.
#pragma once
#include "pipeline.h"
#include "sorting.h"
#include "workspace.h"

namespace rl3d {
namespace RL3D_ISA {

constexpr float kNearPlane = 0.01f;
constexpr float kBlur = 0.3f;                         // added to the 2D covariance's diagonal, in pixels^2 (gsplat's eps2d)
constexpr float kLog2MinAlpha = -7.994353436858858f;  // log2(1/255): smaller alphas are skipped
constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;
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

// Transposes `count` <= 16 rows of `width` floats into lanes; the lanes past the end repeat the first row.
template <int width>
RL3D_INLINE void gather(const float* rows, int count, float out[width][kLanes]) {
  for (int j = 0; j < kLanes; j++)
    for (int c = 0; c < width; c++) out[c][j] = rows[width * (j < count ? j : 0) + c];
}
template <int width>
RL3D_INLINE void scatter(const Floats* values, int count, float* rows) {
  alignas(64) float lanes[width][kLanes];
  for (int c = 0; c < width; c++) store(lanes[c], values[c]);
  for (int j = 0; j < count; j++)
    for (int c = 0; c < width; c++) rows[width * j + c] = lanes[c][j];
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
  Floats cov_xx, cov_xy, cov_yy, det;

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
    const Floats n0 = P[0][1] * P[1][2] - P[0][2] * P[1][1];
    const Floats n1 = P[0][2] * P[1][0] - P[0][0] * P[1][2];
    const Floats n2 = P[0][0] * P[1][1] - P[0][1] * P[1][0];
    det = n0 * n0 + n1 * n1 + n2 * n2 + kBlur * (xx + yy) + kBlur * kBlur;
  }
};

// Writes the visible Gaussians of an image and their keys in depth order.
inline void project(const Problem& problem, int64_t image_index, const GaussianBlock* blocks, ImageWorkspace& image) {
  const Camera camera(problem, image_index);
  const int64_t N = problem.gaussians, scene = image_index / problem.cameras;
  const float* colors = problem.colors + 3 * N * (problem.colors_per_view ? image_index : scene);
  const Floats width = splat((float)problem.width), height = splat((float)problem.height);
  ProjectedGaussian* projected = image.projected.reserve(N);
  uint64_t* keys = image.keys.reserve(N);
  image.keys_swap.reserve(N);
  int visible_count = 0;
  for (int64_t first = 0; first < N; first += kLanes) {
    const GaussianBlock& block = blocks[first / kLanes];
    const Floats log2_opacity = load(block.log2_opacity);
    const Projection p(camera, block);
    const Floats radius2 = max(2.f * kLn2 * (log2_opacity - kLog2MinAlpha), zeros());
    const Floats extent_x = sqrt(radius2 * p.cov_xx), extent_y = sqrt(radius2 * p.cov_yy);
    const Floats mean_x = camera.fx * p.u + camera.cx, mean_y = camera.fy * p.v + camera.cy;
    const Mask visible = (p.z >= splat(kNearPlane)) & (p.det < splat(kHuge)) & (log2_opacity >= splat(kLog2MinAlpha)) &
                         (mean_x + extent_x > zeros()) & (mean_x - extent_x < width) & (mean_y + extent_y > zeros()) &
                         (mean_y - extent_y < height);
    uint32_t lanes = to_bits(visible);
    if (!lanes) continue;
    const Floats inverse_det = 1.f / p.det, inverse_yy = 1.f / p.cov_yy;
    alignas(64) float out[12][kLanes];
    store(out[0], mean_x), store(out[1], mean_y);
    store(out[2], (-0.5f * kLog2E) * p.cov_yy * inverse_det);
    store(out[3], (0.5f * kLog2E) * p.cov_xy * inverse_det);
    store(out[4], (-0.5f * kLog2E) * p.cov_xx * inverse_det);
    store(out[5], p.z), store(out[6], extent_x), store(out[7], extent_y), store(out[8], radius2);
    store(out[9], p.det * inverse_yy), store(out[10], p.cov_xy * inverse_yy), store(out[11], inverse_yy);
    for (; lanes; lanes &= lanes - 1) {
      const int j = __builtin_ctz(lanes);
      const int64_t n = first + j;
      const float* color = colors + 3 * n;
      projected[n] = {out[0][j], out[1][j], out[2][j],  out[3][j], out[4][j], block.log2_opacity[j],
                      color[0],  color[1],  color[2],   out[5][j], out[6][j], out[7][j],
                      out[8][j], out[9][j], out[10][j], out[11][j]};
      keys[visible_count++] = depth_key(out[5][j], n);
    }
  }
  image.visible = visible_count;
  sort_by_depth(image);
}

// From the pixels' gradients of all views of a scene to the gradients of one block of its Gaussians.
inline void backward_block(const Problem& problem, int64_t scene, int64_t first, int count, const GaussianBlock& block,
                           const ImageWorkspace* images, const Gradients& out) {
  const int64_t N = problem.gaussians, row = scene * N + first;
  Floats g_RS[9], g_mean[3], g_color[3];
  for (Floats& g : g_RS) g = zeros();
  for (int k = 0; k < 3; k++) g_mean[k] = g_color[k] = zeros();
  Floats g_log_opacity = zeros();
  for (int64_t c = 0; c < problem.cameras; c++) {
    const int64_t view = scene * problem.cameras + c;
    alignas(64) float pixel[kPixelGradients][kLanes];
    gather<kPixelGradients>(images[view].gradients.data() + kPixelGradients * first, kLanes, pixel);
    if (problem.colors_per_view) {
      const Floats g_view_color[3] = {load(pixel[0]), load(pixel[1]), load(pixel[2])};
      scatter<3>(g_view_color, count, out.colors + 3 * (view * N + first));
    }
    Ints any_bits = bits(load(pixel[0]));
    for (int k = 1; k < 10; k++) any_bits = any_bits | bits(load(pixel[k]));
    // Gaussians that no pixel saw must not contribute: their projection may be infinite.
    const Mask seen = (any_bits << 1) != splat(0);
    if (!any(seen)) continue;
    const Camera camera(problem, view);
    const Projection p(camera, block);
    const float* V = camera.V;
    for (int k = 0; k < 3; k++) g_color[k] += load(pixel[k]);
    g_log_opacity += load(pixel[4]);
    // d log alpha / d mean = conic d = -2 ln 2 h, and d log alpha / d cov = (conic d)(conic d)^T / 2.
    const Floats g_mean_x = -2.f * kLn2 * load(pixel[5]), g_mean_y = -2.f * kLn2 * load(pixel[6]);
    constexpr float kHalfSquare = 2.f * kLn2 * kLn2;
    const Floats g_xx = kHalfSquare * load(pixel[7]), g_xy = kHalfSquare * load(pixel[8]), g_yy = kHalfSquare * load(pixel[9]);
    Floats g_P[2][3], g_JV[2][3];
    for (int i = 0; i < 3; i++) {
      g_P[0][i] = 2.f * (g_xx * p.P[0][i] + g_xy * p.P[1][i]);
      g_P[1][i] = 2.f * (g_xy * p.P[0][i] + g_yy * p.P[1][i]);
    }
    for (int i = 0; i < 3; i++) {
      g_JV[0][i] = g_JV[1][i] = zeros();
      for (int k = 0; k < 3; k++) {
        const Floats RS = load(block.RS[3 * i + k]);
        g_JV[0][i] += g_P[0][k] * RS;
        g_JV[1][i] += g_P[1][k] * RS;
        g_RS[3 * i + k] += keep(seen, p.JV[0][i] * g_P[0][k] + p.JV[1][i] * g_P[1][k]);
      }
    }
    // JV[0] = fx/z (V0 - u V2), JV[1] = fy/z (V1 - v V2): their rows dotted with the gradient.
    const Floats dot_x = g_JV[0][0] * V[0] + g_JV[0][1] * V[1] + g_JV[0][2] * V[2];
    const Floats dot_xz = g_JV[0][0] * V[8] + g_JV[0][1] * V[9] + g_JV[0][2] * V[10];
    const Floats dot_y = g_JV[1][0] * V[4] + g_JV[1][1] * V[5] + g_JV[1][2] * V[6];
    const Floats dot_yz = g_JV[1][0] * V[8] + g_JV[1][1] * V[9] + g_JV[1][2] * V[10];
    const Mask u_free = (p.u >= splat(camera.x_min)) & (p.u <= splat(camera.x_max));
    const Mask v_free = (p.v >= splat(camera.y_min)) & (p.v <= splat(camera.y_max));
    const Floats g_u = camera.fx * g_mean_x - keep(u_free, p.fx_z * dot_xz);
    const Floats g_v = camera.fy * g_mean_y - keep(v_free, p.fy_z * dot_yz);
    const Floats g_inverse_z =
        camera.fx * (dot_x - p.u_clamped * dot_xz) + camera.fy * (dot_y - p.v_clamped * dot_yz) + g_u * p.x + g_v * p.y;
    const Floats g_x = g_u * p.inverse_z, g_y = g_v * p.inverse_z;
    const Floats g_z = load(pixel[3]) - g_inverse_z * p.inverse_z * p.inverse_z;
    for (int k = 0; k < 3; k++) g_mean[k] += keep(seen, V[k] * g_x + V[4 + k] * g_y + V[8 + k] * g_z);
  }

  alignas(64) float quat[4][kLanes], scale[3][kLanes], opacity[1][kLanes];
  gather<4>(problem.quats + 4 * row, count, quat);
  gather<3>(problem.scales + 3 * row, count, scale);
  gather<1>(problem.opacities + row, count, opacity);
  const Rotation rotation = rotation_of(quat);
  const Floats *R = rotation.R, w = rotation.w, x = rotation.x, y = rotation.y, z = rotation.z;
  Floats g_scale[3], d[9];  // d = dL/dR
  for (int k = 0; k < 3; k++) g_scale[k] = g_RS[k] * R[k] + g_RS[3 + k] * R[3 + k] + g_RS[6 + k] * R[6 + k];
  for (int k = 0; k < 9; k++) d[k] = g_RS[k] * load(scale[k % 3]);
  Floats g_quat[4] = {
      2.f * (x * (d[7] - d[5]) + y * (d[2] - d[6]) + z * (d[3] - d[1])),
      2.f * (y * (d[1] + d[3]) + z * (d[2] + d[6]) + w * (d[7] - d[5]) - 2.f * x * (d[4] + d[8])),
      2.f * (x * (d[1] + d[3]) + z * (d[5] + d[7]) + w * (d[2] - d[6]) - 2.f * y * (d[0] + d[8])),
      2.f * (x * (d[2] + d[6]) + y * (d[5] + d[7]) + w * (d[3] - d[1]) - 2.f * z * (d[0] + d[4])),
  };
  // Through the normalisation: the part along the quaternion has no effect.
  const Floats along = g_quat[0] * w + g_quat[1] * x + g_quat[2] * y + g_quat[3] * z;
  const Floats unit[4] = {w, x, y, z};
  for (int k = 0; k < 4; k++) g_quat[k] = (g_quat[k] - along * unit[k]) * rotation.inverse_norm;
  const Floats g_opacity[1] = {g_log_opacity / max(load(opacity[0]), splat(1e-12f))};
  scatter<3>(g_mean, count, out.means + 3 * row);
  scatter<4>(g_quat, count, out.quats + 4 * row);
  scatter<3>(g_scale, count, out.scales + 3 * row);
  scatter<1>(g_opacity, count, out.opacities + row);
  if (!problem.colors_per_view) scatter<3>(g_color, count, out.colors + 3 * row);
}

}  // namespace RL3D_ISA
}  // namespace rl3d
