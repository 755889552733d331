"""Run every example of the README, of docs/ and of examples/, as a user would.

The blocks of a page run in order in a folder with copies of the examples. A block that follows the
comment ``<!-- not run -->`` is skipped: the install commands, which have run by then.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- not run -->\n)?```(sh|python)\n(.*?)```", re.DOTALL)


def main() -> None:
    """Run all examples; exit with the status of the first that fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    count = 0
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        with tempfile.TemporaryDirectory() as folder:
            for example in (ROOT / "examples").glob("damaged.*"):
                shutil.copy(example, folder)
            for name in ("take3.flac", "other.flac"):
                shutil.copy(ROOT / "examples" / "damaged.flac", Path(folder, name))
            for skipped, language, code in BLOCK.findall(page.read_text(encoding="utf-8")):
                if skipped:
                    continue
                print(f"--- {page.name}\n{code}", flush=True)
                command = ["sh", "-ec", code] if language == "sh" else [sys.executable, "-c", code]
                subprocess.run(command, cwd=folder, env=environment, check=True)
                count += 1
    scripts = [p for p in sorted((ROOT / "examples").glob("*.py")) if p.stem != "make_damaged"]
    for script in scripts:
        print(f"--- {script.name}", flush=True)
        subprocess.run([sys.executable, str(script)], check=True)
    print(f"{count + len(scripts)} passed, 0 failed")


if __name__ == "__main__":
    main()
