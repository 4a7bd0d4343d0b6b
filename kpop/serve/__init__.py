"""Sound on its way to the listeners, beside the page: nothing here knows Streamlit."""
