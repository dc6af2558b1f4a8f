"""Streamlit: a page that is drawn over a WebSocket."""

import streamlit

streamlit.write("hello from streamlit")
