"""What the page shows, worked out without the page: nothing here knows Streamlit."""
