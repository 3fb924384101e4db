"""Ask a database of vulnerabilities about every pinned version: `make audit`, which installs pip-audit for it.

It ends with 0 only when every pin was looked up and none is known to be vulnerable. It needs the network.
"""

import json
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).resolve().parents[1] / "constraints.txt"
COMMAND = ("--requirement", str(PINS), "--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off")


def main() -> None:
    asked = subprocess.run([sys.executable, "-m", "pip_audit", *COMMAND], capture_output=True, text=True)
    try:
        found = json.loads(asked.stdout)["dependencies"]
    except (KeyError, TypeError, ValueError):
        reason = (asked.stderr.strip().splitlines() or ["no answer"])[-1]
        sys.exit(f"audit: nothing was audited: {reason:.300}")
    vulnerable = [dependency for dependency in found if dependency.get("vulns")]
    skipped = [dependency for dependency in found if "skip_reason" in dependency]
    for dependency in vulnerable:
        for known in dependency["vulns"]:
            fixed = ", ".join(known["fix_versions"]) or "no version"
            print(f"{dependency['name']} {dependency['version']}: {known['id']}, mended by {fixed}")
    if skipped or not found:
        sys.exit(
            f"audit: {len(skipped)} of {len(found)} pins could not be audited, so nothing is said of them: the package "
            "index in use does not answer for vulnerabilities; ask where one does"
        )
    if vulnerable:
        sys.exit(f"audit: {len(vulnerable)} of {len(found)} pins are known to be vulnerable")
    print(f"audit: none of {len(found)} pins is known to be vulnerable")


if __name__ == "__main__":
    main()
