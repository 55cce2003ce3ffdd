"""One module per page; each draws with ``draw_page``, from the numbers of ``values/``."""
