"""What ``rl3d optimize`` reports and writes: stages with their gains, figures before and after by
rewards, judge and shape, and a sheet."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from rewards.mix import parse
from rl3d.assets import FINAL_GAUSSIANS, environment
from rl3d.correction import Stage
from rl3d.evaluate import Judge
from rl3d.measures import shape_of
from rl3d.optimize import OptimizeConfig, Optimized
from rl3d.pictures import Picture, photographs, render_sheet, save_image
from rl3d.scoring import score_assets
from scenes import cameras
from scenes.asset import Asset
from scenes.files import atomic_write, make_folder
from scenes.files.glb import write_glb, write_mesh_glb
from scenes.files.ply import write_ply

VIEWS, VIEW_SIZE = 4, 448
"""Pictures of each asset on the sheet, and their pixels before they are halved."""


def save(result: Optimized, config: OptimizeConfig) -> dict[str, Any]:
    """Write scene.ply, mesh.glb, before_after.png and optimize.json into ``config.out``. Returns
    the content of optimize.json, which is written last."""
    assert config.out is not None
    folder = make_folder(config.out)
    (folder / "optimize.json").unlink(missing_ok=True)
    figures = report(result, config)
    scene = result.after.gaussians(FINAL_GAUSSIANS, fine=True)[0].detach()
    write_ply(folder / "scene.ply", scene.select(scene.opacities > 0))  # a batch of splats is padded
    if result.after.parts is not None:
        write_glb(folder / "mesh.glb", result.after.parts[0].present())
    else:
        write_mesh_glb(folder / "mesh.glb", result.after.meshes()[0])
    _sheet(folder / "before_after.png", result, figures)
    with atomic_write(folder / "optimize.json") as temporary:
        temporary.write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def report(result: Optimized, config: OptimizeConfig) -> dict[str, Any]:
    """Stages, and the figures of each asset, as plain numbers."""
    assets = {"before": result.before, "after": result.after}
    stages = list(result.stages)
    if result.best_of_n is not None and result.best_sample is not None:
        assets["best of N"] = result.best_sample
        stages.append(result.best_of_n)
    return {
        "prompt": result.prompt,
        "source": result.source,
        "settings": {"seconds": config.seconds, "seed": config.seed, "rewards": config.rewards},
        "stages": [_row(stage) for stage in stages],
        "assets": {name: _figures(asset, result.prompt, config.rewards) for name, asset in assets.items()},
        "software": environment(),
    }


def _row(stage: Stage) -> dict[str, Any]:
    gain = stage.total - stage.before
    return {**asdict(stage), "gain": gain, "gain_per_second": gain / stage.seconds if stage.seconds else 0.0}


def _figures(asset: Asset, prompt: str, rewards: str) -> dict[str, float]:
    """Total, rewards, the judge's logit and measures of shape of one asset."""
    weighted = parse(rewards)
    scores = score_assets([reward for reward, _ in weighted], [prompt], asset)
    values = {reward.name: scores[reward.name].values.item() for reward, _ in weighted}
    total = sum(weight * values[reward.name] for reward, weight in weighted)
    judge = Judge(torch.device("cpu")).logits([prompt], asset).item()
    shape = {name: value.item() for name, value in shape_of(asset).items()}
    return {"total": total, **values, "judge_logit": judge, **shape}


def _sheet(path: Path, result: Optimized, figures: dict[str, Any]) -> None:
    """A row of views for each asset."""
    shown = {"before": result.before, "after": result.after, "best of N": result.best_sample}
    rows, labels = [], []
    for name, asset in shown.items():
        if asset is None:
            continue
        rig = cameras.orbit(VIEWS, size=VIEW_SIZE, azimuth_deg=35.0, elevation_deg=20.0)
        (images,) = photographs(asset.gaussians(FINAL_GAUSSIANS, fine=True), rig)
        row = [Picture(image.reduce(2)) for image in images]
        found = figures["assets"][name]
        text = f"total {found['total']:.3f}, judge {found['judge_logit']:.2f}"
        rows.append([Picture(row[0].image, score=text), *row[1:]])
        labels.append(name)
    save_image(path, render_sheet(rows, labels=labels, title=result.prompt))


def summary(figures: dict[str, Any]) -> str:
    """Two tables for the screen: the stages, and the assets."""
    lines = [f"{'stage':12}{'seconds':>9}{'assets':>8}{'from':>8}{'to':>8}{'gain':>9}{'gain/s':>9}"]
    for row in figures["stages"]:
        lines.append(
            f"{row['name']:12}{row['seconds']:9.1f}{row['scored']:8d}{row['before']:8.3f}{row['total']:8.3f}"
            f"{row['gain']:+9.4f}{row['gain_per_second']:+9.4f}"
        )
    assets = figures["assets"]
    lines += ["", f"{'figure':18}" + "".join(f"{name:>11}" for name in assets)]
    for name in assets["before"]:
        lines.append(f"{name:18}" + "".join(f"{found[name]:11.3f}" for found in assets.values()))
    return "\n".join(lines)
