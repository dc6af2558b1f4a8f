"""On the path of a program and of all processes that it starts: in each of them Tricorn stands in uvicorn's place."""

import sys

import tricorn

sys.modules["uvicorn"] = tricorn
