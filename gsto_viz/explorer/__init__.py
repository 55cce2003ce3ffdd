"""The explorer: Streamlit pages over pure functions.

``entry`` is the script that Streamlit runs, ``views/`` holds one file per page and ``*_view`` draws
it. ``page_frame`` holds the view of a session (``view_state``) in the session and in the address
and binds widgets to it; ``pair_header`` chooses image and networks. ``viewer`` is the linked viewer
(``viewer.js``, ``viewer.css``), which gets its numbers from ``viewer_data``.

Below lie plain functions without Streamlit: ``checkpoints`` and ``run_folders`` (what may be
chosen), ``pictures`` (scenes, data sets, uploads), ``gallery`` (maps that come with the package),
``shown`` (two networks on one image), ``probe`` and ``comparison`` (numbers) and ``drawings``
(figures as bytes). ``export_files`` makes files, ``*_export`` say which ones a page offers
(``shown_exports``: what they share), ``export_menu`` draws them as buttons, ``view_file`` is the
view as JSON and ``replay`` makes its files again.
``cached`` puts Streamlit's caches between the two; ``server`` starts it all.

The folder of ``entry`` becomes the first of ``sys.path`` while the server runs, so no module here
may have the name of a top-level module.
"""
