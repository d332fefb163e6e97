// The gradient of projection: from what the tiles say of each entry to the gradients of the Gaussians and the cameras.
#pragma once
#include "projection.h"

namespace rl3d {
namespace RL3D_ISA {

// What backward keeps of one camera, of one block of Gaussians: the view matrix's upper rows, then fx, fy, cx, cy.
constexpr int kCameraGradients = 16;

// The sums over each Gaussian's entries, lane by lane; says which Gaussians have any. Those without must not contribute: their projection
// may be infinite.
template <int kMaxK>
RL3D_INLINE Mask gather_entries(const ImageWorkspace& image, int64_t first, int count, int K, float out[][kLanes]) {
  const int rows = entry_gradients(kMaxK == 3 ? 3 : K);
  alignas(64) float seen[kLanes] = {};
  for (int k = 0; k < rows; k++) store(out[k], zeros());
  for (int j = 0; j < count; j++) {
    const uint32_t begin = image.first_slot[first + j], end = image.first_slot[first + j + 1];
    const float* slot = image.gradients.data() + (int64_t)rows * begin;
    alignas(64) float sums[entry_gradients(kMaxK)] = {};
    for (uint32_t i = begin; i < end; i++, slot += rows)
      for (int k = 0; k < rows; k++) sums[k] += slot[k];
    for (int k = 0; k < rows; k++) out[k][j] = sums[k];
    seen[j] = end > begin ? 1.f : 0.f;
  }
  return load(seen) > zeros();
}

// The gradients of the Gaussians first .. first + count - 1 of a scene, over all its views. `of_cameras`, unless null, takes
// kCameraGradients numbers a view, `camera_stride` apart.
template <int kMaxK>
inline void backward_block(const Problem& problem, int64_t scene, int64_t first, int count, const GaussianBlock& block,
                           const ImageWorkspace* images, const Gradients& out, float* of_cameras, int64_t camera_stride) {
  const int64_t N = problem.gaussians, row = scene * N + first;
  const int K = kMaxK == 3 ? 3 : (int)problem.channels;
  Floats g_RS[9], g_mean[3] = {zeros(), zeros(), zeros()}, g_log_opacity = zeros();
  for (Floats& g : g_RS) g = zeros();
  alignas(64) float g_color[kMaxK][kLanes] = {}, pixel[entry_gradients(kMaxK)][kLanes];
  for (int64_t c = 0; c < problem.cameras; c++) {
    const int64_t view = scene * problem.cameras + c;
    const Mask seen = gather_entries<kMaxK>(images[view], first, count, K, pixel);
    float(*view_color)[kLanes] = pixel + kColor;
    if (problem.colors_per_view) {
      scatter_rows(view_color, count, K, out.colors + K * (view * N + first));
    } else {
      for (int k = 0; k < K; k++) store(g_color[k], load(g_color[k]) + load(view_color[k]));
    }
    const Camera camera(problem, view);
    const Projection p(camera, block);
    const Whitening w(p);
    const Floats xx = w.xx, xy = w.xy, yy = w.yy;
    // d log alpha / d mean = 2 ln 2 W^T t.
    const Floats s_x = load(pixel[kSX]), s_y = load(pixel[kSY]);
    const Floats g_mean_x = keep(seen, 2.f * kLn2 * xx * s_x), g_mean_y = keep(seen, 2.f * kLn2 * (xy * s_x + yy * s_y));
    if (out.screen) {
      alignas(64) float screen[4][kLanes];
      store(screen[0], g_mean_x), store(screen[1], g_mean_y);
      store(screen[2], 2.f * kLn2 * load(pixel[kAbsX])), store(screen[3], 2.f * kLn2 * load(pixel[kAbsY]));
      scatter_rows(screen, count, 4, out.screen + 4 * (view * N + first));
    }
    float* of_camera = of_cameras ? of_cameras + camera_stride * c : nullptr;
    if (of_camera) memset(of_camera, 0, sizeof(float) * kCameraGradients);
    if (!any(seen)) continue;
    const float* V = camera.V;
    const Floats g_log_alpha = load(pixel[kS]);
    g_log_opacity += g_log_alpha;
    // d log alpha / d cov = (conic d)(conic d)^T / 2, and conic d = 2 ln 2 W^T t.
    constexpr float kHalfSquare = 2.f * kLn2 * kLn2;
    const Floats s_xx = load(pixel[kSXX]), s_xy = load(pixel[kSXY]), s_yy = load(pixel[kSYY]);
    const Floats g_xx = kHalfSquare * xx * xx * s_xx, g_xy = kHalfSquare * xx * (xy * s_xx + yy * s_xy);
    const Floats g_yy = kHalfSquare * (xy * xy * s_xx + 2.f * xy * yy * s_xy + yy * yy * s_yy);
    Floats g_P[2][3], g_JV[2][3];
    for (int i = 0; i < 3; i++) {
      g_P[0][i] = 2.f * (g_xx * p.P[0][i] + g_xy * p.P[1][i]);
      g_P[1][i] = 2.f * (g_xy * p.P[0][i] + g_yy * p.P[1][i]);
    }
    if (problem.antialiased) {
      // log opacity gained 1/2 log(sharp_det / det), and det = sharp_det + blur (|P0|^2 + |P1|^2) + blur^2.
      const Floats g_det = -0.5f * g_log_alpha / p.det, g_sharp = 0.5f * g_log_alpha / p.sharp_det + g_det;
      for (int i = 0; i < 3; i++) {
        const int j = (i + 1) % 3, k = (i + 2) % 3;
        g_P[0][i] += 2.f * (g_sharp * (p.P[1][j] * p.normal[k] - p.P[1][k] * p.normal[j]) + kBlur * g_det * p.P[0][i]);
        g_P[1][i] += 2.f * (g_sharp * (p.normal[j] * p.P[0][k] - p.normal[k] * p.P[0][j]) + kBlur * g_det * p.P[1][i]);
      }
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
    const Floats g_z = load(pixel[kDepth]) - g_inverse_z * p.inverse_z * p.inverse_z;
    for (int k = 0; k < 3; k++) g_mean[k] += keep(seen, V[k] * g_x + V[4 + k] * g_y + V[8 + k] * g_z);
    if (!of_camera) continue;
    Floats g_camera[kCameraGradients];
    const Floats g_point[3] = {g_x, g_y, g_z};
    for (int r = 0; r < 3; r++) {
      for (int k = 0; k < 3; k++) g_camera[4 * r + k] = g_point[r] * load(block.mean[k]);
      g_camera[4 * r + 3] = g_point[r];
    }
    for (int k = 0; k < 3; k++) {
      const Floats a = p.fx_z * g_JV[0][k], b = p.fy_z * g_JV[1][k];
      g_camera[k] += a, g_camera[4 + k] += b, g_camera[8 + k] -= p.u_clamped * a + p.v_clamped * b;
    }
    // Where the Jacobian is clamped, its limit x = (pixel - cx) / fx moves with the intrinsics: dx = -(x dfx + dcx) / fx.
    const Floats g_u_limit = keep(and_not(seen, u_free), p.fx_z * dot_xz) / splat(camera.fx);
    const Floats g_v_limit = keep(and_not(seen, v_free), p.fy_z * dot_yz) / splat(camera.fy);
    g_camera[12] = g_mean_x * p.u + p.inverse_z * (dot_x - p.u_clamped * dot_xz) + g_u_limit * p.u_clamped;
    g_camera[13] = g_mean_y * p.v + p.inverse_z * (dot_y - p.v_clamped * dot_yz) + g_v_limit * p.v_clamped;
    g_camera[14] = g_mean_x + g_u_limit;
    g_camera[15] = g_mean_y + g_v_limit;
    for (Floats& g : g_camera) g = keep(seen, g);
    sum_lanes<kCameraGradients>(g_camera, of_camera);
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
  if (!problem.colors_per_view) scatter_rows(g_color, count, K, out.colors + K * row);
}

// One camera's gradient, from those of all blocks of its scene.
inline void sum_camera_gradients(const float* of_blocks, int64_t blocks, float* viewmat, float* K) {
  double sums[kCameraGradients] = {};
  for (int64_t b = 0; b < blocks; b++)
    for (int k = 0; k < kCameraGradients; k++) sums[k] += of_blocks[kCameraGradients * b + k];
  for (int k = 0; k < 16; k++) viewmat[k] = k < 12 ? (float)sums[k] : 0.f;
  const float intrinsics[9] = {(float)sums[12], 0.f, (float)sums[14], 0.f, (float)sums[13], (float)sums[15], 0.f, 0.f, 0.f};
  memcpy(K, intrinsics, sizeof intrinsics);
}

}  // namespace RL3D_ISA
}  // namespace rl3d
