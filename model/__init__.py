"""DimeRec: guidance extraction, diffusion on the unit sphere, and the checkpoint format. Pure torch."""
