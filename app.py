"""``streamlit run app.py`` opens the explorer; so does ``gsto-viz app``, which needs no file."""

from gsto_viz.explorer.entry import main

main()
