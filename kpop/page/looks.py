"""Where the page's looks lie: styles, icon, pictures."""

from pathlib import Path

LOOKS = Path(__file__).parents[2] / ".streamlit"
