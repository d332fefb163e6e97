"""The C++ sources of the CPU rasteriser, and the library compiled from them."""
