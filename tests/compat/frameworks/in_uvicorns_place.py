"""Run a program that serves with uvicorn by Tricorn instead:  python in_uvicorns_place.py MODULE ARGUMENT..."""

import runpy
import sys

import tricorn

sys.modules["uvicorn"] = tricorn
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
