"""Tasks: what runs of containers, each in the care of a shim (asyncio; the daemon's side)."""
