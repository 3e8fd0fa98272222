"""What people look at in a browser: templates that escape, and one layout for results."""

from mm_keras.pages.page import png, result_page, template

__all__ = ["png", "result_page", "template"]
