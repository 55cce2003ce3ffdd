"""What pages offer for download, for the page and for ``gsto-viz export`` alike."""
