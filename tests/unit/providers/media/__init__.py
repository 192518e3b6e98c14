"""What the media drivers share, each part by itself."""
