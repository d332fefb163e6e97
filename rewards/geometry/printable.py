"""Printability: whether the asset can be printed in one piece, with walls that are thick enough."""

from __future__ import annotations

import torch
import trimesh

from rewards.base import Batch, Needs, Scores
from rewards.geometry.meshes import WALL, inspect
from rewards.geometry.skin import Skin


class Printable:
    """Mean of marks in [0, 1] for what a slicer needs.

    Assets of parts have three marks. One body: 1 / n for n bodies that do not overlap. Nothing
    enclosed: 1 / (1 + n) for n parts that lie inside others, which would print as inner walls.
    Walls: the fraction of the visible surface below which the material is ``WALL`` thick. Parts are
    closed and manifold by construction. Meshes have the six marks of
    ``rewards.geometry.meshes.inspect``. ``verdict``: all marks are 1. ``per_part``: the fraction of
    each part's surface with thick walls, 0 if the part is enclosed. An empty asset scores 0. One
    that is not finite, or whose mesh cannot be inspected, scores 0 and has failed."""

    name = "printable"
    version = "1"
    needs = Needs(mesh=True)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Scores:
        return self.of_parts(batch) if batch.need_asset().parts is not None else self.of_meshes(batch)

    @staticmethod
    def of_parts(batch: Batch) -> Scores:
        parts, pieces = batch.sound_parts, batch.pieces
        skin = Skin.of(parts)
        slots = torch.arange(parts.count, device=parts.existence.device)
        bodies = ((pieces.clusters(0) == slots) & parts.exists).sum(-1).double()
        areas = skin.areas * skin.visible
        area = areas.sum(-1)
        swallowed = (area < 1e-3 * skin.areas.sum(-1)).double()
        thick = skin.depths(skin.points - WALL * skin.normals)[0] < 0
        fraction = (areas * thick).sum(-1)
        walls = skin.total(fraction) / skin.total(area).clamp_min(1e-12)
        marks = torch.stack([1 / bodies.clamp_min(1), 1 / (1 + skin.total(swallowed)), walls])
        return Scores(
            values=torch.where(batch.usable, marks.mean(0), 0).clamp(0, 1).float().cpu(),
            failed=int(batch.broken.sum()),
            verdict=(batch.usable & (marks > 1 - 1e-3).all(0)).cpu(),
            per_part=skin.per_part(torch.where(swallowed > 0, 0, fraction / area.clamp_min(1e-12)))
            * batch.usable.cpu().unsqueeze(-1),
        )

    @staticmethod
    def of_meshes(batch: Batch) -> Scores:
        values, verdict, failed = torch.zeros(len(batch)), torch.zeros(len(batch), dtype=torch.bool), 0
        for k, mesh in enumerate(batch.meshes):
            try:
                report = inspect(trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False))
            except ValueError:  # no surface, numbers that are not finite, too many triangles
                failed += 1
                continue
            values[k], verdict[k] = report.score, report.printable
        return Scores(values, failed, verdict)
