"""`dagengine tokens`: works on the installation's own database, so that a first token can be made
before the service listens to others.
"""

from __future__ import annotations
