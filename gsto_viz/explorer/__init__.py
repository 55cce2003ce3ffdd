"""The explorer: Streamlit pages over pure functions.

``entry`` is the script that Streamlit runs, ``view_state`` the register of pages and of what their
links hold, and ``views/`` draws them, one module per page. ``page_frame`` holds the view of a
session in the session and in the address and binds widgets to it; ``pair_header`` chooses image and
networks; ``probing`` is the probe. ``viewer`` is the linked viewer (``viewer.js``, ``viewer.css``).

Below lie plain functions without Streamlit: ``checkpoints`` and ``folders`` (what may be chosen),
``pictures`` (scenes, data sets, uploads), ``shown`` (two networks on one image, and maps that come
with the package), ``values/`` (what pages show) and ``exports/`` (what they offer for download, the
view as JSON, and its replay). ``cached`` puts Streamlit's caches between the two; ``server`` starts
it all.

The folder of ``entry`` becomes the first of ``sys.path`` while the server runs, so no module here
may have the name of a top-level module; and Streamlit takes a folder called ``pages`` for its own.
"""
