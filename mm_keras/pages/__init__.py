"""What people look at in a browser: templates that escape, and one layout for results."""

from mm_keras.pages.page import png, result_page, template
from mm_keras.pages.result import Result, Shown

__all__ = ["Result", "Shown", "png", "result_page", "template"]
