"""What pages show, as pure functions: no Streamlit, no state."""
