"""A page for people, as one file that remembers what it was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import fsspec
from kedro.io import AbstractDataset

from lakehouse_ml.errors import TableError
from lakehouse_ml.provenance import current
from lakehouse_ml.tables import shown

if TYPE_CHECKING:
    from kedro_datasets._typing import HTMLPreview

_MADE = "<!-- lakehouse-ml fingerprint {} -->\n"


class HtmlPage(AbstractDataset[str, str]):
    """An HTML document at an address, UTF-8. Its last line holds the fingerprint of what it was made of.

    Example:
        ```yaml
        "{use_case}.report_page":
          type: lakehouse_ml.datasets.html_page.HtmlPage
          filepath: data/08_reporting/{use_case}/report.html
        ```
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Nothing is opened before `load` or `save`."""
        self._filepath = filepath
        self.metadata = metadata

    def load(self) -> str:
        """The document.

        Raises:
            TableError: There is none yet.
        """
        if not self._exists():
            raise TableError(f"There is no page at {self._filepath} yet: run the stage that writes it first.")
        with fsspec.open(self._filepath, "r", encoding="utf-8") as stream:
            text: str = stream.read()
        return text

    def save(self, data: str) -> None:
        """Write the document; what stood there stays until the new one is whole."""
        made = current()
        # Made before the file is opened: an object store takes what was written until then for the whole.
        whole = data + _MADE.format(made.fingerprint if made else "")
        fs, path = fsspec.core.url_to_fs(self._filepath)
        fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        with fs.transaction, fs.open(path, "w", encoding="utf-8") as stream:
            stream.write(whole)

    def preview(self) -> HTMLPreview:
        """The document itself: kedro-viz shows it as it is."""
        return cast("HTMLPreview", self.load())

    def holds(self, fingerprint: str, *, last: bool = False) -> bool:  # noqa: ARG002 - there is but one
        """Whether the document that is there was made with this fingerprint."""
        return self._exists() and self.load().endswith(_MADE.format(fingerprint))

    def _exists(self) -> bool:
        fs, path = fsspec.core.url_to_fs(self._filepath)
        return bool(fs.exists(path))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": shown(self._filepath)}
