"""What a scene is: Gaussians, part assets, radiance fields, cameras, and the files that hold them.
Imports nothing above it.

Nothing is imported here, so that `import scenes` costs nothing: name the module you want, as in
`from scenes.gaussians import Gaussians`."""
