"""What Linux tells about itself."""
