"""The bundled small separator, the songs it was trained on, and the code that made both."""
