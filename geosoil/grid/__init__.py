"""Where pixels are: tiles, patches, and a sweep over a scene."""
