"""Tables that programs put into pages."""


def replaced(page: str, text: str, marker: str) -> str:
    """The page with `text` between its markers, `<!-- MARKER -->` and `<!-- end of MARKER -->`."""
    begin, end = f"<!-- {marker} -->", f"<!-- end of {marker} -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f"the page needs {begin} once, and {end} once after it")
    before, rest = page.split(begin)
    return f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}"
