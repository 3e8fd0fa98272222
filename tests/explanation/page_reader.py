"""Reads a page as a browser would."""

from html.parser import HTMLParser


class Reader(HTMLParser):
    """Checks that tags close in order, and collects text and attributes."""

    VOID = ("meta", "img")

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.text, self.attributes = [], [], [], []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag, name):
        return [v for t, n, v in self.attributes if (t, n) == (tag, name)]
