"""How close a song comes to the music that a model was trained on."""
