"""One file a kind, each an ordered list of small steps. Controllers never import each other."""
