"""The method ``rl3d-splats`` for nerfstudio. It draws runs of ``rl3d.nerfstudio.run``: on CUDA with
gsplat, on the CPU with our rasteriser.

nerfstudio loads this module by the entry point in pyproject.toml. Without an installation, set
NERFSTUDIO_METHOD_CONFIGS="rl3d-splats=rl3d.nerfstudio.method:method". No other module imports this
one at its top: nerfstudio is optional."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras as NerfstudioCameras
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanagerConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.model_components import renderers as nerfstudio_renderers
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from nerfstudio.plugins.types import MethodSpecification
from nerfstudio.utils.rich_utils import CONSOLE
from nerfstudio.viewer.viewer_elements import ViewerControl
from torch import Tensor

from renderers import render
from rl3d.nerfstudio.run import FIELDS, START_FOV_DEG, extent, start
from scenes.cameras import Cameras
from scenes.gaussians import Gaussians

NAME = "rl3d-splats"


class StartView(ViewerControl):
    """Moves the camera of a new page to a view of the asset. nerfstudio's default is inside the
    scene."""

    def __init__(self, model: SplatsModel) -> None:
        self.model = model

    def _setup(self, viewer: Any) -> None:
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO as SCALE

        super()._setup(viewer)
        low, high = self.model.bounds
        camera = self.viser_server.initial_camera
        camera.fov = math.radians(START_FOV_DEG)
        camera.look_at = (SCALE * (low + high) / 2).numpy()
        camera.position = (SCALE * start(low, high)).numpy()


@dataclass
class SplatsConfig(ModelConfig):
    """``rl3d-splats`` has no settings."""

    _target: type = field(default_factory=lambda: SplatsModel)
    enable_collider: bool = False


class SplatsModel(Model):
    """A fixed scene of Gaussians. Its tensors are read from the checkpoint."""

    def populate_modules(self) -> None:
        super().populate_modules()
        for name, shape in zip(FIELDS, ((0, 3), (0, 4), (0, 3), (0,), (0, 3), (0, 0, 3)), strict=True):
            self.register_buffer(name, torch.empty(shape))
        self.bounds = torch.zeros(3), torch.ones(3)
        self.start_view = StartView(self)

    def load_state_dict(self, state_dict, strict: bool = True, assign: bool = False):
        for name in FIELDS:
            setattr(self, name, torch.empty_like(state_dict[name], device=self.device))
        loaded = super().load_state_dict(state_dict, strict=strict, assign=assign)
        self.bounds = extent(self.gaussians())
        return loaded

    def gaussians(self) -> Gaussians:
        """The scene, on the model's device."""
        tensors = {name: self.get_buffer(name) for name in FIELDS}
        rest = tensors.pop("sh_rest")
        return Gaussians(**tensors, sh_rest=rest if rest.shape[1] else None)

    @torch.no_grad()
    def get_outputs_for_camera(
        self, camera: NerfstudioCameras, obb_box: OrientedBox | None = None
    ) -> dict[str, Tensor]:
        """Images (h, w, c) of one perspective camera: rgb over white, accumulation, and depth in
        metres along each pixel's ray.

        ``obb_box`` is the viewer's crop box: Gaussians with their centre outside are left out.
        """
        scene = self.gaussians()
        if obb_box is not None:
            scene = scene.select(obb_box.within(scene.means).reshape(-1))
        if (camera.camera_type != CameraType.PERSPECTIVE.value).any():
            # An exception would stop the viewer's thread.
            CONSOLE.print(f"[bold yellow]{NAME} draws perspective cameras only: the picture stays empty")
            scene = scene.select(torch.zeros_like(scene.opacities, dtype=torch.bool))
        seen = opencv_camera(camera)
        crop_background = nerfstudio_renderers.BACKGROUND_COLOR_OVERRIDE
        views = render(scene, seen, background=(1.0, 1.0, 1.0) if crop_background is None else crop_background)
        alpha, depth = views.alpha[0], views.depth[0]
        # nerfstudio's depth is the length of the ray. Rays that miss the asset end behind all
        # cameras of the run: a shorter ray would hide their frustums.
        low, high = self.bounds
        far = (seen.positions[0].cpu() - (low + high) / 2).norm() + 2 * (high - low).norm()
        length = torch.where(alpha > 0, depth * _stretch(seen).to(depth), far.to(depth))
        return {"rgb": views.rgb[0].clamp(0, 1), "depth": length, "accumulation": alpha}

    def get_outputs(self, ray_bundle) -> dict[str, Any]:
        if not isinstance(ray_bundle, NerfstudioCameras):
            raise TypeError(f"{NAME} draws whole images: it takes a camera, not a ray bundle")
        return self.get_outputs_for_camera(ray_bundle)

    def get_image_metrics_and_images(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> tuple[dict, dict]:
        """For ``ns-eval``: PSNR in dB against the dataset's image, and the two side by side."""
        rgb, truth = outputs["rgb"], batch["image"].to(outputs["rgb"])
        psnr = -10 * (rgb - truth).square().mean().clamp_min(1e-10).log10()
        return {"psnr": float(psnr)}, {"img": torch.cat([truth, rgb], 1)}

    def get_param_groups(self):
        raise NotImplementedError(
            f"{NAME} shows finished assets, ns-train cannot train it: rl3d train improves the generator, "
            "ns-train splatfacto fits splats to the images of a run"
        )


def opencv_camera(camera: NerfstudioCameras) -> Cameras:
    """The first of nerfstudio's cameras as ``Cameras``. nerfstudio's poses are camera-to-world,
    with y up and z backward."""
    pose = camera.camera_to_worlds.reshape(-1, 3, 4)[0]
    rotation = pose[:, :3] * pose.new_tensor([1.0, -1, -1])
    viewmat = torch.eye(4, dtype=pose.dtype, device=pose.device)
    viewmat[:3, :3] = rotation.T
    viewmat[:3, 3] = -rotation.T @ pose[:, 3]
    K = camera.get_intrinsics_matrices().reshape(-1, 3, 3)[0]
    width, height = (int(side.reshape(-1)[0]) for side in (camera.width, camera.height))
    return Cameras(viewmat.unsqueeze(0), K.unsqueeze(0).to(pose), width, height)


def _stretch(camera: Cameras) -> Tensor:
    """Length of each pixel's ray per metre of depth, (h, w, 1)."""
    K = camera.Ks[0]
    x = (torch.arange(camera.width, device=K.device) + 0.5 - K[0, 2]) / K[0, 0]
    y = (torch.arange(camera.height, device=K.device) + 0.5 - K[1, 2]) / K[1, 1]
    return (1 + x.square() + y.unsqueeze(-1).square()).sqrt().unsqueeze(-1)


def _pipeline(data: Path) -> VanillaPipelineConfig:
    # Keep poses, axes and scale of the dataset: by default nerfstudio moves the cameras, and the
    # splats would not move with them.
    dataset = NerfstudioDataParserConfig(
        data=data,
        orientation_method="none",
        center_method="none",
        auto_scale_poses=False,
        eval_mode="all",
        downscale_factor=1,
        load_3D_points=False,
    )
    # "gpu" means the model's device. "cpu" would pin memory, which needs a GPU.
    return VanillaPipelineConfig(
        datamanager=FullImageDatamanagerConfig(dataparser=dataset, cache_images="gpu"), model=SplatsConfig()
    )


@dataclass
class RunConfig(TrainerConfig):
    """Settings of a run that is in ``output_dir`` itself, not in a folder below it."""

    def get_base_dir(self) -> Path:
        return self.output_dir


def run(folder: str) -> RunConfig:
    """Called by the config.yml of a run, with the run's folder."""
    return RunConfig(
        method_name=NAME, output_dir=Path(folder), experiment_name=Path(folder).stem, pipeline=_pipeline(Path(folder))
    )


method = MethodSpecification(
    config=TrainerConfig(method_name=NAME, pipeline=_pipeline(Path())),
    description="Shows an asset that rl3d exported. It cannot train.",
)


def show(config: Path, host: str, port: int) -> None:
    """nerfstudio's viewer on a run's config.yml. Never returns: Ctrl-C raises KeyboardInterrupt."""
    # Imported here because these modules load all plugins, this one included.
    from nerfstudio.configs.method_configs import all_methods
    from nerfstudio.scripts.viewer.run_viewer import RunViewer, ViewerConfigWithoutNumRays

    all_methods.setdefault(NAME, method.config)  # without an installation there is no entry point
    # The dataset's cameras are drawn 5 cm large, not 1.
    viewer = ViewerConfigWithoutNumRays(websocket_host=host, websocket_port=port, camera_frustum_scale=0.5)
    RunViewer(config, viewer).main()
