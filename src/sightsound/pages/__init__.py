"""HTML pages of one file each that work offline, on screens, phones and paper."""
