"""What tidegate needs from the world, as short Protocols in domain words."""
