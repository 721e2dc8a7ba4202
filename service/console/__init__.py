"""The files of the console at `/`: a page, its style and its scripts, served as they are."""
