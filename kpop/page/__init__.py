"""The page in sections: the only room that knows Streamlit. app.py puts them together."""
