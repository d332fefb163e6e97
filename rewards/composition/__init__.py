"""What a prompt says of objects, and whether an asset shows it."""
