"""Pages: one HTML file each, offline, for screen, phone and paper."""
