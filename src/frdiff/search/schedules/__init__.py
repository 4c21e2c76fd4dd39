"""Where keyframes lie, and at which noise levels: shapes, paths, climbs, and what they cost."""
