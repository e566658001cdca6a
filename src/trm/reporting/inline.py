"""Pictures inside an HTML page, so that the page is one file."""

import base64
from pathlib import Path
from xml.etree import ElementTree

from markupsafe import Markup

from trm.files import BadInput

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
RDF_AND_RULES = (f"{{{SVG}}}metadata", f"{{{SVG}}}style")  # not for a page: its own style sheet has the rules
PIXELS_PER_POINT = 96 / 72


def inline_svg(path: Path, prefix: str, label: str) -> Markup:
    """An SVG file of matplotlib's as an element of a page; on small screens three quarters of its size, and legible.

    `prefix` goes before its ids, since every figure has an "axes_1" and a page may have each id once; `label` is
    read out where the picture cannot be seen.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file, expected a figure of `trm figure`") from None
    except ElementTree.ParseError as error:
        raise BadInput(f"{path}: line {error.position[0]}: not a whole SVG file ({error})") from None
    for element in root.iter():
        for child in [child for child in element if child.tag in RDF_AND_RULES]:
            element.remove(child)
        for name, value in element.attrib.items():
            if name == "id":
                element.set(name, f"{prefix}-{value}")
            elif name == f"{{{XLINK}}}href" and value.startswith("#"):
                element.set(name, f"#{prefix}-{value[1:]}")
            else:
                element.set(name, value.replace("url(#", f"url(#{prefix}-"))
    width = float(root.get("viewBox").split()[2]) * PIXELS_PER_POINT
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.attrib |= {
        "role": "img",
        "aria-label": label,
        "style": f"min-width: {0.75 * width:.0f}px; max-width: {width:.0f}px",
    }
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def data_url(path: Path) -> str:
    """A PNG file as a URL that holds it."""
    try:
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file, expected a PNG picture") from None
