"""An HTML page as one file with a fingerprint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lakehouse_ml.datasets.recorded_file import RecordedFile

if TYPE_CHECKING:
    from kedro_datasets._typing import HTMLPreview


class HtmlPage(RecordedFile):
    """An HTML document at an address, UTF-8.

    Example:
        ```yaml
        "{use_case}.report_page":
          type: lakehouse_ml.datasets.html_page.HtmlPage
          filepath: data/08_reporting/{use_case}/report.html
        ```
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Configure the file. Nothing is opened before `load` or `save`."""
        self._address = filepath
        self.metadata = metadata

    def encode(self, content: str) -> str:
        """The document itself."""
        return content

    def preview(self) -> HTMLPreview:
        """The document itself: kedro-viz shows it as it is."""
        return cast("HTMLPreview", self.read_text())
