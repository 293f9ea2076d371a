"""A module whose import takes until a file is there."""

import os
import time
from pathlib import Path

while not Path(os.environ["AWAITED_FILE"]).exists():
    time.sleep(0.005)
