"""Options, and where their values come from."""

# Where programs written for uvicorn look for it: uvicorn.config.
from .logging_config import LOGGING_CONFIG as LOGGING_CONFIG
