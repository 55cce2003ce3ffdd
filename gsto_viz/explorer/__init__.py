"""The explorer: Streamlit pages over pure functions.

``entry`` is the script that Streamlit runs, ``views/`` holds one file per page and
``explore_view`` draws the first of them. Below lie plain functions without Streamlit:
``view_state`` (what a link holds), ``checkpoints`` (what may be chosen), ``pictures`` (scenes and
uploads), ``comparison`` (tables of one image) and ``drawings`` (figures as bytes). ``cached`` puts
Streamlit's caches between the two, and ``server`` starts the whole thing.

The folder of ``entry`` becomes the first of ``sys.path`` while the server runs, so no module here
may have the name of a top-level module.
"""
