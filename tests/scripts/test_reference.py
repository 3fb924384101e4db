"""The reference page says what the declarations say."""

import subprocess
import sys

from support import ROOT


def test_the_page_is_what_the_script_writes() -> None:
    command = [sys.executable, "-W", "ignore", str(ROOT / "scripts" / "reference.py")]
    written = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert written == (ROOT / "docs" / "settings.md").read_text(encoding="utf-8"), (
        "python scripts/reference.py > docs/settings.md"
    )
